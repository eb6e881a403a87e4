// SPDX-License-Identifier: GPL-3.0-or-later
//! Command lines as the companions of `ctdb` read and explain them.
//!
//! - [`Tool`]: `PROGRAM [options] COMMAND WORDS [ARGS]`, from one table that parsing, usage texts and
//!   [`clap::Command`] are made from: ctdb-event, ctdb-config, ctdb-path (spec/events-config.md 5, 6, 16)
//! - [`getopt`]: clap's complaints in the words of getopt(3), for programs with plain options
//! - [`Ending`]: what a program leaves behind: its last words and its exit code
#![forbid(unsafe_code)]

mod ending;
pub mod getopt;
mod tool;
mod usage;

pub use ending::{strerror, Ending};
pub use tool::{Call, Command, Tool};

use std::ffi::OsString;

/// The words behind the program's name.
pub fn words() -> Vec<OsString> {
    std::env::args_os().skip(1).collect()
}
