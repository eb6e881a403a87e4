// SPDX-License-Identifier: GPL-3.0-or-later
//! `ctdb-bench`: client loops that measure any daemon. All of it is in the library beside.

fn main() {
    ctdb_bench::main();
}
