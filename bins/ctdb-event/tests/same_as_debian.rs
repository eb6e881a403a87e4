// SPDX-License-Identifier: GPL-3.0-or-later
//! Our `ctdb-event` and Debian's, each with an event daemon of Debian's and a directory of its own, which look the
//! same.

use anyhow::{ensure, Result};
use ctdb_tests::{run, skip, wait_until, write_program, Needs, Outcome};
use std::fs;
use std::os::unix::fs::{symlink, PermissionsExt};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

const OURS: &str = env!("CARGO_BIN_EXE_ctdb-event");
const DEBIANS: &str = "/usr/libexec/ctdb/ctdb-event";
const EVENTD: &str = "/usr/libexec/ctdb/ctdb-eventd";
const LIMIT: Duration = Duration::from_secs(30);

/// A node's directories, the daemon on them, and the client that is tried there.
struct Node {
    dir: tempfile::TempDir,
    client: &'static str,
    daemon: Option<Child>,
}

impl Node {
    fn new(client: &'static str) -> Result<Node> {
        let dir = tempfile::tempdir()?;
        for name in
            ["run", "var", "share/events/cc", "share/events/empty", "events/cc", "events/local"]
        {
            fs::create_dir_all(dir.path().join(name))?;
        }
        fs::write(dir.path().join("ctdb.conf"), "[logging]\nlocation = file:\n")?;
        let node = Node { dir, client, daemon: None };
        node.script("events/cc/01.ok.script", "exit 0", 0o755)?;
        node.script("events/cc/02.args.script", "shift; echo \"$@\"", 0o755)?;
        node.script("events/cc/03.off.script", "exit 0", 0o644)?;
        let behaviour = "case $1 in\n\
            fail) echo line one; echo; echo line three; exit 3;;\n\
            slow) echo slow; sleep 60;;\n\
            signal) kill -9 $$;;\n\
            odd) printf 'no end of line'; exit 255;;\n\
            esac";
        node.script("events/cc/10.fail.script", behaviour, 0o755)?;
        node.script("events/cc/20.last.script", "[ $1 != fail ] || exit 9", 0o755)?;
        node.script("events/cc/odd.script", "exit 0", 0o755)?;
        node.script("events/local/01.own.script", "exit 0", 0o755)?;
        node.script("share/events/cc/50.installed.script", "exit 0", 0o755)?;
        node.script("share/events/cc/01.ok.script", "exit 0", 0o755)?;
        fs::write(node.path("events/cc/README"), "")?;
        fs::create_dir(node.path("events/cc/70.dir.script"))?;
        fs::write(node.path("events/file"), "")?;
        symlink(
            "../../share/events/cc/50.installed.script",
            node.path("events/cc/55.other.script"),
        )?;
        symlink("/nonexistent", node.path("events/cc/60.dangling.script"))?;
        Ok(node)
    }

    fn start(&mut self) -> Result<()> {
        let mut command = self.command(EVENTD);
        let daemon = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        self.daemon = Some(daemon.spawn()?);
        let socket = self.path("run/eventd.socket");
        wait_until("the event daemon listens", LIMIT, || UnixStream::connect(&socket).is_ok())
    }

    fn stop(&mut self) {
        if let Some(mut daemon) = self.daemon.take() {
            let _ = daemon.kill();
            let _ = daemon.wait();
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn script(&self, name: &str, text: &str, mode: u32) -> Result<()> {
        write_program(&self.path(name), &format!("#!/bin/sh\n{text}\n"), mode)
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.env("CTDB_TEST_MODE", "1").env("CTDB_BASE", self.dir.path());
        command
    }

    fn ask(&self, words: &[&str]) -> Result<Outcome> {
        let all = words.first() == Some(&"all");
        let mut command = self.command(self.client);
        if all {
            command.env("CTDB_EVENT_RUN_ALL", "1");
        }
        let outcome = run(command.args(words.iter().skip(all.into())), LIMIT)?;
        let base = self.dir.path().display().to_string();
        let mask = |text: &str| once(&timeless(&text.replace(&base, "BASE")));
        let (stdout, stderr) = (mask(&outcome.stdout), mask(&outcome.stderr));
        Ok(Outcome { stdout, stderr, ..outcome })
    }

    /// Everything below the directory of scripts, with what is executable.
    fn listing(&self) -> Result<String> {
        let mut lines = Vec::new();
        for entry in fs::read_dir(self.path("events/cc"))? {
            let path = entry?.path();
            let mode = fs::symlink_metadata(&path)?.permissions().mode();
            let target = fs::read_link(&path).unwrap_or_default();
            let line = format!("{:?} {mode:o} {}", path.file_name(), target.display());
            lines.push(line.replace(&self.dir.path().display().to_string(), "BASE"));
        }
        lines.sort();
        Ok(lines.join("\n"))
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Times and durations become `#`.
fn timeless(text: &str) -> String {
    let line = |line: &str| {
        let timed = ["OK", "ERROR", "TIMEDOUT"]
            .iter()
            .any(|state| line.get(21..).is_some_and(|l| l.starts_with(state)));
        match line.split_at_checked(32) {
            Some((name, times)) if timed => {
                let duration = times.split(' ').next().unwrap_or_default();
                let shape = if duration.contains('.') { "#.### " } else { "" };
                format!("{name}{shape}TIME({})\n", times.len() - duration.len())
            }
            _ => format!("{line}\n"),
        }
    };
    text.lines().map(line).collect()
}

/// The usage text is printed once here.
fn once(text: &str) -> String {
    text.split_once("\nUsage:").map_or(text, |(first, _)| first).trim_end_matches('\n').to_string()
}

fn compare(ours: &Node, theirs: &Node, lines: &[&str]) -> Result<()> {
    let mut differences = Vec::new();
    for line in lines {
        let words: Vec<&str> = line.split(' ').filter(|word| !word.is_empty()).collect();
        let (a, b) = (ours.ask(&words)?, theirs.ask(&words)?);
        let same = a.stdout == b.stdout && a.stderr == b.stderr && a.code == b.code;
        if !same {
            differences.push(format!("{line}\ntheirs: {b}\nours: {a}"));
        }
        let (a, b) = (ours.listing()?, theirs.listing()?);
        if a != b {
            differences.push(format!("files after {line}\ntheirs: {b}\nours: {a}"));
        }
    }
    ensure!(differences.is_empty(), "{}", differences.join("\n\n"));
    Ok(())
}

fn nodes() -> Result<Option<(Node, Node)>> {
    if skip(Needs::DebianCtdb) {
        return Ok(None);
    }
    Ok(Some((Node::new(OURS)?, Node::new(DEBIANS)?)))
}

#[test]
fn runs_events_and_tells_their_status_alike() -> Result<()> {
    let Some((mut ours, mut theirs)) = nodes()? else { return Ok(()) };
    for node in [&mut ours, &mut theirs] {
        fs::remove_file(node.path("events/cc/60.dangling.script"))?;
        node.start()?;
    }
    compare(
        &ours,
        &theirs,
        &[
            "status cc fine",
            "status nosuch fine",
            "run 5 nosuch fine",
            "run 5 file fine",
            "run 5 cc fine a b",
            "status cc fine",
            "run 5 cc fail",
            "status cc fail",
            "-d NOTICE status cc fail",
            "-d NOTICE run 5 cc fail",
            "all run 5 cc fail",
            "status cc fail",
            "run 1 cc slow",
            "status cc slow",
            "run 5 cc signal",
            "status cc signal",
            "run 5 cc odd",
            "status cc odd",
            "run x cc fine",
            "run 5s local fine",
            "-d DEBUG run 5 local fine",
            "status local fine",
        ],
    )?;
    // A script that has vanished when it is its turn.
    for node in [&ours, &theirs] {
        symlink("/nonexistent", node.path("events/cc/60.dangling.script"))?;
    }
    compare(&ours, &theirs, &["run 5 cc fine", "status cc fine"])
}

#[test]
fn manages_scripts_alike() -> Result<()> {
    let Some((ours, theirs)) = nodes()? else { return Ok(()) };
    compare(
        &ours,
        &theirs,
        &[
            "script list cc",
            "-d NOTICE script list cc",
            "script list empty",
            "script list local",
            "script list nosuch",
            "script list file",
            "script enable cc 50.installed",
            "script list cc",
            "-d NOTICE script enable cc 50.installed",
            "script disable cc 50.installed",
            "script disable cc 50.installed",
            "script enable cc 03.off",
            "-d NOTICE script disable cc 03.off",
            "script disable cc 01.ok",
            "script list cc",
            "-d DEBUG script enable cc 01.ok",
            "script enable cc 01.ok.script",
            "script enable cc 99.nosuch",
            "script disable cc 99.nosuch",
            "script enable cc README",
            "script enable cc odd",
            "script disable cc odd",
            "script enable cc 70.dir",
            "script disable cc 70.dir",
            "script enable cc 60.dangling",
            "script disable cc 60.dangling",
            "script enable nosuch 01.ok",
            "script disable nosuch 01.ok",
        ],
    )
}

#[test]
fn refuses_the_same_command_lines_and_finds_no_daemon() -> Result<()> {
    let Some((ours, theirs)) = nodes()? else { return Ok(()) };
    let lines = [
        "",
        "-h",
        "--help",
        "--bad",
        "-d",
        "nosuch",
        "run",
        "run 1 a",
        "run -1 a b",
        "status",
        "status a",
        "status a b c",
        "script",
        "script list",
        "script list a b",
        "script enable a",
        "script bogus a",
        "status a b --foo",
        "status a b",
        "run 1 a b c",
        "-d NOTICE status a b",
    ];
    compare(&ours, &theirs, &lines)
}

/// A daemon that answers with `bytes`, whatever is asked, and hangs up.
fn answering(path: &Path, bytes: &'static [u8]) -> Result<std::thread::JoinHandle<()>> {
    let listener = std::os::unix::net::UnixListener::bind(path)?;
    Ok(std::thread::spawn(move || {
        use std::io::{Read, Write};
        if let Ok((mut stream, _)) = listener.accept() {
            let _ = stream.read(&mut [0; 1000]);
            let _ = stream.write_all(bytes);
        }
    }))
}

#[test]
fn a_daemon_that_goes_away_or_answers_nonsense_is_said_so() -> Result<()> {
    let node = Node::new(OURS)?;
    let socket = node.path("run/eventd.socket");
    let answers: [(&[u8], &str); 5] = [
        (b"", "failed to fill whole buffer"),
        (b"\x05\0\0\0\0\0\0\0\x01\0\0\0", "a reply of 5 bytes"),
        (b"\xff\xff\xff\xff\0\0\0\0\x01\0\0\0", "a reply of 4294967295 bytes"),
        (b"\x14\0\0\0\0\0\0\0\x01\0\0\0\x09\0\0\0\0\0\0\0", "a command of the event daemon"),
        (b"\x14\0\0\0\0\0\0\0\x01\0\0\0\x01\0\0\0\0\0\0\0", "belongs to another request"),
    ];
    for (bytes, reason) in answers {
        let daemon = answering(&socket, bytes)?;
        let outcome = node.ask(&["status", "cc", "fine"])?;
        ensure!(outcome.code == Some(1) && outcome.stdout.is_empty(), "{outcome}");
        ensure!(outcome.stderr.starts_with("No answer from the event daemon: "), "{outcome}");
        ensure!(outcome.stderr.contains(reason), "{reason}: {outcome}");
        ensure!(daemon.join().is_ok());
        fs::remove_file(&socket)?;
    }
    Ok(())
}

#[test]
fn the_definition_holds() {
    ctdb_event::command().debug_assert();
}
