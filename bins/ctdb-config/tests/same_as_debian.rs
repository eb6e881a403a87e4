// SPDX-License-Identifier: GPL-3.0-or-later
//! Our `ctdb-config` and Debian's, on the same files.

use anyhow::Result;
use ctdb_tests::{skip, Needs, Twins};
use std::path::Path;

const OURS: &str = env!("CARGO_BIN_EXE_ctdb-config");
const DEBIANS: &str = "/usr/libexec/ctdb/ctdb-config";

/// Options that the release which Debian has does not know.
const NEWER: [&str; 3] = ["nodes list", "shutdown extra timeout", "shutdown failover timeout"];

/// Without the newer options; usage once.
fn common(text: &str) -> String {
    let (first, _) = text.split_once("\nUsage:").unwrap_or((text, ""));
    let kept = first.lines().filter(|line| !NEWER.iter().any(|option| line.contains(option)));
    kept.collect::<Vec<_>>().join("\n")
}

fn twins(base: &Path) -> Twins {
    let base = base.to_path_buf();
    let setting = move |command: &mut std::process::Command| {
        command.env("CTDB_TEST_MODE", "1").env("CTDB_BASE", &base);
    };
    Twins::new(OURS, DEBIANS, setting).masked(common)
}

const QUESTIONS: &[&[&str]] = &[
    &["validate"],
    &["dump"],
    &["get", "cluster", "node address"],
    &["get", "Cluster", "leader timeout"],
    &["get", "cluster", "recovery lock"],
    &["get", "database", "volatile database directory"],
    &["get", "legacy", "realtime scheduling"],
    &["get", "failover", "disabled"],
    &["get", "cluster", "Leader Timeout"],
    &["get", "nosuch", "option"],
    &["-d", "nonsense", "validate"],
    &["-d", "NOTICE", "validate"],
    &["--debug=WARNING", "dump"],
];

const FILES: &[&str] = &[
    "",
    "# nothing\n",
    "[cluster]\nrecovery lock = !/x  a\nleader timeout = 7\ntransport = tcp\n",
    "[logging]\nlocation = syslog\nlog level = INFO\n[LEGACY]\nrealtime scheduling = No\n",
    "[cluster]\nnode address = fd00::1\n[failover]\ndisabled = YES\n[database]\nlock debug script = d.sh\n",
    "x = y\n[foo]\na = b\n[cluster]\nbar = 3\n",
    "[cluster]\nleader timeout =\nleader timeout = -4\nnode address = 1.2.3.4:4\ntransport = ib\n\
     leader capability = maybe\nleader timeout = 0\n[logging]\nlocation = foo\nlog level = loud\n\
     [database]\nvolatile database directory = /nope\nlock debug script = none\n\
     [legacy]\nscript log level = loud\n[event]\ndebug script = none\n",
];

#[test]
fn reads_files_alike() -> Result<()> {
    if skip(Needs::DebianCtdb) {
        return Ok(());
    }
    let base = tempfile::tempdir()?;
    let script = base.path().join("d.sh");
    std::fs::write(&script, "")?;
    std::fs::set_permissions(&script, std::os::unix::fs::PermissionsExt::from_mode(0o755))?;
    let mut twins = twins(base.path());
    let ask = |twins: &mut Twins| QUESTIONS.iter().try_for_each(|args| twins.compare(args));
    ask(&mut twins)?;
    for file in FILES {
        std::fs::write(base.path().join("ctdb.conf"), file)?;
        ask(&mut twins)?;
    }
    std::fs::write(base.path().join("ctdb.conf"), FILES[2])?;
    twins.compare(&["-d", "NOTICE", "get", "cluster", "recovery lock"])?;
    twins.finish()
}

#[test]
fn refuses_the_same_command_lines() -> Result<()> {
    if skip(Needs::DebianCtdb) {
        return Ok(());
    }
    let base = tempfile::tempdir()?;
    let mut twins = twins(base.path());
    let lines = [
        "",
        "-h",
        "--help",
        "-?",
        "--usage",
        "nosuch",
        "get",
        "get a b c",
        "dump x",
        "validate x",
        "--bad",
        "-d",
        "--debug",
        "-x dump",
        "get cluster -- -x",
        "-h dump",
        "-hd dump",
    ];
    for line in lines {
        twins.compare(&line.split(' ').filter(|word| !word.is_empty()).collect::<Vec<_>>())?;
    }
    twins.finish()
}

fn ours(base: &Path, args: &[&str]) -> Result<(String, Option<i32>)> {
    let outcome = twins(base).run(true, args, "")?;
    Ok((outcome.stderr.replace(&format!("{}/", base.display()), ""), outcome.code))
}

#[test]
fn a_syntax_error_is_an_error() -> Result<()> {
    let base = tempfile::tempdir()?;
    std::fs::write(base.path().join("ctdb.conf"), "\n[cluster\n")?;
    let (said, code) = ours(base.path(), &["validate"])?;
    assert_eq!(code, Some(22));
    assert_eq!(
        said,
        "ctdb.conf:2: Syntax error: \"[\" without \"]\"\nFailed to load config file ctdb.conf"
    );
    Ok(())
}

#[test]
fn file_and_line_on_request() -> Result<()> {
    let base = tempfile::tempdir()?;
    std::fs::write(base.path().join("ctdb.conf"), "[cluster]\n\nleader timeout = x\n")?;
    let (said, _) = ours(base.path(), &["-d", "INFO", "validate"])?;
    assert_eq!(
        said,
        "Reading config file ctdb.conf\n\
         ctdb.conf:3: conf: invalid value [cluster] -> \"leader timeout\" = \"x\"\n\
         Failed to load config file ctdb.conf"
    );
    Ok(())
}

#[test]
fn the_definition_holds() {
    ctdb_config::command().debug_assert();
}
