// SPDX-License-Identifier: GPL-3.0-or-later
//! Which persistent databases are unhealthy, and why (`spec/database.md 23.1`).

use super::{failed, store_error};
use ctdb_engine::ports::StoreError;
use ctdb_tdb::{LockStyle, OpenOptions, StoreMode, Tdb};
use std::path::Path;

/// The health file: database name to reason; no record means healthy.
pub struct Health {
    tdb: Tdb,
}

impl Health {
    /// Opens or creates the file. One that is not sound is put aside and replaced.
    pub fn open(path: &Path) -> Result<Health, StoreError> {
        let options = OpenOptions {
            tdb_flags: ctdb_tdb::TDB_DISALLOW_NESTING,
            create: true,
            lock_style: LockStyle::Ofd,
            check: true,
            ..OpenOptions::default()
        };
        let tdb = match Tdb::open(path, &options) {
            Err(e) if e.is_corruption() => {
                let aside = path.with_extension(format!("{}.corrupt", std::process::id()));
                log::error!("health database is corrupt, kept as {}: {e}", aside.display());
                std::fs::rename(path, &aside).map_err(|e| failed(path, e))?;
                Tdb::open(path, &options)
            }
            other => other,
        };
        tdb.map(|tdb| Health { tdb }).map_err(|e| store_error(&e))
    }

    /// Why the database of this name is unhealthy.
    pub fn get(&mut self, name: &str) -> Result<Option<String>, StoreError> {
        let value = self.tdb.fetch(name.as_bytes()).map_err(|e| store_error(&e))?;
        Ok(value.map(|v| String::from_utf8_lossy(&v).into_owned()))
    }

    /// Records a reason or, with None, health.
    pub fn set(&mut self, name: &str, reason: Option<&str>) -> Result<(), StoreError> {
        let mut change = || -> ctdb_tdb::Result<()> {
            self.tdb.transaction_start()?;
            let key = name.as_bytes();
            let changed = match reason {
                Some(reason) => self.tdb.store(key, &[reason.as_bytes()], StoreMode::Replace),
                None => match self.tdb.delete(key) {
                    Err(ctdb_tdb::Error::NotFound) => Ok(()),
                    other => other,
                },
            };
            match changed {
                Ok(()) => self.tdb.transaction_commit(),
                Err(e) => {
                    self.tdb.transaction_cancel()?;
                    Err(e)
                }
            }
        };
        change().map_err(|e| store_error(&e))
    }
}
