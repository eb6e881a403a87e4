// SPDX-License-Identifier: GPL-3.0-or-later
//! JSON output: what every command prints is what docs/ctdb-json.schema.json says, on clusters that
//! show all there is to show.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{ensure, Context, Result};
use ctdb_tests::fake::{scenario, FakeDaemon};
use serde_json::{json, Value};

const OURS: &str = env!("CARGO_BIN_EXE_ctdb");

/// Commands by the scripted cluster that they are run on, with their exit code.
const COMMANDS: &[(&str, &[(&str, i32)])] = &[
    (
        "healthy",
        &[
            ("version", 0),
            ("uptime", 0),
            ("-n 1 uptime", 0),
            ("ping", 0),
            ("runstate", 0),
            ("runstate running", 0),
            ("runstate startup", 1),
            ("getvar TraverseTimeout", 0),
            ("listvars", 0),
            ("process-exists 14728", 0),
            ("process-exists 14728 0xabcd", 0),
            ("process-exists 1", 1),
            ("process-exists 14728 0xabce", 1),
            ("getdbmap", 0),
            ("getcapabilities", 0),
            ("pnn", 0),
            ("getdebug", 0),
            ("getpid", 0),
            ("dumpmemory", 0),
            ("rddumpmemory", 0),
            ("listnodes", 0),
            ("leader", 0),
            ("getreclock", 0),
            ("status", 0),
            ("nodestatus all", 0),
            ("checktcpport 0", 0),
        ],
    ),
    ("nodes-deleted", &[("listnodes", 0), ("status", 0)]),
    ("flags", &[("status", 0), ("nodestatus", 0), ("nodestatus 1,3", 3), ("nodestatus all", 47)]),
    ("partial", &[("status", 0), ("nodestatus all", 2)]),
    ("starting", &[("status", 0), ("nodestatus all", 67), ("uptime", 0)]),
    ("no-leader", &[("-t 1 leader", 0), ("-t 1 status", 0)]),
    (
        "addresses",
        &[
            ("ip", 0),
            ("ip all", 0),
            ("-n 1 ip", 0),
            ("ipinfo 192.168.100.1", 0),
            ("ipinfo fd00::1", 0),
            ("ipinfo 10.0.0.32", 0),
            ("ifaces", 0),
            ("-n 2 ifaces", 0),
            ("getreclock", 0),
            ("gettickles 192.168.100.2", 0),
            ("gettickles fd00::2", 0),
        ],
    ),
    ("counters", &[("statistics", 0), ("-n 1 statistics", 0), ("stats", 0), ("stats 1", 0)]),
    (
        "databases",
        &[
            ("getdbmap", 0),
            ("getdbstatus broken.tdb", 0),
            ("getdbstatus sticky.tdb", 0),
            ("dbstatistics volatile.tdb", 0),
            ("dbstatistics persistent.tdb", 0),
            ("getdbseqnum persistent.tdb", 0),
        ],
    ),
    (
        "records",
        &[
            ("catdb volatile.tdb", 0),
            ("cattdb volatile.tdb", 0),
            ("cattdb nothing.tdb", 0),
            ("catdb persistent.tdb", 0),
            ("pfetch persistent.tdb key1", 0),
            ("pfetch persistent.tdb none", 0),
            ("readkey volatile.tdb plain", 0),
            ("readkey volatile.tdb 0x6b3200ff", 0),
        ],
    ),
];

struct Run {
    stdout: String,
    stderr: String,
    code: i32,
}

fn run(daemon: &FakeDaemon, line: &str) -> Result<Run> {
    let mut command = Command::new(OURS);
    command.args(line.split_whitespace()).envs(daemon.env()).env("TZ", "UTC");
    let output = command.output().context("ctdb")?;
    Ok(Run {
        stdout: String::from_utf8(output.stdout)?,
        stderr: String::from_utf8(output.stderr)?,
        code: output.status.code().unwrap_or(-1),
    })
}

fn start(name: &str) -> Result<(tempfile::TempDir, FakeDaemon)> {
    let dir = tempfile::tempdir()?;
    let daemon = FakeDaemon::start(dir.path(), scenario(name)?)?;
    Ok((dir, daemon))
}

fn committed_schema() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/ctdb-json.schema.json")
}

/// The command in a line: the first word that is no option.
fn name(line: &str) -> &str {
    let mut words = line.split_whitespace();
    while let Some(word) = words.next() {
        match word {
            "-n" | "-t" => drop(words.next()),
            word => return word,
        }
    }
    ""
}

fn validate(schema: &jsonschema::Validator, line: &str, output: &str) -> Result<Value> {
    let value: Value = serde_json::from_str(output).with_context(|| format!("{line}: {output}"))?;
    let complaints: Vec<String> = schema
        .iter_errors(&json!({ name(line): value }))
        .map(|e| format!("{line}: {}: {e}", e.instance_path))
        .collect();
    ensure!(complaints.is_empty(), "{}", complaints.join("\n"));
    Ok(value)
}

#[test]
fn the_committed_schema_is_the_one_of_this_tool() -> Result<()> {
    let committed: Value = serde_json::from_str(&std::fs::read_to_string(committed_schema())?)?;
    ensure!(
        committed == ctdb::json_schema(),
        "docs/ctdb-json.schema.json is old: run `make schema` and see that members stayed"
    );
    Ok(())
}

#[test]
fn every_command_prints_what_the_schema_says() -> Result<()> {
    let schema: Value = serde_json::from_str(&std::fs::read_to_string(committed_schema())?)?;
    let validator = jsonschema::validator_for(&schema)?;
    let mut shown = BTreeSet::new();
    for (state, commands) in COMMANDS {
        let (dir, daemon) = start(state)?;
        for (line, code) in *commands {
            let run = run(&daemon, &format!("--json {line}"))?;
            ensure!(run.code == *code, "{state}: {line}: exit {}\n{}", run.code, run.stderr);
            validate(&validator, line, &run.stdout).with_context(|| state.to_string())?;
            shown.insert(name(line).to_string());
        }
        if *state == "records" {
            // commands on files
            let base = dir.path();
            let backup = base.join("backup");
            let backup = backup.to_str().context("path")?;
            ensure!(run(&daemon, &format!("backupdb volatile.tdb {backup}"))?.code == 0);
            let file = run(&daemon, "--json getdbstatus volatile.tdb")?.stdout;
            let file: Value = serde_json::from_str(&file)?;
            let file = file["path"].as_str().context("path")?;
            for line in [format!("dumpdbbackup {backup}"), format!("tfetch {file} plain")] {
                let run = run(&daemon, &format!("--json {line}"))?;
                ensure!(run.code == 0, "{line}: exit {}\n{}", run.code, run.stderr);
                validate(&validator, &line, &run.stdout)?;
                shown.insert(name(&line).to_string());
            }
        }
    }
    let described = schema["properties"].as_object().context("properties")?;
    let described: BTreeSet<String> = described.keys().cloned().collect();
    ensure!(shown == described, "not shown: {:?}", &described - &shown);
    Ok(())
}

#[test]
fn a_wrong_output_is_found() -> Result<()> {
    let validator = jsonschema::validator_for(&ctdb::json_schema())?;
    for wrong in [r#"{"pnn": "0"}"#, r#"{}"#, r#"{"pnn": -1}"#, "7"] {
        ensure!(validate(&validator, "pnn", wrong).is_err(), "{wrong}");
    }
    ensure!(validate(&validator, "nosuch", "{}").is_err());
    validate(&validator, "pnn", r#"{"pnn": 3}"#).map(drop)
}

#[test]
fn values_are_those_of_the_cluster() -> Result<()> {
    let (_dir, daemon) = start("records")?;
    let value = |line: &str| -> Result<Value> {
        serde_json::from_str(&run(&daemon, line)?.stdout).context(line.to_string())
    };
    let dump = value("-j cattdb volatile.tdb")?;
    ensure!(dump["count"] == 7 && dump["records"].as_array().is_some_and(|r| r.len() == 7));
    let records = dump["records"].as_array().context("records")?;
    let plain = records.iter().find(|r| r["key"]["text"] == "plain").context("plain")?;
    ensure!(plain["key"]["hex"] == "706c61696e", "{plain}");
    ensure!(plain["data"] == json!({ "hex": "76616c7565", "text": "value" }), "{plain}");
    let binary = records.iter().find(|r| r["key"]["hex"] == "6b3200ff").context("binary")?;
    ensure!(binary["flags"] == json!(["MIGRATED_WITH_DATA"]), "{binary}");
    ensure!(binary["key"]["text"].is_null() && binary["rsn"] == 3, "{binary}");
    let fetched = value("-J pfetch persistent.tdb with-zero")?;
    ensure!(fetched["value"]["hex"] == "62650068696e64", "{fetched}");
    let none = value("--json getreclock")?;
    ensure!(none == json!({ "node": 0, "cluster_lock": null }), "{none}");
    Ok(())
}

/// `version` and `status` are older than the rest: their form is that of the C tool to the byte.
#[test]
fn status_is_that_of_the_c_tool() -> Result<()> {
    let (_dir, daemon) = start("one")?;
    let want = "{\n  \"node_status\": {\n    \"node_count\": 1,\n    \"deleted_node_count\": 0,\n    \"nodes\": {\n      \
                \"0\": {\n        \"pnn\": 0,\n        \"address\": \"ADDRESS\",\n        \"partially_online\": false,\n        \
                \"flags_raw\": 0,\n        \"flags_ok\": true,\n        \"flags\": {\n          \"disconnected\": false,\n          \
                \"unknown\": false,\n          \"disabled\": false,\n          \"banned\": false,\n          \
                \"unhealthy\": false,\n          \"deleted\": false,\n          \"stopped\": false,\n          \
                \"inactive\": false\n        },\n        \"this_node\": true\n      }\n    }\n  },\n  \"vnn_status\": {\n    \
                \"generation\": 50844233,\n    \"size\": 1,\n    \"vnn_map\": [\n      {\n        \"hash\": 0,\n        \
                \"lmaster\": 0\n      }\n    ]\n  },\n  \"recovery_mode\": \"NORMAL\",\n  \"recovery_mode_raw\": 0,\n  \
                \"leader\": 0\n}";
    let address = run(&daemon, "listnodes")?.stdout;
    let got = run(&daemon, "-j status")?.stdout;
    ensure!(got == want.replace("ADDRESS", address.trim_end()), "{got}");
    let version = run(&daemon, "-j version")?.stdout;
    let want = format!("{{\n  \"version\": \"{}\"\n}}", env!("CARGO_PKG_VERSION"));
    ensure!(version == want, "{version}");
    Ok(())
}

#[test]
fn what_has_no_json_says_so() -> Result<()> {
    let (_dir, daemon) = start("healthy")?;
    for (line, said) in [
        ("-j recover", "--json not supported by the recover subcommand\n"),
        ("-j -Y status", "--json and -Y options are mutually exclusive\n"),
        ("-jX nosuch", "--json and -Y options are mutually exclusive\n"),
        ("-j getvar nosuch", "No such tunable nosuch\n"),
    ] {
        let run = run(&daemon, line)?;
        ensure!((run.code, run.stdout.as_str()) == (1, ""), "{line}: {} {}", run.code, run.stdout);
        ensure!(run.stderr == said, "{line}: {}", run.stderr);
    }
    Ok(())
}
