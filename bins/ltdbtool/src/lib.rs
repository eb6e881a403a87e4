// SPDX-License-Identifier: GPL-3.0-or-later
//! `ltdbtool`: dumps and converts the TDB file that a node has of a cluster database, without any daemon
//! (spec/tool.md 18).
//!
//! - `options`: the command line
//! - `record`: the cluster's header before the data of each record, in its three sizes
//! - `dump`, `convert`: the two commands
//!
//! One thing differs from the existing program: a file with a record too short for the header gives exit code 255
//! and not 0, since what was printed or written then is not the whole file.
#![forbid(unsafe_code)]

mod convert;
mod dump;
mod options;
mod record;

pub use options::command;

use ctdb_command_line::{strerror, Ending};
use options::{Options, Task};
use std::ffi::OsString;

/// Any failure.
const FAILED: i32 = 255;

/// EIO: what libtdb calls a file that is no database.
const EIO: i32 = 5;

/// Runs the program with all of its words, its name first.
pub fn run(words: impl IntoIterator<Item = OsString>) -> Ending {
    answer(words.into_iter().collect()).unwrap_or_else(|ending| ending)
}

fn answer(words: Vec<OsString>) -> Result<Ending, Ending> {
    let options = Options::parse(&words)?;
    match &options.task {
        Task::Dump(file) => dump::dump(&options, file)?,
        Task::Convert(from, to) => convert::convert(&options, from, to)?,
    }
    Ok(Ending::default())
}

/// `what: TEXT` in the words of the system; of a damaged file also where and how.
fn failed(what: &str, error: &ctdb_tdb::Error) -> Ending {
    let text = match error {
        ctdb_tdb::Error::Io { source, .. } => match source.raw_os_error() {
            Some(code) => strerror(code),
            None => source.to_string(),
        },
        ctdb_tdb::Error::Corrupt(where_and_how) => {
            format!("{}\nltdbtool: {where_and_how}", strerror(EIO))
        }
        other => other.to_string(),
    };
    Ending::complaint(format!("{what}: {text}\n"), FAILED)
}
