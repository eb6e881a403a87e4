// SPDX-License-Identifier: GPL-3.0-or-later
//! `ctdb-event`: runs events and manages event scripts. All of it is in the library beside.

fn main() {
    std::process::exit(ctdb_event::run(&ctdb_command_line::words()).say());
}
