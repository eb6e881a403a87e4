// SPDX-License-Identifier: GPL-3.0-or-later
//! The command line: options may stand anywhere, and of `-s` and `-S` (or `-o` and `-O`) the last counts.

use crate::FAILED;
use clap::{CommandFactory, Parser, ValueEnum};
use ctdb_command_line::{getopt, Ending};
use ctdb_wire::types::LtdbHeader;
use std::ffi::{OsStr, OsString};
use std::path::PathBuf;

/// Dump or convert the TDB file that a node has of a cluster database
#[derive(Debug, Parser)]
#[command(name = "ltdbtool", disable_help_flag = true, args_override_self = true)]
struct CommandLine {
    /// System of the input, which tells the size of its record headers; 0: it has none
    #[arg(short = 's', value_name = "BITS", overrides_with = "input_bytes")]
    input: Option<System>,
    /// Bytes of the input's record headers
    #[arg(short = 'S', value_name = "BYTES", overrides_with = "input", allow_hyphen_values = true)]
    input_bytes: Option<String>,
    /// System of the output; 0: no record headers
    #[arg(short = 'o', value_name = "BITS", overrides_with = "output_bytes")]
    output: Option<System>,
    /// Bytes of the output's record headers
    #[arg(
        short = 'O',
        value_name = "BYTES",
        overrides_with = "output",
        allow_hyphen_values = true
    )]
    output_bytes: Option<String>,
    /// Include records without data
    #[arg(short = 'e')]
    empty: bool,
    /// Print record headers
    #[arg(short = 'p')]
    headers: bool,
    /// Print help
    #[arg(short = 'h')]
    help: bool,
    /// `dump FILE`, `convert FROM TO`, or `help`
    #[arg(value_name = "COMMAND")]
    words: Vec<OsString>,
}

/// The system that wrote a file.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum System {
    #[value(name = "0")]
    None,
    #[value(name = "32")]
    Bits32,
    #[value(name = "64")]
    Bits64,
}

impl System {
    fn header_size(self) -> usize {
        match self {
            System::None => 0,
            System::Bits32 => 20,
            System::Bits64 => LtdbHeader::SIZE,
        }
    }
}

/// What to do.
#[derive(Debug)]
pub(crate) enum Task {
    Dump(PathBuf),
    Convert(PathBuf, PathBuf),
}

/// Everything the command line said.
#[derive(Debug)]
pub(crate) struct Options {
    pub task: Task,
    /// Bytes of the record headers, at most those of [`LtdbHeader`].
    pub input_size: usize,
    pub output_size: usize,
    pub empty: bool,
    pub headers: bool,
}

const USAGE: &str = "\
Usage: PROG dump [-e] [-p] [-s{0|32|64}] <idb>
       PROG convert [-e] [-s{0|32|64}] [-o{0|32|64}] <idb> <odb>
       PROG {help|-h}
";

const HELP: &str = "\
Usage: PROG [options] <command>

Options:
   -s {0|32|64}    specify how to determine the ctdb record header size
                   for the input database:
                   0: no ctdb header
                   32: ctdb header size of a 32 bit system (20 bytes)
                   64: ctdb header size of a 64 bit system (24 bytes)
                   default: 32 or 64 depending on the system architecture

   -S <num>        the number of bytes to interpret as ctdb record header
                   for the input database (beware!)

   -o {0|32|64}    specify how to determine the ctdb record header size
                   for the output database
                   0: no ctdb header
                   32: ctdb header size of a 32 bit system (20 bytes)
                   64: ctdb header size of a 64 bit system (24 bytes)
                   default: 32 or 64 depending on the system architecture

   -O <num>        the number of bytes to interpret as ctdb record header
                   for the output database (beware!)

   -e              Include empty records, defaults to off

   -p              print header (for the dump command), defaults to off

   -h              print this help

Commands:
  help                         print this help
  dump <db>                    dump the db to stdout
  convert <in_db> <out_db>     convert the db

";

/// The definition of the command line.
pub fn command() -> clap::Command {
    CommandLine::command()
}

impl Options {
    /// Reads all words of the command line.
    pub fn parse(words: &[OsString]) -> Result<Options, Ending> {
        let program = words.first().map_or("ltdbtool".into(), |word| word.to_string_lossy());
        let usage =
            |said: String| Ending::complaint(said + &USAGE.replace("PROG", &program), FAILED);
        let line = CommandLine::try_parse_from(words)
            .map_err(|error| usage(getopt::complaint(&program, &error).unwrap_or_default()))?;
        let words: Vec<&OsStr> = line.words.iter().map(OsString::as_os_str).collect();
        let is = |word: &OsStr, name: &str| word == OsStr::new(name);
        let task = match words.as_slice() {
            _ if line.help => return Err(Ending::output(HELP.replace("PROG", &program), 0)),
            [help, ..] if is(help, "help") => {
                return Err(Ending::output(HELP.replace("PROG", &program), 0))
            }
            [dump, file] if is(dump, "dump") => Task::Dump(file.into()),
            [convert, from, to] if is(convert, "convert") => Task::Convert(from.into(), to.into()),
            _ => return Err(usage(String::new())),
        };
        Ok(Options {
            task,
            input_size: header_size(line.input, line.input_bytes.as_deref()),
            output_size: header_size(line.output, line.output_bytes.as_deref()),
            empty: line.empty,
            headers: line.headers,
        })
    }
}

fn header_size(system: Option<System>, bytes: Option<&str>) -> usize {
    match (system, bytes) {
        (_, Some(bytes)) => number(bytes).min(LtdbHeader::SIZE),
        (Some(system), None) => system.header_size(),
        (None, None) => LtdbHeader::SIZE,
    }
}

/// As atoi(3) reads it: what is no number is 0; what is negative is huge, as a size.
fn number(text: &str) -> usize {
    let text = text.trim_start();
    if text.starts_with('-') {
        return usize::MAX;
    }
    let text = text.trim_start_matches('+');
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    match text.get(..end).unwrap_or_default() {
        "" => 0,
        digits => digits.parse().unwrap_or(usize::MAX),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sizes(words: &[&str]) -> (usize, usize) {
        let words = ["p", "dump", "f"].iter().chain(words).map(OsString::from);
        let options = Options::parse(&words.collect::<Vec<_>>()).unwrap();
        (options.input_size, options.output_size)
    }

    #[test]
    fn header_sizes() {
        assert_eq!(sizes(&[]), (24, 24));
        assert_eq!(sizes(&["-s32", "-o", "0"]), (20, 0));
        assert_eq!(sizes(&["-S", "16x", "-O", "99"]), (16, 24));
        assert_eq!(sizes(&["-S", "x", "-O", "-1"]), (0, 24));
        assert_eq!(sizes(&["-S", "4", "-s", "32", "-s", "64", "-O", "3", "-O", "010"]), (24, 10));
        assert_eq!(sizes(&["-s", "32", "-S", "4"]), (4, 24));
    }
}
