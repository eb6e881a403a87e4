// SPDX-License-Identifier: GPL-3.0-or-later
//! A process killed between any two writes of an operation without a transaction.
//!
//! Nothing undoes what it did, so not everything can hold (spec/tdb.md 13.6): space may be lost, the
//! key it was working on may be half overwritten, or gone if its record was being moved (two writes
//! apart). But every other record is there, and whoever goes on working gets no space twice:
//! whatever is stored afterwards stays what it is. A repack makes the file sound for every check.

use std::fs;

use super::common::CPeer;
use super::disk::Disk;
use super::judge::put;
use super::trace::{self, Traced};
use super::{content, directory, Content, Random};
use crate::*;

/// Values small and large, so that records are split, merged, moved and the file grows.
fn value(random: &mut Random) -> Vec<u8> {
    let len = [8, 40, 200, 900][random.below(4) as usize];
    let tag = random.next() as u8;
    (0..random.below(len)).map(|i| tag.wrapping_add(i as u8)).collect()
}

fn key(random: &mut Random) -> [u8; 4] {
    random.below(60).to_le_bytes()
}

/// One operation; returns the key it works on.
fn work(tdb: &mut Tdb, random: &mut Random, known: &mut Content) -> Vec<u8> {
    let key = key(random).to_vec();
    match random.below(8) {
        0..=4 => {
            let value = value(random);
            tdb.store(&key, &[&value], StoreMode::Replace).unwrap();
            known.insert(key.clone(), value);
        }
        5 => {
            tdb.append(&key, &[7; 30]).unwrap();
            known.entry(key.clone()).or_default().extend([7; 30]);
        }
        _ => match tdb.delete(&key) {
            Ok(()) => assert!(known.remove(&key).is_some()),
            Err(Error::NotFound) => assert!(!known.contains_key(&key)),
            Err(error) => panic!("{error}"),
        },
    }
    key
}

#[derive(Default, Debug)]
struct Figures {
    operations: u32,
    kills: u32,
    absent: u32,
    torn: u32,
}

struct Killed {
    path: std::path::PathBuf,
    options: OpenOptions,
    peer: Option<CPeer>,
    figures: Figures,
}

impl Killed {
    fn open(&self) -> Tdb {
        Tdb::open(&self.path, &self.options).unwrap()
    }

    /// What a process left that was killed: opened by one that goes on.
    fn judge(&mut self, image: &[u8], key: &[u8], old: &Content, new: &Content, seed: u64) {
        self.figures.kills += 1;
        put(&self.path, image);
        let mut tdb = self.open();
        let mut seen = content(&mut tdb);
        let mut before = old.clone();
        let was = before.remove(key);
        match seen.get(key) {
            None if was.is_some() && new.contains_key(key) => self.figures.absent += 1,
            found if found != was.as_ref() && found != new.get(key) => self.figures.torn += 1,
            _ => {}
        }
        let touched = seen.remove(key);
        assert_eq!(seen, before, "other records");
        seen.extend(touched.map(|value| (key.to_vec(), value)));
        let mut random = Random(seed);
        for _ in 0..40 {
            work(&mut tdb, &mut random, &mut seen);
        }
        assert_eq!(content(&mut tdb), seen, "after more work");
        if self.figures.kills % 8 == 0 {
            tdb.repack().unwrap();
            tdb.check().unwrap();
            assert_eq!(content(&mut tdb), seen, "after a repack");
            drop(tdb);
            if let Some(peer) = &mut self.peer {
                peer.ok(&format!("open {} 0 {TDB_NOSYNC}", self.path.display()));
                peer.ok("check");
                peer.ok("close");
            }
        }
    }
}

/// Kills a process everywhere in so many operations.
fn kill_everywhere(max_dead: u32, operations: u32, seed: u64) -> Figures {
    let dir = directory();
    let path = dir.path().join("t.tdb");
    let options = OpenOptions {
        create: true,
        hash_size: 5,
        max_dead: Some(max_dead),
        tdb_flags: TDB_NOSYNC,
        ..Default::default()
    };
    let mut peer = CPeer::start();
    if let Some(peer) = &mut peer {
        peer.ok("quiet");
    }
    let killed_path = dir.path().join("killed.tdb");
    let mut killed =
        Killed { path: killed_path, options: options.clone(), peer, figures: Figures::default() };
    let mut tdb = Tdb::open(&path, &options).unwrap();
    let mut random = Random(seed);
    let mut known = Content::new();
    for _ in 0..operations {
        let image = fs::read(&path).unwrap();
        let old = known.clone();
        trace::start();
        let key = work(&mut tdb, &mut random, &mut known);
        let steps = trace::stop();
        killed.figures.operations += 1;
        let mut disk = Disk::new(image, 0);
        for step in &steps {
            assert_ne!(*step, Traced::Sync);
            killed.judge(disk.cache(), &key, &old, &known, random.next().into());
            disk.apply(step);
        }
        assert!(*disk.cache() == fs::read(&path).unwrap(), "not everything was recorded");
    }
    killed.figures
}

#[test]
fn a_killed_process_leaves_every_other_record() {
    let n = super::effort() as u32;
    for max_dead in [0, 3] {
        let figures = kill_everywhere(max_dead, 150 * n, 11 + u64::from(max_dead));
        println!("{figures:?}");
        assert!(figures.kills > 600);
        // A moved record is gone for one write at most.
        assert!(figures.absent <= figures.operations);
    }
}
