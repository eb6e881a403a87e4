// SPDX-License-Identifier: GPL-3.0-or-later
//! Manual pages, from a program's clap description and what `programs.rs` knows beside.

use anyhow::Result;
use clap::Command;
use clap_mangen::Man;
use roff::{bold, roman, Roff};

use crate::programs::Program;

/// Apostrophes are such, not accents, wherever the page is shown.
const APOSTROPHES: &str = ".ie \\n(.g .ds Aq \\(aq\n.el .ds Aq '\n";

/// The page of a program, in roff.
pub fn page(program: &Program) -> Result<Vec<u8>> {
    let mut command = program.command.clone().disable_help_subcommand(true);
    command.build();
    let man = Man::new(command.clone());
    // pages are the same whenever they are made: without a date
    let title = format!(
        "{APOSTROPHES}.TH \"{}\" 1 \"\" \"ctdbcore {}\" CTDB\n",
        command.get_name(),
        env!("CARGO_PKG_VERSION")
    );
    let mut page = title.into_bytes();
    man.render_name_section(&mut page)?;
    section("SYNOPSIS", |roff| paragraphs(roff, &usage(&command))).to_writer(&mut page)?;
    let about = long_about(&command);
    section("DESCRIPTION", |roff| paragraphs(roff, &about)).to_writer(&mut page)?;
    if command.get_arguments().any(|arg| !arg.is_hide_set()) {
        man.render_options_section(&mut page)?;
    }
    if command.has_subcommands() {
        section("COMMANDS", |roff| commands(roff, &command, "")).to_writer(&mut page)?;
    }
    section("EXIT STATUS", |roff| pairs(roff, program.exit_status)).to_writer(&mut page)?;
    for (title, entries) in [("ENVIRONMENT", program.environment), ("FILES", program.files)] {
        if !entries.is_empty() {
            section(title, |roff| pairs(roff, entries)).to_writer(&mut page)?;
        }
    }
    section("EXAMPLES", |roff| {
        for (call, purpose) in program.examples {
            roff.control("TP", []).text([bold(*call)]).text([roman(*purpose)]);
        }
    })
    .to_writer(&mut page)?;
    let also: Vec<String> = program.see_also.iter().map(|name| format!("{name}(1)")).collect();
    section("SEE ALSO", |roff| paragraphs(roff, &also.join(", "))).to_writer(&mut page)?;
    Ok(page)
}

fn section(title: &str, fill: impl FnOnce(&mut Roff)) -> Roff {
    let mut roff = Roff::new();
    roff.control("SH", [title]);
    fill(&mut roff);
    roff
}

/// How a command is called.
fn usage(command: &Command) -> String {
    let usage = command.clone().render_usage().to_string();
    usage.trim_start_matches("Usage:").trim().to_string()
}

fn long_about(command: &Command) -> String {
    let about = command.get_long_about().or(command.get_about());
    about.map(ToString::to_string).unwrap_or_default()
}

fn paragraphs(roff: &mut Roff, text: &str) {
    for (at, paragraph) in text.lines().filter(|line| !line.trim().is_empty()).enumerate() {
        if at > 0 {
            roff.control("PP", []);
        }
        roff.text([roman(paragraph.trim())]);
    }
}

fn pairs(roff: &mut Roff, entries: &[(&str, &str)]) {
    for (name, meaning) in entries {
        roff.control("TP", []).text([bold(*name)]).text([roman(*meaning)]);
    }
}

/// Commands one after the other; those of commands follow with their whole name.
fn commands(roff: &mut Roff, parent: &Command, prefix: &str) {
    for command in parent.get_subcommands().filter(|command| !command.is_hide_set()) {
        let name = format!("{prefix}{}", command.get_name());
        if command.has_subcommands() {
            commands(roff, command, &format!("{name} "));
            continue;
        }
        roff.control("TP", []);
        let usage = usage(command);
        // the words in front of the command are those of the program
        let arguments = usage.find(command.get_name());
        let arguments = arguments.and_then(|at| usage.get(at + command.get_name().len()..));
        let arguments = arguments.unwrap_or_default().replace("[OPTIONS]", "");
        roff.text([bold(&name), roman(format!(" {}", arguments.trim()))]);
        let text = long_about(command);
        for (at, line) in text.lines().filter(|line| !line.trim().is_empty()).enumerate() {
            if at > 0 {
                roff.control("sp", []);
            }
            roff.text([roman(line.trim())]);
        }
        options(roff, command);
        if let Some(examples) = command.get_after_long_help() {
            roff.control("sp", []).control("nf", []);
            for line in examples.to_string().lines() {
                roff.text([roman(format!("    {line}"))]);
            }
            roff.control("fi", []);
        }
    }
}

/// The options of a command, other than those that it shares with the program.
fn options(roff: &mut Roff, command: &Command) {
    let own = command.get_opts().filter(|arg| !arg.is_global_set() && !arg.is_hide_set());
    for arg in own {
        let help = arg.get_help().map(ToString::to_string).unwrap_or_default();
        let long = arg.get_long().map(|long| format!("--{long}"));
        let short = arg.get_short().map(|short| format!("-{short}"));
        let name = long.or(short).unwrap_or_default();
        roff.control("sp", []).text([bold(name), roman(format!(" {help}"))]);
    }
}
