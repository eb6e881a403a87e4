// SPDX-License-Identifier: GPL-3.0-or-later
//! `ctdb_diagnostics`: gathers what a bug report about a cluster needs (spec/tool.md 20). The output is for people;
//! the exit code is the number of errors found.
//!
//! - `options`: the command line
//! - `nodes`: which nodes, and commands on them, through `onnode`
//! - `files`: configuration files that have to be there and to be the same everywhere
//! - `inventory`: the commands whose output is gathered
//! - `report`: what is printed, and the errors
#![forbid(unsafe_code)]

mod files;
mod inventory;
mod nodes;
mod options;
mod report;

pub use options::command;

use ctdb_command_line::Ending;
use ctdb_host::Paths;
use nodes::Nodes;
use options::Options;
use report::Report;
use std::ffi::OsString;

/// Clocks may differ by so much.
const CLOCK_DRIFT_MAX_SECONDS: i64 = 30;

/// Exit codes end here; more errors are no success.
const CODE_MAX: usize = 255;

/// Runs the program with all of its words, its name first.
pub fn run(words: impl IntoIterator<Item = OsString>) -> Ending {
    answer(words.into_iter().collect()).unwrap_or_else(|ending| ending)
}

fn answer(words: Vec<OsString>) -> Result<Ending, Ending> {
    let options = Options::parse(&words)?;
    let paths = Paths::from_env().map_err(|e| Ending::aborted(&e))?;
    let nodes = Nodes::find(&options)?;
    let mut report = Report::default();
    introduce(&mut report, &nodes, &paths);
    report.section(&format!("Comparing critical config files on {nodes}"));
    files::compare(&mut report, &nodes, &options, &paths).map_err(|e| {
        Ending::complaint(format!("ctdb_diagnostics: cannot keep files to compare: {e}\n"), 1)
    })?;
    report.section("Checking for clock drift");
    check_clocks(&mut report, &nodes);
    for section in inventory::SECTIONS {
        report.section(section.title);
        for command in section.commands.iter().filter(|c| c.active_directory <= options.ads()) {
            nodes.show(&mut report, &inventory::adapted(command.line, &paths));
        }
    }
    report.line(&report::date());
    Ok(Ending::code(report.end().min(CODE_MAX) as i32))
}

fn introduce(report: &mut Report, nodes: &Nodes, paths: &Paths) {
    report.section(
        "ctdb_diagnostics starting. This script will gather information about\n\
         your ctdb cluster. You should send the output of this script along\n\
         with any ctdb or clustered Samba bug reports.",
    );
    report.rule();
    report.line(&report::date());
    nodes.introduce(report);
    report.line("\nFor reference, here is the nodes file on the current node...");
    files::show_here(report, &paths.nodes_file());
}

/// Every clock against that of the first node.
fn check_clocks(report: &mut Report, nodes: &Nodes) {
    let seconds = |node: &str| nodes.output(node, "date +%s").trim().parse::<i64>().ok();
    let Some((first, others)) = nodes.split() else { return };
    let reference = seconds(first);
    for node in others {
        match (reference, seconds(node)) {
            (Some(reference), Some(time)) => {
                let drift = time.saturating_sub(reference);
                if drift.saturating_abs() > CLOCK_DRIFT_MAX_SECONDS {
                    report.error(&format!("time on node {node} differs by {drift} seconds"));
                }
            }
            _ => report.error(&format!("time on node {node} cannot be compared")),
        }
    }
}
