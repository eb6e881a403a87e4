// SPDX-License-Identifier: GPL-3.0-or-later
//! The command line.

use clap::{CommandFactory, Parser};
use ctdb_command_line::{getopt, Ending};
use std::ffi::OsString;
use std::path::PathBuf;

/// Measure and test byte range locks of a shared file system
#[derive(Debug, Parser)]
#[command(name = "ping_pong", disable_help_flag = true, args_override_self = true)]
struct CommandLine {
    /// Read at each lock
    #[arg(short = 'r')]
    read: bool,
    /// Write at each lock
    #[arg(short = 'w')]
    write: bool,
    /// Read and write through a mapping
    #[arg(short = 'm')]
    mmap: bool,
    /// Check that nobody else holds a lock that is held
    #[arg(short = 'c')]
    check: bool,
    /// Test for working byte range locks
    #[arg(short = 'l')]
    single: bool,
    /// File, and number of locks: more than there are processes
    #[arg(value_names = ["FILE", "NUM-LOCKS"])]
    words: Vec<OsString>,
}

/// What to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Task {
    Single,
    Game {
        /// Bytes of the ring.
        locks: u32,
    },
}

/// Everything the command line said.
#[derive(Debug)]
pub(crate) struct Options {
    pub task: Task,
    pub file: PathBuf,
    pub read: bool,
    pub write: bool,
    pub mmap: bool,
    pub check: bool,
}

const USAGE: &str = "\
ping_pong -rwmc <file> <num_locks>
ping_pong -l <file>

Options
 -r    do reads
 -w    do writes
 -m    use mmap
 -c    check locks
 -l    test for working byte range locks
";

/// The definition of the command line.
pub fn command() -> clap::Command {
    CommandLine::command()
}

impl Options {
    /// Reads all words of the command line.
    pub fn parse(words: &[OsString]) -> Result<Options, Ending> {
        let program = words.first().map_or("ping_pong".into(), |word| word.to_string_lossy());
        let line = CommandLine::try_parse_from(words).map_err(|error| {
            let said = getopt::complaint(&program, &error).unwrap_or_default();
            Ending::complaint(format!("{said}Unknown option '?'\n"), 1)
        })?;
        let usage = || Ending::output(USAGE, 1);
        let file = line.words.first().map(PathBuf::from).ok_or_else(usage)?;
        let task = if line.single {
            Task::Single
        } else {
            let locks = locks(&line.words.get(1).ok_or_else(usage)?.to_string_lossy());
            let none = || Ending::output("num_locks should be > 0\n", 1);
            Task::Game { locks: locks.ok_or_else(none)? }
        };
        let CommandLine { read, write, mmap, check, .. } = line;
        Ok(Options { task, file, read, write, mmap, check })
    }
}

/// As atoi(3) reads it; none if it is no count.
fn locks(text: &str) -> Option<u32> {
    let text = text.trim_start().trim_start_matches('+');
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    text.get(..end)?.parse::<i32>().ok().and_then(|n| u32::try_from(n).ok()).filter(|n| *n > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts() {
        assert_eq!(locks("3"), Some(3));
        assert_eq!(locks(" 12x"), Some(12));
        for bad in ["0", "", "x", "-1", "4294967296"] {
            assert_eq!(locks(bad), None, "{bad}");
        }
    }
}
