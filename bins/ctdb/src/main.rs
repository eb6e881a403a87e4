// SPDX-License-Identifier: GPL-3.0-or-later
//! `ctdb`: the administrator's tool (spec/tool.md 1-13).
//!
//! Options and commands, output and exit codes are those that scripts know: nothing here is
//! prettier than it was. Every command is one entry of the table in `table.rs`.

#[macro_use]
mod output;

mod args;
mod backup;
mod commands;
mod exit;
mod flags;
mod number;
mod options;
mod progress;
mod startup;
mod table;
mod tool;
mod usage;

fn main() {
    let words: Vec<std::ffi::OsString> = std::env::args_os().skip(1).collect();
    let code = startup::run(&words).err().map_or(0, |exit| exit.code());
    std::process::exit(code);
}
