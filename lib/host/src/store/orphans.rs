// SPDX-License-Identifier: GPL-3.0-or-later
//! Frees mutexes whose owner went away without unlocking, for processes that would wait for them for ever
//! (docs/decisions/0003-orphaned-mutexes.md).

use ctdb_engine::packet::DbId;
use ctdb_tdb::{LockAccess, OrphanSweep};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::thread;
use std::time::Duration;

/// Between looks. An orphan is freed by the second look that sees it.
const INTERVAL: Duration = Duration::from_secs(3);

type Files = Mutex<BTreeMap<DbId, LockAccess>>;

/// The files that are looked through, and the thread that does it while there are any.
#[derive(Default)]
pub struct Orphans {
    files: Option<Arc<Files>>,
}

fn enter(files: &Files) -> MutexGuard<'_, BTreeMap<DbId, LockAccess>> {
    files.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Orphans {
    /// Looks through this file from now on.
    pub fn watch(&mut self, db: DbId, access: LockAccess) {
        let files = self.files.get_or_insert_with(|| {
            let files = Arc::new(Files::default());
            let weak = Arc::downgrade(&files);
            let started =
                thread::Builder::new().name("ctdb-orphans".into()).spawn(move || run(&weak));
            if let Err(e) = started {
                log::error!("orphaned mutexes will not be noticed for other processes: {e}");
            }
            files
        });
        enter(files).insert(db, access);
    }

    /// The file is closed.
    pub fn forget(&mut self, db: DbId) {
        if let Some(files) = &self.files {
            enter(files).remove(&db);
        }
    }
}

fn run(files: &Weak<Files>) {
    let mut sweep = OrphanSweep::default();
    loop {
        thread::sleep(INTERVAL);
        let Some(files) = files.upgrade() else { return };
        let accesses: Vec<LockAccess> = enter(&files).values().cloned().collect();
        sweep.retain(&accesses);
        for access in accesses {
            if let Err(e) = sweep.look(&access) {
                log::error!("looking for orphaned mutexes: {e}");
            }
        }
    }
}
