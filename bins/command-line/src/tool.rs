// SPDX-License-Identifier: GPL-3.0-or-later
//! A program whose commands have one word or several.
//!
//! Options may stand anywhere before `--`. A command is the first of the table whose words are the next ones, so
//! `datadir append` stands before `datadir`.

use crate::ending::Ending;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;

/// What the debug option takes, as usage shows it.
const LEVELS: &str = "ERROR|WARNING|NOTICE|INFO|DEBUG";

/// A command.
#[derive(Debug, Clone, Copy)]
pub struct Command<T: 'static> {
    /// Its words, with single spaces.
    pub words: &'static str,
    /// Its arguments, as usage shows them.
    pub args: &'static [&'static str],
    /// The last argument may be left out, and may be many words.
    pub open_ended: bool,
    /// What it does, in a few words.
    pub about: &'static str,
    /// What it does.
    pub does: T,
}

/// A program.
#[derive(Debug)]
pub struct Tool<T: 'static> {
    /// The program.
    pub name: &'static str,
    /// What it is for.
    pub about: &'static str,
    /// Whether there is `-d`.
    pub debug: bool,
    /// Whether `-?` and `--usage` are known, and asking for help is no failure. Without, help is about the command
    /// that is named, if one is.
    pub long_help: bool,
    /// Exit code after a wrong number of arguments.
    pub misuse: i32,
    /// All commands.
    pub commands: &'static [Command<T>],
}

/// What a command line asks for.
#[derive(Debug)]
pub struct Call<T: 'static> {
    /// The command.
    pub command: &'static Command<T>,
    /// Its arguments: as many as it takes.
    pub args: Vec<OsString>,
    /// The value of `-d`.
    pub debug: Option<OsString>,
}

/// Options, and the words that are none.
#[derive(Debug, Default)]
struct Split {
    words: Vec<OsString>,
    debug: Option<OsString>,
    help: bool,
}

impl<T: Copy> Tool<T> {
    /// Reads the words behind the program's name.
    pub fn parse(&'static self, words: &[OsString]) -> Result<Call<T>, Ending> {
        let split = self.split(words)?;
        let found = self.commands.iter().find_map(|command| {
            let count = command.words.split(' ').count();
            let named = split.words.get(..count)?;
            let same = named.iter().zip(command.words.split(' ')).all(|(a, b)| a == b);
            same.then(|| (command, split.words.get(count..).unwrap_or_default().to_vec()))
        });
        let (command, args) = found.ok_or_else(|| Ending::output(self.usage(), 1))?;
        if split.help {
            return Err(Ending::output(self.command_usage(command), 1));
        }
        let most = command.args.len();
        let right = if command.open_ended { args.len() + 1 >= most } else { args.len() == most };
        if !right {
            return Err(Ending::output(self.command_usage(command), self.misuse));
        }
        Ok(Call { command, args, debug: split.debug })
    }

    fn split(&self, words: &[OsString]) -> Result<Split, Ending> {
        let mut split = Split::default();
        let mut rest = words.iter();
        while let Some(word) = rest.next() {
            match word.as_bytes() {
                b"--" => {
                    split.words.extend(rest.cloned());
                    break;
                }
                b"--help" | b"-h" if !self.long_help => split.help = true,
                b"--help" | b"--usage" if self.long_help => return Err(self.short_help()),
                b"--debug" if self.debug => split.debug = Some(self.value(word, rest.next())?),
                [b'-', b'-', long @ ..] => match long.strip_prefix(b"debug=") {
                    Some(value) if self.debug => split.debug = Some(os(value)),
                    _ => return Err(self.bad_option(word, "unknown option")),
                },
                [b'-', cluster @ ..] if !cluster.is_empty() => match cluster {
                    [b'h', ..] if self.long_help => return Err(self.short_help()),
                    [b'?', ..] if self.long_help => return Err(Ending::output(self.help(), 0)),
                    b"d" if self.debug => split.debug = Some(self.value(word, rest.next())?),
                    [b'd', value @ ..] if self.debug => {
                        split.debug = Some(os(value.strip_prefix(b"=").unwrap_or(value)));
                    }
                    _ => return Err(self.bad_option(word, "unknown option")),
                },
                _ => split.words.push(word.clone()),
            }
        }
        Ok(split)
    }

    fn value(&self, option: &OsStr, value: Option<&OsString>) -> Result<OsString, Ending> {
        value.cloned().ok_or_else(|| self.bad_option(option, "missing argument"))
    }

    fn bad_option(&self, word: &OsStr, why: &str) -> Ending {
        Ending {
            complaint: format!("Invalid option {}: {why}\n", word.to_string_lossy()),
            output: self.usage().into(),
            code: 1,
        }
    }

    fn short_help(&self) -> Ending {
        Ending::output(self.synopsis() + "\n", 0)
    }

    /// The same for generators of manual pages and completions.
    pub fn command(&self) -> clap::Command {
        let mut root = clap::Command::new(self.name)
            .about(self.about)
            .subcommand_required(true)
            .disable_help_subcommand(true);
        if self.debug {
            let debug = clap::Arg::new("debug").short('d').long("debug").value_name(LEVELS);
            root = root.arg(debug.help("debug level").global(true));
        }
        for command in self.commands {
            let words: Vec<&'static str> = command.words.split(' ').collect();
            root = nested(root, &words, command);
        }
        root
    }
}

/// `root` with a command below it, whose words are subcommands of subcommands.
fn nested<T>(root: clap::Command, words: &[&'static str], command: &Command<T>) -> clap::Command {
    let Some((first, rest)) = words.split_first() else {
        return describe(root, command);
    };
    if root.find_subcommand(first).is_some() {
        return root.mut_subcommand(first, |sub| nested(sub, rest, command));
    }
    root.subcommand(nested(clap::Command::new(*first), rest, command))
}

fn describe<T>(root: clap::Command, command: &Command<T>) -> clap::Command {
    let args = command.args.iter().enumerate().map(|(n, arg)| {
        let last = n + 1 == command.args.len();
        let name = arg.trim_matches(['<', '>']);
        let open = command.open_ended && last;
        let values = if open { clap::builder::ValueRange::new(0..) } else { 1.into() };
        clap::Arg::new(name).value_name(name).required(!open).num_args(values)
    });
    root.about(command.about).args(args)
}

fn os(bytes: &[u8]) -> OsString {
    OsStr::from_bytes(bytes).to_os_string()
}
