// SPDX-License-Identifier: GPL-3.0-or-later
//! `onnode`: runs a shell command on nodes of the cluster, over ssh or what `ONNODE_SSH` names (spec/tool.md 17).
//!
//! - `options`: the command line
//! - `nodes_file`: which address has which number
//! - `selection`: which nodes NODES means
//! - `job`: what is run for one node; `run`: one after the other, or all at once
#![forbid(unsafe_code)]

mod job;
mod nodes_file;
mod options;
mod run;
mod selection;
mod settings;

pub use options::command;

use ctdb_command_line::Ending;
use job::Job;
use options::Options;
use settings::Settings;
use std::ffi::OsString;

/// Runs the program with all of its words, its name first.
pub fn run(words: impl IntoIterator<Item = OsString>) -> Ending {
    answer(words.into_iter().collect()).unwrap_or_else(|ending| ending)
}

fn answer(words: Vec<OsString>) -> Result<Ending, Ending> {
    let options = Options::parse(&words)?;
    let settings = Settings::read(&options, &words)?;
    let nodes = nodes_file::read(&settings.nodes_file(options.nodes_file.as_deref()))?;
    let addresses = selection::expand(&options, &nodes)?;
    let verbose = !options.quiet && (options.verbose || addresses.len() > 1);
    let jobs = addresses.into_iter().map(|address| Job::new(&options, &settings, address));
    let code = if options.parallel {
        run::in_parallel(jobs.collect(), verbose)
    } else {
        run::in_turn(jobs, verbose)
    };
    Ok(Ending::code(code))
}
