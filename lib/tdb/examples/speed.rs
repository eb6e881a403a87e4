// SPDX-License-Identifier: GPL-3.0-or-later
//! Quick look at the speed of the engine: `speed FILE TDB_FLAGS`. The file is created anew.

use std::time::Instant;

use ctdb_tdb::{OpenOptions, StoreMode, Tdb};

const RECORDS: u32 = 300_000;

fn timed(what: &str, count: u32, work: impl FnOnce()) {
    let start = Instant::now();
    work();
    println!("{what} {:.2} M/s", f64::from(count) / start.elapsed().as_secs_f64() / 1e6);
}

fn key(number: u32) -> [u8; 16] {
    let mut key = *b"key-000000000000";
    key[8..12].copy_from_slice(&number.to_le_bytes());
    key
}

fn random_key(step: u32) -> [u8; 16] {
    key(step.wrapping_mul(2654435761) % RECORDS)
}

fn main() -> ctdb_tdb::Result<()> {
    let mut args = std::env::args().skip(1);
    let path = args.next().unwrap_or_else(|| "speed.tdb".into());
    let tdb_flags = args.next().and_then(|a| a.parse().ok()).unwrap_or(0);
    let _ = std::fs::remove_file(&path);
    let options =
        OpenOptions { tdb_flags, hash_size: 100_001, create: true, ..OpenOptions::default() };
    let mut tdb = Tdb::open(&path, &options)?;
    let mut value = [7u8; 100];
    let mut sum = 0u64;
    timed("store new", RECORDS, || {
        for i in 0..RECORDS {
            tdb.store(&key(i), &[&value], StoreMode::Insert).expect("store");
        }
    });
    timed("lock+read+unlock", RECORDS, || {
        for i in 0..RECORDS {
            let key = random_key(i);
            let mut guard = tdb.chain_lock(&key).expect("lock");
            sum += guard.fetch(&key).expect("fetch").map_or(0, |v| u64::from(v[0]));
        }
    });
    timed("parse", RECORDS, || {
        for i in 0..RECORDS {
            tdb.parse(&random_key(i), |v| sum += u64::from(v[0])).expect("parse");
        }
    });
    timed("overwrite", RECORDS, || {
        for i in 0..RECORDS {
            value[0] = i as u8;
            tdb.store(&random_key(i), &[&value], StoreMode::Replace).expect("store");
        }
    });
    timed("traverse", RECORDS, || {
        tdb.traverse(|_, data| {
            sum += data.len() as u64;
            true
        })
        .expect("traverse");
    });
    timed("delete", RECORDS, || {
        for i in 0..RECORDS {
            let _ = tdb.delete(&random_key(i));
        }
    });
    timed("transactions of 10 stores", 2000, || {
        for i in 0..2000 {
            tdb.transaction_start().expect("start");
            for j in 0..10 {
                value[0] = i as u8;
                tdb.store(&key(j), &[&value], StoreMode::Replace).expect("store");
            }
            tdb.transaction_commit().expect("commit");
        }
    });
    println!("({sum})");
    Ok(())
}
