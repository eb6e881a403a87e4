// SPDX-License-Identifier: GPL-3.0-or-later
//! The command line.

use clap::{CommandFactory, Parser};
use ctdb_command_line::{getopt, Ending};
use std::ffi::OsString;

/// Gather what a bug report about a cluster needs
#[derive(Debug, Parser)]
#[command(name = "ctdb_diagnostics", disable_help_flag = true, args_override_self = true)]
pub(crate) struct Options {
    /// Nodes to look at, separated by commas; all by default
    #[arg(short = 'n', value_name = "NODES")]
    pub nodes: Option<String>,
    /// Ignore comment lines (starting with '#') in file comparisons
    #[arg(short = 'c')]
    pub ignore_comments: bool,
    /// Look at this machine only, without onnode
    #[arg(short = 'l')]
    pub local: bool,
    /// Ignore white space in file comparisons
    #[arg(short = 'w')]
    pub ignore_space: bool,
    /// Do not use commands that assume an Active Directory server
    #[arg(long)]
    no_ads: bool,
    /// Print help
    #[arg(short = 'h', long)]
    help: bool,
}

const USAGE: &str = "\
Usage: ctdb_diagnostics [OPTION] ...
  options:
    -n <nodes>  Comma separated list of nodes to operate on
    -c          Ignore comment lines (starting with '#') in file comparisons
    -l          Collect information from this machine only
    -w          Ignore whitespace in file comparisons
    --no-ads    Do not use commands that assume an Active Directory Server
";

/// The definition of the command line.
pub fn command() -> clap::Command {
    Options::command()
}

impl Options {
    /// Reads all words of the command line.
    pub fn parse(words: &[OsString]) -> Result<Options, Ending> {
        let usage = |said: String| Ending::complaint(said + USAGE, 1);
        let options = Options::try_parse_from(words).map_err(|error| {
            let long = words.iter().find(|word| word.to_string_lossy().starts_with("--"));
            usage(match (getopt::fault(&error), long) {
                (Some(getopt::Fault::Unknown('-')), Some(long)) => {
                    let long = long.to_string_lossy();
                    format!("ctdb_diagnostics: unrecognized option '{long}'\n")
                }
                _ => getopt::complaint("ctdb_diagnostics", &error).unwrap_or_default(),
            })
        })?;
        match options.help {
            true => Err(usage(String::new())),
            false => Ok(options),
        }
    }

    /// Whether there may be an Active Directory server.
    pub fn ads(&self) -> bool {
        !self.no_ads
    }
}
