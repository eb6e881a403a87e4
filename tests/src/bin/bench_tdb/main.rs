// SPDX-License-Identifier: GPL-3.0-or-later
//! `make bench-tdb`: our TDB engine and libtdb, the same work on both in turn, medians and ratios.
//!
//! Each side is a process of its own that does what it is told on the command line (worker.rs, and
//! tests/bench/tdb_worker.c on libtdb): the same operations on the same keys in the same order, on
//! the same processor. Files are in memory (/dev/shm) unless the disk is what is measured. What
//! waits for nothing is measured in processor time, so that other programs disturb it less.

mod contention;
mod plan;
mod sides;
mod worker;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{bail, ensure, Context, Result};
use ctdb_tests::{
    comparison_table, exit_with, median, merge_results, today, write_section, Comparison, Random,
};

use plan::{Group, Order, SIZE, VALUE_BYTES};
use sides::{Figures, Setting, Side};

const USAGE: &str = "usage: bench-tdb [--rounds N] [--only TEXT] [--instructions] [--report FILE]
             [--out FILE] [--disk DIR]
  --rounds N      runs of each side, medians are compared (5)
  --only TEXT     only databases one of whose rows contains TEXT
  --instructions  count instructions per operation with valgrind instead
  --report FILE   also write the table into this Markdown file
  --out FILE      where the results go (target/bench/results.json)
  --disk DIR      where the synced transactions go (target/bench)";

struct Arguments {
    rounds: usize,
    only: String,
    instructions: bool,
    out: PathBuf,
    report: Option<PathBuf>,
    disk: PathBuf,
}

fn arguments(words: &[String]) -> Result<Arguments> {
    let mut got = Arguments {
        rounds: 5,
        only: String::new(),
        instructions: false,
        out: "target/bench/results.json".into(),
        report: None,
        disk: "target/bench".into(),
    };
    let mut words = words.iter();
    while let Some(word) = words.next() {
        let mut value = || words.next().context(USAGE);
        match word.as_str() {
            "--rounds" => got.rounds = value()?.parse()?,
            "--only" => got.only = value()?.clone(),
            "--instructions" => got.instructions = true,
            "--report" => got.report = Some(value()?.into()),
            "--out" => got.out = value()?.into(),
            "--disk" => got.disk = value()?.into(),
            _ => bail!("{USAGE}"),
        }
    }
    Ok(got)
}

fn main() {
    let words: Vec<String> = std::env::args().skip(1).collect();
    exit_with(match words.split_first() {
        Some((first, rest)) if first == "worker" => worker::run(rest),
        _ => bench(&words),
    });
}

/// What one side reached in each round.
type Samples = BTreeMap<(String, &'static str), Vec<f64>>;

/// A row of the table; its figures are in the samples.
struct Row {
    name: String,
    unit: &'static str,
    higher_is_better: bool,
}

struct Bench<'a> {
    args: &'a Arguments,
    sides: [Side; 2],
    memory: tempfile::TempDir,
    disk: tempfile::TempDir,
    rows: Vec<Row>,
    samples: Samples,
}

fn bench(words: &[String]) -> Result<()> {
    let args = arguments(words)?;
    let shm = Path::new("/dev/shm");
    let memory = if shm.is_dir() { tempfile::tempdir_in(shm)? } else { tempfile::tempdir()? };
    fs::create_dir_all(&args.disk)?;
    let disk = tempfile::tempdir_in(&args.disk)?;
    let sides = [Side::ours()?, Side::libtdb(disk.path())?];
    let rows = Vec::new();
    let mut bench = Bench { args: &args, sides, memory, disk, rows, samples: Samples::new() };
    if args.instructions {
        bench.count_instructions()?;
    } else {
        bench.time()?;
    }
    bench.report()
}

impl Bench<'_> {
    fn time(&mut self) -> Result<()> {
        for round in 0..self.args.rounds {
            for group in &self.wanted(plan::timed()) {
                eprintln!("round {} of {}: {}", round + 1, self.args.rounds, group.name);
                self.group(group, round).with_context(|| group.name.clone())?;
            }
            for scene in contention::scenes() {
                if scene.rows().iter().any(|row| row.contains(&self.args.only)) {
                    eprintln!("round {} of {}: {}", round + 1, self.args.rounds, scene.name);
                    self.contend(&scene, round).with_context(|| scene.name)?;
                }
            }
        }
        Ok(())
    }

    fn wanted(&self, mut groups: Vec<Group>) -> Vec<Group> {
        groups.retain(|group| group.rows().iter().any(|row| row.contains(&self.args.only)));
        groups
    }

    fn sample(&mut self, row: String, side: &'static str, unit: &'static str, value: f64) {
        if !self.rows.iter().any(|known| known.name == row) {
            let higher_is_better = unit == "1/s" || unit == "slowest/fastest";
            self.rows.push(Row { name: row.clone(), unit, higher_is_better });
        }
        self.samples.entry((row, side)).or_default().push(value);
    }

    /// The order changes from round to round, so that neither side always has the warm machine.
    fn turns(round: usize) -> [usize; 2] {
        [round % 2, (round + 1) % 2]
    }

    fn setting<'a>(&self, group: &Group, side: &Side, order: &'a Path) -> Setting<'a> {
        let dir = if group.on_disk { &self.disk } else { &self.memory };
        Setting {
            file: dir.path().join(format!("{}.tdb", side.name)),
            order,
            flags: group.flags,
            hash_size: group.hash_size,
            value_bytes: VALUE_BYTES,
        }
    }

    fn group(&mut self, group: &Group, round: usize) -> Result<()> {
        let order = self.write_order(group.order, round)?;
        let mut work = group.work.clone();
        work.push("check".into());
        let mut sums = Vec::new();
        for turn in Bench::turns(round) {
            let setting = self.setting(group, &self.sides[turn], &order);
            let figures = self.sides[turn].run(&setting, &work)?;
            let side = self.sides[turn].name;
            for label in group.labels() {
                let figure = figures.get(label).with_context(|| label.to_string())?;
                let seconds = if group.on_disk { figure.seconds } else { figure.processor_seconds };
                self.sample(group.row(label), side, "1/s", figure.ops / seconds);
            }
            if group.grows {
                let bytes = fs::metadata(&setting.file)?.len() as f64;
                self.sample(group.row(SIZE), side, "bytes", bytes);
            }
            fs::remove_file(&setting.file)?;
            sums.push(figures);
        }
        same_work(&sums)
    }

    fn write_order(&self, order: Order, round: usize) -> Result<PathBuf> {
        let mut random = Random::new(round as u64 + 1);
        let words: Vec<u32> = match order {
            Order::Shuffled(records) => {
                let mut all: Vec<u32> = (0..records).collect();
                for i in (1..all.len()).rev() {
                    all.swap(i, random.below(i + 1));
                }
                all
            }
            Order::Churn { keys, steps, largest } => {
                (0..steps).map(|_| churn_step(&mut random, keys, largest)).collect()
            }
        };
        let path = self.memory.path().join("order");
        let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
        fs::write(&path, bytes)?;
        Ok(path)
    }

    fn contend(&mut self, scene: &contention::Scene, round: usize) -> Result<()> {
        let order = self.write_order(Order::Shuffled(scene.records), round)?;
        for turn in Bench::turns(round) {
            let side = &self.sides[turn];
            let setting = Setting {
                file: self.memory.path().join(format!("{}.tdb", side.name)),
                order: &order,
                flags: scene.flags,
                hash_size: 10_007,
                value_bytes: VALUE_BYTES,
            };
            let rates = scene.run(side, &setting)?;
            fs::remove_file(&setting.file)?;
            let name = side.name;
            let [all, fairness] = scene.rows();
            let (least, most) =
                rates.iter().fold((f64::MAX, 0.0_f64), |(l, m), &r| (l.min(r), m.max(r)));
            self.sample(all, name, "1/s", rates.iter().sum());
            self.sample(fairness, name, "slowest/fastest", least / most);
        }
        Ok(())
    }

    /// Instructions of the program with a piece of work less those without it.
    fn count_instructions(&mut self) -> Result<()> {
        for group in &self.wanted(plan::counted()) {
            eprintln!("{}", group.name);
            let order = self.write_order(group.order, 0)?;
            for turn in [0, 1] {
                let setting = self.setting(group, &self.sides[turn], &order);
                let mut before = 0.0;
                for done in 0..=group.work.len() {
                    let (figures, count) = self.sides[turn].count(&setting, &group.work[..done])?;
                    fs::remove_file(&setting.file)?;
                    let last = done.checked_sub(1).map(|at| group.work[at].as_str());
                    let label = last.and_then(|word| Some(word.split_once('=')?.0));
                    if let Some((label, figure)) = label.and_then(|l| Some((l, figures.get(l)?))) {
                        let each = (count - before) / figure.ops;
                        self.sample(group.row(label), self.sides[turn].name, "instructions", each);
                    }
                    before = count;
                }
            }
        }
        Ok(())
    }

    fn report(&self) -> Result<()> {
        let rows = self.rows.iter().map(|row| {
            let of = |side| self.samples.get(&(row.name.clone(), side)).map(|v| median(v));
            let (ours, peer) = (of("ours").context("ours")?, of("libtdb").context("libtdb")?);
            let Row { name, unit, higher_is_better } = row;
            let (workload, higher_is_better) = (name.clone(), *higher_is_better);
            Ok(Comparison { workload, unit, ours, peer, higher_is_better })
        });
        let rows = rows.collect::<Result<Vec<_>>>()?;
        Comparison::print_head();
        rows.iter().for_each(Comparison::print);
        if self.args.instructions {
            return Ok(());
        }
        if let Some(file) = &self.args.report {
            write_section(file, "make bench-tdb", &markdown(&rows, self.args))?;
        }
        merge_results(&self.args.out, &rows)
    }
}

/// A key, and the size of its new value: every fifth deleted, most small, some up to the largest.
fn churn_step(random: &mut Random, keys: u32, largest: u32) -> u32 {
    let key = random.below(keys as usize) as u32;
    let size = match random.below(10) {
        0 | 1 => 0,
        2..=7 => 4 + random.below(196) as u32,
        _ => 200 + random.below(largest as usize - 199) as u32,
    };
    size << 16 | key
}

/// Both sides must have read the same.
fn same_work(sides: &[Figures]) -> Result<()> {
    let sums: Vec<BTreeMap<&String, (f64, u64)>> = sides
        .iter()
        .map(|figures| figures.iter().map(|(label, f)| (label, (f.ops, f.sum))).collect())
        .collect();
    ensure!(sums.windows(2).all(|pair| pair[0] == pair[1]), "not the same work: {sums:?}");
    Ok(())
}

fn markdown(rows: &[Comparison], args: &Arguments) -> String {
    let processors = std::thread::available_parallelism().map_or(0, usize::from);
    format!(
        "Run of {}: {processors} processors, {} rounds of each side in turn, medians, values of {VALUE_BYTES} bytes. \
         The peer is a C program on libtdb that does the same.\n\n{}",
        today(),
        args.rounds,
        comparison_table(rows),
    )
}
