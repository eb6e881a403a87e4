// SPDX-License-Identifier: GPL-3.0-or-later
//! `ctdb_diagnostics`: gathers what a bug report needs. All of it is in the library beside.

fn main() {
    std::process::exit(ctdb_diagnostics::run(std::env::args_os()).say());
}
