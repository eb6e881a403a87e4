// SPDX-License-Identifier: GPL-3.0-or-later
//! The command line as clap describes it, for manual pages and completions. It does not parse: the
//! rules of `options.rs` are older.

use clap::{Arg, ArgAction};

use crate::commands::help::properties;
use crate::manual;
use crate::options::{Opt, TABLE};
use crate::table::{Command, COMMANDS};

/// The tool with its options and commands.
pub fn command() -> clap::Command {
    clap::Command::new("ctdb")
        .version(env!("CARGO_PKG_VERSION"))
        .about("manage a cluster of CTDB daemons")
        .long_about(
            "ctdb shows and changes the state of a cluster: its nodes, databases, public addresses and their daemons. It talks to the daemon \
             of the local node, which hands on what concerns other nodes.\n\
             Options may stand before or behind the command. An argument that begins with a dash needs -- in front of it.",
        )
        .override_usage("ctdb [OPTION...] COMMAND [ARG...]")
        .disable_help_flag(true)
        .disable_version_flag(true)
        .disable_help_subcommand(true)
        .args(TABLE.iter().filter_map(|(opt, short, long)| argument(*opt, *short, *long)))
        .subcommands(COMMANDS.iter().map(subcommand))
}

fn argument(opt: Opt, short: Option<u8>, long: Option<&'static str>) -> Option<Arg> {
    let only_short = || match short? {
        b'Y' => Some("Y"),
        b'X' => Some("X"),
        b'J' => Some("J"),
        _ => None,
    };
    let id = long.or_else(only_short)?;
    let (value, help) = opt.describe();
    let arg = Arg::new(id).help(help).global(true);
    let arg = match short {
        Some(short) => arg.short(char::from(short)),
        None => arg,
    };
    let arg = match long {
        Some(long) => arg.long(long),
        None => arg,
    };
    Some(match value {
        Some(value) => arg.value_name(value).action(ArgAction::Set),
        None => arg.action(ArgAction::SetTrue),
    })
}

fn subcommand(command: &Command) -> clap::Command {
    let entry = manual::find(command.name);
    let text = entry.map_or(command.description, |entry| entry.text);
    let usage = format!("{} {}", command.name, command.arguments);
    let examples = entry.map_or(&[][..], |entry| entry.examples).iter();
    let examples: Vec<String> =
        examples.map(|(call, purpose)| format!("{call}  # {purpose}")).collect();
    let own = clap::Command::new(command.name)
        .about(command.description)
        .long_about(format!("{text}\n{}", properties(command)))
        .override_usage(usage.trim_end().to_string())
        .disable_help_flag(true);
    let own = match examples.is_empty() {
        true => own,
        false => own.after_long_help(examples.join("\n")),
    };
    match command.arguments {
        "" => own,
        arguments => own.arg(positional(arguments)),
    }
}

/// The arguments as one: words that can be written as they are, or something else.
fn positional(arguments: &'static str) -> Arg {
    let arg = Arg::new("argument").num_args(0..).help(arguments);
    let first = arguments.split_whitespace().next_back().unwrap_or_default();
    let first = first.trim_matches(['[', ']']);
    let words: Vec<&str> = first.split('|').filter(|word| !word.contains('<')).collect();
    if words.len() > 1 || first == "all" || arguments.contains("[all|") {
        arg.value_parser(clap::builder::PossibleValuesParser::new(words))
    } else if arguments.contains("file>") {
        arg.value_hint(clap::ValueHint::FilePath)
    } else {
        arg.value_hint(clap::ValueHint::Other)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_a_sound_description() {
        command().debug_assert();
    }

    #[test]
    fn usage_has_all_options() {
        for (_, short, long) in TABLE {
            let listed = |text: &str| crate::usage::LONG.contains(text);
            assert!(argument(Opt::Help, *short, *long).is_some());
            let short = short.map(|s| format!("-{}", char::from(s)));
            let long = long.map(|l| format!("--{l}"));
            // -J is only an alias
            let listed =
                short.as_deref().is_some_and(listed) || long.as_deref().is_some_and(listed);
            assert!(listed || short.as_deref() == Some("-J"), "{short:?} {long:?}");
        }
    }
}
