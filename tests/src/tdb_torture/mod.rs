// SPDX-License-Identifier: GPL-3.0-or-later
//! Processes of three kinds on one TDB file: our engine, the C library, python3-tdb; killed at
//! random, and held to every write that they acknowledged.
//!
//! Each worker stores under keys of its own, and increments counters that all share. A batch of
//! operations is written into the worker's journal before it is done (`+ KIND GENERATION OP...`) and
//! after (`= GENERATION`); both lines reach the kernel before the worker goes on, so SIGKILL loses
//! neither. When all have ended, the [`ledger`] says what the file has to contain:
//!
//! - An acknowledged batch is there, completely.
//! - Of the batch that a killed worker was in: as a transaction all of it or nothing; otherwise the
//!   operations up to some point, and at that point one record that may be anything.
//! - A wipe is a transaction that also increments the generation, a record of its own. What was
//!   acknowledged in an earlier generation is gone.
//!
//! Kinds of batches are `p` (each operation for itself), `t` (a transaction), `c` (a transaction
//! that is cancelled); `w` is a wipe. Operations are `sKEY:VERSION` (store), `m` (read and store
//! with the chain locked), `d` (delete), `a` (append), `iCOUNTER:VERSION` (increment with the chain
//! locked).
//!
//! The workers are worker.rs, tests/tools/tdb_torture.c and tests/tools/tdb_torture.py.

mod journal;
mod ledger;
mod run;
mod worker;

pub use run::{torture, Figures, Plan, Scene};
pub use worker::run as worker;

/// Operations outside of transactions.
const PLAIN: u32 = 1;
/// Transactions.
const TRANSACTIONS: u32 = 2;
/// Locks of the whole database, wipes and repacks.
const WHOLE: u32 = 4;
/// Every value that is read must be one that somebody stored: nobody dies in the middle of a store.
const CHECKED: u32 = 8;

/// Keys of each worker.
const KEYS: u32 = 300;
const COUNTERS: u32 = 4;
/// The number of the record that counts wipes.
const GENERATION: u32 = 100;
const MAX_BATCH: u32 = 16;
/// Marks a version that was appended.
const APPENDED: u32 = 0x8000_0000;

fn key_of(id: u32, number: u32) -> [u8; 8] {
    let mut key = [0; 8];
    key[..4].copy_from_slice(&id.to_ne_bytes());
    key[4..].copy_from_slice(&number.to_ne_bytes());
    key
}

/// Worker (0 for what is shared) and number of a key.
fn parse_key(key: &[u8]) -> Option<(u32, u32)> {
    let key: &[u8; 8] = key.try_into().ok()?;
    Some((word(&key[..4])?, word(&key[4..])?))
}

fn word(bytes: &[u8]) -> Option<u32> {
    Some(u32::from_ne_bytes(bytes.try_into().ok()?))
}

/// The value that a store gives to a key: recognisable, of a length that varies.
fn make_value(number: u32, version: u32) -> Vec<u8> {
    let length = 12 + (version.wrapping_mul(2_654_435_761) >> 16) % 400;
    let mut value: Vec<u8> =
        [number, version, length].into_iter().flat_map(u32::to_ne_bytes).collect();
    value.extend((12..length).map(|i| number.wrapping_add(version).wrapping_add(i) as u8));
    value
}

/// What an append adds.
fn make_chunk(number: u32, version: u32) -> [u8; 8] {
    key_of(number, version | APPENDED)
}

/// Whether stores and appends make such a value of this key.
fn well_formed(number: u32, value: &[u8]) -> bool {
    let mut rest = value;
    match value.get(4..8).and_then(word) {
        None => return false,
        Some(version) if version & APPENDED == 0 => {
            let Some(tail) = value.strip_prefix(make_value(number, version).as_slice()) else {
                return false;
            };
            rest = tail;
        }
        Some(_) => {}
    }
    let chunk = |chunk: &[u8]| {
        parse_key(chunk).is_some_and(|(n, version)| n == number && version & APPENDED != 0)
    };
    rest.chunks(8).all(chunk)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_recognised() {
        let mut value = make_value(3, 77);
        assert!(well_formed(3, &value) && !well_formed(4, &value));
        value.extend_from_slice(&make_chunk(3, 78));
        assert!(well_formed(3, &value));
        value.pop();
        assert!(!well_formed(3, &value));
        assert!(well_formed(3, &make_chunk(3, 5)) && !well_formed(3, &make_chunk(2, 5)));
        assert!(!well_formed(3, b""));
    }
}
