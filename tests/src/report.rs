// SPDX-License-Identifier: GPL-3.0-or-later
//! Tables that programs write into documents, each between two marks of its own, and the figures
//! of benchmarks as tables.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};
use serde_json::{json, Value};

/// One line of a benchmark: ours beside the peer's.
#[derive(Debug, Clone)]
pub struct Comparison {
    /// What was measured.
    pub workload: String,
    /// Unit of both figures.
    pub unit: &'static str,
    /// Ours.
    pub ours: f64,
    /// The peer's.
    pub peer: f64,
    /// Whether more is better.
    pub higher_is_better: bool,
}

impl Comparison {
    /// Ours divided by the peer's.
    pub fn ratio(&self) -> f64 {
        self.ours / self.peer
    }

    /// Prints the head of the table whose lines [`Comparison::print`] prints.
    pub fn print_head() {
        println!("\n{:68} {:>12} {:>12} {:>7}  unit", "workload", "ours", "peer", "ratio");
    }

    /// Prints the line.
    pub fn print(&self) {
        let Comparison { workload, unit, ours, peer, higher_is_better } = self;
        let (ours, peer) = (number(*ours), number(*peer));
        let ratio = self.ratio();
        let worse = if *higher_is_better { ratio < 1.0 } else { ratio > 1.0 };
        let note = if worse { "  (worse)" } else { "" };
        println!("{workload:68} {ours:>12} {peer:>12} {ratio:7.3}  {unit}{note}");
    }

    fn markdown(&self) -> String {
        let (ours, peer, ratio) = (number(self.ours), number(self.peer), number(self.ratio()));
        format!("| {} | {ours} | {peer} | {ratio} | {} |\n", self.workload, self.unit)
    }

    fn json(&self) -> Value {
        json!({
            "workload": self.workload, "unit": self.unit, "ours": self.ours, "peer": self.peer,
            "ratio": self.ratio(), "higher_is_better": self.higher_is_better,
        })
    }
}

/// The comparisons as a Markdown table.
pub fn comparison_table(rows: &[Comparison]) -> String {
    let lines: String = rows.iter().map(Comparison::markdown).collect();
    format!("| workload | ours | peer | ratio | unit |\n|---|---|---|---|---|\n{lines}")
}

/// Adds the comparisons to a file of results, in place of older ones of the same workloads.
pub fn merge_results(file: &Path, rows: &[Comparison]) -> Result<()> {
    let older = fs::read_to_string(file).ok();
    let mut all: Vec<Value> =
        older.and_then(|text| serde_json::from_str(&text).ok()).unwrap_or_default();
    all.retain(|old| !rows.iter().any(|new| old["workload"] == new.workload.as_str()));
    all.extend(rows.iter().map(Comparison::json));
    if let Some(parent) = file.parent() {
        fs::create_dir_all(parent)?;
    }
    fs::write(file, serde_json::to_string_pretty(&all)? + "\n")
        .with_context(|| file.display().to_string())?;
    println!("\nratio is ours / peer; written to {}", file.display());
    Ok(())
}

/// The middle of the values, or between the two in the middle.
pub fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    match sorted.len() {
        0 => f64::NAN,
        n if n % 2 == 1 => sorted[n / 2],
        n => (sorted[n / 2 - 1] + sorted[n / 2]) / 2.0,
    }
}

fn number(value: f64) -> String {
    if value >= 100.0 {
        format!("{value:.0}")
    } else {
        format!("{value:.3}")
    }
}

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
    fn later_results_take_the_place_of_earlier_ones() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("deeper").join("results.json");
        let row = |workload: &str, ours| Comparison {
            workload: workload.into(),
            unit: "1/s",
            ours,
            peer: 2.0,
            higher_is_better: true,
        };
        merge_results(&file, &[row("a", 4.0), row("b", 1.0)]).unwrap();
        merge_results(&file, &[row("a", 6.0)]).unwrap();
        let text = fs::read_to_string(file).unwrap();
        let all: Vec<Value> = serde_json::from_str(&text).unwrap();
        let ratios: Vec<_> = all.iter().map(|row| row["ratio"].as_f64().unwrap()).collect();
        assert_eq!(ratios, [0.5, 3.0]);
        assert_eq!(median(&[3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(&[3.0, 1.0]), 2.0);
    }

    #[test]
    fn a_later_table_takes_the_place_of_an_earlier_one() {
        let once = with_section("# Title\n", "x", "one\n") + "after\n";
        let twice = with_section(&once, "x", "two\n");
        assert!(twice.starts_with("# Title\n<!-- written by x: begin -->\ntwo\n"), "{twice}");
        assert!(twice.ends_with("after\n") && !twice.contains("one"), "{twice}");
    }
}
