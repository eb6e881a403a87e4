// SPDX-License-Identifier: GPL-3.0-or-later
//! `ltdbtool`: dumps and converts a node's database files. All of it is in the library beside.

fn main() {
    std::process::exit(ltdbtool::run(std::env::args_os()).say());
}
