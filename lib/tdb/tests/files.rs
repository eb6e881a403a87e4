// SPDX-License-Identifier: GPL-3.0-or-later
//! Files of every kind, made by one of three (this engine, the C library, python3-tdb), changed by
//! all in turn, and read after each turn by all and by the tools.

mod common;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use common::{hex, record_digest, unhex, CPeer, Random};
use ctdb_tdb::*;

type Content = BTreeMap<Vec<u8>, Vec<u8>>;

/// One of those who share a file.
trait Side {
    fn name(&self) -> &'static str;
    fn store(&mut self, key: &[u8], value: &[u8]);
    fn append(&mut self, key: &[u8], value: &[u8]);
    fn delete(&mut self, key: &[u8]);
    fn begin(&mut self);
    fn commit(&mut self, prepare: bool);
    fn cancel(&mut self, prepare: bool);
    fn repack(&mut self);
    fn seqnum(&mut self) -> u32;
    /// Panics unless the side sees exactly this.
    fn sees(&mut self, content: &Content);
}

struct Ours(Tdb);
struct C(CPeer);
struct Python(CPeer);

impl Side for Ours {
    fn name(&self) -> &'static str {
        "ours"
    }

    fn store(&mut self, key: &[u8], value: &[u8]) {
        let (head, tail) = value.split_at(value.len() / 3);
        self.0.store(key, &[head, tail], StoreMode::Replace).unwrap();
    }

    fn append(&mut self, key: &[u8], value: &[u8]) {
        self.0.append(key, value).unwrap();
    }

    fn delete(&mut self, key: &[u8]) {
        self.0.delete(key).unwrap();
    }

    fn begin(&mut self) {
        self.0.transaction_start().unwrap();
    }

    fn commit(&mut self, prepare: bool) {
        if prepare {
            self.0.transaction_prepare().unwrap();
        }
        self.0.transaction_commit().unwrap();
    }

    fn cancel(&mut self, prepare: bool) {
        if prepare {
            self.0.transaction_prepare().unwrap();
        }
        self.0.transaction_cancel().unwrap();
    }

    fn repack(&mut self) {
        self.0.repack().unwrap();
    }

    fn seqnum(&mut self) -> u32 {
        self.0.seqnum().unwrap()
    }

    fn sees(&mut self, content: &Content) {
        let mut found = Content::new();
        self.0.traverse(|key, value| found.insert(key.to_vec(), value.to_vec()).is_none()).unwrap();
        assert!(found == *content, "traverse");
        for (key, value) in content {
            assert_eq!(self.0.fetch(key).unwrap().as_ref(), Some(value));
        }
        assert_eq!(self.0.check().unwrap().records, content.len() as u64);
    }
}

/// What both kinds of process know.
impl CPeer {
    fn end(&mut self, prepare: bool, command: &str) {
        if prepare {
            self.ok("tprepare");
        }
        self.ok(command);
    }

    fn add(&mut self, key: &[u8], value: &[u8]) {
        self.ok(&format!("append {} {}", hex(key), hex(value)));
    }
}

macro_rules! peer_side {
    ($side:ident, $name:literal, $peer:ident, $content:ident, $sees:block) => {
        impl Side for $side {
            fn name(&self) -> &'static str {
                $name
            }

            fn store(&mut self, key: &[u8], value: &[u8]) {
                self.0.store(key, value);
            }

            fn append(&mut self, key: &[u8], value: &[u8]) {
                self.0.add(key, value);
            }

            fn delete(&mut self, key: &[u8]) {
                self.0.ok(&format!("delete {}", hex(key)));
            }

            fn begin(&mut self) {
                self.0.ok("tstart");
            }

            fn commit(&mut self, prepare: bool) {
                self.0.end(prepare, "tcommit");
            }

            /// Never prepared: that may leave space without a record (spec/tdb.md 25, H1).
            fn cancel(&mut self, _prepare: bool) {
                self.0.end(false, "tcancel");
            }

            fn repack(&mut self) {
                self.0.ok("repack");
            }

            fn seqnum(&mut self) -> u32 {
                self.0.ok("seqnum").parse().unwrap()
            }

            fn sees(&mut self, $content: &Content) {
                let $peer = &mut self.0;
                $sees
            }
        }
    };
}

peer_side!(C, "C", peer, content, {
    let digest = content.iter().fold(0u64, |sum, (k, v)| sum.wrapping_add(record_digest(k, v)));
    assert_eq!(peer.ok("digest"), format!("{} {digest:016x}", content.len()));
    peer.ok("check");
});

peer_side!(Python, "Python", peer, content, {
    let text = peer.ok("records");
    let records = text.split(' ').filter(|record| !record.is_empty());
    let found: Content =
        records.filter_map(|r| r.split_once('=')).map(|(k, v)| (unhex(k), unhex(v))).collect();
    assert!(found == *content, "records");
});

/// A key of any length and bytes; few enough of them that they meet again.
fn some_key(random: &mut Random) -> Vec<u8> {
    match random.below(40) {
        0 => Vec::new(),
        1 => vec![0xFF; 5000],
        2 => b"with\0zero\0".to_vec(),
        n => format!("key {n}").into_bytes(),
    }
}

fn some_value(random: &mut Random) -> Vec<u8> {
    let length = match random.below(50) {
        0 => 0,
        1 => 60_000 + random.below(40_000),
        2..=9 => random.below(4000),
        _ => random.below(100),
    };
    let first = random.next();
    (0..length).map(|i| (first.wrapping_add(i * 7) >> 3) as u8).collect()
}

/// Stores, appends and deletes, of which the content keeps account.
fn change(side: &mut dyn Side, random: &mut Random, content: &mut Content) {
    for _ in 0..25 {
        let key = some_key(random);
        match random.below(6) {
            0 if content.contains_key(&key) => {
                side.delete(&key);
                content.remove(&key);
            }
            1 | 2 => {
                let value = some_value(random);
                side.append(&key, &value);
                content.entry(key).or_default().extend(value);
            }
            _ => {
                let value = some_value(random);
                side.store(&key, &value);
                content.insert(key, value);
            }
        }
    }
}

fn turn(side: &mut dyn Side, random: &mut Random, content: &mut Content) {
    let prepare = random.below(2) == 0;
    match random.below(8) {
        0..=2 => change(side, random, content),
        3..=5 => {
            side.begin();
            change(side, random, content);
            side.commit(prepare);
        }
        6 => {
            side.begin();
            change(side, random, &mut content.clone());
            side.cancel(prepare);
        }
        _ => side.repack(),
    }
}

fn tool(program: &str, args: &[&str], path: &Path) -> Option<Vec<u8>> {
    let mut command = Command::new(program);
    let (before, after) = if program == "tdbtool" { (&[][..], args) } else { (args, &[][..]) };
    match command.args(before).arg(path).args(after).output() {
        Ok(output) => Some(output.stdout),
        Err(_) => {
            eprintln!("SKIPPED: needs tdb-tools");
            None
        }
    }
}

/// The bytes of what tdbdump prints between quotes.
fn undump(text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut rest = text;
    while let Some(byte) = rest.bytes().next() {
        if byte == b'\\' {
            bytes.push(u8::from_str_radix(&rest[1..3], 16).unwrap());
            rest = &rest[3..];
        } else {
            bytes.push(byte);
            rest = &rest[1..];
        }
    }
    bytes
}

/// What tdbdump prints, as content: `key(LEN) = "TEXT"` and `data(LEN) = "TEXT"` in turn.
fn parse_dump(text: &str) -> Content {
    let quoted = |line: &str| {
        let (head, text) = line.split_once(" = \"").unwrap();
        let bytes = undump(text.strip_suffix('"').unwrap());
        let length = head.trim_end_matches(')').split_once('(').unwrap().1;
        assert_eq!(length.parse(), Ok(bytes.len()), "{line}");
        bytes
    };
    let lines: Vec<&str> = text.lines().filter(|line| line.contains(" = ")).collect();
    lines
        .chunks(2)
        .map(|pair| {
            assert!(pair[0].starts_with("key(") && pair[1].starts_with("data("), "{pair:?}");
            (quoted(pair[0]), quoted(pair[1]))
        })
        .collect()
}

fn tools_see(path: &Path, content: &Content) {
    let Some(said) = tool("tdbtool", &["check"], path) else { return };
    let said = String::from_utf8_lossy(&said).into_owned();
    let sound = format!("integrity is OK and has {} records", content.len());
    assert!(said.contains(&sound), "{said}");
    let dump = tool("tdbdump", &[], path).unwrap();
    assert!(parse_dump(&String::from_utf8(dump).unwrap()) == *content, "tdbdump");
}

/// A file made by side `maker` of three; the others open it.
fn sides(path: &Path, flags: u32, maker: usize) -> Option<[Box<dyn Side>; 3]> {
    let (mut c, mut python) = (CPeer::start()?, CPeer::python()?);
    let mut ours = None;
    for i in 0..3 {
        let open = format!("open {} 31 {flags}", path.display());
        match (maker + i) % 3 {
            0 => {
                let options = OpenOptions {
                    tdb_flags: flags,
                    hash_size: 31,
                    create: true,
                    ..Default::default()
                };
                ours = Some(Tdb::open(path, &options).unwrap());
            }
            1 => drop(c.ok(&open)),
            _ => drop(python.ok(&open)),
        }
    }
    Some([Box::new(Ours(ours?)), Box::new(C(c)), Box::new(Python(python))])
}

/// Each of three makes such a file.
fn files(flags: u32, turns: usize) {
    let dir = tempfile::tempdir().unwrap();
    for maker in 0..3 {
        let path = dir.path().join(format!("{maker}.tdb"));
        let Some(mut sides) = sides(&path, flags, maker) else { return };
        let mut random = Random(u64::from(flags) * 8 + maker as u64);
        let mut content = Content::new();
        for number in 0..turns {
            let side = sides[(maker + number) % 3].as_mut();
            println!("flags {flags}, made by {maker}, turn {number} of {}", side.name());
            turn(side, &mut random, &mut content);
            let numbers = sides.each_mut().map(|side| {
                side.sees(&content);
                side.seqnum()
            });
            assert_eq!(numbers, [numbers[0]; 3], "sequence numbers");
            tools_see(&path, &content);
        }
    }
}

#[test]
fn old_hash() {
    files(0, 5);
}

#[test]
fn jenkins_hash_without_sync() {
    files(TDB_INCOMPATIBLE_HASH | TDB_NOSYNC, 9);
}

#[test]
fn robust_mutexes() {
    files(TDB_MUTEX_LOCKING | TDB_NOSYNC, 9);
}

#[test]
fn dead_records_and_sequence_numbers() {
    files(TDB_VOLATILE | TDB_SEQNUM | TDB_NOSYNC, 9);
}

#[test]
fn without_a_mapping() {
    files(TDB_NOMMAP | TDB_NOSYNC, 9);
}

#[test]
fn foreign_byte_order_old_hash() {
    files(TDB_CONVERT | TDB_NOSYNC, 9);
}

#[test]
fn foreign_byte_order_jenkins_hash() {
    files(TDB_CONVERT | TDB_INCOMPATIBLE_HASH | TDB_NOSYNC, 9);
}

/// tdbbackup's copy of our file, and tdbrestore's file made of the dump of ours.
#[test]
fn backups_and_restored_dumps() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("ours.tdb");
    let options =
        OpenOptions { tdb_flags: TDB_INCOMPATIBLE_HASH, create: true, ..Default::default() };
    let mut ours = Ours(Tdb::open(&path, &options).unwrap());
    let mut content = Content::new();
    let mut random = Random(1);
    for _ in 0..4 {
        change(&mut ours, &mut random, &mut content);
    }
    drop(ours);
    let reopened = |path: PathBuf| Ours(Tdb::open(path, &OpenOptions::default()).unwrap());
    if tool("tdbbackup", &[], &path).is_none() {
        return;
    }
    reopened(dir.path().join("ours.tdb.bak")).sees(&content);
    // tdbrestore takes no empty keys
    content.remove(&Vec::new());
    drop(reopened(path.clone()).0.delete(b""));
    let dump = dir.path().join("dump");
    std::fs::write(&dump, tool("tdbdump", &[], &path).unwrap()).unwrap();
    let restored = dir.path().join("restored.tdb");
    let input = std::fs::File::open(dump).unwrap();
    let status = Command::new("tdbrestore").arg(&restored).stdin(input).status().unwrap();
    assert!(status.success());
    reopened(restored).sees(&content);
}
