// SPDX-License-Identifier: GPL-3.0-or-later
//! Any bytes as a file: errors, never a crash, a hang or a read out of bounds. The same body runs
//! for longer under cargo-fuzz (fuzz/).

use std::fs;
use std::path::Path;

use ctdb_tdb::*;
use proptest::prelude::*;

#[path = "../fuzz/fuzz_targets/exercise.rs"]
mod exercise;

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
