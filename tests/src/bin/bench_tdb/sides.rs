// SPDX-License-Identifier: GPL-3.0-or-later
//! The two programs that are compared, and what they answer.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::Duration;

use anyhow::{ensure, Context, Result};
use ctdb_tests::{run_ok, Outcome};
use serde_json::Value;

const PEER_C: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/bench/tdb_worker.c");
const LIMIT: Duration = Duration::from_secs(600);

/// One of the two programs.
pub struct Side {
    pub name: &'static str,
    program: Vec<OsString>,
}

/// Where a worker works and in which order it goes over which keys.
pub struct Setting<'a> {
    pub file: PathBuf,
    pub order: &'a Path,
    pub flags: u32,
    pub hash_size: u32,
    pub value_bytes: usize,
}

/// What was measured under one label.
#[derive(Debug, Clone, Copy)]
pub struct Figure {
    pub ops: f64,
    pub processor_seconds: f64,
    pub seconds: f64,
    /// Of what was read: the same on both sides.
    pub sum: u64,
}

pub type Figures = BTreeMap<String, Figure>;

impl Side {
    pub fn ours() -> Result<Side> {
        let own = std::env::current_exe()?;
        Ok(Side { name: "ours", program: vec![own.into(), "worker".into()] })
    }

    /// Builds the C program in `dir`.
    pub fn libtdb(dir: &Path) -> Result<Side> {
        let program = dir.join("tdb_worker");
        let mut cc = Command::new("cc");
        cc.args(["-O2", "-Wall", "-o"]).arg(&program).args([PEER_C, "-ltdb"]);
        run_ok(&mut cc, LIMIT).context("needs cc and libtdb-dev; run `make setup`")?;
        Ok(Side { name: "libtdb", program: vec![program.into()] })
    }

    fn command(&self, prefix: &[&str], setting: &Setting, work: &[String]) -> Command {
        let mut words: Vec<OsString> = prefix.iter().map(OsString::from).collect();
        words.extend(self.program.iter().cloned());
        let mut command = Command::new(&words[0]);
        command.args(&words[1..]).arg(&setting.file);
        command.args([setting.flags.to_string(), setting.hash_size.to_string()]);
        command.arg(setting.order).arg(setting.value_bytes.to_string()).args(work);
        command
    }

    /// Does the work on one processor, always the same.
    pub fn run(&self, setting: &Setting, work: &[String]) -> Result<Figures> {
        let processor = last_processor()?.to_string();
        let prefix = ["taskset", "-c", &processor];
        figures(&run_ok(&mut self.command(&prefix, setting, work), LIMIT)?.stdout)
    }

    /// The work and how many instructions the program ran in all.
    pub fn count(&self, setting: &Setting, work: &[String]) -> Result<(Figures, f64)> {
        let prefix = ["valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null"];
        let done = run_ok(&mut self.command(&prefix, setting, work), LIMIT)
            .context("needs valgrind; run `tests/tools/setup valgrind`")?;
        Ok((figures(&done.stdout)?, collected(&done)?))
    }

    /// Starts the work, which begins with `wait`.
    pub fn start(&self, setting: &Setting, work: &[String]) -> Result<Started> {
        let mut command = self.command(&[], setting, work);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let stdout = BufReader::new(child.stdout.take().context("standard output")?);
        let mut started = Started { child, stdout };
        ensure!(started.line()?.trim() == "ready", "a worker that is not ready");
        Ok(started)
    }
}

/// A worker that waits for the word to go on.
pub struct Started {
    child: Child,
    stdout: BufReader<ChildStdout>,
}

impl Started {
    fn line(&mut self) -> Result<String> {
        let mut line = String::new();
        self.stdout.read_line(&mut line)?;
        Ok(line)
    }

    pub fn go(&mut self) -> Result<()> {
        let stdin = self.child.stdin.as_mut().context("standard input")?;
        Ok(stdin.write_all(b"go\n")?)
    }

    pub fn finish(mut self) -> Result<Figures> {
        let line = self.line()?;
        let status = self.child.wait()?;
        ensure!(status.success(), "worker: {status}");
        figures(&line)
    }
}

impl Drop for Started {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn figures(text: &str) -> Result<Figures> {
    let labels: BTreeMap<String, Value> =
        serde_json::from_str(text.trim()).with_context(|| text.to_string())?;
    let figure = |value: &Value| -> Option<Figure> {
        Some(Figure {
            ops: value["ops"].as_f64()?,
            processor_seconds: value["ns"].as_f64()? / 1e9,
            seconds: value["wall_ns"].as_f64()? / 1e9,
            sum: value["sum"].as_u64()?,
        })
    };
    let pairs = labels.into_iter().map(|(label, value)| {
        figure(&value).map(|f| (label, f)).with_context(|| format!("no figures: {text}"))
    });
    pairs.collect()
}

/// `==123== Collected : 456`
fn collected(done: &Outcome) -> Result<f64> {
    let line = done.stderr.lines().rev().find(|line| line.contains("Collected :"));
    let count = line.and_then(|line| line.rsplit(':').next()?.trim().parse().ok());
    count.with_context(|| format!("no instruction count: {done}"))
}

fn last_processor() -> Result<usize> {
    let allowed = nix::sched::sched_getaffinity(nix::unistd::Pid::from_raw(0))?;
    let set = |&processor: &usize| allowed.is_set(processor).unwrap_or(false);
    (0..nix::sched::CpuSet::count()).rev().find(set).context("no processor")
}
