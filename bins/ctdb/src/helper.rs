// SPDX-License-Identifier: GPL-3.0-or-later
//! Running a helper program in the tool's place (spec/tool.md 2.10). It ends with the tool when the
//! tool's time is over.

use std::ffi::OsStr;
use std::io;
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus};
use std::sync::{Mutex, MutexGuard, PoisonError};

use ctdb_host::Paths;
use nix::sys::signal::{kill, Signal};
use nix::sys::wait::{waitid, Id, WaitPidFlag};
use nix::unistd::Pid;

use crate::exit::{Done, Exit, FAILED};

/// Exit statuses from here on, but for 255, say why a program could not be run.
const EXEC_FAILED: i32 = 64;
/// Result when a signal has ended the program.
const ENDED_BY_SIGNAL: Exit = Exit::Code(4);

/// A helper program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Helper {
    Event,
    Lvs,
    Natgw,
}

impl Helper {
    /// How messages call it.
    fn description(self) -> &'static str {
        match self {
            Helper::Event => "event daemon helper",
            Helper::Lvs => "LVS helper",
            Helper::Natgw => "NAT gateway helper",
        }
    }

    /// The variable that names another program instead, as in 4.17.
    fn variable(self) -> &'static str {
        match self {
            Helper::Event => "CTDB_EVENT_HELPER",
            Helper::Lvs => "CTDB_LVS_HELPER",
            Helper::Natgw => "CTDB_NATGW_HELPER",
        }
    }

    /// Existing name and its other spelling.
    fn names(self) -> [&'static str; 2] {
        match self {
            Helper::Event => ["ctdb-event", "ctdb_event"],
            Helper::Lvs => ["ctdb_lvs", "ctdb-lvs"],
            Helper::Natgw => ["ctdb_natgw", "ctdb-natgw"],
        }
    }

    fn path(self) -> Result<PathBuf, Exit> {
        if let Some(path) = std::env::var_os(self.variable()).filter(|path| !path.is_empty()) {
            return Ok(path.into());
        }
        let paths = Paths::from_env().map_err(|e| {
            errln!("{e}");
            errln!("Unable to set {}", self.description());
            FAILED
        })?;
        Ok(paths.helper(self.names()))
    }

    /// Runs it with the tool's input, output and environment, and ends as it does.
    pub(crate) fn run(self, arguments: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Done {
        let mut command = Command::new(self.path()?);
        command.args(arguments);
        match run(&mut command) {
            Ok(status) => self.result(status),
            Err(e) => Err(self.failed(e.raw_os_error().unwrap_or(1))),
        }
    }

    fn result(self, status: ExitStatus) -> Done {
        if let Some(signal) = status.signal() {
            errln!("{} terminated with signal {signal}", self.description());
            return Err(ENDED_BY_SIGNAL);
        }
        match status.code() {
            Some(0) => Ok(()),
            Some(code) if (EXEC_FAILED..255).contains(&code) => {
                Err(self.failed(code - EXEC_FAILED))
            }
            code => Err(Exit::Code(code.unwrap_or(1))),
        }
    }

    fn failed(self, errno: i32) -> Exit {
        errln!("{} failed with error {errno}", self.description());
        Exit::Code(errno)
    }
}

/// The program that runs. It is reaped under this lock only, so that its number is its own as long
/// as it is here.
static RUNNING: Mutex<Option<Child>> = Mutex::new(None);

fn running() -> MutexGuard<'static, Option<Child>> {
    RUNNING.lock().unwrap_or_else(PoisonError::into_inner)
}

fn run(command: &mut Command) -> io::Result<ExitStatus> {
    let pid = {
        let mut running = running();
        let child = command.spawn()?;
        let pid = Pid::from_raw(child.id() as i32);
        *running = Some(child);
        pid
    };
    // ends when the program has, and leaves it to be reaped
    while waitid(Id::Pid(pid), WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT)
        == Err(nix::errno::Errno::EINTR)
    {}
    match running().take() {
        Some(mut child) => child.wait(),
        // the time is over, and whoever ended the program ends this one
        None => loop {
            std::thread::park();
        },
    }
}

/// Asks a program that still runs to end. Nobody waits for it any more: the caller ends this process.
pub(crate) fn terminate() {
    if let Some(child) = running().take() {
        let _ = kill(Pid::from_raw(child.id() as i32), Signal::SIGTERM);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn result(script: &str) -> Done {
        let status = run(Command::new("sh").args(["-c", script])).unwrap();
        Helper::Lvs.result(status)
    }

    #[test]
    fn statuses_are_results_or_errors_of_starting() {
        assert_eq!(result("exit 0"), Ok(()));
        assert_eq!(result("exit 63"), Err(Exit::Code(63)));
        assert_eq!(result("exit 66"), Err(Exit::Code(2)));
        assert_eq!(result("exit 255"), Err(Exit::Code(255)));
        assert_eq!(result("kill -9 $$"), Err(ENDED_BY_SIGNAL));
        assert!(running().is_none());
    }
}
