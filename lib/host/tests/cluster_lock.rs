// SPDX-License-Identifier: GPL-3.0-or-later
//! The daemon's side of the cluster lock against helper programs of every temper (`spec/cluster.md 15`).

use crossbeam_channel::{unbounded, Receiver, RecvTimeoutError};
use ctdb_engine::ports::{LockEvent, LockRequest};
use ctdb_host::cluster_lock::{ClusterLock, HelperCommand, Limits, LockNews};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

const DEADLINE: Duration = Duration::from_secs(20);

struct Fixture {
    dir: tempfile::TempDir,
    lock: ClusterLock,
    news: Receiver<LockNews>,
}

fn limits() -> Limits {
    Limits {
        take: Duration::from_secs(10),
        test: Duration::from_secs(10),
        stop: Duration::from_secs(10),
    }
}

impl Fixture {
    /// A helper that is a shell script; `$D` is a private directory.
    fn new(script: &str, limits: Limits) -> Fixture {
        let dir = tempfile::tempdir().unwrap();
        let script = format!("D={}\n{script}", dir.path().display());
        let command = HelperCommand {
            program: "/bin/sh".into(),
            arguments: vec!["-c".into(), script.into()],
        };
        let (sender, news) = unbounded();
        let notify = Arc::new(move |n| sender.send(n).unwrap_or_default());
        Fixture { dir, lock: ClusterLock::new(command, limits, notify), news }
    }

    fn next(&self) -> LockEvent {
        self.news.recv_timeout(DEADLINE).expect("news in time").event
    }

    fn quiet(&self) {
        assert_eq!(
            self.news.recv_timeout(Duration::from_millis(50)),
            Err(RecvTimeoutError::Timeout)
        );
    }

    fn file(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }
}

fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + DEADLINE;
    while !condition() {
        assert!(Instant::now() < deadline, "{what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_default()
}

fn answer(script: &str, request: LockRequest) -> LockEvent {
    let mut f = Fixture::new(script, limits());
    f.lock.request(request);
    f.next()
}

#[test]
fn answers_when_taking() {
    let failed = |timeout| LockEvent::Failed { test: false, timeout };
    for (script, event) in [
        ("printf 0; exec sleep 60", LockEvent::Taken),
        ("printf 1", LockEvent::Contended { test: false }),
        ("printf 2", failed(true)),
        ("printf 3; exec sleep 60", failed(false)),
        ("echo x", failed(false)),
        ("exit 0", failed(false)),
        ("exec >&-; exec sleep 60", failed(false)),
    ] {
        assert_eq!(answer(script, LockRequest::Take), event, "{script}");
    }
}

#[test]
fn answers_when_testing() {
    assert_eq!(answer("printf 0; exec sleep 60", LockRequest::Test), LockEvent::TestTaken);
    assert_eq!(answer("printf 1", LockRequest::Test), LockEvent::Contended { test: true });
    assert_eq!(
        answer("exit 1", LockRequest::Test),
        LockEvent::Failed { test: true, timeout: false }
    );
}

#[test]
fn a_helper_that_cannot_run_is_a_failure() {
    let (sender, news) = unbounded();
    let command = HelperCommand { program: "/nonexistent/helper".into(), arguments: vec![] };
    let mut lock =
        ClusterLock::new(command, limits(), Arc::new(move |n| sender.send(n).unwrap_or_default()));
    lock.request(LockRequest::Take);
    let event = news.recv_timeout(DEADLINE).unwrap().event;
    assert_eq!(event, LockEvent::Failed { test: false, timeout: false });
}

#[test]
fn a_helper_that_does_not_answer_is_stopped() {
    let limits =
        Limits { take: Duration::from_millis(50), test: Duration::from_millis(50), ..limits() };
    let mut f = Fixture::new(
        "trap 'echo x >$D/term; exit' TERM; while [ -e $D ]; do sleep 0.01; done",
        limits,
    );
    f.lock.request(LockRequest::Take);
    assert_eq!(f.next(), LockEvent::Failed { test: false, timeout: true });
    eventually("SIGTERM arrives", || f.file("term").exists());
    f.lock.request(LockRequest::Test);
    assert_eq!(f.next(), LockEvent::Failed { test: true, timeout: true });
}

#[test]
fn the_end_of_the_holder_is_the_loss_of_the_lock() {
    // Its own child keeps the output open: the end of the program counts.
    let mut f = Fixture::new("printf 0; sleep 5 & read x <$D/end", limits());
    let fifo = f.file("end");
    assert!(std::process::Command::new("mkfifo").arg(&fifo).status().unwrap().success());
    f.lock.request(LockRequest::Take);
    assert_eq!(f.next(), LockEvent::Taken);
    f.quiet();
    let start = Instant::now();
    std::fs::write(&fifo, "x\n").unwrap();
    assert_eq!(f.next(), LockEvent::Lost);
    assert!(start.elapsed() < Duration::from_secs(4), "noticed before its child ended");
}

#[test]
fn further_output_means_nothing() {
    let mut f = Fixture::new("printf 0; printf 000111; echo >$D/wrote; exec sleep 60", limits());
    f.lock.request(LockRequest::Take);
    assert_eq!(f.next(), LockEvent::Taken);
    eventually("it writes", || f.file("wrote").exists());
    f.quiet();
}

#[test]
fn release_stops_the_holder_without_news() {
    let mut f = Fixture::new(
        "trap 'echo x >$D/term; exit' TERM; printf 0; while [ -e $D ]; do sleep 0.01; done",
        limits(),
    );
    f.lock.request(LockRequest::Take);
    let taken = f.news.recv_timeout(DEADLINE).unwrap();
    assert_eq!(f.lock.accept(taken), Some(LockEvent::Taken));
    f.lock.request(LockRequest::Release);
    eventually("SIGTERM arrives", || f.file("term").exists());
    f.quiet();
    assert_eq!(f.lock.accept(taken), None, "old news is told from new");
}

#[test]
fn release_cancels_an_attempt() {
    let mut f = Fixture::new("echo $$ >>$D/pids; exec sleep 60", limits());
    f.lock.request(LockRequest::Take);
    let pids = f.file("pids");
    eventually("it starts", || read(&pids).ends_with('\n'));
    f.lock.request(LockRequest::Release);
    let process = format!("/proc/{}", read(&pids).trim());
    eventually("it ends and is collected", || !Path::new(&process).exists());
    f.quiet();
}

#[test]
fn a_new_attempt_waits_for_the_old_helper() {
    // mkdir is the lock: a second helper fails while the first is releasing.
    let script = "mkdir $D/lock 2>/dev/null || { printf 1; exit; }
        trap 'sleep 0.2; rmdir $D/lock; exit' TERM; printf 0; while [ -e $D ]; do sleep 0.01; done";
    let mut f = Fixture::new(script, limits());
    for _ in 0..3 {
        f.lock.request(LockRequest::Take);
        assert_eq!(f.next(), LockEvent::Taken);
        f.lock.request(LockRequest::Release);
    }
    // Without a release in between.
    f.lock.request(LockRequest::Take);
    assert_eq!(f.next(), LockEvent::Taken);
    f.lock.request(LockRequest::Take);
    assert_eq!(f.next(), LockEvent::Taken);
}

#[test]
fn a_helper_that_ignores_sigterm_is_killed() {
    let limits = Limits { stop: Duration::from_millis(50), ..limits() };
    let mut f = Fixture::new(
        "trap '' TERM; echo $$ >$D/pid; printf 0; while [ -e $D ]; do sleep 0.01; done",
        limits,
    );
    f.lock.request(LockRequest::Take);
    assert_eq!(f.next(), LockEvent::Taken);
    let process = format!("/proc/{}", read(&f.file("pid")).trim());
    f.lock.request(LockRequest::Release);
    eventually("it is killed", || !Path::new(&process).exists());
}

#[test]
fn dropping_the_lock_stops_the_holder() {
    let mut f = Fixture::new("echo $$ >$D/pid; printf 0; exec sleep 60", limits());
    f.lock.request(LockRequest::Take);
    assert_eq!(f.next(), LockEvent::Taken);
    let process = format!("/proc/{}", read(&f.file("pid")).trim());
    let Fixture { lock, dir: _dir, .. } = f;
    drop(lock);
    eventually("it ends", || !Path::new(&process).exists());
}

#[test]
fn testing_beside_a_holder_shows_contention() {
    let script = "mkdir $D/lock 2>/dev/null || { printf 1; exit; }
        trap 'rmdir $D/lock; exit' TERM; printf 0; while [ -e $D ]; do sleep 0.01; done";
    let mut f = Fixture::new(script, limits());
    f.lock.request(LockRequest::Take);
    assert_eq!(f.next(), LockEvent::Taken);
    f.lock.request(LockRequest::Test);
    assert_eq!(f.next(), LockEvent::Contended { test: true });
    f.lock.request(LockRequest::Release);
    eventually("it is released", || !f.file("lock").exists());
    f.lock.request(LockRequest::Test);
    assert_eq!(f.next(), LockEvent::TestTaken);
    eventually("a test keeps nothing", || !f.file("lock").exists());
}
