// SPDX-License-Identifier: GPL-3.0-or-later
//! `ctdb_lvs`: all of it is in the library of this package.

fn main() {
    std::process::exit(ctdb_groups::run(&ctdb_groups::LVS, std::env::args_os()).say());
}
