// SPDX-License-Identifier: GPL-3.0-or-later
//! What of an output is not compared.

use std::collections::BTreeSet;

/// How an output is made comparable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mask {
    /// Every byte counts.
    Exact,
    /// Runs of digits become `#`, runs of blanks one blank: times, process ids, counters.
    Numbers,
    /// Lines without numbers, and how often one is there: a history grows.
    Lines,
    /// Records in any order, and their numbers: which node's come first is chance.
    Records,
    /// The options above the commands of a usage are each version's own.
    Usage,
    /// Whether there was something.
    Presence,
}

impl Mask {
    /// The comparable text.
    pub fn apply(self, text: &str) -> String {
        match self {
            Mask::Exact => text.to_string(),
            Mask::Numbers => text.lines().map(|line| numbers(line) + "\n").collect(),
            Mask::Lines => {
                let lines: BTreeSet<String> = text.lines().map(|l| numbers(l) + "\n").collect();
                lines.into_iter().collect()
            }
            Mask::Records => {
                let mut records: Vec<String> = text.split("\n\n").map(numbers).collect();
                records.sort();
                records.join("\n\n")
            }
            Mask::Usage => {
                let from = text.find("Commands:\n").unwrap_or(0);
                text[from..].to_string()
            }
            Mask::Presence => if text.is_empty() { "" } else { "something\n" }.to_string(),
        }
    }

    /// What it is called in the table.
    pub fn name(self) -> &'static str {
        match self {
            Mask::Exact => "every byte",
            Mask::Numbers => "without numbers",
            Mask::Lines => "lines without numbers, however many",
            Mask::Records => "records in any order, without numbers",
            Mask::Usage => "the commands of a usage",
            Mask::Presence => "whether there is output",
        }
    }
}

fn numbers(text: &str) -> String {
    let mut out = String::new();
    for word in text.split_whitespace() {
        if !out.is_empty() {
            out.push(' ');
        }
        for c in word.chars() {
            match c {
                '0'..='9' if out.ends_with('#') => (),
                '0'..='9' => out.push('#'),
                other => out.push(other),
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn masks_leave_what_counts() {
        assert_eq!(Mask::Numbers.apply("a  12.5 0x7\nb\n"), "a #.# #x#\nb\n");
        assert_eq!(Mask::Records.apply("b 1\n\na 22"), "a #\n\nb #");
        assert_eq!(Mask::Usage.apply("x\nCommands:\n y\n"), "Commands:\n y\n");
        assert_eq!(Mask::Exact.apply(" 1 "), " 1 ");
    }
}
