// SPDX-License-Identifier: GPL-3.0-or-later
//! The command line: options, NODES, then what belongs to the command.

use clap::{CommandFactory, Parser};
use ctdb_command_line::{getopt, Ending};
use std::ffi::{OsStr, OsString};
use std::path::PathBuf;

/// Run a command on nodes of the cluster
#[derive(Debug, Parser)]
#[command(name = "onnode", disable_help_flag = true, args_override_self = true)]
pub(crate) struct Options {
    /// Run in the current working directory on the nodes
    #[arg(short = 'c')]
    pub current_dir: bool,
    /// Nodes file, instead of the default
    #[arg(short = 'f', value_name = "FILE")]
    pub nodes_file: Option<PathBuf>,
    /// Keep standard input open; the default is to close it
    #[arg(short = 'i')]
    pub input: bool,
    /// Allow nodes to be specified by name
    #[arg(short = 'n')]
    pub names: bool,
    /// Run on all nodes at once
    #[arg(short = 'p')]
    pub parallel: bool,
    /// Push the given files to the nodes instead of running a command
    #[arg(short = 'P')]
    pub push: bool,
    /// Do not print node addresses; overrides -v
    #[arg(short = 'q')]
    pub quiet: bool,
    /// Print the node address even for a single node
    #[arg(short = 'v')]
    pub verbose: bool,
    /// Print a short usage guide
    #[arg(short = 'h')]
    help: bool,
    /// The nodes ("all", "any", "ok" or "healthy", "con" or "connected", numbers, ranges of numbers, names with -n,
    /// or a list of these with commas), and the command
    #[arg(trailing_var_arg = true, num_args = 2.., value_names = ["NODES", "COMMAND"])]
    words: Vec<OsString>,
}

const USAGE: &str = r#"Usage: onnode [OPTION] ... <NODES> <COMMAND> ...
  options:
    -c          Run in current working directory on specified nodes.
    -f          Specify nodes file, overriding default.
    -i          Keep standard input open - the default is to close it.
    -n          Allow nodes to be specified by name.
    -p          Run command in parallel on specified nodes.
    -P          Push given files to nodes instead of running commands.
    -q          Do not print node addresses (overrides -v).
    -v          Print node address even for a single node.
  <NODES>       "all", "any", "ok" (or "healthy"), "con" (or "connected") ; or
                a node number (0 base); or
                a hostname (if -n is specified); or
                list (comma separated) of <NODES>; or
                range (hyphen separated) of node numbers.
"#;

/// The definition of the command line.
pub fn command() -> clap::Command {
    Options::command()
}

/// The usage text, as a complaint.
pub(crate) fn usage(before: &str) -> Ending {
    Ending::complaint(format!("{before}{USAGE}"), 1)
}

impl Options {
    /// Reads all words of the command line.
    pub fn parse(words: &[OsString]) -> Result<Options, Ending> {
        let options = Options::try_parse_from(words).map_err(|error| {
            let program = words.first().map_or("onnode".into(), |word| word.to_string_lossy());
            let said = getopt::fault(&error).map_or(String::new(), |fault| match fault {
                getopt::Fault::Unknown('?') => String::new(),
                getopt::Fault::Unknown(letter) => {
                    format!("{program}: illegal option -- {letter}\n")
                }
                getopt::Fault::NoArgument(letter) => {
                    format!("{program}: option requires an argument -- {letter}\n")
                }
            });
            usage(&said)
        })?;
        if options.help || options.words.len() < 2 {
            return Err(usage(""));
        }
        Ok(options)
    }

    /// Which nodes.
    pub fn nodes(&self) -> &OsStr {
        self.words.first().map_or(OsStr::new(""), OsString::as_os_str)
    }

    /// The words of the command, or the files.
    pub fn command_words(&self) -> &[OsString] {
        self.words.get(1..).unwrap_or_default()
    }
}
