// SPDX-License-Identifier: GPL-3.0-or-later
//! Becoming a daemon, PID file, signals and output, in processes of their own: this program runs itself as the
//! daemon that it tests. It has no test harness, since a daemon forks before it has threads.

use ctdb_host::logging::{Identity, Location};
use ctdb_host::pidfile::PidFile;
use ctdb_host::process::{daemonise, export_environment, watch_stdin};
use ctdb_host::signals::{Signal, Signals};
use ctdb_host::{child_output, logging, Level};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Output, Stdio};
use std::time::{Duration, Instant};

const DEADLINE: Duration = Duration::from_secs(20);

fn main() -> ExitCode {
    if let Some(dir) = std::env::var_os("DAEMON_UNDER_TEST") {
        return daemon(Path::new(&dir));
    }
    for (name, test) in [
        ("a daemon leaves its caller", leaves_its_caller as fn(&Path)),
        ("a second one is refused", second_is_refused),
        ("a failed start reaches the caller", failed_start),
        ("a test daemon ends with its standard input", ends_with_stdin),
        ("children have no blocked signals", children_get_signals),
    ] {
        let dir = tempfile::tempdir().unwrap();
        test(dir.path());
        println!("ok: {name}");
    }
    ExitCode::SUCCESS
}

/// What a daemon's main does with the modules under test.
fn daemon(dir: &Path) -> ExitCode {
    let test_mode = std::env::var_os("CTDB_TEST_MODE").is_some();
    let mut pid_file = match PidFile::lock(&dir.join("pid")) {
        Ok(file) => file,
        Err(e) => {
            eprintln!("{e}");
            return ExitCode::from(11);
        }
    };
    let paths = ctdb_host::Paths::below(dir);
    let location = format!("file:{}/log", dir.display());
    let parsed = Location::parse(&location).unwrap();
    logging::init(&parsed, Level(3), Identity { app: "ctdbd".into(), host: "vm".into() }).unwrap();
    export_environment(&paths, &location, Level(3), false);
    let caller = daemonise(test_mode).unwrap();
    let mut signals = Signals::take_over().unwrap();
    pid_file.record().unwrap();
    if let Some(code) = std::env::var("FAIL_WITH").ok().and_then(|c| c.parse().ok()) {
        drop(pid_file);
        caller.release(code);
        return ExitCode::SUCCESS;
    }
    assert!(daemonise_again_is_refused());
    child_output::redirect_to_log(Level(1)).unwrap();
    if test_mode {
        watch_stdin(|| std::process::exit(32)).unwrap();
    }
    caller.release(0);
    Command::new("/bin/sh")
        .args(["-c", "echo from a child $CTDB_DEBUGLEVEL $CTDB_LOGGING >&2"])
        .status()
        .unwrap();
    let mut sleeper = Command::new("/bin/sleep").arg("60").spawn().unwrap();
    std::fs::write(dir.join("sleeper"), sleeper.id().to_string()).unwrap();
    loop {
        match signals.try_next().unwrap() {
            Some(Signal::Hangup) => logging::reopen(),
            Some(signal) => {
                log::error!("signal {}", signal.number());
                let _ = sleeper.kill();
                let _ = sleeper.wait();
                drop(pid_file);
                return ExitCode::SUCCESS;
            }
            None => std::thread::sleep(Duration::from_millis(5)),
        }
    }
}

fn daemonise_again_is_refused() -> bool {
    let holder = std::thread::spawn(std::thread::park);
    let refused = daemonise(true).is_err();
    holder.thread().unpark();
    holder.join().unwrap();
    refused
}

fn start(dir: &Path, environment: &[(&str, &str)], stdin: Stdio) -> std::process::Child {
    Command::new(std::env::current_exe().unwrap())
        .env("DAEMON_UNDER_TEST", dir)
        .env_remove("CTDB_TEST_MODE")
        .env_remove("CTDB_BASE")
        .envs(environment.iter().copied())
        .stdin(stdin)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

fn run(dir: &Path, environment: &[(&str, &str)]) -> Output {
    start(dir, environment, Stdio::null()).wait_with_output().unwrap()
}

/// Whether a process has ended. Orphans may stay zombies until init collects them.
fn is_gone(pid: impl std::fmt::Display) -> bool {
    match std::fs::read_to_string(format!("/proc/{pid}/stat")) {
        Ok(stat) => stat.rsplit_once(") ").is_some_and(|(_, rest)| rest.starts_with('Z')),
        Err(_) => true,
    }
}

fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + DEADLINE;
    while !condition() {
        assert!(Instant::now() < deadline, "{what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn pid_in(path: PathBuf) -> i32 {
    let mut pid = None;
    eventually("the PID is written", || {
        pid = std::fs::read_to_string(&path).ok().and_then(|text| text.trim().parse().ok());
        pid.is_some()
    });
    pid.unwrap()
}

fn signal(pid: i32, signal: &str) {
    let status = Command::new("/bin/kill").args([signal, &pid.to_string()]).status().unwrap();
    assert!(status.success());
}

fn end(dir: &Path) {
    let pid = pid_in(dir.join("pid"));
    signal(pid, "-TERM");
    eventually("SIGTERM removes the PID file", || !dir.join("pid").exists());
    eventually("the process ends", || is_gone(pid));
}

/// Fields of /proc/PID/stat after the name: state, ppid, pgrp, session.
fn stat(pid: i32) -> Vec<i32> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let fields = text.rsplit_once(") ").unwrap().1;
    fields.split(' ').skip(1).take(3).map(|f| f.parse().unwrap()).collect()
}

fn leaves_its_caller(dir: &Path) {
    // The output ends although the daemon lives: it has let go of it.
    let output = run(dir, &[]);
    assert!(output.status.success(), "{output:?}");
    let pid = pid_in(dir.join("pid"));
    let session = stat(pid)[2];
    assert_ne!(session, stat(std::process::id() as i32)[2]);
    assert_ne!(session, pid, "not a session leader");
    for fd in [0, 1] {
        let target = std::fs::read_link(format!("/proc/{pid}/fd/{fd}")).unwrap();
        if fd == 0 {
            assert_eq!(target, Path::new("/dev/null"));
        } else {
            assert!(target.to_string_lossy().starts_with("pipe:"));
        }
    }
    let log = dir.join("log");
    let line = format!(" vm ctdbd[{pid}]: from a child NOTICE file:{}\n", log.display());
    eventually("children's output is logged", || {
        std::fs::read_to_string(&log).unwrap().contains(&line)
    });
    std::fs::rename(&log, dir.join("log.1")).unwrap();
    signal(pid, "-HUP");
    eventually("SIGHUP reopens the log", || {
        std::fs::read_to_string(&log).is_ok_and(|l| l.contains(": Reopened logs\n"))
    });
    signal(pid, "-USR1");
    end(dir);
    assert!(std::fs::read_to_string(&log).unwrap().contains(": signal 15\n"));
}

fn second_is_refused(dir: &Path) {
    assert!(run(dir, &[]).status.success());
    let pid = pid_in(dir.join("pid"));
    let second = run(dir, &[]);
    assert_eq!(second.status.code(), Some(11));
    assert_eq!(
        String::from_utf8_lossy(&second.stderr),
        format!(
            "Failed to create PID file {}: already running with PID {pid}\n",
            dir.join("pid").display()
        )
    );
    // Killed without a chance to clean up: the file is a leftover.
    let sleeper = pid_in(dir.join("sleeper"));
    signal(pid, "-KILL");
    signal(sleeper, "-KILL");
    eventually("it is gone", || is_gone(pid));
    assert!(dir.join("pid").exists());
    assert!(run(dir, &[]).status.success());
    end(dir);
}

fn failed_start(dir: &Path) {
    assert_eq!(run(dir, &[("FAIL_WITH", "10")]).status.code(), Some(10));
    assert!(!dir.join("pid").exists());
}

fn ends_with_stdin(dir: &Path) {
    let environment = [("CTDB_TEST_MODE", "1"), ("CTDB_BASE", "/t")];
    let mut caller = start(dir, &environment, Stdio::piped());
    let mut stdin = caller.stdin.take().unwrap();
    assert!(caller.wait().unwrap().success());
    let pid = pid_in(dir.join("pid"));
    assert_eq!(stat(pid)[2], stat(std::process::id() as i32)[2], "the same session");
    stdin.write_all(b"ignored").unwrap();
    let sleeper = dir.join("sleeper");
    eventually("it runs", || sleeper.exists());
    drop(stdin);
    eventually("it ends", || is_gone(pid));
    signal(pid_in(sleeper), "-KILL");
}

fn children_get_signals(dir: &Path) {
    assert!(run(dir, &[]).status.success());
    let sleeper = dir.join("sleeper");
    eventually("it runs", || std::fs::read_to_string(&sleeper).is_ok_and(|s| !s.is_empty()));
    let pid = pid_in(sleeper);
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let blocked = status.lines().find_map(|l| l.strip_prefix("SigBlk:\t")).unwrap();
    assert_eq!(blocked, "0000000000000000");
    end(dir);
}
