// SPDX-License-Identifier: GPL-3.0-or-later
//! Programs that our tool runs in its place, and programs that say which nodes there are.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{ensure, Result};
use ctdb_tests::{run, wait_until, Outcome, Side};

const LIMIT: Duration = Duration::from_secs(20);

fn script(dir: &Path, name: &str, text: &str) -> Result<PathBuf> {
    let path = dir.join(name);
    fs::write(&path, format!("#!/bin/sh\n{text}\n"))?;
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755))?;
    Ok(path)
}

/// Runs our tool in test mode below `base`.
fn tool(base: &Path, args: &[&str], env: &[(&str, &Path)]) -> Result<Outcome> {
    let mut command = Command::new(Side::our_tool()?);
    command.args(args).env("CTDB_TEST_MODE", "yes").env("CTDB_BASE", base);
    command.env_remove("CTDB_TIMEOUT").envs(env.iter().copied());
    run(&mut command, LIMIT)
}

#[test]
fn a_helper_has_the_arguments_and_its_status_is_the_result() -> Result<()> {
    let base = tempfile::tempdir()?;
    let helper = script(base.path(), "ctdb-event", "echo \"$@\"; exit $STATUS")?;
    let event = |status: &str, args: &[&str]| {
        let env = [("CTDB_EVENT_HELPER", helper.as_path()), ("STATUS", Path::new(status))];
        tool(base.path(), args, &env)
    };
    for (status, code, complaint) in [
        ("0", 0, ""),
        ("1", 1, ""),
        ("63", 63, ""),
        ("66", 2, "event daemon helper failed with error 2\n"),
        ("174", 110, "event daemon helper failed with error 110\n"),
        ("255", 255, ""),
    ] {
        let got = event(status, &["event", "status", "legacy", "monitor"])?;
        ensure!(got.code == Some(code) && got.stderr == complaint, "{status}: {got}");
        ensure!(got.stdout == "status legacy monitor\n", "{got}");
        let got = event(status, &["scriptstatus", "startup"])?;
        ensure!(got.code == Some(0) && got.stdout == "status legacy startup\n", "{got}");
    }
    let got = event("0", &["scriptstatus"])?;
    ensure!(got.stdout == "status legacy monitor\n", "{got}");
    let killed = script(base.path(), "killed", "kill -KILL $$")?;
    let got = tool(base.path(), &["event"], &[("CTDB_EVENT_HELPER", &killed)])?;
    ensure!(got.code == Some(4), "{got}");
    ensure!(got.stderr == "event daemon helper terminated with signal 9\n", "{got}");
    Ok(())
}

#[test]
fn helpers_are_where_the_environment_says() -> Result<()> {
    let base = tempfile::tempdir()?;
    script(base.path(), "ctdb-event", "echo here")?;
    let got = tool(base.path(), &["event"], &[("CTDB_TEST_HELPER_BINDIR", base.path())])?.ok()?;
    ensure!(got.stdout == "here\n", "{got}");
    let nowhere = base.path().join("nowhere");
    let got = tool(base.path(), &["event"], &[("CTDB_TEST_HELPER_BINDIR", &nowhere)])?;
    ensure!(got.code == Some(2), "{got}");
    ensure!(got.stderr == "event daemon helper failed with error 2\n", "{got}");
    Ok(())
}

#[test]
fn a_helper_ends_with_the_time_of_the_tool() -> Result<()> {
    let base = tempfile::tempdir()?;
    let ended = base.path().join("ended");
    let text = format!("trap 'echo > {}; exit' TERM\nsleep 60 & wait", ended.display());
    let helper = script(base.path(), "slow", &text)?;
    let got = tool(base.path(), &["-T", "1", "event"], &[("CTDB_EVENT_HELPER", &helper)])?;
    ensure!(got.code == Some(1) && !got.timed_out, "{got}");
    ensure!(got.stderr == "Maximum runtime exceeded - exiting\n", "{got}");
    wait_until("the helper has ended", LIMIT, || ended.exists())
}

#[test]
fn the_list_of_nodes_may_come_from_a_program() -> Result<()> {
    let base = tempfile::tempdir()?;
    let listed = |text: &str| -> Result<Outcome> {
        let program = script(base.path(), "list", text)?;
        let conf = format!("[cluster]\n\tnodes list = !{} 10.0.0.4\n", program.display());
        fs::write(base.path().join("ctdb.conf"), conf)?;
        tool(base.path(), &["-X", "listnodes"], &[])
    };
    let got = listed("printf '10.0.0.1\\n#10.0.0.2\\n\\n::ffff:10.0.0.3\\n'\necho $1")?.ok()?;
    ensure!(got.stdout == "|0|10.0.0.1|\n|2|10.0.0.3|\n|3|10.0.0.4|\n", "{got}");
    let got = listed("echo 10.0.0.1; echo host")?;
    let said = got.stderr.lines().collect::<Vec<_>>();
    ensure!(got.code == Some(1) && got.stdout.is_empty(), "{got}");
    ensure!(said.first() == Some(&"Invalid node address host"), "{got}");
    ensure!(said.iter().any(|line| line.starts_with("Failed to read nodes from \"!")), "{got}");
    Ok(())
}
