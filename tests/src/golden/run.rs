// SPDX-License-Identifier: GPL-3.0-or-later
//! Running golden files: comparing what a tool says with what is recorded, and recording.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use anyhow::{ensure, Context, Result};

use super::text::{Block, File, Output, Step};
use crate::command::run_with_input;
use crate::fake::{prepare, scenario, FakeDaemon, Fault, State};

/// Seconds that a command may take unless its block says otherwise.
const WITHIN: u64 = 20;
/// What starting and ending may take on a busy machine.
const SLACK: Duration = Duration::from_secs(3);
/// Runs of Debian's tool until one says what is recorded: where it races with its daemon (a shutdown, a connection that
/// is cut) it says now this, now that, and even crashes. Ours has one.
const DEBIAN_ATTEMPTS: usize = 4;
/// Blocks that run at once: mostly they wait.
const WORKERS: usize = 10;

/// The two tools.
#[derive(Clone, Debug)]
pub struct Tools {
    /// Ours.
    pub ours: PathBuf,
    /// Debian's.
    pub debian: PathBuf,
}

/// Whose output is wanted.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Whose {
    Ours,
    Debian,
}

/// What a check found.
#[derive(Debug, Default)]
pub struct Report {
    /// Number of commands that were compared.
    pub compared: usize,
    /// What was not as recorded.
    pub failures: Vec<String>,
}

/// Runs every block with our tool (`debian` false) or with Debian's, and compares.
pub fn check(path: &Path, tools: &Tools, debian: bool) -> Result<Report> {
    let file = read(path)?;
    let whose = if debian { Whose::Debian } else { Whose::Ours };
    let skipped = |block: &Block| whose == Whose::Debian && block.ours_only.is_some();
    let results = in_parallel(&file.blocks, |block| {
        if skipped(block) {
            return Ok(Vec::new());
        }
        let attempts = if whose == Whose::Debian { DEBIAN_ATTEMPTS } else { 1 };
        run_until_as_recorded(block, tools, whose, attempts)
    });
    let mut report = Report::default();
    let name = path.file_name().map(|name| name.to_string_lossy()).unwrap_or_default();
    for (block, result) in file.blocks.iter().zip(results) {
        let outputs = match result {
            Ok(outputs) => outputs,
            Err(e) => {
                report.failures.push(format!("{name}: {e:#}"));
                continue;
            }
        };
        for (step, (got, took)) in block.steps.iter().zip(outputs) {
            report.compared += 1;
            let want = if whose == Whose::Ours { step.ours() } else { &step.expected };
            if let Some(failure) = compare(step, want, &got, took) {
                report.failures.push(format!("{name} ({})\n{failure}", block.state));
            }
        }
    }
    Ok(report)
}

/// Runs every block and writes into the file what the tools say: Debian's, and ours where it
/// differs or is alone.
pub fn record(path: &Path, tools: &Tools) -> Result<()> {
    let mut file = read(path)?;
    let results = in_parallel(&file.blocks, |block| {
        let alone = block.ours_only.is_some();
        let debian = if alone { Vec::new() } else { run_block(block, tools, Whose::Debian)? };
        let needs_ours = alone || block.steps.iter().any(|step| step.differs.is_some());
        let ours = if needs_ours { run_block(block, tools, Whose::Ours)? } else { Vec::new() };
        Ok((debian, ours))
    });
    for (block, result) in file.blocks.iter_mut().zip(results) {
        let (debian, ours) = result?;
        let alone = block.ours_only.is_some();
        for (at, step) in block.steps.iter_mut().enumerate() {
            let said = |from: &[(Output, Duration)]| from.get(at).map(|(output, _)| output.clone());
            if let Some(output) = if alone { said(&ours) } else { said(&debian) } {
                step.expected = output;
            }
            if let (Some((_, output)), Some(said)) = (&mut step.differs, said(&ours)) {
                *output = said;
            }
        }
    }
    fs::write(path, file.to_text()).with_context(|| path.display().to_string())
}

fn read(path: &Path) -> Result<File> {
    let text = fs::read_to_string(path).with_context(|| path.display().to_string())?;
    File::parse(&text).with_context(|| path.display().to_string())
}

fn in_parallel<T: Send>(
    blocks: &[Block],
    work: impl Fn(&Block) -> Result<T> + Sync,
) -> Vec<Result<T>> {
    let results: Vec<Mutex<Option<Result<T>>>> = blocks.iter().map(|_| Mutex::new(None)).collect();
    let next = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..WORKERS {
            scope.spawn(|| {
                while let Some((block, slot)) = {
                    let at = next.fetch_add(1, Ordering::Relaxed);
                    blocks.get(at).zip(results.get(at))
                } {
                    let result = work(block);
                    if let Ok(mut slot) = slot.lock() {
                        *slot = Some(result);
                    }
                }
            });
        }
    });
    let done = results.into_iter().map(|slot| slot.into_inner().ok().flatten());
    done.map(|result| result.unwrap_or_else(|| Err(anyhow::anyhow!("a worker ended early"))))
        .collect()
}

fn run_until_as_recorded(
    block: &Block,
    tools: &Tools,
    whose: Whose,
    attempts: usize,
) -> Result<Vec<(Output, Duration)>> {
    let as_recorded = |outputs: &[(Output, Duration)]| {
        block.steps.iter().zip(outputs).all(|(step, (got, _))| step.expected == *got)
    };
    for _ in 1..attempts {
        match run_block(block, tools, whose) {
            Ok(outputs) if as_recorded(&outputs) => return Ok(outputs),
            _ => (),
        }
    }
    run_block(block, tools, whose)
}

/// Runs the commands of one block on a fresh daemon.
fn run_block(block: &Block, tools: &Tools, whose: Whose) -> Result<Vec<(Output, Duration)>> {
    let dir = tempfile::Builder::new().prefix("ctdb-golden-").tempdir()?;
    let mut state: State = scenario(&block.state)?;
    for fault in &block.faults {
        state = state.fault(Fault::parse(fault)?);
    }
    let daemon = if block.down {
        prepare(dir.path(), &state)?;
        None
    } else {
        Some(FakeDaemon::start(dir.path(), state)?)
    };
    let program = if whose == Whose::Ours { &tools.ours } else { &tools.debian };
    let run = |step| run_step(block, step, program, dir.path(), daemon.as_ref());
    block.steps.iter().map(run).collect()
}

fn run_step(
    block: &Block,
    step: &Step,
    program: &Path,
    base: &Path,
    daemon: Option<&FakeDaemon>,
) -> Result<(Output, Duration)> {
    let mut command = Command::new(program);
    command.args(step.words()?).current_dir(base);
    // Debian's tool ends its whole process group when its time is over
    command.process_group(0);
    for name in ["CTDB_TIMEOUT", "CTDB_TOOL_SETPGID", "CTDB_DEBUGLEVEL", "POSIXLY_CORRECT"] {
        command.env_remove(name);
    }
    command.envs(FakeDaemon::env_of(base)).env("TZ", "UTC").env("LC_ALL", "C");
    for pair in &block.env {
        let (name, value) = pair.split_once('=').context("env without =")?;
        command.env(name, value);
    }
    let input: String = step.input.iter().map(|line| format!("{line}\n")).collect();
    let limit = Duration::from_secs(step.within.unwrap_or(WITHIN)) + SLACK;
    let began = Instant::now();
    let outcome = run_with_input(&mut command, input.as_bytes(), limit)?;
    let took = began.elapsed();
    let masked = |text: &str| mask(text, step.mask.as_deref(), base);
    let output = Output {
        stdout: masked(&outcome.stdout)?,
        stderr: masked(&outcome.stderr)?,
        notes: daemon.map(FakeDaemon::take_notes).unwrap_or_default(),
        ending: match outcome.code {
            Some(code) => format!("exit {code}"),
            None => "killed".into(),
        },
    };
    Ok((output, took))
}

/// What of a text is compared.
fn mask(text: &str, how: Option<&str>, base: &Path) -> Result<String> {
    let text = text.replace(&base.display().to_string(), "BASE");
    Ok(match how {
        None => text,
        Some("numbers") => numbers(&text),
        // what is said each second until the time is over
        Some("repeats") => {
            let mut seen = BTreeSet::new();
            text.split_inclusive('\n').filter(|line| seen.insert(*line)).collect()
        }
        // one line, each version's own
        Some("version") if text.lines().count() == 1 => "VERSION\n".to_string(),
        Some("version") => text,
        // the options above the commands are each version's own
        Some("usage") => match text.find("Commands:\n") {
            Some(at) => text[at..].to_string(),
            None => text,
        },
        Some(other) => anyhow::bail!("{other}: no such mask"),
    })
}

/// Runs of digits as `#`.
fn numbers(text: &str) -> String {
    let mut out = String::new();
    for c in text.chars() {
        match c {
            '0'..='9' if out.ends_with('#') => (),
            '0'..='9' => out.push('#'),
            other => out.push(other),
        }
    }
    out
}

fn compare(step: &Step, want: &Output, got: &Output, took: Duration) -> Option<String> {
    let limit = Duration::from_secs(step.within.unwrap_or(WITHIN)) + SLACK;
    if want == got && took <= limit {
        return None;
    }
    let mut text = format!("$ ctdb {} ({:.1} s)\n", step.line, took.as_secs_f64());
    for (name, want, got) in [
        ("stdout", &want.stdout, &got.stdout),
        ("stderr", &want.stderr, &got.stderr),
        ("told the daemon", &want.notes.join("\n"), &got.notes.join("\n")),
        ("ending", &want.ending, &got.ending),
    ] {
        if want != got {
            let _ = writeln!(text, "--- {name}, recorded\n{want}\n--- {name}, here\n{got}");
        }
    }
    Some(text)
}

impl Report {
    /// An error that shows all failures, if there are any.
    pub fn ok(&self) -> Result<()> {
        ensure!(
            self.failures.is_empty(),
            "{} of {} commands differ\n{}",
            self.failures.len(),
            self.compared,
            self.failures.join("\n")
        );
        Ok(())
    }
}
