// SPDX-License-Identifier: GPL-3.0-or-later
//! `ctdb`: the administrator's tool. All of it is in the library beside.

fn main() {
    let words: Vec<std::ffi::OsString> = std::env::args_os().skip(1).collect();
    std::process::exit(ctdb::run(&words));
}
