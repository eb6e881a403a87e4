// SPDX-License-Identifier: GPL-3.0-or-later
//! cargo-fuzz target: arbitrary bytes as a TDB file. Run from lib/tdb: `cargo fuzz run file`, with
//! tests/vectors/tdb of the workspace as a corpus.
#![no_main]

use libfuzzer_sys::fuzz_target;

mod exercise;

fuzz_target!(|input: &[u8]| {
    let Some((flags, bytes)) = input.split_last() else {
        return;
    };
    let path = std::env::temp_dir().join(format!("tdb-fuzz-{}.tdb", std::process::id()));
    exercise::exercise(&path, bytes, *flags);
    let _ = std::fs::remove_file(&path);
});
