// SPDX-License-Identifier: GPL-3.0-or-later
//! Tables that programs write into documents, each between two marks of its own.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};

/// Puts `table` into a document in place of the one that an earlier run of `program` wrote, or at
/// the end.
pub fn write_section(file: &Path, program: &str, table: &str) -> Result<()> {
    let previous = fs::read_to_string(file).unwrap_or_default();
    fs::write(file, with_section(&previous, program, table))
        .with_context(|| file.display().to_string())
}

fn with_section(text: &str, program: &str, table: &str) -> String {
    let begin = format!("<!-- written by {program}: begin -->\n");
    let end = format!("<!-- written by {program}: end -->\n");
    let section = format!("{begin}{table}{end}");
    match (text.find(&begin), text.find(&end)) {
        (Some(from), Some(to)) if from < to => {
            format!("{}{section}{}", &text[..from], &text[to + end.len()..])
        }
        _ => format!("{text}{section}"),
    }
}

/// The date, as in `2026-11-24`.
pub fn today() -> String {
    let got = Command::new("date").args(["-u", "+%Y-%m-%d"]).output();
    got.map(|o| String::from_utf8_lossy(&o.stdout).trim().to_string()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_later_table_takes_the_place_of_an_earlier_one() {
        let once = with_section("# Title\n", "x", "one\n") + "after\n";
        let twice = with_section(&once, "x", "two\n");
        assert!(twice.starts_with("# Title\n<!-- written by x: begin -->\ntwo\n"), "{twice}");
        assert!(twice.ends_with("after\n") && !twice.contains("one"), "{twice}");
    }
}
