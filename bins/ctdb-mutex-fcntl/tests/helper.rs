// SPDX-License-Identifier: GPL-3.0-or-later
//! The helper as a program, alone and beside the existing helper where that is installed.

use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const OURS: &str = env!("CARGO_BIN_EXE_ctdb-mutex-fcntl");
const EXISTING: &str = "/usr/libexec/ctdb/ctdb_mutex_fcntl_helper";
const DEADLINE: Duration = Duration::from_secs(20);

/// A running helper; killed at the end of the test.
struct Helper {
    child: Child,
    answer: u8,
}

impl Helper {
    fn start(program: &str, file: &Path, more: &[&str]) -> Helper {
        let mut child = Command::new(program)
            .arg(file)
            .args(more)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut answer = [0];
        child.stdout.as_mut().unwrap().read_exact(&mut answer).unwrap();
        Helper { child, answer: answer[0] }
    }

    fn signal(&self, signal: &str) {
        signal_to(self.child.id(), signal);
    }

    /// Its words, once it has ended.
    fn end(mut self) -> String {
        let mut words = String::new();
        self.child.stderr.take().unwrap().read_to_string(&mut words).unwrap();
        self.child.wait().unwrap();
        words
    }
}

impl Drop for Helper {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn signal_to(pid: u32, signal: &str) {
    let status = Command::new("/bin/kill").args([signal, &pid.to_string()]).status().unwrap();
    assert!(status.success());
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

fn lock_file() -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("lock");
    (dir, file)
}

/// Whether somebody holds the lock, as a third party sees it.
fn is_held(file: &Path) -> bool {
    Helper::start(OURS, file, &[]).answer == b'1'
}

fn plain(words: &str, file: &Path) -> String {
    words.replace(&file.display().to_string(), "F").replace("ctdb-mutex-fcntl", "P")
}

fn output(arguments: &[&str]) -> (Option<i32>, String, String) {
    let output = Command::new(OURS).args(arguments).stdin(Stdio::null()).output().unwrap();
    (
        output.status.code(),
        String::from_utf8(output.stdout).unwrap(),
        String::from_utf8(output.stderr).unwrap(),
    )
}

#[test]
fn bad_command_lines() {
    let usage = "Usage: ctdb-mutex-fcntl <file> [recheck_interval [ping_timeout]]\n";
    for bad in [&[][..], &["f", "5x"], &["f", "1", "x"], &["f", "1", "2", "3"]] {
        assert_eq!(output(bad), (Some(1), String::new(), usage.into()), "{bad:?}");
    }
}

#[test]
fn files_that_cannot_be_opened() {
    assert_eq!(
        output(&["/nonexistent/x"]),
        (
            Some(0),
            "3".into(),
            "ctdb-mutex-fcntl: Unable to open /nonexistent/x - (No such file or directory)\n"
                .into()
        )
    );
    assert_eq!(
        output(&["/tmp"]),
        (Some(0), "3".into(), "ctdb-mutex-fcntl: Unable to open /tmp - (Is a directory)\n".into())
    );
}

#[test]
fn one_holder_at_a_time() {
    let (_dir, file) = lock_file();
    let first = Helper::start(OURS, &file, &[]);
    assert_eq!(first.answer, b'0');
    let second = Helper::start(OURS, &file, &[]);
    assert_eq!(second.answer, b'1');
    assert_eq!(second.end(), "");
    first.signal("-TERM");
    assert_eq!(first.end(), "");
    assert!(!is_held(&file));
    use std::os::unix::fs::PermissionsExt;
    assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
}

#[test]
fn excludes_the_existing_helper_both_ways() {
    if !Path::new(EXISTING).exists() {
        eprintln!("skipped: no {EXISTING}");
        return;
    }
    let (_dir, file) = lock_file();
    for (holder, other) in [(OURS, EXISTING), (EXISTING, OURS)] {
        let first = Helper::start(holder, &file, &[]);
        assert_eq!(first.answer, b'0', "{holder} takes it");
        for _ in 0..3 {
            assert_eq!(Helper::start(other, &file, &[]).answer, b'1', "{other} finds it taken");
        }
        first.signal("-TERM");
        let pid = first.child.id();
        drop(first);
        assert!(is_gone(pid));
        let second = Helper::start(other, &file, &[]);
        assert_eq!(second.answer, b'0', "{other} takes it over");
    }
}

/// Starts a helper as the child of a shell that then waits; the shell's and the helper's ids.
fn with_parent(file: &Path, redirection: &str) -> (Child, u32) {
    let script = format!("{OURS} {} {redirection} & echo $! >&2; wait", file.display());
    let mut shell = Command::new("/bin/sh")
        .args(["-c", &script])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(shell.stderr.take().unwrap()).read_line(&mut line).unwrap();
    (shell, line.trim().parse().unwrap())
}

#[test]
fn notices_the_end_of_its_parent_at_once() {
    let (_dir, file) = lock_file();
    // The reader of its output lives on: the parent's process counts.
    let (mut shell, helper) = with_parent(&file, "");
    let mut answer = [0];
    let mut pipe = shell.stdout.take().unwrap();
    pipe.read_exact(&mut answer).unwrap();
    assert_eq!(answer, *b"0");
    let killed = Instant::now();
    shell.kill().unwrap();
    shell.wait().unwrap();
    eventually("it ends", || is_gone(helper));
    assert!(killed.elapsed() < Duration::from_secs(2), "{:?}", killed.elapsed());
    assert!(!is_held(&file));
    drop(pipe);
}

#[test]
fn notices_that_nobody_reads_its_answer() {
    let (_dir, file) = lock_file();
    let mut helper = Helper::start(OURS, &file, &[]);
    let closed = Instant::now();
    drop(helper.child.stdout.take());
    assert_eq!(helper.end(), "ctdb-mutex-fcntl: parent gone\n");
    assert!(closed.elapsed() < Duration::from_secs(2), "{:?}", closed.elapsed());
    assert!(!is_held(&file));
}

#[test]
fn holds_on_where_the_output_is_a_file() {
    let (dir, file) = lock_file();
    let answer = dir.path().join("answer");
    let (mut shell, helper) = with_parent(&file, &format!(">{}", answer.display()));
    eventually("it answers", || std::fs::read(&answer).is_ok_and(|a| a == b"0"));
    assert!(is_held(&file));
    shell.kill().unwrap();
    shell.wait().unwrap();
    eventually("it ends", || is_gone(helper));
}

#[test]
fn notices_that_the_file_was_removed() {
    let (_dir, file) = lock_file();
    let helper = Helper::start(OURS, &file, &["1"]);
    std::fs::remove_file(&file).unwrap();
    let words = plain(&helper.end(), &file);
    assert_eq!(words, "P: lock lost - lock file \"F\" open failed (ret=2)\n");
}

#[test]
fn notices_that_the_file_was_replaced() {
    let (dir, file) = lock_file();
    let helper = Helper::start(OURS, &file, &["1"]);
    let new = dir.path().join("new");
    std::fs::write(&new, "").unwrap();
    std::fs::rename(&new, &file).unwrap();
    let words = plain(&helper.end(), &file);
    assert_eq!(words, "P: lock lost - lock file \"F\" inode changed\n");
}

#[test]
fn rechecking_does_not_lose_the_lock() {
    let (_dir, file) = lock_file();
    let helper = Helper::start(OURS, &file, &["1"]);
    // The test lock is there for an instant in every round; see at least two rounds.
    let child = children(helper.child.id());
    let before = switches(child);
    eventually("it rechecks", || switches(child) >= before + 2);
    assert!(is_held(&file));
    helper.signal("-TERM");
    assert_eq!(helper.end(), "");
    eventually("its child ends too", || is_gone(child));
}

#[test]
fn a_hung_test_child_is_a_lost_lock() {
    let (_dir, file) = lock_file();
    let helper = Helper::start(OURS, &file, &["1", "1"]);
    let child = children(helper.child.id());
    signal_to(child, "-STOP");
    assert_eq!(plain(&helper.end(), &file), "P: ping timeout from lock test child\n");
    assert!(!is_held(&file));
}

#[test]
fn the_end_of_the_test_child_is_a_lost_lock() {
    let (_dir, file) = lock_file();
    let helper = Helper::start(OURS, &file, &[]);
    signal_to(children(helper.child.id()), "-KILL");
    assert_eq!(helper.end(), "");
    assert!(!is_held(&file));
}

#[test]
fn sigterm_works_though_the_caller_ignores_it() {
    let (_dir, file) = lock_file();
    let script = format!("trap '' TERM; exec {OURS} {} 0", file.display());
    let mut child =
        Command::new("/bin/sh").args(["-c", &script]).stdout(Stdio::piped()).spawn().unwrap();
    let mut answer = [0];
    child.stdout.as_mut().unwrap().read_exact(&mut answer).unwrap();
    signal_to(child.id(), "-TERM");
    assert!(!child.wait().unwrap().success());
}

/// The one child of a process.
fn children(pid: u32) -> u32 {
    let path = format!("/proc/{pid}/task/{pid}/children");
    let mut child = None;
    eventually("it has a child", || {
        child = std::fs::read_to_string(&path).ok().and_then(|c| c.trim().parse().ok());
        child.is_some()
    });
    child.unwrap()
}

/// How often a process has gone to sleep.
fn switches(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|l| l.strip_prefix("voluntary_ctxt_switches:")).unwrap();
    line.trim().parse().unwrap()
}
