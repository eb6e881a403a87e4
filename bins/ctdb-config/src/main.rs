// SPDX-License-Identifier: GPL-3.0-or-later
//! `ctdb-config`: reads and checks ctdb.conf. All of it is in the library beside.

fn main() {
    std::process::exit(ctdb_config::run(&ctdb_command_line::words()).say());
}
