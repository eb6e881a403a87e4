// SPDX-License-Identifier: GPL-3.0-or-later
//! `help`, and what to say to words that are no command. Not in the C tool.

use crate::args::Args;
use crate::exit::{Done, FAILED};
use crate::options::Options;
use crate::table::{self, Action, Command, COMMANDS};
use crate::{manual, usage};

/// Lines are no longer than this.
const WIDTH: usize = 78;
/// Mistakes that a mistyped word may have, by its length.
const LETTERS_A_MISTAKE: usize = 3;
/// Most commands that are suggested.
const MAX_SUGGESTIONS: usize = 3;

/// `help [COMMAND]`
pub(crate) fn help(_options: &Options, args: Args<'_>) -> Done {
    args.between(0, 1)?;
    let Some(name) = args.get(0) else {
        usage::full();
        return Ok(());
    };
    let Some(command) = table::find(&name) else {
        unknown(&name);
        return Err(FAILED);
    };
    explain(command);
    Ok(())
}

/// Says that there is no such command; if one is meant that is almost the same, that it is there.
pub(crate) fn unknown(name: &str) {
    errln!("Unknown command '{name}'");
    match suggestions(name).as_slice() {
        [] => (),
        [one] => errln!("Did you mean '{one}'?"),
        [first @ .., last] => errln!("Did you mean '{}' or '{last}'?", first.join("', '")),
    }
}

/// The commands that `name` may have been meant to be, the nearest first.
fn suggestions(name: &str) -> Vec<&'static str> {
    let lower = name.to_lowercase();
    let mistakes = (lower.chars().count() / LETTERS_A_MISTAKE).clamp(1, 3);
    let mut near: Vec<(usize, &str)> = COMMANDS
        .iter()
        .map(|command| (strsim::osa_distance(&lower, command.name), command.name))
        .filter(|(distance, known)| *distance <= mistakes && *distance < known.len().max(2) - 1)
        .collect();
    near.sort_by_key(|(distance, _)| *distance);
    let least = near.first().map_or(0, |(distance, _)| *distance);
    let nearest = near.into_iter().filter(|(distance, _)| *distance == least);
    nearest.map(|(_, known)| known).take(MAX_SUGGESTIONS).collect()
}

fn explain(command: &Command) {
    let arguments = match command.arguments {
        "" => String::new(),
        arguments => format!(" {arguments}"),
    };
    outln!("ctdb [OPTION...] {}{arguments}", command.name);
    outln!("    {}", command.description);
    let entry = manual::find(command.name);
    for paragraph in entry.map_or("", |entry| entry.text).lines() {
        outln!("");
        wrapped(paragraph).iter().for_each(|line| outln!("{line}"));
    }
    outln!("");
    wrapped(&properties(command)).iter().for_each(|line| outln!("{line}"));
    for (at, (call, purpose)) in entry.map_or(&[][..], |entry| entry.examples).iter().enumerate() {
        if at == 0 {
            outln!("\nExamples:");
        }
        outln!("    {call:<40}  {purpose}");
    }
}

/// What can be told from the table.
pub(crate) fn properties(command: &Command) -> String {
    let mut sentences = vec![match (&command.action, command.remote) {
        (Action::Alone(_), _) => "Needs no daemon; -n is not accepted.",
        (_, true) => "-n chooses the node.",
        (_, false) => "Concerns the local node; -n cannot name another one.",
    }];
    if command.json {
        sentences.push("--json is supported.");
    }
    sentences.join(" ")
}

/// Lines of a paragraph.
fn wrapped(text: &str) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split_whitespace() {
        match lines.last_mut() {
            Some(line) if line.is_empty() => line.push_str(word),
            Some(line) if line.len() + 1 + word.len() <= WIDTH => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.into()),
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mistyped_commands_are_recognised() {
        for (typed, meant) in [
            ("statsu", &["stats", "status"][..]),
            ("staus", &["stats", "status"]),
            ("STATUS", &["status"]),
            ("nodestaus", &["nodestatus"]),
            ("getdbmpa", &["getdbmap"]),
            ("process_exists", &["process-exists"]),
            ("listvar", &["listvars"]),
            ("continu", &["continue"]),
        ] {
            let mut got = suggestions(typed);
            got.sort_unstable();
            assert_eq!(got, meant, "{typed}");
        }
        for typed in ["nosuchcommand", "", "x", "zzzz", "no-such-command", "-X"] {
            assert_eq!(suggestions(typed), [""; 0], "{typed}");
        }
    }

    #[test]
    fn paragraphs_are_wrapped() {
        let lines = wrapped(&"word ".repeat(40));
        assert!(lines.len() > 1 && lines.iter().all(|line| line.len() <= WIDTH));
        assert_eq!(lines.join(" "), "word ".repeat(40).trim());
    }
}
