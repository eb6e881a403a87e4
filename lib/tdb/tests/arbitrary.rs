// SPDX-License-Identifier: GPL-3.0-or-later
//! Any bytes as a file: errors, never a crash, a hang or a read out of bounds. For longer: `make fuzz`;
//! guided by coverage the same body runs under cargo-fuzz (fuzz/).

use std::fs;
use std::path::Path;

use ctdb_tdb::*;
use proptest::prelude::*;

mod common;
#[path = "../fuzz/fuzz_targets/exercise.rs"]
mod exercise;

use common::Random;

fn golden(name: &str) -> Vec<u8> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/vectors/tdb");
    fs::read(dir.join(name)).unwrap()
}

/// Few cases by default; PROPTEST_CASES asks for more.
fn config() -> ProptestConfig {
    let cases = std::env::var("PROPTEST_CASES").ok().and_then(|n| n.parse().ok()).unwrap_or(300);
    ProptestConfig { cases, failure_persistence: None, ..Default::default() }
}

const SEEDS: [&str; 6] = [
    "fragmented.tdb",
    "dead-records.tdb",
    "bigendian-jenkins.tdb",
    "txn-crash-fresh-sync3.tdb",
    "mutex-records.tdb",
    "sizes-jenkins.tdb",
];

proptest! {
    #![proptest_config(config())]

    #[test]
    fn any_bytes(bytes in prop::collection::vec(any::<u8>(), 0..2000), flags in any::<u8>()) {
        let dir = tempfile::tempdir().unwrap();
        exercise::exercise(&dir.path().join("any.tdb"), &bytes, flags);
    }

    /// Bytes that get past the header: golden files with some words changed and the end cut off.
    #[test]
    fn damaged_files(
        seed in 0usize..SEEDS.len(),
        words in prop::collection::vec((any::<prop::sample::Index>(), word()), 1..12),
        cut in prop::option::of(any::<prop::sample::Index>()),
        flags in any::<u8>(),
    ) {
        let mut bytes = golden(SEEDS[seed]);
        for (at, word) in words {
            let at = at.index(bytes.len() / 4) * 4;
            bytes[at..at + 4].copy_from_slice(&word.to_ne_bytes());
        }
        if let Some(cut) = cut {
            bytes.truncate(cut.index(bytes.len()));
        }
        let dir = tempfile::tempdir().unwrap();
        exercise::exercise(&dir.path().join("damaged.tdb"), &bytes, flags);
    }
}

/// Words that are likely to hurt: offsets, lengths, magics.
fn word() -> impl Strategy<Value = u32> {
    prop_oneof![
        3 => (0u32..12000).prop_map(|w| w * 4),
        2 => 0u32..50000,
        2 => (0u32..40).prop_map(|w| u32::MAX - w),
        1 => any::<u32>(),
        2 => prop::sample::select(vec![
            0x2601_1999u32, 0xD9FE_E666, 0xFEE1_DEAD, 0xF53B_C0E7, 0, 0x4242_4242, 0x8000_0000,
        ]),
    ]
}

#[test]
fn undamaged_files_keep_their_records() {
    let dir = tempfile::tempdir().unwrap();
    for seed in SEEDS {
        let path = dir.path().join(seed);
        fs::write(&path, golden(seed)).unwrap();
        let options = OpenOptions { tdb_flags: TDB_MUTEX_LOCKING, ..Default::default() };
        let mut tdb = Tdb::open(&path, &options).unwrap();
        assert!(tdb.traverse(|_, _| true).unwrap() > 0, "{seed}");
    }
}

/// Every length a truncation can leave.
#[test]
fn truncated_files() {
    let whole = golden("fragmented.tdb");
    let dir = tempfile::tempdir().unwrap();
    for len in (160..800).chain(whole.len() - 64..whole.len()) {
        for flags in [0, 1, 2, 160] {
            exercise::exercise(&dir.path().join("cut.tdb"), &whole[..len], flags);
        }
    }
}

/// A golden file, and where in it the words are that matter.
struct Seed {
    bytes: Vec<u8>,
    /// Offsets of the words of header, heads, record headers and tailers.
    words: Vec<usize>,
    /// Offsets of records.
    records: Vec<u32>,
}

impl Seed {
    fn new(name: &str) -> Seed {
        let bytes = golden(name);
        let big = bytes[32..36] == [0x26, 0x01, 0x19, 0x6D];
        let word = |at: usize| {
            // Some golden files say what they do not have.
            let word: [u8; 4] = bytes.get(at..at + 4).map_or([0; 4], |w| w.try_into().unwrap());
            if big {
                u32::from_be_bytes(word)
            } else {
                u32::from_le_bytes(word)
            }
        };
        let start = if word(40) == 0x0BAD_1A52 { word(64) as usize } else { 0 };
        let data = start + 172 + 4 * word(36).min(100_000) as usize;
        let mut words: Vec<usize> = (start + 32..start + 68).step_by(4).collect();
        words.extend((start + 168..data).step_by(4).filter(|at| word(*at) != 0));
        let mut records = Vec::new();
        let mut at = data;
        while at + 28 <= bytes.len() {
            let end = at + 24 + word(at + 4) as usize;
            if end > bytes.len() || end < at + 28 {
                break;
            }
            records.push((at - start) as u32);
            words.extend((at..at + 24).step_by(4));
            words.push(end - 4);
            at = end;
        }
        Seed { bytes, words, records }
    }

    fn damaged(&self, random: &mut Random) -> Vec<u8> {
        let mut bytes = self.bytes.clone();
        for _ in 0..1 + random.below(6) {
            let any = random.below(bytes.len() as u32 / 4) as usize * 4;
            let known = self.words[random.below(self.words.len() as u32) as usize];
            let at = if random.below(4) == 0 { any } else { known };
            match random.below(12) {
                0 => bytes.truncate(at.max(160)),
                1 => bytes.extend(vec![[0, 0x42, 0xA5][at % 3]; random.below(300) as usize]),
                2 if at + 24 <= bytes.len() && any + 24 <= bytes.len() => {
                    bytes.copy_within(any..any + 24, at);
                }
                _ if at + 4 <= bytes.len() => {
                    let old = u32::from_ne_bytes(bytes[at..at + 4].try_into().unwrap());
                    let word = self.word(old, random);
                    bytes[at..at + 4].copy_from_slice(&word.to_ne_bytes());
                }
                _ => {}
            }
        }
        bytes
    }

    /// A word that is likely to hurt.
    fn word(&self, old: u32, random: &mut Random) -> u32 {
        const MAGICS: [u32; 6] =
            [0x2601_1999, 0xD9FE_E666, 0xFEE1_DEAD, 0xF53B_C0E7, 0, 0x4242_4242];
        let size = self.bytes.len() as u32;
        let word = match random.below(9) {
            0 | 1 if !self.records.is_empty() => {
                self.records[random.below(self.records.len() as u32) as usize]
            }
            2 => MAGICS[random.below(6) as usize],
            3 => size.wrapping_sub(random.below(64)),
            4 => u32::MAX - random.below(64),
            5 => random.below(64),
            6 => old.wrapping_add(random.below(17)).wrapping_sub(8),
            7 => old ^ (1 << random.below(32)),
            _ => random.next() << random.below(32),
        };
        if random.below(8) == 0 {
            word.swap_bytes()
        } else {
            word
        }
    }
}

/// Damages golden files for FUZZ_MINUTES. A run that takes too long ends the process, with what it
/// was working on left in the directory.
#[test]
#[ignore = "takes minutes: make fuzz"]
fn for_minutes() {
    use std::sync::atomic::{AtomicU64, Ordering};
    use std::time::{Duration, Instant};

    static RUNS: AtomicU64 = AtomicU64::new(0);
    let minutes = std::env::var("FUZZ_MINUTES").ok().and_then(|n| n.parse().ok()).unwrap_or(1.0);
    let first = std::env::var("FUZZ_SEED").ok().and_then(|n| n.parse().ok()).unwrap_or(1u64);
    let memory = Path::new("/dev/shm");
    let parent = if memory.is_dir() { memory.to_path_buf() } else { std::env::temp_dir() };
    let dir = tempfile::tempdir_in(parent).unwrap().keep();
    let input = dir.join("input");
    std::thread::spawn(move || loop {
        let before = RUNS.load(Ordering::Relaxed);
        std::thread::sleep(Duration::from_secs(30));
        if RUNS.load(Ordering::Relaxed) == before {
            eprintln!("run {before} does not end");
            std::process::abort();
        }
    });
    let names = fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/vectors/tdb"));
    let mut names: Vec<String> =
        names.unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.retain(|name| name.ends_with(".tdb") && golden(name).len() >= 200);
    names.sort();
    let seeds: Vec<Seed> = names.iter().map(|name| Seed::new(name)).collect();
    let end = Instant::now() + Duration::from_secs_f64(minutes * 60.0);
    while Instant::now() < end {
        let run = RUNS.fetch_add(1, Ordering::Relaxed);
        let mut random = Random(first.wrapping_mul(0x9E37_79B9).wrapping_add(run));
        random.next();
        let seed = &seeds[random.below(seeds.len() as u32) as usize];
        let bytes = seed.damaged(&mut random);
        let flags = random.next() as u8;
        // Kept if the run fails: the bytes, then the flags.
        fs::write(&input, [bytes.as_slice(), &[flags]].concat()).unwrap();
        exercise::exercise(&dir.join("damaged.tdb"), &bytes, flags);
    }
    fs::remove_dir_all(&dir).unwrap();
    println!("{} damaged files, no failure", RUNS.load(Ordering::Relaxed));
}
