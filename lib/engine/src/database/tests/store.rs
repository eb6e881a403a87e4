// SPDX-License-Identifier: GPL-3.0-or-later
//! The TDB files of a test node: in memory, with chains that tests hold and stores that tests make fail.

use crate::hash::jenkins;
use crate::packet::DbId;
use crate::ports::{
    Access, AttachSpec, ChainRecord, DbKind, Decide, Decision, LocalStore, RecordWrite, ScanCursor,
    StoreError, WriteOutcome,
};
use crate::{Input, News};
use std::collections::{BTreeMap, BTreeSet};

/// Few, so that keys share chains.
pub const CHAINS: u32 = 7;

pub type Content = BTreeMap<Vec<u8>, Vec<u8>>;

#[derive(Default)]
pub struct File {
    pub kind: Option<DbKind>,
    pub content: Content,
    pub frozen: bool,
    pub seqnum: u32,
}

/// See the module.
#[derive(Default)]
pub struct MemStore {
    pub files: BTreeMap<DbId, File>,
    pub names: Vec<String>,
    /// Chains that clients hold.
    pub busy: BTreeSet<(DbId, u32)>,
    /// Chains that the daemon waits for, or was granted.
    pub waits: BTreeSet<(DbId, u32)>,
    pub granted: BTreeSet<(DbId, u32)>,
    /// Inputs that follow.
    pub inputs: Vec<Input>,
    /// Stores fail: the disk is full.
    pub full: bool,
    /// Writes do not end before the test lets them.
    pub hold_writes: bool,
    pub held_writes: Vec<Input>,
    pub synced: u32,
    pub health: BTreeMap<String, String>,
}

fn error(message: &str) -> StoreError {
    StoreError { message: message.to_owned(), corrupt: false }
}

struct MemRecord<'a> {
    content: &'a mut Content,
    key: &'a [u8],
    full: bool,
}

impl ChainRecord for MemRecord<'_> {
    fn value(&self) -> Option<&[u8]> {
        self.content.get(self.key).map(Vec::as_slice)
    }
    fn store(&mut self, parts: &[&[u8]]) -> Result<(), StoreError> {
        if self.full {
            return Err(error("disk full"));
        }
        self.content.insert(self.key.to_vec(), parts.concat());
        Ok(())
    }
    fn delete(&mut self) -> Result<(), StoreError> {
        self.content.remove(self.key);
        Ok(())
    }
}

impl MemStore {
    /// A client takes the chain of `key`.
    pub fn client_lock(&mut self, db: DbId, key: &[u8]) {
        assert!(!self.files[&db].frozen, "a client took a chain of a frozen file");
        self.busy.insert((db, jenkins(key) % CHAINS));
    }

    /// A client releases it: a waiting daemon gets it.
    pub fn client_unlock(&mut self, db: DbId, key: &[u8]) {
        let chain = jenkins(key) % CHAINS;
        assert!(self.busy.remove(&(db, chain)));
        if self.waits.remove(&(db, chain)) {
            self.granted.insert((db, chain));
            self.inputs.push(Input::News(News::ChainGranted { db, chain, ok: true }));
        }
    }

    fn finish(&mut self, ticket: u64, outcome: WriteOutcome) {
        let input = Input::News(News::WriteDone { ticket, outcome });
        if self.hold_writes {
            self.held_writes.push(input);
        } else {
            self.inputs.push(input);
        }
    }
}

impl LocalStore for MemStore {
    fn attach(&mut self, spec: &AttachSpec) -> Result<(), StoreError> {
        let file = self.files.entry(spec.db).or_default();
        if spec.kind != DbKind::Persistent {
            file.content.clear();
        }
        file.kind = Some(spec.kind);
        Ok(())
    }
    fn detach(&mut self, db: DbId) {
        self.files.remove(&db);
    }
    fn persistent_names(&mut self) -> Result<Vec<String>, StoreError> {
        Ok(self.names.clone())
    }
    fn path(&self, db: DbId) -> Option<String> {
        self.files.get(&db).map(|_| format!("/db/{db:08x}.tdb.0"))
    }
    fn open_flags(&self, db: DbId) -> Option<u32> {
        self.files.get(&db).map(|_| 0x1441)
    }
    fn chain_of(&self, _db: DbId, key: &[u8]) -> u32 {
        jenkins(key) % CHAINS
    }
    fn with_record(
        &mut self,
        db: DbId,
        key: &[u8],
        f: &mut dyn FnMut(&mut dyn ChainRecord),
    ) -> Access {
        if self.busy.contains(&(db, jenkins(key) % CHAINS)) {
            return Access::Busy;
        }
        let full = self.full;
        let Some(file) = self.files.get_mut(&db) else {
            return Access::Failed(error("no such file"));
        };
        f(&mut MemRecord { content: &mut file.content, key, full });
        Access::Done
    }
    fn wait_chain(&mut self, db: DbId, chain: u32) {
        assert!(self.waits.insert((db, chain)), "two waits for one chain");
    }
    fn release_chain(&mut self, db: DbId, chain: u32) {
        self.waits.remove(&(db, chain));
        self.granted.remove(&(db, chain));
    }
    fn freeze(&mut self, db: DbId) {
        let file = self.files.get_mut(&db).expect("frozen file is attached");
        assert!(!file.frozen, "frozen twice");
        assert!(self.waits.iter().all(|(id, _)| *id != db), "waits for chains while freezing");
        file.frozen = true;
        self.inputs.push(Input::News(News::Frozen { db, ok: true }));
    }
    fn thaw(&mut self, db: DbId) {
        if let Some(file) = self.files.get_mut(&db) {
            file.frozen = false;
        }
    }
    fn read(&mut self, db: DbId, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        Ok(self.files.get(&db).and_then(|f| f.content.get(key).cloned()))
    }
    fn scan(
        &mut self,
        db: DbId,
        cursor: &mut ScanCursor,
        max: usize,
        f: &mut dyn FnMut(&[u8], &[u8]),
    ) -> Result<(), StoreError> {
        let file = self.files.get(&db).ok_or_else(|| error("no such file"))?;
        let mut visited = 0;
        while visited < max && cursor.chain < CHAINS {
            if self.busy.contains(&(db, cursor.chain)) {
                return Ok(());
            }
            let chain = cursor.chain;
            for (key, value) in file.content.iter().filter(|(k, _)| jenkins(k) % CHAINS == chain) {
                f(key, value);
                visited += 1;
            }
            cursor.chain += 1;
        }
        cursor.done = cursor.chain == CHAINS;
        Ok(())
    }
    fn write(&mut self, ticket: u64, db: DbId, records: Vec<RecordWrite>, mut decide: Decide) {
        if self.full {
            return self.finish(ticket, WriteOutcome::Failed(error("disk full")));
        }
        let Some(file) = self.files.get_mut(&db) else { return };
        let mut content = file.content.clone();
        for record in &records {
            match decide(record, content.get(&record.key[..]).map(Vec::as_slice)) {
                Decision::Store(value) => drop(content.insert(record.key.to_vec(), value)),
                Decision::Delete => drop(content.remove(&record.key[..])),
                Decision::Skip => {}
                Decision::Abort => return self.finish(ticket, WriteOutcome::Aborted),
            }
        }
        file.content = content;
        self.finish(ticket, WriteOutcome::Committed);
    }
    fn replace_all(&mut self, ticket: u64, db: DbId, records: Vec<RecordWrite>) {
        if self.full {
            return self.finish(ticket, WriteOutcome::Failed(error("disk full")));
        }
        let Some(file) = self.files.get_mut(&db) else { return };
        assert!(file.frozen, "replaced without a freeze");
        file.content = records.into_iter().map(|r| (r.key.to_vec(), r.value.to_vec())).collect();
        self.finish(ticket, WriteOutcome::Committed);
    }
    fn sync(&mut self, _db: DbId) -> Result<(), StoreError> {
        self.synced += 1;
        Ok(())
    }
    fn tdb_seqnum(&mut self, db: DbId) -> Option<u32> {
        self.files.get(&db).map(|f| f.seqnum)
    }
    fn enable_seqnum(&mut self, _db: DbId) -> Result<(), StoreError> {
        Ok(())
    }
    fn increment_seqnum(&mut self, db: DbId) -> Result<(), StoreError> {
        self.files.get_mut(&db).map(|f| f.seqnum += 1).ok_or_else(|| error("no such file"))
    }
    fn health(&mut self, name: &str) -> Result<Option<String>, StoreError> {
        Ok(self.health.get(name).cloned())
    }
    fn set_health(&mut self, name: &str, reason: Option<&str>) -> Result<(), StoreError> {
        match reason {
            Some(reason) => self.health.insert(name.to_owned(), reason.to_owned()),
            None => self.health.remove(name),
        };
        Ok(())
    }
}
