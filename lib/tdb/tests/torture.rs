// SPDX-License-Identifier: GPL-3.0-or-later
//! Processes of both kinds on one file; some are killed in transactions. More kinds of processes,
//! killed in everything they do, are in the package of the project's tests.

mod common;

use std::path::Path;
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use common::{good_value, make_value, CPeer, Random};
use ctdb_tdb::*;

const KEYS: u32 = 400;
const FCNTL: u32 = TDB_NOSYNC | TDB_INCOMPATIBLE_HASH;

fn open(path: &Path, tdb_flags: u32, max_dead: u32) -> Tdb {
    let options = OpenOptions {
        tdb_flags,
        hash_size: 53,
        create: true,
        max_dead: Some(max_dead),
        ..Default::default()
    };
    Tdb::open(path, &options).unwrap()
}

/// What processes do to the file, and to each other.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Plain,
    Transactions,
}

/// Random work for a time, as `stress` of peer.c; panics at the first thing that is wrong.
fn stress(tdb: &mut Tdb, seed: u64, seconds: f64, kind: Kind) -> u64 {
    let mut random = Random(seed);
    let end = Instant::now() + Duration::from_secs_f64(seconds);
    let mut work = 0;
    while Instant::now() < end {
        for _ in 0..50 {
            let number = random.below(KEYS);
            let key = number.to_ne_bytes();
            work += 1;
            match random.below(10) {
                0..=2 => {
                    let value = make_value(number, random.next());
                    tdb.store(&key, &[&value[..5], &value[5..]], StoreMode::Replace).unwrap();
                }
                3 | 4 => match tdb.delete(&key) {
                    Ok(()) | Err(Error::NotFound) => {}
                    Err(error) => panic!("delete: {error}"),
                },
                5 => {
                    let mut guard = tdb.chain_lock(&key).unwrap();
                    let found = guard.fetch(&key).unwrap().map(|v| good_value(number, v));
                    assert_ne!(found, Some(false));
                    let value = make_value(number, random.next());
                    match guard.store(&key, &[&value], StoreMode::Modify) {
                        Ok(()) => assert!(found.is_some()),
                        Err(Error::NotFound) => assert!(found.is_none()),
                        Err(error) => panic!("modify: {error}"),
                    }
                }
                _ => {
                    let good = tdb.parse(&key, |value| good_value(number, value)).unwrap();
                    assert_ne!(good, Some(false), "value of {number}");
                }
            }
        }
        whole_database_work(tdb, &mut random, kind);
    }
    work
}

fn whole_database_work(tdb: &mut Tdb, random: &mut Random, kind: Kind) {
    match random.below(200) {
        0 => {
            tdb.traverse(|key, value| {
                let number = u32::from_ne_bytes(key.try_into().unwrap());
                assert!(good_value(number, value));
                true
            })
            .unwrap();
        }
        1 => {
            tdb.lock_all(LockMode::Exclusive).unwrap();
            tdb.check().unwrap();
            tdb.unlock_all().unwrap();
        }
        n if n < 20 && kind == Kind::Transactions => {
            tdb.transaction_start().unwrap();
            for _ in 0..10 {
                let number = random.below(KEYS);
                let value = make_value(number, random.next());
                tdb.store(&number.to_ne_bytes(), &[&value], StoreMode::Replace).unwrap();
            }
            if n % 4 == 0 {
                tdb.transaction_cancel().unwrap();
            } else {
                tdb.transaction_commit().unwrap();
            }
        }
        _ => {}
    }
}

/// Not a test of its own: what this binary does when it is started as a further process.
#[test]
#[ignore = "started by other tests"]
fn another_process() {
    let Ok(plan) = std::env::var("TDB_TORTURE") else {
        return;
    };
    let words: Vec<&str> = plan.split('|').collect();
    let flags: u32 = words[1].parse().unwrap();
    let seed: u64 = words[2].parse().unwrap();
    let seconds: f64 = words[3].parse().unwrap();
    let mut tdb = open(Path::new(words[0]), flags, (seed % 2) as u32 * 5);
    let kind = match words[4] {
        "transactions" => Kind::Transactions,
        "versions" => return write_versions(&mut tdb, seed),
        _ => Kind::Plain,
    };
    stress(&mut tdb, seed, seconds, kind);
}

fn start_process(path: &Path, flags: u32, seed: u64, seconds: f64, kind: &str) -> Child {
    let plan = format!("{}|{flags}|{seed}|{seconds}|{kind}", path.display());
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "another_process", "--ignored", "--nocapture", "--quiet"])
        .env("TDB_TORTURE", plan)
        .stdout(std::process::Stdio::null())
        .spawn()
        .unwrap()
}

/// Two C and two Rust processes; at the end both libraries check the file.
fn mixed_stress(flags: u32, transactions: bool) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("stress.tdb");
    let mut tdb = open(&path, flags, 5);
    let mut peers: Vec<CPeer> = (0..2).filter_map(|_| CPeer::open(&path, 53, flags)).collect();
    let Some(first) = peers.first_mut() else {
        return;
    };
    first.ok("max_dead 5");
    let seconds = 2.0;
    for (i, peer) in peers.iter_mut().enumerate() {
        peer.send(&format!("stress {} {seconds} {KEYS} {}", i + 1, u8::from(transactions)));
    }
    let (kind, name) =
        if transactions { (Kind::Transactions, "transactions") } else { (Kind::Plain, "plain") };
    let mut process = start_process(&path, flags, 4, seconds, name);
    let work = stress(&mut tdb, 3, seconds, kind);
    assert!(process.wait().unwrap().success());
    for peer in &mut peers {
        let answer = peer.answer();
        assert!(answer.starts_with("ok 0 "), "{answer}");
        println!("C: {answer}, Rust: {work}");
    }
    tdb.check().unwrap();
    peers[0].ok("check");
    assert!(peers[0].ok("verify").ends_with(" 0"));
}

#[test]
fn mixed_processes_on_a_fcntl_file() {
    mixed_stress(FCNTL, false);
}

#[test]
fn mixed_processes_on_a_mutex_file() {
    mixed_stress(FCNTL | TDB_MUTEX_LOCKING, false);
}

#[test]
fn mixed_processes_with_transactions() {
    mixed_stress(FCNTL, true);
}

const VERSIONED: u32 = 12;

/// Transactions for ever: each gives all keys one new version.
fn write_versions(tdb: &mut Tdb, seed: u64) {
    let mut random = Random(seed);
    loop {
        tdb.transaction_start().unwrap();
        let version = random.next();
        for number in 0..VERSIONED {
            let value = make_value(number, version);
            tdb.store(&number.to_ne_bytes(), &[&value], StoreMode::Replace).unwrap();
        }
        // Sizes change, so that the file and its recovery area grow.
        let filler = vec![1; (random.below(40) * 1000) as usize];
        tdb.store(b"filler", &[&filler], StoreMode::Replace).unwrap();
        if random.below(4) == 0 {
            tdb.transaction_cancel().unwrap();
        } else {
            tdb.transaction_commit().unwrap();
        }
    }
}

/// Our process is killed in transactions at random; alternately the C library and we recover.
fn killed_transactions(flags: u32) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("versions.tdb");
    drop(open(&path, flags, 0));
    let end = Instant::now() + Duration::from_secs(3);
    let mut random = Random(7);
    let mut rounds = 0;
    while Instant::now() < end {
        let mut process = start_process(&path, flags, random.next().into(), 60.0, "versions");
        std::thread::sleep(Duration::from_millis(u64::from(20 + random.below(60))));
        process.kill().unwrap();
        process.wait().unwrap();
        if rounds % 2 == 0 {
            let Some(mut peer) = CPeer::open(&path, 53, flags) else {
                return;
            };
            assert!(peer.ok("verify").ends_with(" 0"));
        }
        let mut tdb = open(&path, flags, 0);
        tdb.check().unwrap();
        let mut versions = Vec::new();
        tdb.traverse(|key, value| {
            if key.len() == 4 {
                versions.push(value[4..8].to_vec());
            }
            true
        })
        .unwrap();
        assert!(versions.is_empty() || versions.len() == VERSIONED as usize);
        assert!(versions.windows(2).all(|pair| pair[0] == pair[1]), "{versions:?}");
        rounds += 1;
    }
    println!("{rounds} processes killed in transactions");
    assert!(rounds > 10);
}

#[test]
fn killed_transactions_on_a_fcntl_file() {
    killed_transactions(TDB_NOSYNC);
}

#[test]
fn killed_transactions_on_a_mutex_file() {
    killed_transactions(TDB_NOSYNC | TDB_MUTEX_LOCKING);
}
