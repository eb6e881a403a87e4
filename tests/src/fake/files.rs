// SPDX-License-Identifier: GPL-3.0-or-later
//! The local database files of a scripted daemon: the tool opens them itself.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use ctdb_tdb::{OpenOptions, StoreMode, Tdb, TDB_INCOMPATIBLE_HASH, TDB_NOSYNC};
use ctdb_wire::flags::{db, SEQNUM_KEY};
use ctdb_wire::types::{LtdbHeader, RecBuffer};
use ctdb_wire::{Decode, Encode};

use super::state::{Db, State};

/// TDB flags of every file: those of the C daemon without the ones that need another process to
/// hold the file open.
pub(crate) const TDB_FLAGS: u32 = TDB_INCOMPATIBLE_HASH | TDB_NOSYNC;
/// Few chains, so that records share them.
const HASH_SIZE: u32 = 7;

/// Where a database's file is, `NAME.PNN` as with the real daemon.
pub(crate) fn path(base: &Path, pnn: u32, db: &Db) -> PathBuf {
    let kind = if db.flags & db::PERSISTENT != 0 { "persistent" } else { "volatile" };
    base.join("db").join(kind).join(format!("{}.{pnn}", db.name))
}

/// Writes the files of the local node into `base`: databases, and the list of nodes.
pub fn write(base: &Path, state: &State) -> Result<()> {
    for dir in ["run", "db/volatile", "db/persistent"] {
        fs::create_dir_all(base.join(dir))?;
    }
    for db in &state.databases {
        create(base, state.local, db)?;
    }
    let local = state.nodes.iter().find(|node| node.pnn == state.local);
    let lines = local.map(|node| node.nodes_file.as_slice()).unwrap_or_default().iter();
    let lines = lines.map(|entry| match entry {
        Some(address) => format!("{address}\n"),
        None => "#\n".to_string(),
    });
    Ok(fs::write(base.join("nodes"), lines.collect::<String>())?)
}

/// Creates one file with the records of the state.
pub(crate) fn create(base: &Path, pnn: u32, db: &Db) -> Result<()> {
    let path = path(base, pnn, db);
    if db.missing || path.exists() {
        return Ok(());
    }
    let mut tdb = open(&path)?;
    for (key, header, data) in &db.records {
        tdb.store(key, &[&header.to_vec(), data], StoreMode::Replace)?;
    }
    Ok(())
}

fn open(path: &Path) -> Result<Tdb> {
    let options = OpenOptions {
        tdb_flags: TDB_FLAGS,
        hash_size: HASH_SIZE,
        create: true,
        ..OpenOptions::default()
    };
    Tdb::open(path, &options).with_context(|| path.display().to_string())
}

/// All records that have data, as a traverse of the cluster delivers them.
pub(crate) fn records(path: &Path) -> Result<Vec<(Vec<u8>, Vec<u8>)>> {
    let mut found = Vec::new();
    open(path)?.traverse(|key, value| {
        if value.len() > LtdbHeader::SIZE {
            found.push((key.to_vec(), value.to_vec()));
        }
        true
    })?;
    Ok(found)
}

/// Makes the local node dmaster of a record, as when it migrates here.
pub(crate) fn migrate(path: &Path, key: &[u8], pnn: u32) -> Result<()> {
    let mut tdb = open(path)?;
    let old = tdb.fetch(key)?.unwrap_or_default();
    let header = LtdbHeader::from_prefix(&old).unwrap_or_default();
    let header = LtdbHeader { dmaster: pnn, rsn: header.rsn + 1, ..header };
    let data = old.get(LtdbHeader::SIZE..).unwrap_or_default();
    Ok(tdb.store(key, &[&header.to_vec(), data], StoreMode::Replace)?)
}

/// Stores the records of a transaction.
pub(crate) fn commit(path: &Path, records: &RecBuffer<'_>) -> Result<()> {
    let mut tdb = open(path)?;
    for record in records.iter() {
        tdb.store(record.key, &[record.data], StoreMode::Replace)?;
    }
    Ok(())
}

/// The sequence number of a persistent or replicated database.
pub(crate) fn seqnum(path: &Path) -> Result<u64> {
    let value = open(path)?.fetch(SEQNUM_KEY)?.unwrap_or_default();
    let number = value.get(LtdbHeader::SIZE..).and_then(|data| data.first_chunk::<8>());
    Ok(number.map_or(0, |bytes| u64::from_le_bytes(*bytes)))
}
