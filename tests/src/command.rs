// SPDX-License-Identifier: GPL-3.0-or-later
//! Running a client program to its end, within a time limit.

use std::fmt;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{bail, Context, Result};

/// What a finished program printed and returned.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// The command line, for messages.
    pub command: String,
    /// Exit code; `None` when a signal or the time limit ended it.
    pub code: Option<i32>,
    /// Whether the time limit ended it.
    pub timed_out: bool,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

impl Outcome {
    /// Exit code 0.
    pub fn success(&self) -> bool {
        self.code == Some(0)
    }

    /// The outcome itself if the program succeeded, else an error that shows all it printed.
    pub fn ok(self) -> Result<Self> {
        if !self.success() {
            bail!("{self}");
        }
        Ok(self)
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ending = match (self.timed_out, self.code) {
            (true, _) => "ran past its time limit".to_string(),
            (_, Some(code)) => format!("exit code {code}"),
            (_, None) => "ended by a signal".to_string(),
        };
        write!(f, "{}: {ending}\n{}{}", self.command, self.stdout, self.stderr)
    }
}

/// Runs `command` to its end or to the end of `limit`, when it is killed.
///
/// Output goes through unnamed files, not pipes: a program may leave children behind that keep its
/// output open, and nobody should wait for those.
pub fn run(command: &mut Command, limit: Duration) -> Result<Outcome> {
    run_with_input(command, b"", limit)
}

/// [`run`] with something to read on standard input.
pub fn run_with_input(command: &mut Command, input: &[u8], limit: Duration) -> Result<Outcome> {
    let line = describe(command);
    let mut out = tempfile::tempfile()?;
    let mut err = tempfile::tempfile()?;
    let mut given = tempfile::tempfile()?;
    given.write_all(input)?;
    given.seek(SeekFrom::Start(0))?;
    command.stdin(given).stdout(out.try_clone()?).stderr(err.try_clone()?);
    let mut child = command.spawn().with_context(|| line.clone())?;
    let started = Instant::now();
    let mut pause = Duration::from_millis(1);
    let mut timed_out = false;
    let status = loop {
        if let Some(status) = child.try_wait()? {
            break status;
        }
        if started.elapsed() > limit {
            timed_out = true;
            child.kill()?;
            break child.wait()?;
        }
        std::thread::sleep(pause);
        pause = (pause * 2).min(Duration::from_millis(20));
    };
    Ok(Outcome {
        command: line,
        code: if timed_out { None } else { status.code() },
        timed_out,
        stdout: content(&mut out)?,
        stderr: content(&mut err)?,
    })
}

/// [`run`], where anything but exit code 0 is an error.
pub fn run_ok(command: &mut Command, limit: Duration) -> Result<Outcome> {
    run(command, limit)?.ok()
}

fn describe(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words.map(|w| w.to_string_lossy()).collect::<Vec<_>>().join(" ")
}

fn content(file: &mut File) -> Result<String> {
    let mut bytes = Vec::new();
    file.seek(SeekFrom::Start(0))?;
    file.read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kills_what_runs_too_long() {
        let mut cmd = Command::new("sleep");
        let got = run(cmd.arg("60"), Duration::from_millis(50)).unwrap();
        assert!(got.timed_out && !got.success());
    }

    #[test]
    fn shows_output_and_code_of_a_failure() {
        let mut cmd = Command::new("sh");
        let got =
            run_ok(cmd.args(["-c", "echo one; echo two >&2; exit 3"]), Duration::from_secs(5));
        let text = got.unwrap_err().to_string();
        assert!(text.contains("exit code 3") && text.contains("one") && text.contains("two"));
    }
}
