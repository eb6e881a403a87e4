// SPDX-License-Identifier: GPL-3.0-or-later
//! Crash consistency of transactions, against a simulated disk.
//!
//! A commit is traced: writes, extensions, syncs. What the machine may leave when it stops is built
//! from the trace: everything before the last sync, and of the writes since then any subset of
//! 512 byte sectors. Each such file must open, pass its check and hold exactly the old or exactly
//! the new content; the old one before the undo log is valid, the new one when the commit returned.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::Mutex;

use crate::storage::Traced;
use crate::*;

const SECTOR: u32 = 512;
/// Torn variants tried for each step of a trace.
const VARIANTS: u32 = 6;

type Content = BTreeMap<Vec<u8>, Vec<u8>>;

struct Random(u64);

impl Random {
    fn next(&mut self) -> u32 {
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (self.0 >> 33) as u32
    }
}

fn content(tdb: &mut Tdb) -> Content {
    let mut seen = Content::new();
    tdb.traverse(|key, data| {
        assert!(seen.insert(key.to_vec(), data.to_vec()).is_none());
        true
    })
    .unwrap();
    seen
}

fn apply(image: &mut Vec<u8>, step: &Traced) {
    match step {
        Traced::Write(offset, data) => {
            let end = *offset as usize + data.len();
            if image.len() < end {
                image.resize(end, 0);
            }
            image[*offset as usize..end].copy_from_slice(data);
        }
        Traced::Extend(size) => {
            if image.len() < *size as usize {
                image.resize(*size as usize, 0);
            }
        }
        Traced::Sync => {}
    }
}

/// A write cut at sector boundaries.
fn sectors(step: &Traced) -> Vec<Traced> {
    let Traced::Write(offset, data) = step else {
        return vec![step.clone()];
    };
    let mut parts = Vec::new();
    let mut at = *offset;
    let mut rest = data.as_slice();
    while !rest.is_empty() {
        let count = rest.len().min((SECTOR - at % SECTOR) as usize);
        parts.push(Traced::Write(at, rest[..count].to_vec()));
        at += count as u32;
        rest = &rest[count..];
    }
    parts
}

struct Crash<'a> {
    dir: &'a Path,
    before: Vec<u8>,
    old: Content,
    new: Content,
    opened: u32,
    with_old: u32,
    with_new: u32,
}

impl Crash<'_> {
    /// Opens what the disk has and judges it. Recovery itself is crashed too.
    fn judge(&mut self, image: &[u8], what: &str, random: &mut Random) {
        let path = self.dir.join("crashed.tdb");
        fs::write(&path, image).unwrap();
        let mut tdb = match Tdb::open(&path, &OpenOptions { check: true, ..Default::default() }) {
            Ok(tdb) => tdb,
            Err(error) => panic!("{what}: {error}"),
        };
        let seen = content(&mut tdb);
        self.opened += 1;
        if seen == self.old {
            self.with_old += 1;
        } else if seen == self.new {
            self.with_new += 1;
        } else {
            panic!("{what}: neither the old nor the new content");
        }
        // And it can be written again.
        tdb.transaction_start().unwrap();
        tdb.store(b"after", &[&vec![1; 2000 + random.next() as usize % 100]], StoreMode::Replace)
            .unwrap();
        tdb.transaction_commit().unwrap();
        tdb.check().unwrap();
    }

    fn run(&mut self, trace: &[Traced], random: &mut Random) {
        let mut durable = self.before.clone();
        let mut pending: Vec<Traced> = Vec::new();
        for (i, step) in trace.iter().enumerate() {
            if matches!(step, Traced::Sync) {
                pending.drain(..).for_each(|p| apply(&mut durable, &p));
                self.judge(&durable, &format!("at sync, step {i}"), random);
                continue;
            }
            pending.extend(sectors(step));
            let mut in_order = durable.clone();
            pending.iter().for_each(|p| apply(&mut in_order, p));
            self.judge(&in_order, &format!("in order, step {i}"), random);
            for variant in 0..VARIANTS {
                let mut torn = durable.clone();
                for part in &pending {
                    if random.next() % 2 == 0 {
                        apply(&mut torn, part);
                    }
                }
                self.judge(&torn, &format!("step {i} variant {variant}"), random);
            }
        }
    }
}

/// Traces one transaction on the file and crashes it everywhere.
fn crash_everywhere(path: &Path, seed: u64, work: impl Fn(&mut Tdb)) -> u32 {
    let before = fs::read(path).unwrap();
    let mut tdb = Tdb::open(path, &OpenOptions::default()).unwrap();
    let old = content(&mut tdb);
    tdb.io.trace = Some(Mutex::new(Vec::new()));
    tdb.transaction_start().unwrap();
    work(&mut tdb);
    tdb.transaction_commit().unwrap();
    let trace = tdb.io.trace.take().unwrap().into_inner().unwrap();
    let new = content(&mut tdb);
    assert_ne!(old, new);
    let dir = tempfile::tempdir().unwrap();
    let mut crash =
        Crash { dir: dir.path(), before, old, new, opened: 0, with_old: 0, with_new: 0 };
    crash.run(&trace, &mut Random(seed));
    assert!(crash.with_old > 0 && crash.with_new > 0);
    crash.opened
}

#[test]
fn a_crashed_commit_leaves_the_old_or_the_new_content() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("t.tdb");
    let options = OpenOptions { create: true, hash_size: 31, ..Default::default() };
    drop(Tdb::open(&path, &options).unwrap());
    let fill = |tag: u8, count: u32, size: usize| {
        move |tdb: &mut Tdb| {
            for i in 0..count {
                tdb.store(&i.to_le_bytes(), &[&vec![tag; size]], StoreMode::Replace).unwrap();
            }
        }
    };
    let mut opened = 0;
    // A fresh area; its reuse; one in need of more room; a wipe; deletes.
    opened += crash_everywhere(&path, 1, fill(1, 10, 30));
    opened += crash_everywhere(&path, 2, fill(2, 10, 30));
    opened += crash_everywhere(&path, 3, fill(3, 60, 300));
    opened += crash_everywhere(&path, 4, fill(4, 60, 500));
    opened += crash_everywhere(&path, 5, |tdb| {
        tdb.wipe_all().unwrap();
        tdb.store(b"only", &[b"one"], StoreMode::Insert).unwrap();
    });
    opened += crash_everywhere(&path, 6, fill(5, 40, 200));
    opened += crash_everywhere(&path, 7, |tdb| {
        for i in (0..40u32).step_by(2) {
            tdb.delete(&i.to_le_bytes()).unwrap();
        }
    });
    println!("{opened} crashed files opened");
    assert!(opened > 300);
}

/// The undo log is replayed, and the machine stops again in the middle of it.
#[test]
fn a_crashed_recovery_can_be_repeated() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("t.tdb");
    let options = OpenOptions { create: true, hash_size: 31, ..Default::default() };
    let mut tdb = Tdb::open(&path, &options).unwrap();
    for i in 0..30u32 {
        tdb.store(&i.to_le_bytes(), &[&[1; 100]], StoreMode::Insert).unwrap();
    }
    for round in 0..2 {
        let old = content(&mut tdb);
        // The image of a commit that stopped before its last step.
        tdb.transaction_start().unwrap();
        for i in 0..60u32 {
            tdb.store(&i.to_le_bytes(), &[&vec![2 + round; 300]], StoreMode::Replace).unwrap();
        }
        tdb.transaction_prepare().unwrap();
        let prepared = fs::read(&path).unwrap();
        tdb.transaction_commit().unwrap();
        let mut half = fs::read(&path).unwrap();
        half[..prepared.len().min(4096)].copy_from_slice(&prepared[..prepared.len().min(4096)]);
        let area = u32::from_ne_bytes(half[44..48].try_into().unwrap()) as usize;
        half[area + 20..area + 24].copy_from_slice(&layout::MAGIC_RECOVERY.to_ne_bytes());

        let crashed = dir.path().join("crashed.tdb");
        fs::write(&crashed, &half).unwrap();
        let trace = trace_of_recovery(&crashed);
        let mut crash = Crash {
            dir: dir.path(),
            before: half,
            old: old.clone(),
            new: old,
            opened: 0,
            with_old: 0,
            with_new: 0,
        };
        crash.run(&trace, &mut Random(9));
        assert!(crash.opened > 50, "{}", crash.opened);
    }
}

fn trace_of_recovery(path: &Path) -> Vec<Traced> {
    // Opened without recovery: as a reader that is not one.
    let options = OpenOptions { tdb_flags: 0, ..Default::default() };
    let undone = fs::read(path).unwrap();
    let mut idle = undone.clone();
    let area = u32::from_ne_bytes(idle[44..48].try_into().unwrap()) as usize;
    idle[area + 20..area + 24].fill(0);
    fs::write(path, &idle).unwrap();
    let mut tdb = Tdb::open(path, &options).unwrap();
    tdb.io.write_through(area as u32 + 20, &layout::MAGIC_RECOVERY.to_ne_bytes()).unwrap();
    tdb.io.trace = Some(Mutex::new(Vec::new()));
    tdb.recover_as_survivor().unwrap();
    tdb.io.trace.take().unwrap().into_inner().unwrap()
}
