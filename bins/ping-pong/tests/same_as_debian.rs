// SPDX-License-Identifier: GPL-3.0-or-later
//! Our `ping_pong` and Debian's, apart and against each other.

use anyhow::{ensure, Context, Result};
use ctdb_tests::{skip, wait_for, wait_until, Needs, Twins};
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

const OURS: &str = env!("CARGO_BIN_EXE_ping_pong");
const DEBIANS: &str = "/usr/bin/ping_pong";
const LIMIT: Duration = Duration::from_secs(30);

fn twins(dir: &Path) -> Twins {
    let dir = dir.to_path_buf();
    Twins::new(OURS, DEBIANS, move |command: &mut Command| {
        command.current_dir(&dir);
    })
    .masked(|text| {
        text.split("pid='")
            .map(|part| part.trim_start_matches(|c: char| c.is_ascii_digit()))
            .collect()
    })
}

/// A process that is ended with the value.
struct Player(Child, tempfile::NamedTempFile);

impl Player {
    fn start(program: &str, args: &[&str], dir: &Path) -> Result<Player> {
        let output = tempfile::NamedTempFile::new()?;
        let mut command = Command::new(program);
        command.args(args).current_dir(dir).stdin(Stdio::null()).stdout(output.reopen()?);
        Ok(Player(command.spawn()?, output))
    }

    fn output(&self) -> Result<String> {
        Ok(std::fs::read_to_string(self.1.path())?)
    }

    fn last_increment(&self) -> Result<Option<String>> {
        Ok(self
            .output()?
            .lines()
            .rev()
            .find_map(|l| l.split("increment = ").nth(1).map(str::to_owned)))
    }
}

impl Drop for Player {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn refuses_the_same_command_lines() -> Result<()> {
    if skip(Needs::DebianCtdb) {
        return Ok(());
    }
    let dir = tempfile::tempdir()?;
    let mut twins = twins(dir.path());
    for line in [
        "",
        "-x",
        "-h",
        "f",
        "f 0",
        "f x",
        "f -1",
        "-rwmc",
        "--foo",
        "-l",
        "f 3 -z",
        "-rz f 3",
        "/nonexistent/f 3",
        "-l /nonexistent/f",
    ] {
        twins.compare(&line.split(' ').filter(|word| !word.is_empty()).collect::<Vec<_>>())?;
    }
    // End of input counts as a key.
    twins.compare(&["-l", "f"])?;
    twins.finish()
}

#[test]
fn one_holds_the_lock_and_the_others_say_so() -> Result<()> {
    if skip(Needs::DebianCtdb) {
        return Ok(());
    }
    let dir = tempfile::tempdir()?;
    for holder in [OURS, DEBIANS] {
        let mut command = Command::new(holder);
        // Debian's writes whole blocks into a pipe: that it holds the lock is seen in the file's locks.
        command
            .args(["-l", "f"])
            .current_dir(dir.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped());
        let mut child = command.spawn()?;
        let pid = child.id().to_string();
        wait_until("the lock is held", LIMIT, || {
            let locks = std::fs::read_to_string("/proc/locks").unwrap_or_default();
            locks.lines().any(|line| line.split_whitespace().nth(4) == Some(&pid))
        })?;
        let mut twins = twins(dir.path());
        let seen = twins.run(true, &["-l", "f"], "")?;
        ensure!(seen.stdout.ends_with("Working POSIX byte range locks\n"), "{seen}");
        twins.compare(&["-l", "f"])?;
        twins.finish()?;
        child.stdin.take().context("input")?.write_all(b"\n")?;
        let output = BufReader::new(child.stdout.take().context("output")?);
        let lines: Vec<String> = output.lines().collect::<std::io::Result<_>>()?;
        ensure!(lines.last().is_some_and(|line| line == "Good bye."), "{lines:?}");
        ensure!(child.wait()?.success());
    }
    Ok(())
}

/// Two players in one ring: each sees the other's writes, and both are told their speed.
fn play(second: &str, options: &[&str]) -> Result<()> {
    let dir = tempfile::tempdir()?;
    let args: Vec<&str> = options.iter().copied().chain(["f", "3"]).collect();
    let first = Player::start(OURS, &args, dir.path())?;
    wait_until(
        "the first plays",
        LIMIT,
        || matches!(first.last_increment(), Ok(Some(n)) if n == "1"),
    )?;
    let second = Player::start(second, &args, dir.path())?;
    for player in [&first, &second] {
        wait_for("an increment of 2", LIMIT, || {
            Ok(player.last_increment()?.filter(|increment| increment == "2"))
        })?;
    }
    wait_until("the speed", LIMIT, || {
        first.output().is_ok_and(|text| text.contains(" locks/sec\r"))
    })?;
    let text = first.output()?;
    let speed = text
        .split(" locks/sec\r")
        .next()
        .unwrap_or_default()
        .rsplit('\n')
        .next()
        .unwrap_or_default();
    ensure!(speed.len() >= 8 && speed.trim().parse::<u64>().is_ok(), "{text:?}");
    drop(second);
    wait_until("alone again", LIMIT, || matches!(first.last_increment(), Ok(Some(n)) if n == "1"))
}

#[test]
fn two_of_ours_push_each_other() -> Result<()> {
    play(OURS, &["-rwc"])
}

#[test]
fn ours_and_debians_push_each_other() -> Result<()> {
    if skip(Needs::DebianCtdb) {
        return Ok(());
    }
    play(OURS, &["-rwm"])
}

#[test]
fn the_definition_holds() {
    ping_pong::command().debug_assert();
}
