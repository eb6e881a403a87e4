// SPDX-License-Identifier: GPL-3.0-or-later
//! Colours and alignment: on a terminal only, and with the same words and lines as without.

use std::process::Command;

use anyhow::{ensure, Result};
use ctdb_tests::fake::{scenario, FakeDaemon};

const OURS: &str = env!("CARGO_BIN_EXE_ctdb");
const SCRIPT: &str = "/usr/bin/script";

/// What is printed, on a terminal that `script` makes or into a pipe.
fn output(daemon: &FakeDaemon, line: &str, terminal: bool, no_color: &str) -> Result<String> {
    let mut command = match terminal {
        true => {
            let mut command = Command::new(SCRIPT);
            command.args(["-q", "-e", "-c", &format!("{OURS} {line}"), "/dev/null"]);
            command
        }
        false => {
            let mut command = Command::new(OURS);
            command.args(line.split_whitespace());
            command
        }
    };
    command
        .envs(daemon.env())
        .env("TERM", "xterm")
        .env("NO_COLOR", no_color)
        .env("SHELL", "/bin/sh");
    let output = command.stdin(std::process::Stdio::null()).output()?;
    Ok(String::from_utf8(output.stdout)?.replace('\r', ""))
}

/// Without colours.
fn plain(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('\x1b') {
        out.push_str(before);
        rest = after.split_once('m').map_or("", |(_, rest)| rest);
    }
    out + rest
}

fn words(text: &str) -> Vec<Vec<&str>> {
    text.lines().map(|line| line.split_whitespace().collect()).collect()
}

#[test]
fn colours_are_for_terminals() -> Result<()> {
    for (state, line, painted) in [
        ("flags", "nodestatus all", "\x1b[31mBANNED|INACTIVE\x1b[0m"),
        ("flags", "status", "\x1b[32mOK\x1b[0m"),
        ("partial", "status", "\x1b[33mPARTIALLYONLINE\x1b[0m"),
        ("starting", "status", "\x1b[33mRECOVERY\x1b[0m"),
        ("databases", "getdbmap", "\x1b[31m PERSISTENT UNHEALTHY\x1b[0m"),
        ("databases", "getdbstatus broken.tdb", "\x1b[31mERROR"),
        ("addresses", "ip all", "\x1b[31m-1\x1b[0m"),
        ("addresses", "ifaces", "\x1b[31mdown\x1b[0m"),
    ] {
        let dir = tempfile::tempdir()?;
        let daemon = FakeDaemon::start(dir.path(), scenario(state)?)?;
        let pipe = output(&daemon, line, false, "")?;
        ensure!(!pipe.contains('\x1b'), "{line}: {pipe}");
        let terminal = output(&daemon, line, true, "")?;
        ensure!(terminal.contains(painted), "{line}: {terminal:?}");
        ensure!(words(&plain(&terminal)) == words(&pipe), "{line}:\n{pipe}\n{terminal}");
        for (line, no_color) in
            [(line.to_string(), "1"), (format!("-X {line}"), ""), (format!("--json {line}"), "")]
        {
            let pipe = output(&daemon, &line, false, "")?;
            let terminal = output(&daemon, &line, true, no_color)?;
            ensure!(terminal == pipe, "{line} {no_color}: {terminal:?}");
        }
    }
    Ok(())
}
