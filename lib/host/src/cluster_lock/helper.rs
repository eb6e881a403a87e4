// SPDX-License-Identifier: GPL-3.0-or-later
//! One run of a helper program, from its start to its end (`spec/cluster.md 15.2`).

use super::{HelperCommand, LockNews, Notify};
use crate::sys::signal::{kill, poll, process_fd};
use crossbeam_channel::{bounded, Receiver, Sender};
use ctdb_engine::ports::LockEvent;
use std::io::Read;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// What a helper is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// Hold the lock.
    Take,
    /// See that it is held by somebody.
    Test,
}

/// What to do.
pub struct Plan {
    /// Marks the news about it.
    pub attempt: u64,
    /// The program.
    pub command: HelperCommand,
    /// Why.
    pub purpose: Purpose,
    /// Time for the answer.
    pub limit: Duration,
    /// Time from SIGTERM to SIGKILL.
    pub stop_limit: Duration,
    /// Where the news goes.
    pub notify: Notify,
    /// Its predecessor, which has to end first.
    pub previous: Option<Helper>,
}

/// A helper that was started. Dropping it stops the program.
#[derive(Debug)]
pub struct Helper {
    attempt: u64,
    /// Held while news is given away: after [`Helper::stop`] nothing is told any more.
    stopped: Arc<Mutex<bool>>,
    /// Closing it wakes the thread.
    wake: Option<UnixStream>,
    /// Disconnected once the program has ended.
    ended: Receiver<()>,
}

impl Helper {
    /// Starts a thread for `plan`.
    pub fn start(mut plan: Plan) -> Helper {
        if let Some(previous) = &mut plan.previous {
            previous.stop();
        }
        let stopped = Arc::new(Mutex::new(false));
        let (ended_sender, ended) = bounded(0);
        let attempt = plan.attempt;
        let teller = Teller {
            attempt,
            purpose: plan.purpose,
            stopped: Arc::clone(&stopped),
            notify: Arc::clone(&plan.notify),
            started: Instant::now(),
        };
        let wake = match UnixStream::pair() {
            Ok((ours, threads)) => {
                let run = Run { teller: teller.clone(), wake: threads, _ended: ended_sender };
                match spawn_thread(run, plan) {
                    Ok(()) => Some(ours),
                    Err(e) => {
                        teller.failed(&format!("no thread for it: {e}"));
                        None
                    }
                }
            }
            Err(e) => {
                teller.failed(&format!("no socket pair for it: {e}"));
                None
            }
        };
        Helper { attempt, stopped, wake, ended }
    }

    /// Tells the program to give the lock up. Nothing more is heard of it.
    pub fn stop(&mut self) {
        *self.stopped.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.wake = None;
    }

    /// Whether news of `attempt` is about this helper and it was not stopped.
    pub fn is_current(&self, attempt: u64) -> bool {
        self.attempt == attempt && !*self.stopped.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Helper {
    fn drop(&mut self) {
        self.stop();
    }
}

fn spawn_thread(run: Run, plan: Plan) -> std::io::Result<()> {
    std::thread::Builder::new().name("ctdb-lock".into()).spawn(move || run.run(plan)).map(|_| ())
}

/// Tells what happened, unless the helper was stopped.
#[derive(Clone)]
struct Teller {
    attempt: u64,
    purpose: Purpose,
    stopped: Arc<Mutex<bool>>,
    notify: Notify,
    started: Instant,
}

impl Teller {
    fn tell(&self, event: LockEvent) {
        let stopped = self.stopped.lock().unwrap_or_else(PoisonError::into_inner);
        if !*stopped {
            let elapsed = self.started.elapsed();
            (self.notify)(LockNews { attempt: self.attempt, event, elapsed });
        }
    }

    fn failed(&self, why: &str) {
        log::error!("Cluster lock helper failed: {why}");
        self.tell(LockEvent::Failed { test: self.purpose == Purpose::Test, timeout: false });
    }
}

/// What ended a wait.
enum Wait {
    /// The helper wrote a byte.
    Byte(u8),
    /// It closed its output or ended.
    Ended,
    /// The time is over.
    TimedOut,
    /// It is to be stopped.
    Stopped,
}

/// The thread of one helper.
struct Run {
    teller: Teller,
    wake: UnixStream,
    _ended: Sender<()>,
}

impl Run {
    fn run(mut self, plan: Plan) {
        if let Some(previous) = &plan.previous {
            // Its program is killed after the stop limit, so that this ends. A cancelled attempt starts nothing.
            let _ = previous.ended.recv_timeout(plan.stop_limit + plan.limit);
        }
        if *self.teller.stopped.lock().unwrap_or_else(PoisonError::into_inner) {
            return;
        }
        self.teller.started = Instant::now();
        let mut child = match Process::start(&plan.command) {
            Ok(child) => child,
            Err(e) => {
                let program = plan.command.program.display();
                self.teller.failed(&format!("cannot run {program}: {e}"));
                return;
            }
        };
        let answer = child.wait(&self.wake, Some(Instant::now() + plan.limit));
        self.react(plan.purpose, answer, &mut child);
        child.stop(plan.stop_limit);
    }

    /// Tells the answer and, if the lock is held now, watches it until it is lost or to be released.
    fn react(&self, purpose: Purpose, answer: Wait, child: &mut Process) {
        let test = purpose == Purpose::Test;
        match answer {
            Wait::Byte(b'0') if test => self.teller.tell(LockEvent::TestTaken),
            Wait::Byte(b'0') => {
                self.teller.tell(LockEvent::Taken);
                // Further output means nothing.
                loop {
                    match child.wait(&self.wake, None) {
                        Wait::Byte(_) | Wait::TimedOut => {}
                        Wait::Ended => return self.teller.tell(LockEvent::Lost),
                        Wait::Stopped => return,
                    }
                }
            }
            Wait::Byte(b'1') => self.teller.tell(LockEvent::Contended { test }),
            Wait::Byte(b'2') | Wait::TimedOut => {
                self.teller.tell(LockEvent::Failed { test, timeout: true });
            }
            Wait::Byte(_) | Wait::Ended => {
                self.teller.tell(LockEvent::Failed { test, timeout: false });
            }
            Wait::Stopped => {}
        }
    }
}

/// The running program.
struct Process {
    child: Child,
    output: ChildStdout,
    /// Readable once the program has ended, even if a child of its own keeps the output open: the lock is gone
    /// with the program.
    end: OwnedFd,
}

impl Process {
    fn start(command: &HelperCommand) -> std::io::Result<Process> {
        let mut child = Command::new(&command.program)
            .args(&command.arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()?;
        let parts = child.stdout.take().ok_or_else(|| std::io::Error::other("no pipe"));
        match parts.and_then(|output| Ok((output, process_fd(child.id())?))) {
            Ok((output, end)) => Ok(Process { child, output, end }),
            Err(e) => {
                let _ = child.kill();
                let _ = child.wait();
                Err(e)
            }
        }
    }

    /// Waits for the next byte or what comes first.
    fn wait(&mut self, wake: &UnixStream, deadline: Option<Instant>) -> Wait {
        loop {
            let left = deadline.map(|d| d.saturating_duration_since(Instant::now()));
            let fds = [wake.as_fd(), self.output.as_fd(), self.end.as_fd()];
            match poll(fds, left) {
                Ok([true, _, _]) => return Wait::Stopped,
                Ok([_, true, _]) => {
                    let mut byte = [0];
                    return match self.output.read(&mut byte) {
                        Ok(1) => Wait::Byte(byte[0]),
                        Ok(_) => Wait::Ended,
                        Err(e) if e.kind() == std::io::ErrorKind::Interrupted => continue,
                        Err(_) => Wait::Ended,
                    };
                }
                Ok([_, _, true]) => return Wait::Ended,
                Ok(_) if left.is_some_and(|l| l.is_zero()) => return Wait::TimedOut,
                Ok(_) => {}
                Err(e) => {
                    log::error!("Cannot wait for the cluster lock helper: {e}");
                    return Wait::Ended;
                }
            }
        }
    }

    /// SIGTERM, then after `limit` SIGKILL; collects the program.
    fn stop(mut self, limit: Duration) {
        // It was not waited for yet, so the id is still its own.
        let _ = kill(self.child.id(), libc::SIGTERM);
        let deadline = Instant::now() + limit;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            match poll([self.end.as_fd()], Some(left)) {
                Ok([true]) => break,
                Ok(_) if !left.is_zero() => {}
                _ => {
                    log::warn!("Cluster lock helper does not end, killing it");
                    let _ = self.child.kill();
                    break;
                }
            }
        }
        let _ = self.child.wait();
    }
}
