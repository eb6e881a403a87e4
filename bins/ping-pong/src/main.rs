// SPDX-License-Identifier: GPL-3.0-or-later
//! `ping_pong`: how fast, and how coherent, byte range locks of a shared file system are. All of it is in the
//! library beside.

fn main() {
    std::process::exit(ping_pong::run(std::env::args_os()).say());
}
