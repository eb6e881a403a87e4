// SPDX-License-Identifier: GPL-3.0-or-later
//! ctdbd: all daemons of a cluster node in one process.

fn main() {
    let options = ctdbd::args::parse();
    let code =
        ctdb_host::node::run(ctdb_host::node::RunOptions { interactive: options.interactive });
    std::process::exit(code);
}
