// SPDX-License-Identifier: GPL-3.0-or-later
//! `ping_pong`: POSIX byte range locks of a shared file system, measured and tested (spec/tool.md 19).
//!
//! Each process locks one byte ahead of another around a ring of bytes, so that several push each other along.
//!
//! - `options`: the command line; `file`: locks and bytes of the file
//! - `game`: the ring; `single`: the test of one lock, `-l`
#![deny(unsafe_code)]

mod file;
mod game;
mod mapping;
mod options;
mod single;

pub use options::command;

use ctdb_command_line::Ending;
use file::LockFile;
use options::{Options, Task};
use std::ffi::OsString;

/// Runs the program with all of its words, its name first.
pub fn run(words: impl IntoIterator<Item = OsString>) -> Ending {
    answer(words.into_iter().collect()).unwrap_or_else(|ending| ending)
}

fn answer(words: Vec<OsString>) -> Result<Ending, Ending> {
    let options = Options::parse(&words)?;
    // Existing programs say nothing more.
    let file = LockFile::open(&options.file).map_err(|_| Ending::code(1))?;
    match options.task {
        Task::Single => single::run(&file),
        Task::Game { locks } => game::run(&options, &file, locks),
    }
}
