// SPDX-License-Identifier: GPL-3.0-or-later
//! Running the jobs of all nodes, in turn or at once (spec/tool.md 17.5).

use crate::job::{Job, Step};
use nix::sys::signal::{kill, Signal};
use nix::unistd::Pid;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use std::collections::BTreeSet;
use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};

/// What a shell says when there is no such program, or when it cannot be run.
const NOT_FOUND: i32 = 127;
const NOT_RUNNABLE: i32 = 126;

/// Runs the jobs one after the other with our input and output. The exit code is that of the last that failed.
pub(crate) fn in_turn(jobs: impl Iterator<Item = Job>, verbose: bool) -> i32 {
    let mut code = 0;
    for job in jobs {
        if verbose {
            complain(&format!("\n>> NODE: {} <<", job.address));
        }
        for step in &job.steps {
            if verbose {
                announce(step, "");
            }
            let status = command(step).spawn().and_then(|mut child| child.wait());
            code = last_failure(code, exit_code(step, status));
        }
    }
    code
}

/// Runs all jobs at once, without input. With `prefixed`, each line tells its node.
pub(crate) fn in_parallel(jobs: Vec<Job>, prefixed: bool) -> i32 {
    let children = Children::default();
    children.end_with_us();
    let run = |job: Job| {
        let children = children.clone();
        std::thread::spawn(move || {
            let mut code = 0;
            for step in &job.steps {
                let status = if prefixed {
                    let prefix = format!("[{}] ", job.address);
                    announce(step, &prefix);
                    children.run(&mut merged(step), |line| print_line(&prefix, line))
                } else {
                    children.run(command(step).stdin(Stdio::null()), |_| {})
                };
                code = last_failure(code, exit_code(step, status));
            }
            code
        })
    };
    let threads: Vec<_> = jobs.into_iter().map(run).collect();
    let codes = threads.into_iter().map(|thread| thread.join().unwrap_or(1));
    let code = codes.fold(0, last_failure);
    children.signal().map_or(code, |signal| 128 + signal)
}

fn last_failure(code: i32, next: i32) -> i32 {
    if next == 0 {
        code
    } else {
        next
    }
}

fn announce(step: &Step, prefix: &str) {
    if let Some(text) = &step.announcement {
        print_line(prefix, text.as_bytes());
    }
}

/// A whole line at once, so that those of several nodes do not mix.
fn print_line(prefix: &str, line: &[u8]) {
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    let whole = [prefix.as_bytes(), line, b"\n"].concat();
    let mut stdout = io::stdout().lock();
    let _ = stdout.write_all(&whole).and_then(|()| stdout.flush());
}

fn complain(text: &str) {
    let _ = writeln!(io::stderr(), "{text}");
}

fn command(step: &Step) -> Command {
    let mut words = step.words.iter();
    let mut command = Command::new(words.next().map_or("ssh".as_ref(), |word| word.as_os_str()));
    command.args(words);
    if let Some(rsh) = &step.rsync_rsh {
        command.env("RSYNC_RSH", rsh);
    }
    command
}

/// The command with one pipe for all it prints: a shell joins them.
fn merged(step: &Step) -> Command {
    let mut command = Command::new("sh");
    command.args(["-c", "exec \"$@\" 2>&1", "onnode"]).args(&step.words);
    if let Some(rsh) = &step.rsync_rsh {
        command.env("RSYNC_RSH", rsh);
    }
    command.stdin(Stdio::null()).stdout(Stdio::piped());
    command
}

fn exit_code(step: &Step, status: io::Result<ExitStatus>) -> i32 {
    match status {
        Ok(status) => status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or_default()),
        Err(error) => {
            let program = step.words.first().map_or("ssh".into(), |w| w.to_string_lossy());
            if error.kind() == io::ErrorKind::NotFound {
                complain(&format!("onnode: {program}: command not found"));
                return NOT_FOUND;
            }
            complain(&format!("onnode: {program}: {error}"));
            NOT_RUNNABLE
        }
    }
}

/// Children that run now, and the signal that ended it all.
#[derive(Debug, Clone, Default)]
struct Children {
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    running: BTreeSet<u32>,
    ended_by: Option<i32>,
}

impl Children {
    /// Runs one to its end; each line that it prints into a pipe goes to `take`.
    fn run(&self, command: &mut Command, take: impl Fn(&[u8])) -> io::Result<ExitStatus> {
        let mut child = self.start(command)?;
        if let Some(output) = child.stdout.take() {
            let mut output = BufReader::new(output);
            let mut line = Vec::new();
            while output.read_until(b'\n', &mut line)? > 0 {
                take(&line);
                line.clear();
            }
        }
        let status = child.wait();
        self.with(|state| state.running.remove(&child.id()));
        status
    }

    fn start(&self, command: &mut Command) -> io::Result<Child> {
        self.with(|state| {
            if state.ended_by.is_some() {
                return Err(io::ErrorKind::Interrupted.into());
            }
            let child = command.spawn()?;
            state.running.insert(child.id());
            Ok(child)
        })
    }

    /// SIGINT and SIGTERM go on to the children, as SIGTERM.
    fn end_with_us(&self) {
        let Ok(mut signals) = Signals::new([SIGINT, SIGTERM]) else { return };
        let children = self.clone();
        std::thread::spawn(move || {
            for signal in signals.forever() {
                children.terminate(signal);
            }
        });
    }

    fn terminate(&self, signal: i32) {
        self.with(|state| {
            state.ended_by = Some(signal);
            for pid in &state.running {
                if let Ok(pid) = i32::try_from(*pid) {
                    // It may have ended by itself.
                    let _ = kill(Pid::from_raw(pid), Signal::SIGTERM);
                }
            }
        });
    }

    fn signal(&self) -> Option<i32> {
        self.with(|state| state.ended_by)
    }

    fn with<T>(&self, act: impl FnOnce(&mut State) -> T) -> T {
        act(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
