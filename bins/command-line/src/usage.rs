// SPDX-License-Identifier: GPL-3.0-or-later
//! The usage texts of a [`Tool`], laid out as existing programs do: two columns with five blanks between them.

use crate::tool::{Command, Tool};

const GAP: usize = 5;
const HELP: (&str, &str) = ("-h, --help", "Show this help message");
const DEBUG: (&str, &str) = ("-d, --debug=ERROR|WARNING|NOTICE|INFO|DEBUG", "debug level");
const LONG_HELP: [(&str, &str); 2] =
    [("-?, --help", "Show this help message"), ("    --usage", "Display brief usage message")];

/// Two columns, indented by two.
fn columns(width: usize, rows: impl IntoIterator<Item = (String, &'static str)>) -> String {
    rows.into_iter().map(|(left, right)| format!("  {left:0$}{right}\n", width + GAP)).collect()
}

fn row<T>(command: &Command<T>) -> (String, &'static str) {
    (format!("{} {}", command.words, command.args.join(" ")), command.about)
}

impl<T: Copy> Tool<T> {
    /// Everything.
    pub fn usage(&self) -> String {
        let rows: Vec<_> = self.commands.iter().map(row).collect();
        let width = rows.iter().map(|(left, _)| left.len()).max().unwrap_or(0);
        let head = format!("Usage: {} [<options>] <command> [<args>]\n", self.name);
        head + &self.options() + "\nCommands:\n" + &columns(width, rows)
    }

    /// The options alone.
    pub(crate) fn help(&self) -> String {
        format!("Usage: {} [OPTION...]\n", self.name) + &self.options()
    }

    fn options(&self) -> String {
        let mut groups = vec![("Help Options", vec![HELP])];
        if self.debug {
            groups.push(("Options", vec![DEBUG]));
        }
        if self.long_help {
            groups.push(("Help options", LONG_HELP.to_vec()));
        }
        let width = if self.debug { DEBUG.0.len() } else { HELP.0.len() };
        let text = |(title, rows): (&str, Vec<(&str, &'static str)>)| {
            let rows = rows.into_iter().map(|(left, right)| (left.to_owned(), right));
            format!("\n{title}:\n{}", columns(width, rows))
        };
        groups.into_iter().map(text).collect()
    }

    /// The options in a line or two, without a line end.
    pub(crate) fn synopsis(&self) -> String {
        let help = if self.long_help {
            "[-h?] [-h|--help] [-?|--help] [--usage]"
        } else {
            "[-h] [-h|--help]"
        };
        let debug =
            if self.debug { "\n        [-d|--debug=ERROR|WARNING|NOTICE|INFO|DEBUG]" } else { "" };
        format!("Usage: {} {help}{debug}", self.name)
    }

    /// One command.
    pub(crate) fn command_usage(&self, command: &Command<T>) -> String {
        let (left, right) = row(command);
        let row = columns(left.len(), [(left, right)]);
        format!("{} <command> [<args>]\n\n{row}", self.synopsis())
    }
}
