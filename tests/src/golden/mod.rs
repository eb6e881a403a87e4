// SPDX-License-Identifier: GPL-3.0-or-later
//! Golden files: what Debian's `ctdb` prints on a scripted daemon, recorded once, and what ours has
//! to print.
//!
//! A file is a list of blocks. Each block has a daemon of its own, on which its commands run in
//! order:
//!
//! ```text
//! state: flags                    the scenario; holds for the blocks below too
//!
//! fault: GET_IFACES node=2 silent
//! $ ctdb -t 1 nodestatus 2        a command, as for a shell without expansions
//! < a line of standard input
//! mask: numbers                   not compared: numbers, repeats, version, usage
//! within: 3                       seconds; 20 if not said
//! > pnn:2 192.168.100.103  OK     standard output
//! ! Control GET_IFACES failed     standard error; `~` instead of a blank: no newline
//! @ 1 STOP_NODE                   what the daemon was told to do
//! exit 0
//! differs: why                    ours deliberately says something else:
//! > ...
//! exit 1
//! ```
//!
//! `make golden` runs the commands again and writes what they say: Debian's tool above `differs`,
//! ours below it, and ours alone in blocks that begin with `ours: why`.

mod run;
mod text;

pub use run::{check, record, Report, Tools};
pub use text::{Block, File, Output, Step};
