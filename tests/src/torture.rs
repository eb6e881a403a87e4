// SPDX-License-Identifier: GPL-3.0-or-later
//! smbtorture: running a test, and what each has to give (spec/samba-client.md 22).

use std::collections::BTreeSet;
use std::fs;
use std::process::Command;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use anyhow::{anyhow, bail, Context, Result};

use crate::cluster::Cluster;
use crate::command::run;
use crate::samba::{SHARES, SMB_PASSWORD, SMB_USER};

const TABLE: &str = include_str!("../torture/expected.tsv");

/// What a run of smbtorture gave, by names of subtests.
#[derive(Clone, Debug, Default)]
pub struct Counts {
    /// Subtests that passed.
    pub passed: BTreeSet<String>,
    /// Subtests that failed or ended in an error.
    pub failed: BTreeSet<String>,
    /// Subtests that did not apply.
    pub skipped: BTreeSet<String>,
    /// How long it took.
    pub seconds: f64,
    /// All that was printed.
    pub output: String,
}

impl Counts {
    fn parse(output: String, seconds: f64) -> Counts {
        let mut counts = Counts { seconds, ..Counts::default() };
        for line in output.lines() {
            let Some((verb, rest)) = line.split_once(": ") else { continue };
            let name = rest.trim_end_matches(" [").trim().to_string();
            match verb {
                "success" => counts.passed.insert(name),
                "failure" | "error" => counts.failed.insert(name),
                "skip" => counts.skipped.insert(name),
                _ => continue,
            };
        }
        counts.output = output;
        counts
    }

    /// Passed, failed and skipped, as in `22/0/3`.
    pub fn figures(&self) -> String {
        format!("{}/{}/{}", self.passed.len(), self.failed.len(), self.skipped.len())
    }
}

/// One row of `tests/torture/expected.tsv`.
#[derive(Clone, Debug)]
pub struct Expected {
    /// 1: all connections go to one node; 2: they alternate between two.
    pub nodes: usize,
    /// Part of `make test`, not only of `make smbtorture`.
    pub quick: bool,
    /// How often it is repeated.
    pub repeat: usize,
    /// How long it takes with the C daemon.
    pub seconds: u64,
    /// smbtorture's name of the test.
    pub test: String,
    /// More arguments for smbtorture.
    pub arguments: Vec<String>,
    /// Number of subtests that pass.
    pub passed: usize,
    /// Number of subtests that are skipped.
    pub skipped: usize,
    /// The subtests that fail with the C daemon as well: exactly these may.
    pub fails: BTreeSet<String>,
    /// Subtests that pass at some times and fail at others with the C daemon: not compared.
    pub varies: BTreeSet<String>,
}

/// The comparison of a run with what was expected.
#[derive(Clone, Debug)]
pub struct Verdict {
    /// What differed; empty if nothing did.
    pub differences: Vec<String>,
    /// The run, or the last of its repetitions.
    pub counts: Counts,
}

impl Expected {
    /// Passed, failed and skipped, as in `22/0/3`.
    pub fn figures(&self) -> String {
        format!("{}/{}/{}", self.passed, self.fails.len(), self.skipped)
    }

    fn compare(&self, counts: &Counts) -> Vec<String> {
        let mut differences = Vec::new();
        let steady = |names: &BTreeSet<String>| -> BTreeSet<String> {
            names.difference(&self.varies).cloned().collect()
        };
        for name in steady(&counts.failed).difference(&self.fails) {
            differences.push(format!("{name} fails"));
        }
        for name in steady(&self.fails).difference(&counts.failed) {
            differences.push(format!("{name} is expected to fail and does not"));
        }
        if self.varies.is_empty() && counts.passed.len() != self.passed {
            let (got, want) = (counts.passed.len(), self.passed);
            differences.push(format!("{got} passed, expected {want}"));
        }
        if counts.skipped.len() != self.skipped {
            let (got, want) = (counts.skipped.len(), self.skipped);
            differences.push(format!("{got} skipped, expected {want}"));
        }
        differences
    }
}

/// The table of expected results.
pub fn expected() -> Result<Vec<Expected>> {
    let rows = TABLE.lines().filter(|l| !l.is_empty() && !l.starts_with('#'));
    rows.map(|l| parse_row(l).with_context(|| format!("tests/torture/expected.tsv: {l}"))).collect()
}

fn parse_row(line: &str) -> Result<Expected> {
    let fields: Vec<&str> = line.split('\t').collect();
    let [nodes, when, repeat, seconds, test, arguments, passed, skipped, fails, varies] =
        fields[..]
    else {
        bail!("{} fields, expected 10", fields.len());
    };
    let names = |text: &str| -> BTreeSet<String> {
        text.split(';')
            .map(str::trim)
            .filter(|n| !n.is_empty() && *n != "-")
            .map(Into::into)
            .collect()
    };
    Ok(Expected {
        nodes: nodes.parse()?,
        quick: when == "quick",
        repeat: repeat.parse()?,
        seconds: seconds.parse()?,
        test: test.into(),
        arguments: arguments.split_whitespace().filter(|a| *a != "-").map(Into::into).collect(),
        passed: passed.parse()?,
        skipped: skipped.parse()?,
        fails: names(fails),
        varies: names(varies),
    })
}

impl Cluster {
    /// Runs rows of the table on the first nodes of the cluster, several at once, each on a share
    /// of its own; `report` is called with each row and its verdict when it is there.
    pub fn torture_rows(
        &self,
        rows: &[Expected],
        report: impl Fn(&Expected, &Verdict) + Sync,
    ) -> Result<()> {
        let mut queue: Vec<&Expected> = rows.iter().collect();
        queue.sort_by_key(|row| row.seconds); // the longest is taken first, from the end
        let queue = Mutex::new(queue);
        let next = || queue.lock().ok()?.pop();
        let worker = |share: &str| -> Result<()> {
            self.netns.enter()?;
            while let Some(row) = next() {
                let targets: Vec<usize> = (0..row.nodes).collect();
                report(row, &self.torture_row(row, &targets, share)?);
            }
            Ok(())
        };
        std::thread::scope(|scope| {
            let workers: Vec<_> =
                SHARES.iter().map(|share| scope.spawn(|| worker(share))).collect();
            for handle in workers {
                handle.join().map_err(|_| anyhow!("a worker panicked"))??;
            }
            Ok(())
        })
    }

    /// Runs a row of the table on `targets` (one node, or two that take turns) and compares.
    pub fn torture_row(&self, row: &Expected, targets: &[usize], share: &str) -> Result<Verdict> {
        let limit = Duration::from_secs(60 + 4 * row.seconds);
        let mut verdict = Verdict { differences: Vec::new(), counts: Counts::default() };
        for _ in 0..row.repeat {
            verdict.counts = self.torture(&row.test, &row.arguments, targets, share, limit)?;
            verdict.differences = row.compare(&verdict.counts);
            if !verdict.differences.is_empty() {
                break;
            }
        }
        Ok(verdict)
    }

    /// Runs one smbtorture test.
    pub fn torture(
        &self,
        test: &str,
        arguments: &[String],
        targets: &[usize],
        share: &str,
        limit: Duration,
    ) -> Result<Counts> {
        let mut command = Command::new("smbtorture");
        command
            .arg(format!("--configfile={}", self.path().join("client.conf").display()))
            .args(["-U", &format!("{SMB_USER}%{SMB_PASSWORD}")])
            .args(arguments)
            .current_dir(self.path().join("client"));
        let urls: Vec<String> =
            targets.iter().map(|&pnn| format!("//{}/{share}", self.nodes[pnn].address())).collect();
        if urls.len() > 1 {
            let list = self.path().join(format!("client/unclist.{share}"));
            fs::write(&list, urls.join("\n") + "\n")?;
            command.arg(format!("--unclist={}", list.display()));
        }
        command.arg(urls.first().context("no target")?).arg(test);
        let started = Instant::now();
        let got = run(&mut command, limit)?;
        let mut output = got.stdout + &got.stderr;
        if got.timed_out {
            output += &format!("\nerror: {test} ran past {} s\n", limit.as_secs());
        }
        Ok(Counts::parse(output, started.elapsed().as_secs_f64()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_well_formed() {
        let rows = expected().unwrap();
        assert!(rows.iter().any(|r| r.quick && r.nodes == 1));
        assert!(rows.iter().any(|r| r.quick && r.nodes == 2));
        assert!(rows.iter().all(|r| r.repeat > 0 && r.passed + r.fails.len() > 0));
    }

    #[test]
    fn a_new_failure_and_a_missing_one_are_differences() {
        let row = parse_row("1\tquick\t1\t5\tsmb2.x\t-\t1\t0\tb\t-").unwrap();
        let counts = |text: &str| Counts::parse(text.to_string(), 0.0);
        assert!(row.compare(&counts("success: a\nfailure: b [\nwhy\n]\n")).is_empty());
        assert_eq!(row.compare(&counts("failure: a [\nfailure: b [\n")).len(), 2);
        assert_eq!(row.compare(&counts("success: a\nsuccess: b\n")).len(), 2);
    }
}
