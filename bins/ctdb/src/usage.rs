// SPDX-License-Identifier: GPL-3.0-or-later
//! Help texts (spec/tool.md 3.3).

use crate::table::{Command, COMMANDS};

/// `--help`.
pub(crate) const LONG: &str = "\
Usage: [OPTION...]
  -d, --debug=STRING       debug level
  -t, --timelimit=INT      timelimit (in seconds)
  -n, --node=INT           node specification - integer
  -Y                       enable machine readable output
  -j, --json               JSON output
  -x, --separator=CHAR     specify separator for machine readable output
  -X                       enable machine parsable output with separator |
  -v, --verbose            enable verbose output
  -T, --maxruntime=INT     die if runtime exceeds this limit (in seconds)

Help options:
  -?, --help               Show this help message
      --usage              Display brief usage message
";

/// `--usage`.
pub(crate) const SHORT: &str = "\
Usage: [-?YjXv] [-?|--help] [--usage] [-d|--debug=STRING]
        [-t|--timelimit=INT] [-n|--node=INT] [-Y] [-j|--json]
        [-x|--separator=CHAR] [-X] [-v|--verbose] [-T|--maxruntime=INT]
";

fn line(command: &Command) {
    outln!("  {:<15} {:<27}  {}", command.name, command.arguments, command.description);
}

/// Everything, for a call without a command.
pub(crate) fn full() {
    out!("{LONG}\nCommands:\n");
    COMMANDS.iter().for_each(line);
}

/// One command.
pub(crate) fn of(command: &Command) {
    out!("{SHORT}\nCommands:\n");
    line(command);
}
