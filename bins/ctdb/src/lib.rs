// SPDX-License-Identifier: GPL-3.0-or-later
//! `ctdb`: the administrator's tool (spec/tool.md 1-13).
//!
//! Options and commands, output and exit codes are those that scripts know. Every command is one
//! entry of the table in `table.rs`; what else describes the tool, its manual page, completions and
//! the schema of its JSON output, is made from the same definitions by `bins/docgen`.

#[macro_use]
mod output;

mod address;
mod args;
mod backup;
mod cli;
mod commands;
mod exit;
mod flags;
mod helper;
mod json;
mod manual;
mod number;
mod options;
mod paint;
mod pause;
mod progress;
mod runtime;
mod startup;
mod table;
mod tool;
mod top;
mod unfinished;
mod usage;

use std::ffi::OsString;

pub use cli::command;
pub use json::schema as json_schema;

/// Runs the tool with the words behind its name, and gives the exit code.
pub fn run(words: &[OsString]) -> i32 {
    startup::run(words).err().map_or(0, |exit| exit.code())
}
