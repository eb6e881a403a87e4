// SPDX-License-Identifier: GPL-3.0-or-later
//! `make bench-tdb` measures the same work on both sides; how fast it is, is no matter here.

use std::fs;
use std::process::Command;
use std::time::Duration;

use ctdb_tests::{run_ok, skip, Needs};

#[test]
fn both_sides_do_the_same_work() {
    if skip(Needs::Libtdb) {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let results = dir.path().join("results.json");
    let mut bench = Command::new(env!("CARGO_BIN_EXE_bench-tdb"));
    bench.args(["--rounds", "1", "--only", "fcntl, hash size 131"]);
    bench.arg("--disk").arg(dir.path()).arg("--out").arg(&results);
    let said = run_ok(&mut bench, Duration::from_secs(120)).unwrap();
    assert!(said.stdout.contains("transaction of 10 stores"), "{said}");
    let rows: serde_json::Value =
        serde_json::from_str(&fs::read_to_string(results).unwrap()).unwrap();
    assert!(rows[0]["ratio"].as_f64().is_some_and(|ratio| ratio > 0.0), "{rows}");
}
