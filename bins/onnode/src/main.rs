// SPDX-License-Identifier: GPL-3.0-or-later
//! `onnode`: runs a command on nodes. All of it is in the library beside.

fn main() {
    std::process::exit(onnode::run(std::env::args_os()).say());
}
