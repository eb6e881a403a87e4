// SPDX-License-Identifier: GPL-3.0-or-later
//! `ctdb-event`: the client of the event daemon, and what enables and disables event scripts
//! (spec/events-config.md 13, 15, 16). `ctdb event` and `ctdb scriptstatus` run it.
//!
//! - `client`: the daemon's socket
//! - `report`: what is printed about a run and a status
//! - `scripts`: the directories of a component; they need no daemon
#![forbid(unsafe_code)]

mod client;
mod report;
mod scripts;

use client::Client;
use ctdb_command_line::{Command, Ending, Tool};
use ctdb_host::{Level, Paths};
use ctdb_wire::event::{Request, Run, Status, RUN_ALL};
use ctdb_wire::{StringN, Text};
use scripts::Component;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;

/// The commands.
#[derive(Debug, Clone, Copy)]
enum Task {
    Run,
    Status,
    List,
    Enable,
    Disable,
}

const fn entry(
    words: &'static str,
    args: &'static [&'static str],
    about: &'static str,
    does: Task,
) -> Command<Task> {
    Command { words, args, open_ended: matches!(does, Task::Run), about, does }
}

#[rustfmt::skip]
static TOOL: Tool<Task> = Tool {
    name: "ctdb-event",
    about: "Run events and manage event scripts",
    debug: true,
    long_help: false,
    misuse: 1,
    commands: &[
        entry("run", &["<timeout>", "<component>", "<event>", "<args>"], "Run an event", Task::Run),
        entry("status", &["<component>", "<event>"], "Get status of an event", Task::Status),
        entry("script list", &["<component>"], "List event scripts", Task::List),
        entry("script enable", &["<component>", "<script>"], "Enable an event script", Task::Enable),
        entry("script disable", &["<component>", "<script>"], "Disable an event script", Task::Disable),
    ],
};

/// The definition of the command line.
pub fn command() -> clap::Command {
    TOOL.command()
}

/// Runs the program with the words behind its name.
pub fn run(words: &[OsString]) -> Ending {
    answer(words).unwrap_or_else(|ending| ending)
}

fn answer(words: &[OsString]) -> Result<Ending, Ending> {
    let call = TOOL.parse(words)?;
    let level = call.debug.and_then(|text| Level::parse(text.to_str()?)).unwrap_or(Level::ERROR);
    let paths = Paths::from_env().map_err(|e| Ending::aborted(&e))?;
    let (mut ending, result) = match (call.command.does, call.args.as_slice()) {
        (Task::Run, [timeout, component, event, args @ ..]) => {
            run_event(&paths, seconds(timeout), component, event, args)?
        }
        (Task::Status, [component, event]) => status(&paths, component, event)?,
        (Task::List, [component]) => {
            let ending = Component::new(&paths, component).list()?;
            (ending, Some(0))
        }
        (Task::Enable, [component, script]) => Component::new(&paths, component).enable(script)?,
        (Task::Disable, [component, script]) => {
            Component::new(&paths, component).disable(script)?
        }
        _ => return Err(Ending::output(TOOL.usage(), 1)),
    };
    if let Some(result) = result.filter(|_| level >= Level::NOTICE) {
        let command = match call.command.does {
            Task::Enable | Task::Disable => "script",
            _ => call.command.words,
        };
        ending.complaint += &format!("Command {command} finished with result={result}\n");
    }
    Ok(ending)
}

/// As atoi(3) reads it; nothing is less than 0.
fn seconds(word: &OsStr) -> u32 {
    let digits = word.to_string_lossy();
    let digits = digits.trim_start().trim_start_matches('+');
    let end = digits.find(|c: char| !c.is_ascii_digit()).unwrap_or(digits.len());
    let digits = digits.get(..end).unwrap_or_default();
    if digits.is_empty() {
        return 0;
    }
    digits.parse().unwrap_or(i32::MAX as u32).min(i32::MAX as u32)
}

fn text(word: &OsStr) -> StringN {
    StringN::new(Text::new(word.as_bytes()))
}

fn run_event(
    paths: &Paths,
    timeout: u32,
    component: &OsStr,
    event: &OsStr,
    args: &[OsString],
) -> Result<(Ending, Option<i32>), Ending> {
    let mut client = Client::connect(paths)?;
    let all = paths.test_mode && std::env::var_os("CTDB_EVENT_RUN_ALL").is_some();
    let request = Request::Run(Run {
        component: text(component),
        event: text(event),
        args: if args.is_empty() { StringN(None) } else { text(&args.join(OsStr::new(" "))) },
        timeout,
        flags: if all { RUN_ALL } else { 0 },
    });
    let result = client.run(&request)?;
    Ok((report::run(result, component, event), Some(result)))
}

fn status(
    paths: &Paths,
    component: &OsStr,
    event: &OsStr,
) -> Result<(Ending, Option<i32>), Ending> {
    let mut client = Client::connect(paths)?;
    let request = Request::Status(Status { component: text(component), event: text(event) });
    Ok(match client.status(&request)? {
        Ok(status) => (report::status(&status), Some(0)),
        Err(result) => (report::no_status(result, component, event), Some(result)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timeouts_are_read_as_atoi_does() {
        for (word, number) in
            [("30", 30), ("x", 0), ("7s", 7), ("", 0), ("99999999999", 2147483647)]
        {
            assert_eq!(seconds(OsStr::new(word)), number, "{word}");
        }
    }
}
