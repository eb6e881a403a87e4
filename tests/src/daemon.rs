// SPDX-License-Identifier: GPL-3.0-or-later
//! A long-running program in the foreground, started and ended by its process id.

use std::fs::OpenOptions;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{bail, Context, Result};
use nix::sys::signal::{kill, Signal};
use nix::unistd::Pid;

use crate::wait::wait_for;

/// A started program. It is killed when the value goes, and by the kernel when the *thread* that
/// started it ends, so that even a killed test run leaves nothing running.
#[derive(Debug)]
pub struct Daemon {
    child: Child,
    name: String,
    log: PathBuf,
}

impl Daemon {
    /// Starts `program` with its output appended to `log`.
    pub fn start(
        program: &Path,
        args: &[&str],
        env: &[(String, String)],
        directory: &Path,
        log: &Path,
    ) -> Result<Daemon> {
        let out = OpenOptions::new().create(true).append(true).open(log)?;
        let child = Command::new("setpriv")
            .args(["--pdeathsig", "KILL", "--"])
            .arg(program)
            .args(args)
            .envs(env.iter().cloned())
            .current_dir(directory)
            .process_group(0)
            .stdin(Stdio::null())
            .stdout(out.try_clone()?)
            .stderr(out)
            .spawn()
            .with_context(|| program.display().to_string())?;
        Ok(Daemon { child, name: program.display().to_string(), log: log.to_path_buf() })
    }

    /// Its process id.
    pub fn pid(&self) -> i32 {
        self.child.id() as i32
    }

    /// How it ended, if it has.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().ok().flatten()
    }

    /// An error with the end of its log if it no longer runs.
    pub fn check(&mut self) -> Result<()> {
        if let Some(status) = self.ended() {
            bail!("{} ended ({status}); end of its log:\n{}", self.name, self.log_tail());
        }
        Ok(())
    }

    /// Sends a signal.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        Ok(kill(Pid::from_raw(self.pid()), signal)?)
    }

    /// Waits until it has ended by itself.
    pub fn wait(&mut self, limit: Duration) -> Result<ExitStatus> {
        let what = format!("{} ends", self.name);
        wait_for(&what, limit, || Ok(self.child.try_wait()?))
    }

    /// Kills it and all its descendants with SIGKILL, as when their machine loses power.
    pub fn kill_tree(&mut self) -> Result<()> {
        let tree = descendants(self.pid());
        let _ = self.child.kill();
        for pid in tree {
            let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
        }
        self.child.wait()?;
        Ok(())
    }

    /// The last lines of what it printed.
    pub fn log_tail(&self) -> String {
        let bytes = std::fs::read(&self.log).unwrap_or_default();
        let text = String::from_utf8_lossy(&bytes);
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(30)..].join("\n")
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if self.ended().is_none() {
            let _ = self.kill_tree();
        }
    }
}

fn descendants(pid: i32) -> Vec<i32> {
    let mut found = Vec::new();
    let Ok(tasks) = std::fs::read_dir(format!("/proc/{pid}/task")) else { return found };
    for task in tasks.flatten() {
        let children = std::fs::read_to_string(task.path().join("children")).unwrap_or_default();
        for child in children.split_whitespace().filter_map(|c| c.parse().ok()) {
            found.push(child);
            found.extend(descendants(child));
        }
    }
    found
}
