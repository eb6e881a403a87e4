// SPDX-License-Identifier: GPL-3.0-or-later
//! The table of what was compared, for docs/tool-compatibility.md.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use super::run::Results;

/// The results of one cluster, with what it is called.
#[derive(Clone, Debug)]
pub struct Column {
    /// Head of the column.
    pub name: String,
    /// What was compared there.
    pub results: Results,
}

/// A row for each command: how many forms gave the same in each column, and what differs. `golden`
/// is the number of recorded forms of each command.
pub fn table(columns: &[Column], golden: &BTreeMap<String, (usize, usize)>) -> String {
    let mut commands: BTreeSet<&str> = golden.keys().map(String::as_str).collect();
    commands.extend(columns.iter().flat_map(|column| column.results.commands.keys()));
    let mut out = "| command | scripted daemon |".to_string();
    for column in columns {
        let _ = write!(out, " {} |", column.name);
    }
    out.push_str(" strictest comparison | differences |\n|---|---|");
    out.push_str(&"---|".repeat(columns.len() + 2));
    out.push('\n');
    for command in commands {
        let _ = write!(out, "| {command} |");
        let _ = match golden.get(command) {
            Some((forms, 0)) => write!(out, " {forms} |"),
            Some((forms, differ)) => write!(out, " {forms}, {differ} differ |"),
            None => write!(out, " |"),
        };
        let mut reasons = BTreeSet::new();
        let mut mask = None;
        for column in columns {
            mask = mask.or(column.results.masks.get(command));
            let _ = match column.results.commands.get(command) {
                None => write!(out, " |"),
                Some((same, differences)) if differences.is_empty() => write!(out, " {same} |"),
                Some((same, differences)) => {
                    for difference in differences {
                        let why = difference.reason.unwrap_or("NOT EXPLAINED");
                        reasons
                            .insert(format!("`{}`: {why}", difference.lines.replace('|', "\\|")));
                    }
                    write!(out, " {} of {} |", same, same + differences.len())
                }
            };
        }
        let reasons: Vec<String> = reasons.into_iter().collect();
        let _ = writeln!(out, " {} | {} |", mask.map_or("", |m| m.name()), reasons.join("; "));
    }
    out
}
