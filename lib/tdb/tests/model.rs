// SPDX-License-Identifier: GPL-3.0-or-later
//! An engine against a map: random sequences of all operations, over all kinds of files, with
//! shrinking. What the map says about keys, results, sequence numbers and locks must be what the
//! engine says; after each sequence the file passes the full check, and the C library's.
//!
//! `PROPTEST_CASES` asks for more sequences.

mod common;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::Mutex;

use common::CPeer;
use ctdb_tdb::*;
use proptest::prelude::*;

const KEYS: u8 = 24;
const MAX_NESTING: usize = 3;

type Content = BTreeMap<Vec<u8>, Vec<u8>>;

/// One key in a few lengths; number 0 is the empty key.
fn key(number: u8) -> Vec<u8> {
    let len = [0, 1, 2, 3, 4, 5, 12, 13, 24, 25, 40, 300];
    let len = len.get(number as usize).copied().unwrap_or(5);
    (0..len).map(|i| number.wrapping_mul(31).wrapping_add(i as u8)).collect()
}

/// A kind of database and of handle.
#[derive(Debug, Clone)]
struct Kind {
    flags: u32,
    hash_size: u32,
    max_dead: u32,
    style: LockStyle,
}

/// Atomic additions in the mapping use this machine's byte order, transactions the file's: a
/// sequence number in a mapped file of the other order is good for nothing (spec/tdb.md 16).
fn countable(flags: u32) -> bool {
    flags & TDB_CONVERT == 0 || flags & TDB_NOMMAP != 0
}

fn kinds() -> impl Strategy<Value = Kind> {
    let file = prop::sample::select(vec![
        0,
        TDB_INCOMPATIBLE_HASH,
        TDB_NOMMAP,
        TDB_CONVERT,
        TDB_CONVERT | TDB_INCOMPATIBLE_HASH | TDB_NOMMAP,
        TDB_MUTEX_LOCKING,
        TDB_MUTEX_LOCKING | TDB_CLEAR_IF_FIRST,
        TDB_INTERNAL,
        TDB_NOLOCK,
    ]);
    let hash_size = prop::sample::select(vec![1u32, 2, 7, 131, 1009]);
    let style = prop::sample::select(vec![LockStyle::Posix, LockStyle::Ofd]);
    (file, any::<bool>(), hash_size, 0u32..6, style).prop_map(
        |(flags, counts, hash_size, max_dead, style)| Kind {
            flags: flags | TDB_NOSYNC | if counts && countable(flags) { TDB_SEQNUM } else { 0 },
            hash_size,
            max_dead,
            style,
        },
    )
}

#[derive(Debug, Clone)]
enum Step {
    /// Key, lengths of the value's parts, mode.
    Store(u8, Vec<usize>, StoreMode),
    /// Stores what is there already.
    StoreSame(u8),
    Append(u8, usize),
    Delete(u8),
    Fetch(u8),
    /// Locks the chain, fetches, stores, fetches, unlocks.
    Guarded(u8, usize),
    Traverse(u64),
    TraverseChain(u8),
    /// Walks with a cursor in turns of so many records.
    Batches(u64),
    /// Flips every byte of every value.
    ChangeAll,
    /// Deletes the keys from this number on while walking.
    TraverseWrite(u8),
    /// Summary, free list, iterators, rescue.
    LookAround,
    MergeFree,
    Reserve(u32),
    Repack,
    Wipe,
    Start,
    Prepare,
    Commit,
    Cancel,
    Reopen,
    LockAll(LockMode),
    UnlockAll,
    LockChain(u8, LockMode),
    UnlockChain,
    MaxDead(u32),
    IncrementSeqnum,
    Check,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let mode = prop_oneof![
        3 => Just(StoreMode::Replace),
        1 => Just(StoreMode::Insert),
        1 => Just(StoreMode::Modify)
    ];
    let lock = prop_oneof![Just(LockMode::Shared), Just(LockMode::Exclusive)];
    let size = || prop_oneof![8 => 0usize..300, 2 => 300usize..3000, 1 => 3000usize..20_000];
    let parts = prop_oneof![
        4 => size().prop_map(|n| vec![n]),
        1 => prop::collection::vec(0usize..100, 0..4),
    ];
    let step = prop_oneof![
        40 => (0..KEYS, parts, mode).prop_map(|(k, p, m)| Step::Store(k, p, m)),
        2 => (0..KEYS).prop_map(Step::StoreSame),
        8 => (0..KEYS, 0usize..200).prop_map(|(k, n)| Step::Append(k, n)),
        24 => (0..KEYS).prop_map(Step::Delete),
        6 => (0..KEYS).prop_map(Step::Fetch),
        4 => (0..KEYS, size()).prop_map(|(k, n)| Step::Guarded(k, n)),
        2 => (0u64..10).prop_map(Step::Traverse),
        2 => (0..KEYS).prop_map(Step::TraverseChain),
        1 => (1u64..10).prop_map(Step::Batches),
        1 => Just(Step::ChangeAll),
        1 => (0..KEYS).prop_map(Step::TraverseWrite),
        2 => Just(Step::LookAround),
        1 => Just(Step::MergeFree),
        1 => (0u32..5000).prop_map(Step::Reserve),
        2 => Just(Step::Repack),
        1 => Just(Step::Wipe),
        6 => Just(Step::Start),
        1 => Just(Step::Prepare),
        4 => Just(Step::Commit),
        3 => Just(Step::Cancel),
        2 => Just(Step::Reopen),
        1 => lock.clone().prop_map(Step::LockAll),
        2 => Just(Step::UnlockAll),
        2 => (0..KEYS, lock).prop_map(|(k, m)| Step::LockChain(k, m)),
        3 => Just(Step::UnlockChain),
        1 => (0u32..7).prop_map(Step::MaxDead),
        1 => Just(Step::IncrementSeqnum),
        2 => Just(Step::Check),
    ];
    prop::collection::vec(step, 1..150)
}

/// What must be true of the engine.
#[derive(Default)]
struct Model {
    content: Content,
    seqnum: u32,
    /// Content and sequence number before the transaction; one for its levels together.
    before: Option<(Content, u32)>,
    nesting: usize,
    inner_cancelled: bool,
    prepared: bool,
    all: Option<(LockMode, u32)>,
    /// Chain locks in the order they were taken.
    chains: Vec<u32>,
}

impl Model {
    fn writes_allowed(&self) -> bool {
        !self.prepared && !matches!(self.all, Some((LockMode::Shared, _)))
    }

    fn roll_back(&mut self) {
        if let Some((content, seqnum)) = self.before.take() {
            self.content = content;
            self.seqnum = seqnum;
        }
        self.end();
    }

    fn end(&mut self) {
        self.before = None;
        self.nesting = 0;
        self.inner_cancelled = false;
        self.prepared = false;
    }
}

struct Subject {
    path: PathBuf,
    kind: Kind,
    tdb: Option<Tdb>,
    model: Model,
    serial: u8,
}

impl Subject {
    fn tdb(&mut self) -> &mut Tdb {
        let options = OpenOptions {
            tdb_flags: self.kind.flags,
            hash_size: self.kind.hash_size,
            create: true,
            max_dead: Some(self.kind.max_dead),
            lock_style: self.kind.style,
            ..Default::default()
        };
        let path = &self.path;
        self.tdb.get_or_insert_with(|| Tdb::open(path, &options).unwrap())
    }

    fn has(&self, flag: u32) -> bool {
        self.kind.flags & flag != 0
    }

    fn data(&self, len: usize) -> Vec<u8> {
        (0..len).map(|i| self.serial.wrapping_add((i >> 3) as u8)).collect()
    }

    /// The sequence number after a step that changed at least so much.
    fn counted(&mut self, least: u32, most: u32) {
        let now = self.tdb().seqnum().unwrap();
        let grown = now.wrapping_sub(self.model.seqnum);
        let (least, most) = if self.has(TDB_SEQNUM) { (least, most) } else { (0, 0) };
        assert!((least..=most).contains(&grown), "counted {grown}, not {least} to {most}");
        self.model.seqnum = now;
    }

    fn refused(&mut self, result: Result<()>) {
        assert!(!self.model.writes_allowed(), "{result:?}");
        assert!(matches!(result, Err(Error::Usage(_) | Error::Lock(_))), "{result:?}");
        self.counted(0, 0);
    }

    fn apply(&mut self, step: &Step) {
        self.serial = self.serial.wrapping_add(1);
        match step {
            Step::Store(number, parts, mode) => self.store(*number, parts, *mode),
            Step::StoreSame(number) => self.store_same(*number),
            Step::Append(number, len) => self.append(*number, *len),
            Step::Delete(number) => self.delete(*number),
            Step::Fetch(number) => self.fetch(*number),
            Step::Guarded(number, len) => self.guarded(*number, *len),
            Step::Traverse(stop) => self.traverse(*stop),
            Step::TraverseChain(number) => self.traverse_chain(*number),
            Step::Batches(turn) => self.batches(*turn),
            Step::ChangeAll => self.change_all(),
            Step::TraverseWrite(from) => self.traverse_write(*from),
            Step::LookAround => self.look_around(),
            Step::MergeFree => {
                if !self.chain_is_locked() {
                    self.tdb().free_list_size().unwrap();
                }
            }
            Step::Reserve(bytes) => {
                if !self.chain_is_locked() && self.model.writes_allowed() {
                    self.tdb().reserve(*bytes).unwrap();
                    assert!(self.tdb().free_stats().unwrap().largest >= *bytes);
                }
            }
            Step::Repack => self.repack(),
            Step::Wipe => self.wipe(),
            Step::Start => self.start(),
            Step::Prepare => self.prepare(),
            Step::Commit => self.commit(),
            Step::Cancel => self.cancel(),
            Step::Reopen => self.reopen(),
            Step::LockAll(mode) => self.lock_all(*mode),
            Step::UnlockAll => self.unlock_all(),
            Step::LockChain(number, mode) => self.lock_chain(*number, *mode),
            Step::UnlockChain => {
                if let Some(chain) = self.model.chains.pop() {
                    self.tdb().unlock_chain(chain).unwrap();
                }
            }
            Step::MaxDead(max_dead) => self.tdb().set_max_dead(*max_dead),
            Step::IncrementSeqnum if countable(self.kind.flags) => {
                if self.model.prepared {
                    assert!(self.tdb().increment_seqnum().is_err());
                } else {
                    self.tdb().increment_seqnum().unwrap();
                    self.model.seqnum = self.model.seqnum.wrapping_add(1);
                    self.counted(0, 0);
                }
            }
            Step::IncrementSeqnum => {}
            Step::Check => self.check(),
        }
    }

    fn store(&mut self, number: u8, parts: &[usize], mode: StoreMode) {
        let key = key(number);
        let parts: Vec<Vec<u8>> = parts.iter().map(|len| self.data(*len)).collect();
        let slices: Vec<&[u8]> = parts.iter().map(Vec::as_slice).collect();
        let exists = self.model.content.contains_key(&key);
        match self.tdb().store(&key, &slices, mode) {
            Ok(()) => {
                assert!(self.model.writes_allowed());
                assert!(mode != StoreMode::Insert || !exists);
                assert!(mode != StoreMode::Modify || exists);
                self.model.content.insert(key, parts.concat());
                self.counted(1, if exists { 2 } else { 1 });
            }
            Err(Error::Exists) => assert!(mode == StoreMode::Insert && exists),
            Err(Error::NotFound) => assert!(mode == StoreMode::Modify && !exists),
            refused => self.refused(refused),
        }
    }

    fn store_same(&mut self, number: u8) {
        let key = key(number);
        let Some(data) = self.model.content.get(&key).cloned() else {
            return;
        };
        let middle = data.len() / 2;
        match self.tdb().store(&key, &[&data[..middle], &data[middle..]], StoreMode::Replace) {
            Ok(()) => {
                assert!(self.model.writes_allowed());
                self.counted(1, 1);
            }
            refused => self.refused(refused),
        }
    }

    fn append(&mut self, number: u8, len: usize) {
        let (key, data) = (key(number), self.data(len));
        match self.tdb().append(&key, &data) {
            Ok(()) => {
                assert!(self.model.writes_allowed());
                let existed = self.model.content.contains_key(&key);
                self.model.content.entry(key).or_default().extend(data);
                self.counted(1, if existed { 2 } else { 1 });
            }
            refused => self.refused(refused),
        }
    }

    fn delete(&mut self, number: u8) {
        let key = key(number);
        match self.tdb().delete(&key) {
            Ok(()) => {
                assert!(self.model.writes_allowed());
                assert!(self.model.content.remove(&key).is_some());
                self.counted(1, 1);
            }
            Err(Error::NotFound) => {
                assert!(!self.model.content.contains_key(&key));
                self.counted(0, 0);
            }
            refused => self.refused(refused),
        }
    }

    fn fetch(&mut self, number: u8) {
        let key = key(number);
        let found = self.tdb().fetch(&key).unwrap();
        assert_eq!(found.as_ref(), self.model.content.get(&key));
        assert_eq!(self.tdb().exists(&key).unwrap(), found.is_some());
        let len = self.tdb().parse(&key, |data| data.len()).unwrap();
        assert_eq!(len, found.map(|data| data.len()));
    }

    fn guarded(&mut self, number: u8, len: usize) {
        let (key, data) = (key(number), self.data(len));
        if !self.model.writes_allowed() || (self.model.chains.len() > 1 && self.has(TDB_NOLOCK)) {
            return;
        }
        let expected = self.model.content.get(&key).cloned();
        let mut guard = self.tdb().chain_lock(&key).unwrap();
        assert_eq!(guard.fetch(&key).unwrap(), expected.as_deref());
        guard.store(&key, &[&data], StoreMode::Replace).unwrap();
        assert_eq!(guard.fetch(&key).unwrap(), Some(data.as_slice()));
        drop(guard);
        self.model.content.insert(key, data);
        self.counted(1, 2);
    }

    fn traverse(&mut self, stop: u64) {
        let mut seen = Content::new();
        let visited = self.tdb().traverse(|key, data| {
            assert!(seen.insert(key.to_vec(), data.to_vec()).is_none(), "visited twice");
            seen.len() as u64 != stop
        });
        assert_eq!(visited.unwrap(), seen.len() as u64);
        let all = self.model.content.len() as u64;
        let expected = if stop == 0 { all } else { stop.min(all) };
        assert_eq!(seen.len() as u64, expected);
        assert!(seen.iter().all(|(key, data)| self.model.content.get(key) == Some(data)));
    }

    fn traverse_chain(&mut self, number: u8) {
        let chain = self.tdb().chain_of(&key(number));
        let mut seen = Content::new();
        self.tdb()
            .traverse_chain(chain, |key, data| {
                assert!(seen.insert(key.to_vec(), data.to_vec()).is_none(), "visited twice");
                true
            })
            .unwrap();
        let tdb = self.tdb.as_ref().unwrap();
        let mut expected = self.model.content.clone();
        expected.retain(|key, _| tdb.chain_of(key) == chain);
        assert_eq!(seen, expected);
    }

    fn batches(&mut self, turn: u64) {
        let mut seen = Content::new();
        let mut cursor = TraverseCursor::new();
        let mut collect = |key: &[u8], data: &[u8]| {
            assert!(seen.insert(key.to_vec(), data.to_vec()).is_none(), "visited twice");
            true
        };
        while cursor.next_batch(self.tdb(), turn, u64::MAX, &mut collect).unwrap() {}
        assert_eq!(seen, self.model.content);
    }

    fn change_all(&mut self) {
        let mut flipped = self.model.content.clone();
        flipped.values_mut().flatten().for_each(|byte| *byte ^= 0xFF);
        let covered = matches!(self.model.all, Some((LockMode::Exclusive, _)));
        let in_transaction = self.model.before.is_some() && !self.has(TDB_NOLOCK);
        let result = self.tdb().traverse_all(|_, data| {
            data.iter_mut().for_each(|byte| *byte ^= 0xFF);
            true
        });
        if (covered || in_transaction) && !self.model.prepared {
            assert_eq!(result.unwrap(), flipped.len() as u64);
            self.model.content = flipped;
        } else {
            assert!(matches!(result, Err(Error::Usage(_))), "{result:?}");
        }
        self.counted(0, 0);
    }

    /// A chain is locked by its lock alone.
    fn chain_is_locked(&self) -> bool {
        !self.model.chains.is_empty() && self.model.all.is_none()
    }

    fn traverse_write(&mut self, from: u8) {
        if !self.model.writes_allowed() || self.chain_is_locked() {
            return;
        }
        let doomed: Vec<Vec<u8>> = (from..KEYS).map(key).collect();
        let expected = self.model.content.clone();
        let visited = self.tdb().traverse_write(|tdb, key, data| {
            assert_eq!(expected.get(key).map(Vec::as_slice), Some(data));
            if doomed.iter().any(|doomed| doomed == key) {
                tdb.delete(key).unwrap();
            }
            true
        });
        assert_eq!(visited.unwrap(), expected.len() as u64);
        self.model.content.retain(|key, _| !doomed.contains(key));
        let deleted = (expected.len() - self.model.content.len()) as u32;
        self.counted(deleted, deleted);
    }

    fn look_around(&mut self) {
        let all = self.model.content.clone();
        let records: Result<Content> = self.tdb().records().collect();
        assert_eq!(records.unwrap(), all);
        assert_eq!(self.tdb().keys().map(Result::unwrap).count(), all.len());
        let mut cursor = KeyCursor::new();
        let mut keys = 0;
        let mut next = cursor.first(self.tdb()).unwrap().map(<[u8]>::to_vec);
        while let Some(key) = next {
            assert!(all.contains_key(&key));
            keys += 1;
            next = cursor.next(self.tdb(), &key).unwrap().map(<[u8]>::to_vec);
        }
        assert_eq!(keys, all.len());
        if self.chain_is_locked() {
            return;
        }
        let free = self.tdb().free_stats().unwrap();
        assert_eq!(free.records, self.tdb().check().unwrap().free);
        let mut listed = 0;
        let mut visit = |record: &ListedRecord| {
            listed += u64::from(record.tailer_is_sound());
            true
        };
        assert_eq!(self.tdb().visit_list(None, &mut visit).unwrap(), ListEnd::Complete);
        assert_eq!(listed, free.records);
        if self.tdb().map_size() < 100_000 {
            self.rescue();
        }
        // The summary does not know the magic of a valid undo log.
        if !self.model.prepared {
            self.tdb().summary().unwrap();
        }
    }

    /// Stale records in the unused end of a record are found too.
    fn rescue(&mut self) {
        let all = self.model.content.clone();
        let mut missing = all.clone();
        self.tdb()
            .rescue(|key, data| {
                if all.contains_key(key) {
                    assert_eq!(missing.remove(key).as_deref(), Some(data));
                }
            })
            .unwrap();
        assert!(missing.is_empty(), "not rescued: {missing:?}");
    }

    fn repack(&mut self) {
        let free = self.model.all.is_none() && self.model.chains.is_empty();
        let possible = free && self.model.before.is_none() && !self.has(TDB_INTERNAL);
        match self.tdb().repack() {
            Ok(()) => assert!(possible),
            Err(Error::Usage(_) | Error::Lock(_)) => assert!(!possible),
            Err(error) => panic!("{error}"),
        }
        // Each record is stored once, and all were wiped.
        self.counted(0, self.model.content.len() as u32 + 1);
    }

    fn wipe(&mut self) {
        let blocked = !self.model.chains.is_empty()
            && self.model.all.is_none()
            && self.model.before.is_none()
            && !self.has(TDB_NOLOCK | TDB_INTERNAL);
        match self.tdb().wipe_all() {
            Ok(()) => {
                assert!(!blocked && self.model.writes_allowed());
                self.model.content.clear();
                self.counted(1, 1);
            }
            Err(Error::Lock(_)) if blocked => {}
            refused => self.refused(refused),
        }
    }

    fn start(&mut self) {
        let free = self.model.all.is_none() && self.model.chains.is_empty();
        let inner = self.model.before.is_some();
        let impossible = self.has(TDB_INTERNAL) || (!inner && !free);
        if self.model.nesting == MAX_NESTING || self.model.prepared {
            return;
        }
        match self.tdb().transaction_start() {
            Ok(()) => {
                assert!(!impossible);
                self.model.nesting += 1;
                let now = (self.model.content.clone(), self.model.seqnum);
                self.model.before.get_or_insert(now);
            }
            Err(Error::Usage(_) | Error::Lock(_)) => assert!(impossible),
            Err(error) => panic!("{error}"),
        }
    }

    fn prepare(&mut self) {
        if self.model.before.is_none() {
            assert!(self.tdb().transaction_prepare().is_err());
            return;
        }
        let fails = self.model.nesting == 1 && (self.model.inner_cancelled || self.model.prepared);
        match self.tdb().transaction_prepare() {
            Ok(()) => {
                assert!(!fails);
                self.model.prepared = self.model.nesting == 1;
            }
            Err(Error::Usage(_)) => {
                assert!(fails);
                self.model.roll_back();
            }
            Err(error) => panic!("{error}"),
        }
    }

    fn commit(&mut self) {
        if self.model.before.is_none() {
            assert!(self.tdb().transaction_commit().is_err());
            return;
        }
        let outermost = self.model.nesting == 1;
        match self.tdb().transaction_commit() {
            Ok(()) if outermost => {
                assert!(!self.model.inner_cancelled);
                self.model.end();
            }
            Ok(()) => self.model.nesting -= 1,
            Err(Error::Usage(_)) => {
                assert!(outermost && self.model.inner_cancelled);
                self.model.roll_back();
            }
            Err(error) => panic!("{error}"),
        }
    }

    fn cancel(&mut self) {
        if self.model.before.is_none() {
            assert!(self.tdb().transaction_cancel().is_err());
            return;
        }
        self.tdb().transaction_cancel().unwrap();
        if self.model.nesting > 1 {
            self.model.nesting -= 1;
            self.model.inner_cancelled = true;
        } else {
            self.model.roll_back();
        }
    }

    fn reopen(&mut self) {
        self.tdb = None;
        self.model.roll_back();
        self.model.all = None;
        self.model.chains.clear();
        if self.has(TDB_CLEAR_IF_FIRST | TDB_INTERNAL) {
            self.model.content.clear();
            self.model.seqnum = 0;
        }
    }

    fn lock_all(&mut self, mode: LockMode) {
        if self.model.before.is_some() {
            return;
        }
        let expected = match self.model.all {
            Some((held, _)) => held == mode,
            None => self.model.chains.is_empty() || self.has(TDB_NOLOCK | TDB_INTERNAL),
        };
        match self.tdb().lock_all(mode) {
            Ok(()) => {
                assert!(expected);
                self.model.all.get_or_insert((mode, 0)).1 += 1;
            }
            Err(Error::Lock(_)) => assert!(!expected),
            Err(error) => panic!("{error}"),
        }
    }

    fn unlock_all(&mut self) {
        if self.model.before.is_some() {
            return;
        }
        let result = self.tdb().unlock_all();
        match &mut self.model.all {
            Some((_, count)) => {
                result.unwrap();
                *count -= 1;
                if *count == 0 {
                    self.model.all = None;
                }
            }
            None => assert!(matches!(result, Err(Error::Lock(_)))),
        }
    }

    fn lock_chain(&mut self, number: u8, mode: LockMode) {
        // Under the whole database, in a transaction or without locks a chain lock does nothing.
        if self.model.all.is_some() || self.model.before.is_some() || self.has(TDB_NOLOCK) {
            return;
        }
        if self.has(TDB_INTERNAL) {
            return;
        }
        let chain = self.tdb().chain_of(&key(number));
        self.tdb().lock_chain(chain, mode).unwrap();
        self.model.chains.push(chain);
    }

    fn check(&mut self) {
        if !self.model.chains.is_empty() && self.model.all.is_none() {
            return;
        }
        let report = self.tdb().check().unwrap();
        assert_eq!(report.records, self.model.content.len() as u64);
    }

    /// Ends what is open, compares everything, and asks the C library too.
    fn finish(&mut self) {
        while self.model.before.is_some() {
            self.commit();
        }
        while let Some(chain) = self.model.chains.pop() {
            self.tdb().unlock_chain(chain).unwrap();
        }
        while self.model.all.is_some() {
            self.unlock_all();
        }
        self.traverse(0);
        self.check();
        self.counted(0, 0);
        if !self.has(TDB_INTERNAL) {
            self.tdb = None;
            self.ask_the_c_library();
        }
    }

    fn ask_the_c_library(&self) {
        static PEER: Mutex<Option<CPeer>> = Mutex::new(None);
        let mut peer = PEER.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        if peer.is_none() {
            *peer = CPeer::start();
        }
        let Some(peer) = peer.as_mut() else {
            return;
        };
        // Without the flag that clears the file.
        let flags = self.kind.flags & (TDB_MUTEX_LOCKING | TDB_NOMMAP);
        peer.ok(&format!("open {} 0 {flags}", self.path.display()));
        let answer = peer.call("check");
        assert_eq!(answer, "ok", "tdb_check");
        let count = self.model.content.len() as u64;
        let sum = self
            .model
            .content
            .iter()
            .fold(0u64, |sum, (key, data)| sum.wrapping_add(common::record_digest(key, data)));
        assert_eq!(peer.ok("digest"), format!("{count} {sum:016x}"));
        peer.ok("close");
    }
}

static RUN: AtomicU64 = AtomicU64::new(0);

fn run(kind: &Kind, steps: &[Step]) {
    RUN.fetch_add(steps.len() as u64, Ordering::Relaxed);
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("model.tdb");
    let mut subject =
        Subject { path, kind: kind.clone(), tdb: None, model: Model::default(), serial: 0 };
    for step in steps {
        subject.apply(step);
    }
    subject.finish();
}

/// Few cases by default; PROPTEST_CASES asks for more.
fn config() -> ProptestConfig {
    let cases = std::env::var("PROPTEST_CASES").ok().and_then(|n| n.parse().ok()).unwrap_or(250);
    ProptestConfig { cases, failure_persistence: None, ..Default::default() }
}

#[test]
fn an_engine_behaves_as_its_model() {
    let config = config();
    let cases = config.cases;
    let mut runner = proptest::test_runner::TestRunner::new(config);
    if let Err(error) = runner.run(&(kinds(), steps()), |(kind, steps)| {
        run(&kind, &steps);
        Ok(())
    }) {
        panic!("{error}");
    }
    println!("{cases} sequences, {} steps", RUN.load(Ordering::Relaxed));
}
