// SPDX-License-Identifier: GPL-3.0-or-later
//! `ctdb-path`: where everything lives. All of it is in the library beside.

fn main() {
    std::process::exit(ctdb_path::run(&ctdb_command_line::words()).say());
}
