// SPDX-License-Identifier: GPL-3.0-or-later
//! The dependency rules of docs/architecture.md, asserted from `cargo metadata`.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use serde_json::Value;

type Graph = BTreeMap<String, BTreeSet<String>>;

/// Which crates depend on which, through normal and build dependencies; those for tests only are
/// left out.
fn dependencies() -> Graph {
    // only what is built here: packages of other platforms need not be on this machine
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--offline", "--filter-platform", &host()])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .expect("cargo runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let mut names = BTreeMap::new();
    for package in list(&metadata["packages"]) {
        names.insert(package["id"].to_string(), package["name"].as_str().unwrap_or("").to_string());
    }
    let mut graph = Graph::new();
    for node in list(&metadata["resolve"]["nodes"]) {
        let from = names[&node["id"].to_string()].clone();
        for dep in list(&node["deps"]) {
            if list(&dep["dep_kinds"]).iter().any(|kind| kind["kind"] != "dev") {
                graph
                    .entry(from.clone())
                    .or_default()
                    .insert(names[&dep["pkg"].to_string()].clone());
            }
        }
    }
    graph
}

/// The platform that this is built for.
fn host() -> String {
    let output = Command::new("rustc").arg("-vV").output().expect("rustc runs");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let line = text.lines().find_map(|l| l.strip_prefix("host: "));
    line.expect("rustc names its host").to_string()
}

fn reached(graph: &Graph, from: &str) -> BTreeSet<String> {
    let mut seen = BTreeSet::new();
    let mut todo = vec![from.to_string()];
    while let Some(name) = todo.pop() {
        for next in graph.get(&name).into_iter().flatten() {
            if seen.insert(next.clone()) {
                todo.push(next.clone());
            }
        }
    }
    seen
}

fn assert_reaches_none(graph: &Graph, from: &str, forbidden: &[&str]) {
    let seen = reached(graph, from);
    for name in forbidden {
        assert!(!seen.contains(*name), "{from} reaches {name}");
    }
}

#[test]
fn crates_depend_one_way_only() {
    let graph = dependencies();
    // the library that smbd loads: no runtime, nothing of a daemon
    assert_reaches_none(
        &graph,
        "ctdbcore",
        &["ctdb-host", "ctdb-engine", "tokio", "crossbeam-channel"],
    );
    // what daemons decide: a computation
    assert_reaches_none(
        &graph,
        "ctdb-engine",
        &["ctdb-host", "ctdb-tdb", "ctdbcore", "tokio", "libc"],
    );
    for lowest in ["ctdb-wire", "ctdb-tdb"] {
        let others = ["ctdb-wire", "ctdb-tdb", "ctdbcore", "ctdb-engine", "ctdb-host", "tokio"];
        let forbidden: Vec<&str> = others.into_iter().filter(|o| *o != lowest).collect();
        assert_reaches_none(&graph, lowest, &forbidden);
    }
    // and the check itself can see: the host does reach them
    let host = reached(&graph, "ctdb-host");
    for name in ["ctdb-engine", "ctdb-wire", "ctdb-tdb", "libc"] {
        assert!(host.contains(name), "the graph is not read right: no {name} under ctdb-host");
    }
}
