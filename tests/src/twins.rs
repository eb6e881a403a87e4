// SPDX-License-Identifier: GPL-3.0-or-later
//! One of our programs and the existing one of the same name, run alike: what they print, what they complain about
//! and how they exit has to be the same.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{ensure, Result};

use crate::command::{run_with_input, Outcome};

const LIMIT: Duration = Duration::from_secs(30);

/// Sets up a command: environment, directory.
type Setting = Box<dyn Fn(&mut Command)>;

/// The two programs, and how they differed so far.
pub struct Twins {
    ours: PathBuf,
    theirs: PathBuf,
    setting: Setting,
    mask: fn(&str) -> String,
    runs: usize,
    differences: Vec<String>,
}

impl Twins {
    /// Ours and theirs; each run is set up by `setting`.
    pub fn new(
        ours: impl AsRef<Path>,
        theirs: impl AsRef<Path>,
        setting: impl Fn(&mut Command) + 'static,
    ) -> Twins {
        Twins {
            ours: ours.as_ref().into(),
            theirs: theirs.as_ref().into(),
            setting: Box::new(setting),
            mask: str::to_owned,
            runs: 0,
            differences: Vec::new(),
        }
    }

    /// Texts are compared as `mask` leaves them.
    pub fn masked(self, mask: fn(&str) -> String) -> Twins {
        Twins { mask, ..self }
    }

    /// Runs one of them.
    pub fn run(&self, ours: bool, args: &[&str], input: &str) -> Result<Outcome> {
        let program = if ours { &self.ours } else { &self.theirs };
        let mut command = Command::new(program);
        (self.setting)(&mut command);
        let outcome = run_with_input(command.args(args), input.as_bytes(), LIMIT)?;
        // Usage texts and complaints may name the program by its path.
        let path = program.display().to_string();
        let text = |text: &str| (self.mask)(&text.replace(&path, "PROGRAM"));
        Ok(Outcome { stdout: text(&outcome.stdout), stderr: text(&outcome.stderr), ..outcome })
    }

    /// Runs both and notes how they differ.
    pub fn compare(&mut self, args: &[&str]) -> Result<()> {
        self.compare_with_input(args, "")
    }

    /// The same with something to read.
    pub fn compare_with_input(&mut self, args: &[&str], input: &str) -> Result<()> {
        let theirs = self.run(false, args, input)?;
        let ours = self.run(true, args, input)?;
        self.judge(&theirs, &ours);
        Ok(())
    }

    /// Notes how two outcomes differ.
    pub fn judge(&mut self, theirs: &Outcome, ours: &Outcome) {
        self.runs += 1;
        let parts = |o: &Outcome| (o.stdout.clone(), o.stderr.clone(), o.code);
        if parts(theirs) != parts(ours) {
            let parts = |o: &Outcome| format!("{o}(standard error: {:?})", o.stderr);
            self.differences.push(format!("theirs: {}\nours: {}", parts(theirs), parts(ours)));
        }
    }

    /// Fails if there were differences.
    pub fn finish(self) -> Result<()> {
        ensure!(
            self.differences.is_empty(),
            "{} of {} runs differ:\n{}",
            self.differences.len(),
            self.runs,
            self.differences.join("\n\n")
        );
        Ok(())
    }
}

/// Writes a program that is about to be run.
///
/// Another process writes it: were it open for writing here, a child that another thread starts at this moment
/// would have it open too for a while, and running it would fail ("Text file busy").
pub fn write_program(path: &Path, text: &str, mode: u32) -> Result<()> {
    let mut shell = Command::new("sh");
    shell.args(["-c", "cat >\"$0\" && chmod \"$1\" \"$0\""]).arg(path).arg(format!("{mode:o}"));
    run_with_input(&mut shell, text.as_bytes(), LIMIT)?.ok()?;
    Ok(())
}
