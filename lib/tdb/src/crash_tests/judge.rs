// SPDX-License-Identifier: GPL-3.0-or-later
//! Opening what a crash left, and judging it.

use std::fs;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use super::common::{record_digest, CPeer};
use super::disk::{Disk, Effort, Order};
use super::trace::{self, Traced};
use super::{content, Content, Random};
use crate::layout::*;
use crate::*;

/// Every so many states are also written.
const WRITE_EVERY: u64 = 4;

/// What a run has done.
#[derive(Default, Debug, Clone)]
pub(super) struct Figures {
    pub transactions: u64,
    pub cuts: u64,
    pub reordered: u64,
    /// States of interrupted recoveries, among them.
    pub in_recovery: u64,
    pub with_old: u64,
    pub with_new: u64,
    /// States opened by the C library, and those of its recoveries that its check refuses because
    /// they leave space that belongs to no record (spec/tdb.md 25 H1).
    pub by_c: u64,
    pub c_dead_space: u64,
    /// Files that our recovery repaired and the C library then checked.
    pub repaired: u64,
}

/// Which states a judge accepts.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Accept {
    Old,
    Either,
    New,
}

/// Opens states of one kind of file.
pub(super) struct Judge {
    dir: PathBuf,
    flags: u32,
    peer: Option<CPeer>,
    /// Every so many states are also given to the C library.
    c_every: u64,
    /// Every so many recoveries are crashed too.
    recovery_every: u64,
    effort: Effort,
    pub figures: Figures,
}

impl Judge {
    pub fn new(dir: &Path, flags: u32, effort: Effort, c_every: u64) -> Judge {
        let mut peer = CPeer::start();
        if let Some(peer) = &mut peer {
            peer.ok("quiet");
        }
        Judge {
            dir: dir.to_path_buf(),
            flags: flags & TDB_MUTEX_LOCKING,
            peer,
            c_every,
            recovery_every: 40,
            effort,
            figures: Figures::default(),
        }
    }

    /// Crashes the steps of one transaction everywhere.
    pub fn crash(
        &mut self,
        before: Disk,
        steps: &[Traced],
        (old, new): (&Content, &Content),
        random: &mut Random,
        what: &str,
    ) {
        self.figures.transactions += 1;
        let (first_new, only_new) = committed(steps);
        let mut disk = before;
        for (i, step) in steps.iter().enumerate() {
            let sync = *step == Traced::Sync;
            if !sync {
                disk.apply(step);
            }
            if sync || i + 1 == steps.len() {
                let accept = match i {
                    _ if i <= first_new => Accept::Old,
                    _ if i <= only_new => Accept::Either,
                    _ => Accept::New,
                };
                let what = format!("{what}, before step {i} of {}", steps.len());
                let effort = self.effort;
                disk.states(effort, random, |image, order, random| {
                    self.judge(image, order, accept, (old, new), random, 2, &what);
                });
            }
            if sync {
                disk.apply(step);
            }
        }
        let accept = if steps.is_empty() { Accept::Old } else { Accept::New };
        self.judge(disk.cache(), Order::Cut, accept, (old, new), random, 0, what);
    }

    #[allow(clippy::too_many_arguments)]
    fn judge(
        &mut self,
        image: &[u8],
        order: Order,
        accept: Accept,
        (old, new): (&Content, &Content),
        random: &mut Random,
        depth: u32,
        what: &str,
    ) {
        match order {
            Order::Cut => self.figures.cuts += 1,
            Order::Reordered => self.figures.reordered += 1,
        }
        let path = self.dir.join("crashed.tdb");
        put(&path, image);
        let options = OpenOptions { check: true, tdb_flags: self.flags, ..Default::default() };
        trace::start();
        let opened = Tdb::open(&path, &options);
        let recovery = trace::stop();
        let mut tdb = match opened {
            Ok(tdb) => tdb,
            Err(error) => self.fail(image, &format!("{what}, {order:?}: {error}")),
        };
        let seen = content(&mut tdb);
        let is_old = &seen == old;
        let fits = match accept {
            Accept::Old => is_old,
            Accept::New => &seen == new,
            Accept::Either => is_old || &seen == new,
        };
        if !fits {
            self.fail(image, &format!("{what}, {order:?}: neither the old nor the new content"));
        }
        self.figures.with_old += u64::from(is_old);
        self.figures.with_new += u64::from(!is_old);
        let start = tdb.io.start;
        let number = self.figures.cuts + self.figures.reordered;
        if number % WRITE_EVERY == 0 || number % self.c_every == 0 {
            self.write_again(&mut tdb, random);
        }
        drop(tdb);

        if number % self.c_every == 0 {
            self.ask_c(image, &seen, what);
        }
        let worth = recovery.iter().any(|step| *step != Traced::Sync);
        if worth && depth > 0 && random.below(self.recovery_every as u32) == 0 {
            self.crash_recovery(Disk::new(image.to_vec(), start), &recovery, &seen, random, depth);
        }
    }

    /// The machine stops again while the undo log is replayed: the result stays the same.
    fn crash_recovery(
        &mut self,
        mut disk: Disk,
        steps: &[Traced],
        seen: &Content,
        random: &mut Random,
        depth: u32,
    ) {
        let effort = Effort {
            cuts: self.effort.cuts / 3,
            singles: self.effort.singles / 3,
            random: self.effort.random / 3,
        };
        let before = self.figures.cuts + self.figures.reordered;
        let in_recovery = self.figures.in_recovery;
        for step in steps {
            if matches!(step, Traced::Sync) && disk.is_dirty() {
                disk.states(effort, random, |image, order, random| {
                    let accept = Accept::Old;
                    let both = (seen, seen);
                    self.judge(image, order, accept, both, random, depth - 1, "in recovery");
                });
            }
            disk.apply(step);
        }
        // With what was in recoveries of these.
        let states = self.figures.cuts + self.figures.reordered - before;
        self.figures.in_recovery = in_recovery + states;
    }

    /// What was opened can be written, with and without a transaction, and grows.
    fn write_again(&self, tdb: &mut Tdb, random: &mut Random) {
        tdb.add_flags(TDB_NOSYNC).unwrap();
        if random.below(2) == 0 {
            tdb.transaction_start().unwrap();
            let value = vec![1; 2000 + random.below(100) as usize];
            tdb.store(b"after", &[&value], StoreMode::Replace).unwrap();
            tdb.transaction_commit().unwrap();
        } else {
            let (size, value) = (tdb.map_size(), vec![1; tdb.map_size() as usize / 4]);
            for number in 0..8u32 {
                if tdb.map_size() == size {
                    tdb.store(&number.to_le_bytes(), &[&value], StoreMode::Replace).unwrap();
                }
            }
            assert!(tdb.map_size() > size, "still of {size} bytes");
        }
        tdb.check().unwrap();
    }

    /// The C library recovers the same state to the same content. And it accepts the file that our
    /// recovery left.
    fn ask_c(&mut self, image: &[u8], seen: &Content, what: &str) {
        let Some(peer) = &mut self.peer else {
            return;
        };
        let ours = self.dir.join("crashed.tdb");
        let theirs = self.dir.join("crashed-c.tdb");
        put(&theirs, image);
        let open = |path: &Path| format!("open {} 0 {}", path.display(), self.flags | TDB_NOSYNC);
        let sum = seen.iter().fold(0u64, |sum, (k, d)| sum.wrapping_add(record_digest(k, d)));
        peer.ok(&open(&theirs));
        let digest = peer.ok("digest");
        if digest != format!("{} {sum:016x}", seen.len()) {
            fs::write(self.dir.join("failed.tdb"), image).unwrap();
            panic!("{what}: the C library sees other content");
        }
        self.figures.by_c += 1;
        self.figures.c_dead_space += u64::from(peer.call("check") != "ok");
        peer.ok("close");
        peer.ok(&open(&ours));
        let answer = peer.call("check");
        peer.ok("close");
        if answer != "ok" {
            self.fail(image, &format!("{what}: the C library refuses what we recovered: {answer}"));
        }
        self.figures.repaired += 1;
    }

    fn fail(&self, image: &[u8], message: &str) -> ! {
        let keep = std::env::temp_dir().join("tdb-crash-failed.tdb");
        fs::write(&keep, image).unwrap();
        panic!("{message} (kept as {})", keep.display());
    }
}

/// Writes a file without its zeroes: most of a grown file is.
pub(super) fn put(path: &Path, image: &[u8]) {
    const BLOCK: usize = 4096;
    let file = fs::File::create(path).unwrap();
    file.set_len(image.len() as u64).unwrap();
    for (i, block) in image.chunks(BLOCK).enumerate() {
        if *block != [0; BLOCK][..block.len()] {
            file.write_all_at(block, (i * BLOCK) as u64).unwrap();
        }
    }
}

/// The step that makes the undo log invalid, and the sync that follows. Before the one the old
/// content must be there, behind the other the new.
fn committed(steps: &[Traced]) -> (usize, usize) {
    let magic = |word: u32, step: &Traced| match step {
        Traced::Write(offset, data) if data.len() == 4 => {
            (data[..] == word.to_le_bytes() || data[..] == word.to_be_bytes()).then_some(*offset)
        }
        _ => None,
    };
    let armed = steps.iter().enumerate().find_map(|(i, s)| Some((i, magic(MAGIC_RECOVERY, s)?)));
    let Some((armed, at)) = armed else {
        return (steps.len(), steps.len());
    };
    let cleared = (armed..steps.len())
        .find(|i| magic(MAGIC_RECOVERY_IDLE, &steps[*i]) == Some(at))
        .unwrap_or(steps.len());
    let sync = (cleared..steps.len()).find(|i| steps[*i] == Traced::Sync).unwrap_or(steps.len());
    (cleared, sync)
}
