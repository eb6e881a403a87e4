// SPDX-License-Identifier: GPL-3.0-or-later
//! Running scripts with both tools.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result};
use ctdb_tdb::{OpenOptions, Tdb};

use super::mask::Mask;
use super::scripts::{Kind, Script};
use crate::cluster::{Cluster, Node, Options};
use crate::command::run_with_input;
use crate::side::{Side, DEBIAN_CTDB};
use crate::wait::wait_until;

/// How long one command may take.
const LIMIT: Duration = Duration::from_secs(60);
/// What names that a script makes up have in them, so that the tools do not get into each other's way.
const DEBIAN_LETTERS: &str = "dbn";
const OUR_LETTERS: &str = "our";
/// Debian's helper programs, which both tools run: ours are compared elsewhere.
const HELPERS: &str = "/usr/libexec/ctdb";
/// Scripts that read at once: many of them wait for the leader to announce itself.
const READERS: usize = 4;

/// How many of the scripts are run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pace {
    /// Without those that wait for recoveries.
    Quick,
    /// All.
    Full,
}

/// What was compared of one command on one cluster.
#[derive(Clone, Debug, Default)]
pub struct Results {
    /// Commands, with how many scripts gave the same and the differences.
    pub commands: BTreeMap<&'static str, (usize, Vec<Difference>)>,
    /// Masks by command.
    pub masks: BTreeMap<&'static str, Mask>,
}

/// A script that gave something else with our tool.
#[derive(Clone, Debug)]
pub struct Difference {
    /// Its lines.
    pub lines: String,
    /// Why, if it is on purpose.
    pub reason: Option<&'static str>,
    /// What both said.
    pub detail: String,
}

impl Results {
    /// The differences that are not on purpose, in full.
    pub fn unexpected(&self) -> Vec<String> {
        let all = self.commands.values().flat_map(|(_, differences)| differences);
        all.filter(|d| d.reason.is_none()).map(|d| d.detail.clone()).collect()
    }

    /// Number of scripts that were run.
    pub fn scripts(&self) -> usize {
        self.commands.values().map(|(same, differences)| same + differences.len()).sum()
    }
}

/// A cluster with something in it to look at.
pub fn start(side: Side, nodes: usize) -> Result<Cluster> {
    let mut options = Options::new(side, nodes);
    options.public_addresses = "10.77.0.1/24 lo\n10.77.0.2/24 lo\nfd00:77::1/64 lo\n".into();
    let cluster = Cluster::start(options)?;
    for args in [
        &["attach", "data.tdb"][..],
        &["attach", "safe.tdb", "persistent"],
        &["attach", "copied.tdb", "replicated"],
        &["writekey", "data.tdb", "key", "value"],
        &["writekey", "data.tdb", "other", "0x0061ff22"],
        &["pstore", "safe.tdb", "key", "value"],
        &["pstore", "copied.tdb", "key", "value"],
        &["ipreallocate"],
    ] {
        cluster.nodes[0].debian_ctdb(args)?.ok()?;
    }
    for node in &cluster.nodes {
        for letters in [DEBIAN_LETTERS, OUR_LETTERS] {
            let file = node.volatile().join(format!("raw-{letters}.tdb.0"));
            let options = OpenOptions { create: true, ..OpenOptions::default() };
            drop(Tdb::open(file, &options)?);
        }
        write_group_files(node)?;
    }
    wait_until("a history of statistics", LIMIT, || {
        cluster
            .nodes
            .iter()
            .all(|node| node.debian_ctdb(&["stats"]).is_ok_and(|got| !got.stdout.is_empty()))
    })?;
    Ok(cluster)
}

/// What `ctdb natgw` and `ctdb lvs` read.
fn write_group_files(node: &Node) -> Result<()> {
    const FUNCTIONS: &str = "/etc/ctdb/functions";
    if Path::new(FUNCTIONS).exists() {
        std::os::unix::fs::symlink(FUNCTIONS, node.base.join("functions"))?;
    }
    for group in ["natgw_nodes", "lvs_nodes"] {
        let lines = "127.0.0.1\n127.0.0.2\tfollower-only\n127.0.0.3\n";
        std::fs::write(node.base.join(group), lines)?;
    }
    Ok(())
}

/// Runs the scripts on a cluster, with Debian's tool and then with `ours`.
pub fn compare(cluster: &Cluster, ours: &Path, scripts: &[Script], pace: Pace) -> Result<Results> {
    let wanted = |script: &&Script| {
        script.nodes <= cluster.nodes.len()
            && (pace == Pace::Full || script.kind != Kind::Recovers)
            && (!script.addresses || cluster.options.side.is_debian())
    };
    let (reading, acting): (Vec<&Script>, Vec<&Script>) =
        scripts.iter().filter(wanted).partition(|script| script.kind == Kind::Reads);
    let mut results = Results::default();
    for (script, difference) in side_by_side(cluster, ours, &reading)? {
        results.note(script, difference);
    }
    for script in acting {
        results.note(script, both(cluster, ours, script)?);
    }
    Ok(results)
}

impl Results {
    fn note(&mut self, script: &Script, difference: Option<Difference>) {
        for command in script.commands {
            let (same, differences) = self.commands.entry(command).or_default();
            match &difference {
                None => *same += 1,
                Some(difference) => differences.push(difference.clone()),
            }
            let mask = self.masks.entry(command).or_insert(script.mask);
            if script.mask == Mask::Exact {
                *mask = Mask::Exact;
            }
        }
    }
}

type Compared<'s> = (&'s Script, Option<Difference>);

fn side_by_side<'s>(
    cluster: &Cluster,
    ours: &Path,
    scripts: &[&'s Script],
) -> Result<Vec<Compared<'s>>> {
    let next = AtomicUsize::new(0);
    let done = Mutex::new(Vec::new());
    let work = || -> Result<()> {
        cluster.netns().enter()?;
        while let Some(script) = scripts.get(next.fetch_add(1, Ordering::Relaxed)) {
            let difference = both(cluster, ours, script)?;
            done.lock().unwrap_or_else(PoisonError::into_inner).push((*script, difference));
        }
        Ok(())
    };
    std::thread::scope(|scope| {
        let readers: Vec<_> = (0..READERS).map(|_| scope.spawn(work)).collect();
        let ended = readers.into_iter().map(|reader| match reader.join() {
            Ok(result) => result,
            Err(_) => anyhow::bail!("a reader panicked"),
        });
        ended.collect::<Result<()>>()
    })?;
    Ok(done.into_inner().unwrap_or_else(PoisonError::into_inner))
}

/// One tool's run of a script: which tool, and what differs between the runs by necessity.
struct Turn<'a> {
    program: &'a Path,
    letters: &'static str,
    victim: usize,
}

fn both(cluster: &Cluster, ours: &Path, script: &Script) -> Result<Option<Difference>> {
    let last = cluster.nodes.len() - 1;
    let debian = Turn { program: DEBIAN_CTDB.as_ref(), letters: DEBIAN_LETTERS, victim: last };
    let our = Turn { program: ours, letters: OUR_LETTERS, victim: last.saturating_sub(1) };
    let (want, got) = (said(cluster, &debian, script)?, said(cluster, &our, script)?);
    if want == got {
        return Ok(None);
    }
    let lines = script.lines.join("; ");
    let detail = format!("ctdb {lines}\n--- Debian's\n{want}--- ours\n{got}");
    Ok(Some(Difference { lines, reason: script.differs, detail }))
}

/// Everything that a tool says while it runs a script, made comparable.
fn said(cluster: &Cluster, turn: &Turn<'_>, script: &Script) -> Result<String> {
    let mut text = String::new();
    let own_names = script.lines.iter().any(|line| line.contains("{t}"));
    for line in &script.lines {
        let (line, node) = match line.strip_prefix('@').and_then(|rest| rest.split_once(' ')) {
            Some((node, rest)) => (rest, node.parse::<usize>()?),
            None => (line.as_str(), 0),
        };
        // on one node every line is about that one
        let node = cluster.nodes.get(node).or(cluster.nodes.first()).context("no node")?;
        let line = line.replace("{t}", turn.letters).replace("{victim}", &turn.victim.to_string());
        let (words, input) = line.split_once(" < ").unwrap_or((&line, ""));
        let input: String = match input {
            "" => String::new(),
            lines => lines.split('/').map(|line| format!("{line}\n")).collect(),
        };
        let mut command = node.command(turn.program);
        command.args(words.split(' ')).env("TZ", "UTC").env("CTDB_TEST_HELPER_BINDIR", HELPERS);
        let got = run_with_input(&mut command, input.as_bytes(), LIMIT)?;
        let comparable = |text: &str| {
            let text = text.replace(&turn.program.display().to_string(), "ctdb");
            script.mask.apply(&match own_names {
                true => text.replace(turn.letters, "{t}"),
                false => text,
            })
        };
        let code = got.code.map_or("killed".to_string(), |code| code.to_string());
        text += &format!("exit {code}\n{}{}", comparable(&got.stdout), comparable(&got.stderr));
    }
    Ok(text)
}
