// SPDX-License-Identifier: GPL-3.0-or-later
//! The command line of ctdbd, apart from the program so that its manual page is made from it.

pub mod args;

/// The command line as clap describes it.
pub fn command() -> clap::Command {
    <args::Options as clap::CommandFactory>::command()
}
