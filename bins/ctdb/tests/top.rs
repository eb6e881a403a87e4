// SPDX-License-Identifier: GPL-3.0-or-later
//! `ctdb top` in a real terminal, tmux, on a scripted daemon: what it shows, what keys do, and that
//! it survives what happens to nodes, daemons and terminals.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{ensure, Context, Result};
use ctdb_tests::fake::{scenario, FakeDaemon, State};
use ctdb_tests::{skip, wait_for, Needs};
use ctdb_wire::flags::node;

const OURS: &str = env!("CARGO_BIN_EXE_ctdb");
const LIMIT: Duration = Duration::from_secs(20);

/// A terminal with a shell that runs `top`, and afterwards says how it left the terminal.
struct Screen {
    dir: tempfile::TempDir,
}

impl Screen {
    fn start(daemon: &FakeDaemon, arguments: &str) -> Result<Screen> {
        let dir = tempfile::tempdir()?;
        let at = dir.path().display();
        let inner = format!("echo $$ >{at}/pid; exec {OURS} {arguments}");
        // the daemon's messages, and ours, would be in the picture
        let script = format!(
            "stty -g >{at}/before; sh -c '{inner}' 2>{at}/stderr; echo EXIT $?; stty -g >{at}/after; \
             cmp {at}/before {at}/after && echo TERMINAL AS BEFORE; exec cat"
        );
        std::fs::write(dir.path().join("script"), script)?;
        let screen = Screen { dir };
        let script = screen.dir.path().join("script");
        let mut tmux = screen.tmux(&["-f", "/dev/null", "new-session", "-d"]);
        tmux.args(["-x", "150", "-y", "24", "sh"]).arg(script).envs(daemon.env());
        tmux.env("SHELL", "/bin/sh").env_remove("NO_COLOR").env_remove("TMUX");
        ensure!(tmux.status()?.success(), "tmux");
        Ok(screen)
    }

    fn tmux(&self, words: &[&str]) -> Command {
        let mut command = Command::new("tmux");
        command.arg("-S").arg(self.dir.path().join("tmux")).args(words);
        command
    }

    fn run(&self, words: &[&str]) -> Result<String> {
        let output = self.tmux(words).output()?;
        ensure!(output.status.success(), "tmux {words:?}: {output:?}");
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    fn keys(&self, keys: &[&str]) -> Result<()> {
        self.run(&[&["send-keys", "-t", ":"], keys].concat()).map(drop)
    }

    fn text(&self) -> Result<String> {
        self.run(&["capture-pane", "-p", "-t", ":"])
    }

    /// Waits until the picture is as wanted.
    fn shows(&self, what: &str, wanted: impl Fn(&str) -> bool) -> Result<String> {
        let mut last = String::new();
        let seen = wait_for(what, LIMIT, || {
            last = self.text()?;
            Ok(wanted(&last).then_some(()))
        });
        seen.with_context(|| last.clone())?;
        Ok(last)
    }

    fn signal(&self, signal: &str) -> Result<()> {
        let pid = std::fs::read_to_string(self.dir.path().join("pid"))?;
        let sent = Command::new("kill").args([signal, pid.trim()]).status()?;
        ensure!(sent.success(), "kill {signal} {pid}");
        Ok(())
    }

    /// Waits for the end; the terminal has to be as it was before.
    fn ends_with(&self, code: i32) -> Result<()> {
        self.shows("end", |text| text.contains("TERMINAL AS BEFORE"))?;
        self.shows("exit code", |text| text.contains(&format!("EXIT {code}\n")))?;
        let modes =
            self.run(&["display-message", "-p", "-t", ":", "#{alternate_on}#{cursor_flag}"])?;
        ensure!(modes.trim() == "01", "alternate screen and cursor: {modes}");
        Ok(())
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        // it may have ended
        let _ = self.tmux(&["kill-server"]).output();
    }
}

fn start(state: State) -> Result<(tempfile::TempDir, FakeDaemon)> {
    let dir = tempfile::tempdir()?;
    let daemon = FakeDaemon::start(dir.path(), state)?;
    Ok((dir, daemon))
}

/// A daemon that has gone leaves its files.
fn remove_socket(base: &Path) -> Result<()> {
    std::fs::remove_file(base.join("run/ctdbd.socket")).context("socket")
}

#[test]
fn keys_and_views() -> Result<()> {
    if skip(Needs::Terminal) {
        return Ok(());
    }
    let (_dir, daemon) = start(scenario("databases")?)?;
    let screen = Screen::start(&daemon, "top 0.2")?;
    screen.shows("nodes", |text| text.contains("2/2 nodes OK  8 databases"))?;
    screen.keys(&["2"])?;
    screen.shows("databases", |text| text.contains("LOCKS/s▼") && text.contains("sticky.tdb"))?;
    screen.keys(&["Tab"])?;
    let text = screen.shows("hot keys", |text| text.contains("k2\\00\\FF"))?;
    ensure!(text.lines().nth(3).is_some_and(|line| line.contains("1000000")), "{text}");
    screen.keys(&["r"])?;
    screen.shows("reversed", |text| {
        text.lines().nth(3).is_some_and(|line| line.contains("k2\\00\\FF"))
    })?;
    screen.keys(&["n"])?;
    screen.shows("one node", |text| text.contains("only node 0"))?;
    screen.keys(&["h"])?;
    screen.shows("help", |text| text.contains("reverse the order"))?;
    screen.keys(&["q"])?;
    screen.shows("no help", |text| !text.contains("reverse the order"))?;
    screen.keys(&["5"])?;
    screen.shows("waits", |text| text.contains("< 100 ms"))?;
    screen.keys(&["p"])?;
    screen.shows("pause", |text| text.contains("PAUSED"))?;
    screen.keys(&["q"])?;
    screen.ends_with(0)
}

#[test]
fn rates_follow_the_counters() -> Result<()> {
    if skip(Needs::Terminal) {
        return Ok(());
    }
    let (_dir, daemon) = start(State::healthy(3))?;
    let screen = Screen::start(&daemon, "top 0.2")?;
    screen.shows("nodes", |text| text.contains("3/3 nodes OK"))?;
    let calls = |text: &str| -> Option<f64> {
        let line = text.lines().find(|line| line.contains("127.0.0.2"))?;
        line.split_whitespace().nth(4)?.parse().ok()
    };
    wait_for("calls", LIMIT, || {
        daemon.change(|state| state.node(1).statistics.total_calls += 1000);
        Ok(calls(&screen.text()?).filter(|rate| *rate > 500.0))
    })?;
    screen.shows("rest", |text| calls(text) == Some(0.0))?;
    // nodes go away and become unwell while one looks
    daemon.change(|state| {
        state.node(1).flags = node::DISCONNECTED | node::UNHEALTHY;
        state.node(2).flags = node::BANNED;
    });
    screen.shows("gone", |text| {
        text.contains("DISCONNECTED|UNHEALTHY|INACTIVE") && text.contains("BANNED|INACTIVE")
    })?;
    screen.keys(&["C-c"])?;
    screen.ends_with(0)
}

#[test]
fn the_daemon_comes_back() -> Result<()> {
    if skip(Needs::Terminal) {
        return Ok(());
    }
    let (dir, daemon) = start(State::healthy(2))?;
    let screen = Screen::start(&daemon, "top 0.2")?;
    screen.shows("nodes", |text| text.contains("2/2 nodes OK"))?;
    drop(daemon);
    screen.shows("trouble", |text| text.contains("no sample:"))?;
    remove_socket(dir.path())?;
    let again = FakeDaemon::start(dir.path(), State::healthy(4))?;
    screen.shows("new daemon", |text| {
        text.contains("4/4 nodes OK") && text.contains("leader 0") && !text.contains("no sample")
    })?;
    drop(again);
    screen.shows("trouble", |text| text.contains("no sample:"))?;
    // and it can be left while there is none
    screen.keys(&["q"])?;
    screen.ends_with(0)
}

#[test]
fn signals_and_sizes() -> Result<()> {
    if skip(Needs::Terminal) {
        return Ok(());
    }
    let (_dir, daemon) = start(State::healthy(2))?;
    let screen = Screen::start(&daemon, "top")?;
    screen.shows("nodes", |text| text.contains("CLIENTS") && !text.contains("RECOV"))?;
    screen.run(&["resize-window", "-x", "60", "-y", "12"])?;
    screen.shows("narrow", |text| text.contains("STATE") && !text.contains("CLIENTS"))?;
    screen.run(&["resize-window", "-x", "5", "-y", "2"])?;
    screen.run(&["resize-window", "-x", "160", "-y", "30"])?;
    screen.shows("wide", |text| text.contains("RECOV"))?;
    screen.signal("-TERM")?;
    screen.ends_with(143)
}

#[test]
fn it_ends_with_its_terminal() -> Result<()> {
    if skip(Needs::Terminal) {
        return Ok(());
    }
    let (_dir, daemon) = start(State::healthy(1))?;
    let screen = Screen::start(&daemon, "top")?;
    screen.shows("nodes", |text| text.contains("1/1 nodes OK"))?;
    let pid = std::fs::read_to_string(screen.dir.path().join("pid"))?;
    let process = Path::new("/proc").join(pid.trim());
    screen.run(&["kill-server"])?;
    wait_for("its end", LIMIT, || Ok((!process.exists()).then_some(())))
}

#[test]
fn its_time_can_be_limited() -> Result<()> {
    if skip(Needs::Terminal) {
        return Ok(());
    }
    let (_dir, daemon) = start(State::healthy(1))?;
    let screen = Screen::start(&daemon, "-T 1 top")?;
    screen.ends_with(1)?;
    let said = std::fs::read_to_string(screen.dir.path().join("stderr"))?;
    ensure!(said == "Maximum runtime exceeded - exiting\n", "{said}");
    Ok(())
}

#[test]
fn a_terminal_is_needed() -> Result<()> {
    let (_dir, daemon) = start(State::healthy(1))?;
    for (arguments, said) in [
        (&["top"][..], "ctdb top needs a terminal\n"),
        (&["top", "never"], "Invalid interval never\n"),
        (&["top", "-n", "4"], "Node 4 does not exist\n"),
    ] {
        let output = Command::new(OURS).args(arguments).envs(daemon.env()).output()?;
        ensure!(output.status.code() == Some(1) && output.stdout.is_empty(), "{output:?}");
        ensure!(String::from_utf8_lossy(&output.stderr) == said, "{output:?}");
    }
    Ok(())
}
