// SPDX-License-Identifier: GPL-3.0-or-later
//! The engine's LocalStore over real TDB files, with another handle in the part of a client.

use bytes::Bytes;
use crossbeam_channel::Receiver;
use ctdb_engine::ports::{
    Access, AttachSpec, DbKind, Decision, LocalStore, RecordWrite, ScanCursor, WriteOutcome,
};
use ctdb_engine::{Input, News};
use ctdb_host::hot::{Background, Notifier};
use ctdb_host::store::{Store, StoreConfig};
use ctdb_tdb::{LockMode, LockStyle, OpenOptions, StoreMode, Tdb};
use std::path::Path;
use std::time::Duration;

struct Rig {
    store: Store,
    news: Receiver<Background>,
    _poll: mio::Poll,
    dir: tempfile::TempDir,
}

fn spec(db: u32, name: &str, kind: DbKind) -> AttachSpec {
    AttachSpec { db, name: name.into(), kind, hash_size: 101, max_dead: 5 }
}

impl Rig {
    fn new(mutexes: bool) -> Rig {
        let dir = tempfile::tempdir().unwrap();
        let rig = Rig::at(dir.path(), mutexes);
        Rig { dir, ..rig }
    }

    fn at(path: &Path, mutexes: bool) -> Rig {
        for sub in ["volatile", "persistent", "state"] {
            std::fs::create_dir_all(path.join(sub)).unwrap();
        }
        let poll = mio::Poll::new().unwrap();
        let (notifier, news) =
            Notifier::new(mio::Waker::new(poll.registry(), mio::Token(0)).unwrap());
        let config = StoreConfig {
            volatile_dir: path.join("volatile"),
            persistent_dir: path.join("persistent"),
            state_dir: path.join("state"),
            mutexes,
            pnn: 1,
        };
        Rig {
            store: Store::new(config, notifier),
            news,
            _poll: poll,
            dir: tempfile::tempdir().unwrap(),
        }
    }

    /// The next thing that the engine would hear.
    fn input(&mut self) -> Input {
        loop {
            let news = self.news.recv_timeout(Duration::from_secs(10)).expect("news within 10 s");
            if let Some(input) = self.store.news(news) {
                return input;
            }
        }
    }

    fn put(&mut self, db: u32, key: &[u8], value: &[u8]) -> Access {
        self.store.with_record(db, key, &mut |record| record.store(&[b"header", value]).unwrap())
    }

    fn get(&mut self, db: u32, key: &[u8]) -> Option<Vec<u8>> {
        let mut value = None;
        let access =
            self.store.with_record(db, key, &mut |r| value = r.value().map(<[u8]>::to_vec));
        assert_eq!(access, Access::Done);
        value
    }

    /// A handle as a client has it.
    fn client(&self, db: u32) -> Tdb {
        let options = OpenOptions {
            tdb_flags: self.store.open_flags(db).unwrap(),
            lock_style: LockStyle::Ofd,
            ..OpenOptions::default()
        };
        Tdb::open(self.store.path(db).unwrap(), &options).unwrap()
    }
}

fn write(key: &'static [u8], value: &'static [u8]) -> RecordWrite {
    RecordWrite { key: Bytes::from_static(key), value: Bytes::from_static(value) }
}

fn busy_chain(mutexes: bool) {
    let mut rig = Rig::new(mutexes);
    rig.store.attach(&spec(1, "a.tdb", DbKind::Volatile)).unwrap();
    assert_eq!(rig.put(1, b"k", b"v1"), Access::Done);
    assert_eq!(rig.get(1, b"k").as_deref(), Some(&b"headerv1"[..]));
    let mut client = rig.client(1);
    assert_eq!(client.fetch(b"k").unwrap().as_deref(), Some(&b"headerv1"[..]));

    // The client holds the chain: busy for us, granted when it lets go, and then ours alone until released.
    let chain = client.chain_of(b"k");
    assert_eq!(rig.store.chain_of(1, b"k"), chain);
    client.lock_chain(chain, LockMode::Exclusive).unwrap();
    assert_eq!(rig.put(1, b"k", b"v2"), Access::Busy);
    rig.store.wait_chain(1, chain);
    assert_eq!(rig.put(1, b"k", b"v2"), Access::Busy);
    client.store(b"k", &[b"headerv3"], StoreMode::Replace).unwrap();
    client.unlock_chain(chain).unwrap();
    assert!(matches!(rig.input(), Input::News(News::ChainGranted { db: 1, ok: true, .. })));
    assert_eq!(rig.get(1, b"k").as_deref(), Some(&b"headerv3"[..]));
    assert!(!client.try_lock_chain(chain, LockMode::Exclusive).unwrap());
    assert_eq!(rig.put(1, b"k", b"v4"), Access::Done);
    rig.store.release_chain(1, chain);
    client.lock_chain(chain, LockMode::Exclusive).unwrap();
    assert_eq!(client.fetch(b"k").unwrap().as_deref(), Some(&b"headerv4"[..]));
    client.unlock_chain(chain).unwrap();
    assert_eq!(rig.put(1, b"k", b"v5"), Access::Done);
}

#[test]
fn busy_chain_with_mutexes() {
    busy_chain(true);
}

#[test]
fn busy_chain_with_fcntl_locks() {
    busy_chain(false);
}

fn freeze_and_replace(mutexes: bool, kind: DbKind) {
    let mut rig = Rig::new(mutexes);
    rig.store.attach(&spec(1, "a.tdb", kind)).unwrap();
    for i in 0..50u8 {
        assert_eq!(rig.put(1, &[i], b"old"), Access::Done);
    }
    let mut client = rig.client(1);
    // A client that holds a chain keeps the freeze waiting.
    let chain = client.chain_of(&[7]);
    client.lock_chain(chain, LockMode::Exclusive).unwrap();
    rig.store.freeze(1);
    // Asking again changes nothing, now or when it is held.
    rig.store.freeze(1);
    assert!(rig.news.recv_timeout(Duration::from_millis(50)).is_err());
    client.unlock_chain(chain).unwrap();
    assert!(matches!(rig.input(), Input::News(News::Frozen { db: 1, ok: true })));
    rig.store.freeze(1);
    assert!(rig.news.try_recv().is_err());
    // Clients are kept out, we are not.
    assert!(!client.try_lock_chain(chain, LockMode::Exclusive).unwrap());
    assert_eq!(rig.get(1, &[7]).as_deref(), Some(&b"headerold"[..]));
    let mut cursor = ScanCursor::default();
    let mut seen = 0;
    while !cursor.done {
        rig.store.scan(1, &mut cursor, 10, &mut |_, _| seen += 1).unwrap();
    }
    assert_eq!(seen, 50);

    rig.store.replace_all(9, 1, vec![write(b"x", b"1"), write(b"y", b"2")]);
    match rig.input() {
        Input::News(News::WriteDone { ticket: 9, outcome: WriteOutcome::Committed }) => {}
        other => panic!("{other:?}"),
    }
    assert!(!client.try_lock_chain(chain, LockMode::Exclusive).unwrap());
    assert_eq!(rig.get(1, &[7]), None);
    rig.store.thaw(1);
    client.lock_chain(chain, LockMode::Exclusive).unwrap();
    client.unlock_chain(chain).unwrap();
    assert_eq!(client.fetch(b"x").unwrap().as_deref(), Some(&b"1"[..]));
    client.check().unwrap();
    // And again, without waiting.
    rig.store.freeze(1);
    assert!(matches!(rig.input(), Input::News(News::Frozen { db: 1, ok: true })));
    rig.store.thaw(1);
    // The freezer's thread releases the lock; until then the chain is busy as with any client.
    client.store(b"z", &[b"2"], StoreMode::Replace).unwrap();
    assert_eq!(rig.put(1, b"z", b"3"), Access::Done);
}

#[test]
fn freeze_and_replace_volatile() {
    freeze_and_replace(true, DbKind::Volatile);
    freeze_and_replace(false, DbKind::Volatile);
}

#[test]
fn freeze_and_replace_persistent() {
    freeze_and_replace(true, DbKind::Persistent);
}

#[test]
fn transactions_are_all_or_nothing() {
    let mut rig = Rig::new(true);
    rig.store.attach(&spec(1, "p.tdb", DbKind::Persistent)).unwrap();
    let records = || vec![write(b"a", b"1"), write(b"b", b"2")];
    rig.store.write(
        1,
        1,
        records(),
        Box::new(|w, old| {
            assert_eq!(old, None);
            Decision::Store(w.value.to_vec())
        }),
    );
    assert!(matches!(
        rig.input(),
        Input::News(News::WriteDone { ticket: 1, outcome: WriteOutcome::Committed })
    ));
    rig.store.write(
        2,
        1,
        records(),
        Box::new(|w, _| match &w.key[..] {
            b"a" => Decision::Store(b"changed".to_vec()),
            _ => Decision::Abort,
        }),
    );
    assert!(matches!(
        rig.input(),
        Input::News(News::WriteDone { ticket: 2, outcome: WriteOutcome::Aborted })
    ));
    assert_eq!(rig.store.read(1, b"a").unwrap().as_deref(), Some(&b"1"[..]));

    // The content is there after a restart, and the name is found.
    let dir = rig.dir.path().to_path_buf();
    drop(rig.store);
    let mut again = Rig::at(&dir, true);
    assert_eq!(again.store.persistent_names().unwrap(), ["p.tdb"]);
    again.store.attach(&spec(1, "p.tdb", DbKind::Persistent)).unwrap();
    assert_eq!(again.store.read(1, b"b").unwrap().as_deref(), Some(&b"2"[..]));
    assert_eq!(again.store.health("p.tdb").unwrap(), None);
    again.store.set_health("p.tdb", Some("reason")).unwrap();
    assert_eq!(again.store.health("p.tdb").unwrap().as_deref(), Some("reason"));
    again.store.set_health("p.tdb", None).unwrap();
    assert_eq!(again.store.health("p.tdb").unwrap(), None);
}

#[test]
fn damaged_files() {
    let mut rig = Rig::new(true);
    rig.store.attach(&spec(1, "p.tdb", DbKind::Persistent)).unwrap();
    rig.store.write(
        1,
        1,
        vec![write(b"a", b"1")],
        Box::new(|w, _| Decision::Store(w.value.to_vec())),
    );
    rig.input();
    let path = rig.store.path(1).unwrap();
    rig.store.detach(1);
    drop(rig.news);
    // The writer thread lets go of the file when its queue is closed; damage does not depend on it.
    let mut bytes = std::fs::read(&path).unwrap();
    let end = bytes.len() - 40;
    bytes[180] = 0xEE;
    bytes[end..].fill(0xEE);
    std::fs::write(&path, &bytes).unwrap();
    let dir = rig.dir.path().to_path_buf();
    let mut again = Rig::at(&dir, true);
    let error = again.store.attach(&spec(1, "p.tdb", DbKind::Persistent)).unwrap_err();
    assert!(error.corrupt, "{error}");
    assert!(error.message.contains("p.tdb.1") && error.message.contains("offset"), "{error}");
    assert_eq!(std::fs::read(&path).unwrap(), bytes, "kept as it was");

    // So is a persistent one that never was a database.
    std::fs::write(dir.join("persistent/g.tdb.1"), b"garbage").unwrap();
    let error = again.store.attach(&spec(3, "g.tdb", DbKind::Persistent)).unwrap_err();
    assert!(error.corrupt && error.message.contains("expected a TDB file"), "{error}");
    assert_eq!(std::fs::read(dir.join("persistent/g.tdb.1")).unwrap(), b"garbage");

    // A volatile file that is garbage is made anew.
    std::fs::write(dir.join("volatile/v.tdb.1"), b"garbage garbage garbage garbage garbage")
        .unwrap();
    again.store.attach(&spec(2, "v.tdb", DbKind::Volatile)).unwrap();
    assert_eq!(again.put(2, b"k", b"v"), Access::Done);
}

#[test]
fn a_volatile_file_that_a_client_still_uses_is_not_adopted() {
    let mut rig = Rig::new(true);
    rig.store.attach(&spec(1, "a.tdb", DbKind::Volatile)).unwrap();
    assert_eq!(rig.put(1, b"k", b"v"), Access::Done);
    let client = rig.client(1);
    rig.store.detach(1);
    let error = rig.store.attach(&spec(1, "a.tdb", DbKind::Volatile)).unwrap_err();
    assert!(error.message.contains("not empty"), "{error}");
    drop(client);
    rig.store.attach(&spec(1, "a.tdb", DbKind::Volatile)).unwrap();
    assert_eq!(rig.get(1, b"k"), None);
}
