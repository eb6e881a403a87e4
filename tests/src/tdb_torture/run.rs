// SPDX-License-Identifier: GPL-3.0-or-later
//! Starts workers, kills some, and has both sides look at what they leave.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use anyhow::{bail, ensure, Context, Result};
use ctdb_tdb::{OpenOptions, Tdb, TDB_INCOMPATIBLE_HASH, TDB_MUTEX_LOCKING, TDB_NOSYNC};
use nix::sys::signal::{kill, Signal};
use nix::unistd::Pid;

use super::journal::Journal;
use super::ledger::{Content, Ledger};
use super::*;
use crate::{run_ok, wait_for, Random};

const WORKER_C: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tools/tdb_torture.c");
const WORKER_PY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tools/tdb_torture.py");
const HASH_SIZE: u32 = 101;
const FCNTL: u32 = TDB_NOSYNC | TDB_INCOMPATIBLE_HASH;
/// Two on our engine, two on the C library, one on python3-tdb.
const CREW: [Kind; 5] = [Kind::Ours, Kind::Ours, Kind::C, Kind::C, Kind::Python];
/// How long they work before everything is looked at.
const SHIFT: Duration = Duration::from_millis(800);
/// How long it takes until a worker is suspected to sleep on a mutex that is free.
const NAP: Duration = Duration::from_secs(4);
/// How long a worker may take to end.
const PATIENCE: Duration = Duration::from_secs(60);
/// Above this number of records the file is emptied between two shifts.
const MANY_RECORDS: usize = 5000;
const MANY_VIOLATIONS: usize = 10;

/// What is done to a file.
#[derive(Debug, Clone, Copy)]
pub struct Scene {
    /// In words.
    pub name: &'static str,
    flags: u32,
    work: u32,
    kills: bool,
}

impl Scene {
    /// With kernel locks and with robust mutexes: everything at once; transactions whose processes
    /// are killed; everything with processes that are killed.
    pub const ALL: [Scene; 6] = [
        Scene::new("fcntl, nobody killed", FCNTL, EVERYTHING | CHECKED, false),
        Scene::new("mutex, nobody killed", MUTEX, EVERYTHING | CHECKED, false),
        Scene::new("fcntl, killed in transactions", FCNTL, ATOMIC | CHECKED, true),
        Scene::new("mutex, killed in transactions", MUTEX, ATOMIC | CHECKED, true),
        Scene::new("fcntl, killed in everything", FCNTL, EVERYTHING, true),
        Scene::new("mutex, killed in everything", MUTEX, EVERYTHING, true),
    ];

    const fn new(name: &'static str, flags: u32, work: u32, kills: bool) -> Scene {
        Scene { name, flags, work, kills }
    }
}

const MUTEX: u32 = FCNTL | TDB_MUTEX_LOCKING;
const EVERYTHING: u32 = PLAIN | TRANSACTIONS | WHOLE;
const ATOMIC: u32 = TRANSACTIONS | WHOLE;

/// How long, and with which random numbers.
#[derive(Debug, Clone)]
pub struct Plan {
    /// What is done.
    pub scene: Scene,
    /// For how long.
    pub length: Duration,
    /// Of the random numbers.
    pub seed: u64,
    /// The program and the first arguments that make it [`worker`](super::worker).
    pub our_worker: Vec<OsString>,
}

/// What happened.
#[derive(Debug, Default)]
pub struct Figures {
    /// Acknowledged operations.
    pub operations: u64,
    /// Acknowledged wipes.
    pub wipes: u64,
    /// Workers on our engine, on the C library and on python3-tdb that were killed.
    pub kills: [u64; 3],
    /// How often everything was looked at.
    pub looks: u64,
    /// How often a check found space that killed processes left to nobody; a repack cured it.
    pub untidy: u64,
    /// How often a process on the C library slept on a free mutex after others were killed, and
    /// went on when it was made to look again.
    pub asleep: u64,
    /// Lost or strange records, failed checks, hangs, failed operations.
    pub violations: Vec<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Ours,
    C,
    Python,
}

struct Worker {
    id: u32,
    kind: Kind,
    child: Child,
}

impl Worker {
    fn waits_for_mutex(&self) -> bool {
        let place = fs::read_to_string(format!("/proc/{}/wchan", self.child.id()));
        place.is_ok_and(|place| place.contains("futex"))
    }

    /// Makes it look at its mutex again. A waiter of the C library that is woken and killed before
    /// it has the mutex, while somebody else takes it, loses the wake-up for all others: they
    /// sleep on a mutex that is free. It happens to C processes alone just as well.
    fn rouse(&self) -> Result<()> {
        let pid = Pid::from_raw(self.child.id().try_into()?);
        kill(pid, Signal::SIGSTOP)?;
        Ok(kill(pid, Signal::SIGCONT)?)
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

struct Torture<'a> {
    plan: &'a Plan,
    dir: tempfile::TempDir,
    tdb: Tdb,
    random: Random,
    next_id: u32,
    ledger: Ledger,
    figures: Figures,
}

/// Lets processes work on one file and verifies what they leave.
pub fn torture(plan: &Plan) -> Result<Figures> {
    let memory = Path::new("/dev/shm");
    let dir = if memory.is_dir() { tempfile::tempdir_in(memory)? } else { tempfile::tempdir()? };
    let mut cc = Command::new("cc");
    cc.args(["-O1", "-g", "-Wall", "-o"]).arg(dir.path().join("worker"));
    run_ok(cc.args([WORKER_C, "-ltdb"]), PATIENCE)?;
    let options = OpenOptions {
        tdb_flags: plan.scene.flags,
        hash_size: HASH_SIZE,
        create: true,
        ..Default::default()
    };
    let mut torture = Torture {
        plan,
        tdb: Tdb::open(dir.path().join("torture.tdb"), &options)?,
        dir,
        random: Random::new(plan.seed),
        next_id: 1,
        ledger: Ledger::default(),
        figures: Figures::default(),
    };
    let end = Instant::now() + plan.length;
    while Instant::now() < end && torture.figures.violations.is_empty() {
        torture.shift()?;
    }
    torture.figures.violations.truncate(MANY_VIOLATIONS);
    if !torture.figures.violations.is_empty() && std::env::var_os("KEEP").is_some() {
        eprintln!("kept: {}", torture.dir.keep().display());
    }
    Ok(torture.figures)
}

impl Torture<'_> {
    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn start(&mut self, kind: Kind) -> Result<Worker> {
        let id = self.next_id;
        self.next_id += 1;
        let words: Vec<OsString> = match kind {
            Kind::Ours => self.plan.our_worker.clone(),
            Kind::C => vec![self.path("worker").into()],
            Kind::Python => vec!["/usr/bin/python3".into(), WORKER_PY.into()],
        };
        let (program, first) = words.split_first().context("no program")?;
        let seed = self.random.below(1 << 30);
        let max_dead = id % 2 * 5;
        let mut command = Command::new(program);
        command.args(first).arg(self.path("torture.tdb"));
        command.args([self.plan.scene.flags, HASH_SIZE].map(|n| n.to_string()));
        command.arg(self.dir.path());
        command.args([id.to_string(), seed.to_string()]);
        command.args([self.plan.scene.work, max_dead].map(|n| n.to_string()));
        let child = command.spawn().with_context(|| format!("{program:?}"))?;
        Ok(Worker { id, kind, child })
    }

    /// Some work, some killing, and a look at everything.
    fn shift(&mut self) -> Result<()> {
        let _ = fs::remove_file(self.path("stop"));
        let first_id = self.next_id;
        let mut crew = Vec::new();
        for kind in CREW {
            crew.push(self.start(kind)?);
        }
        let end = Instant::now() + SHIFT;
        while Instant::now() < end {
            std::thread::sleep(Duration::from_millis(5 + self.random.below(40) as u64));
            if self.plan.scene.kills {
                let victim = self.random.below(crew.len());
                self.replace(&mut crew[victim])?;
            }
        }
        fs::write(self.path("stop"), "")?;
        for worker in &mut crew {
            self.end(worker)?;
        }
        self.look(first_id)
    }

    /// Kills a worker; another of its kind takes its place.
    fn replace(&mut self, worker: &mut Worker) -> Result<()> {
        if worker.child.try_wait()?.is_some() {
            return Ok(()); // it failed by itself: `end` will say so
        }
        worker.child.kill()?;
        worker.child.wait()?;
        self.figures.kills[worker.kind as usize] += 1;
        *worker = self.start(worker.kind)?;
        Ok(())
    }

    fn end(&mut self, worker: &mut Worker) -> Result<()> {
        let what = format!("worker {} ({:?})", worker.id, worker.kind);
        let mut ended = wait_for(&what, NAP, || Ok(worker.child.try_wait()?));
        if ended.is_err() {
            if self.plan.scene.kills && worker.kind != Kind::Ours && worker.waits_for_mutex() {
                worker.rouse()?;
                self.figures.asleep += 1;
            }
            ended = wait_for(&what, PATIENCE, || Ok(worker.child.try_wait()?));
        }
        match ended {
            Ok(status) if status.success() => {}
            Ok(status) => self.figures.violations.push(format!("{what}: {status}")),
            Err(_) => self.figures.violations.push(format!("{what} hangs")),
        }
        Ok(())
    }

    fn look(&mut self, first_id: u32) -> Result<()> {
        let mut journals = Vec::new();
        for id in first_id..self.next_id {
            let file = self.path(&format!("journal.{id}"));
            // one that was killed before it began has none
            let text = fs::read_to_string(&file).unwrap_or_default();
            let _ = fs::remove_file(file);
            journals.push((id, Journal::parse(&text)?));
        }
        let content = match self.content() {
            Ok(content) => content,
            Err(error) => {
                self.figures.violations.push(format!("reading all: {error:#}"));
                return Ok(());
            }
        };
        self.count(&journals);
        let generation = content.get(&(0, GENERATION)).and_then(|value| word(value)).unwrap_or(0);
        self.ledger.add(&journals, generation);
        let violations = self.ledger.violations(&content);
        self.figures.violations.extend(violations);
        self.check(&content)?;
        self.figures.looks += 1;
        if content.len() > MANY_RECORDS {
            self.tdb.wipe_all()?;
            self.ledger.settle(Content::new());
        } else {
            self.ledger.settle(content);
        }
        Ok(())
    }

    fn count(&mut self, journals: &[(u32, Journal)]) {
        for (_, journal) in journals {
            let done = journal.batches.iter().filter(|batch| batch.acknowledged.is_some());
            self.figures.operations += done.map(|batch| batch.ops.len() as u64).sum::<u64>();
            self.figures.wipes += u64::from(journal.wipes);
        }
    }

    fn content(&mut self) -> Result<Content> {
        let mut content = Content::new();
        let mut strange = 0;
        self.tdb.traverse(|key, value| {
            let fresh =
                parse_key(key).is_some_and(|key| content.insert(key, value.to_vec()).is_none());
            strange += u32::from(!fresh);
            true
        })?;
        ensure!(strange == 0, "{strange} keys that nobody stored, or twice the same");
        Ok(content)
    }

    /// Both checks. Killed processes may leave space that belongs to nobody (spec/tdb.md 25, H1
    /// and H11): then they have to succeed after a repack.
    fn check(&mut self, content: &Content) -> Result<()> {
        let Err(first) = self.both_checks(content.len()) else {
            return Ok(());
        };
        if !self.plan.scene.kills {
            self.figures.violations.push(format!("{first:#}"));
            return Ok(());
        }
        self.figures.untidy += 1;
        let repacked = self.tdb.repack().context("repack");
        let again = repacked.and_then(|()| self.both_checks(content.len()));
        if let Err(second) = again {
            self.figures.violations.push(format!("{first:#}; and after a repack: {second:#}"));
        } else if self.content()? != *content {
            self.figures.violations.push("a repack changes the content".into());
        }
        Ok(())
    }

    fn both_checks(&mut self, records: usize) -> Result<()> {
        let report = self.tdb.check().context("our check")?;
        ensure!(report.records == records as u64, "our check: {report:?}, {records} records");
        let mut tool = Command::new("tdbtool");
        tool.arg(self.path("torture.tdb")).arg("check");
        let said = run_ok(&mut tool, PATIENCE)?;
        if !said.stdout.contains(&format!("integrity is OK and has {records} records")) {
            bail!("{records} records; {said}");
        }
        Ok(())
    }
}
