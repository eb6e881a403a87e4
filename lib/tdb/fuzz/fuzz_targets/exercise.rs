// SPDX-License-Identifier: GPL-3.0-or-later
//! What is done with a file of arbitrary bytes; shared by the fuzz target and the tests.

use std::fs;
use std::path::Path;

use ctdb_tdb::{
    Error, KeyCursor, OpenOptions, StoreMode, Tdb, TraverseCursor, TDB_MUTEX_LOCKING, TDB_NOMMAP,
    TDB_NOSYNC,
};

/// Opens `bytes` as a database at `path` and does everything an engine can do with it.
pub fn exercise(path: &Path, bytes: &[u8], flags: u8) {
    fs::write(path, bytes).expect("write the file");
    let mut tdb_flags = TDB_NOSYNC;
    if flags & 1 != 0 {
        tdb_flags |= TDB_NOMMAP;
    } else {
        tdb_flags |= TDB_MUTEX_LOCKING;
    }
    let read_only = flags & 2 != 0;
    let max_dead = Some(u32::from(flags >> 2 & 7));
    let options = OpenOptions { tdb_flags, read_only, max_dead, ..OpenOptions::default() };
    let Ok(mut tdb) = Tdb::open(path, &options) else {
        // Nothing may be modified, except by a recovery that then failed.
        return;
    };
    let checked = tdb.check();
    let header_is_sound = match &checked {
        Err(Error::Corrupt(corruption)) => corruption.offset >= 168,
        _ => true,
    };
    if read_only {
        assert_eq!(fs::read(path).expect("read back"), bytes);
    }
    let mut keys = Vec::new();
    let traversed = tdb.traverse(|key, _| {
        if keys.len() < 200 {
            keys.push(key.to_vec());
        }
        true
    });
    if checked.is_ok() {
        traversed.expect("a checked file can be traversed");
    }
    let looked = look_around(&mut tdb);
    if checked.is_ok() {
        looked.expect("a checked file has sound lists");
    }
    if read_only {
        assert_eq!(fs::read(path).expect("read back"), bytes);
    }
    keys.push(b"a new key".to_vec());
    let sound = checked.is_ok() && !read_only;
    for (i, key) in keys.iter().enumerate() {
        let _ = tdb.fetch(key);
        let stored = tdb.store(key, &[&vec![i as u8; i * 37 % 900]], StoreMode::Replace);
        if sound && i < 50 {
            stored.expect("a checked file can be written");
            if i % 3 == 0 {
                tdb.delete(key).expect("what was stored can be deleted");
            }
        }
    }
    if sound {
        tdb.check().expect("a checked file stays sound");
    }
    if tdb.transaction_start().is_ok() {
        let _ = tdb.store(b"in a transaction", &[&[1; 5000]], StoreMode::Replace);
        let _ = tdb.delete(&keys[0]);
        let committed = tdb.transaction_commit();
        if sound {
            committed.expect("commit");
            tdb.check().expect("sound after a commit");
        }
    }
    let repacked = tdb.repack();
    if sound {
        repacked.expect("repack");
        tdb.check().expect("sound after a repack");
    }
    match tdb.wipe_all() {
        // A wipe repairs everything but the header.
        Ok(()) if header_is_sound => {
            tdb.check().expect("a wiped file is sound");
        }
        Ok(()) => {}
        Err(Error::Usage(_)) if !read_only => panic!("wipe refused"),
        Err(_) => {}
    }
}

/// Everything that only looks.
fn look_around(tdb: &mut Tdb) -> Result<(), Error> {
    let _ = tdb.summary();
    tdb.rescue(|_, _| ())?;
    tdb.free_stats()?;
    tdb.free_list_size()?;
    tdb.visit_list(None, |_| true)?;
    for chain in [0, 1, tdb.hash_size() - 1] {
        if chain < tdb.hash_size() {
            tdb.visit_list(Some(chain), |_| true)?;
            tdb.traverse_chain(chain, |_, _| true)?;
        }
    }
    let mut cursor = KeyCursor::new();
    let mut next = cursor.first(tdb)?.map(<[u8]>::to_vec);
    let mut steps = 0;
    while let Some(key) = next.filter(|_| steps < 200) {
        next = cursor.next(tdb, &key)?.map(<[u8]>::to_vec);
        steps += 1;
    }
    let mut cursor = TraverseCursor::new();
    while cursor.next_batch(tdb, 10, u64::MAX, |_, _| true)? {}
    Ok(())
}
