// SPDX-License-Identifier: GPL-3.0-or-later
//! Waiters and freezers under many schedules of their threads.
//!
//! The lines are those of src/waiter.rs, src/freezer.rs and src/parking.rs; the threads and what they
//! meet at are the checker's (shuttle: random and priority schedules, sequentially consistent). The
//! locks of the file are a table that sees to it that nobody holds what another holds.
#![allow(dead_code, missing_docs)]

mod fcntl {
    #[derive(Clone, Copy, PartialEq, Eq, Debug)]
    pub enum Wait {
        Block,
        Try,
    }
}
mod mutex {
    pub trait Cancel {
        fn is_cancelled(&self) -> bool;
    }
}
mod sync {
    pub use shuttle::sync::atomic::{AtomicBool, Ordering};
    pub use shuttle::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
    pub use shuttle::thread;
}
mod access {
    //! As src/access.rs, with a file that is a table.
    use crate::freezer::FreezeState;
    use crate::sync::{Arc, AtomicBool, Mutex};
    use crate::waiter::Pool;
    use crate::LockFile;

    #[derive(Clone)]
    pub struct LockAccess(pub Arc<Access>);

    pub struct Access {
        pub id: u64,
        pub waiters: LockFile,
        pub freezer: LockFile,
        pub frozen: AtomicBool,
        pub freeze: Mutex<FreezeState>,
        pub pools: Mutex<Vec<std::sync::Weak<Pool>>>,
    }
}
#[path = "../src/freezer.rs"]
mod freezer;
#[path = "../src/parking.rs"]
mod parking;
#[path = "../src/waiter.rs"]
mod waiter;

use std::path::Path;

use access::{Access, LockAccess};
use ctdb_tdb::{Error, LockMode, Result};
use fcntl::Wait;
use freezer::{FreezeToken, Freezer};
use mutex::Cancel;
use shuttle::sync::atomic::{AtomicU32, Ordering};
use shuttle::sync::{mpsc, Arc, Mutex};
use shuttle::thread;
use waiter::WaiterPool;

const CHAINS: u32 = 3;

/// Who holds what of the file.
#[derive(Default)]
struct Table {
    chains: [bool; CHAINS as usize],
    all: bool,
}

/// Stands for lock bytes or mutexes.
#[derive(Clone)]
pub struct LockFile {
    pub path: std::sync::Arc<Path>,
    pub hash_size: u32,
    /// On a mutex file the thread that locked has to unlock.
    pub mutexes: Option<()>,
    table: Arc<Mutex<Table>>,
    owners: Arc<Mutex<std::collections::HashMap<u32, thread::ThreadId>>>,
}

impl LockFile {
    pub fn lock_list(
        &self,
        chain: Option<u32>,
        _: LockMode,
        _: Wait,
        cancel: &dyn Cancel,
    ) -> Result<bool> {
        let chain = chain.expect("a chain");
        loop {
            {
                let mut table = self.table.lock().unwrap();
                if !table.all && !table.chains[chain as usize] {
                    table.chains[chain as usize] = true;
                    self.owners.lock().unwrap().insert(chain, thread::current().id());
                    return Ok(true);
                }
            }
            if cancel.is_cancelled() {
                return Ok(false);
            }
            thread::yield_now();
        }
    }

    pub fn unlock_list(&self, chain: Option<u32>) -> Result<()> {
        let chain = chain.expect("a chain");
        let owner = self.owners.lock().unwrap().remove(&chain);
        if self.mutexes.is_some() {
            assert_eq!(owner, Some(thread::current().id()), "unlocked by another thread");
        }
        let mut table = self.table.lock().unwrap();
        assert!(std::mem::take(&mut table.chains[chain as usize]), "unlock of a free chain");
        Ok(())
    }

    pub fn lock_all(&self, _: LockMode, _: Wait, cancel: &dyn Cancel) -> Result<bool> {
        loop {
            {
                let mut table = self.table.lock().unwrap();
                if !table.all && table.chains.iter().all(|held| !held) {
                    table.all = true;
                    return Ok(true);
                }
            }
            if cancel.is_cancelled() {
                return Ok(false);
            }
            thread::yield_now();
        }
    }

    pub fn unlock_all(&self) -> Result<()> {
        assert!(std::mem::take(&mut self.table.lock().unwrap().all), "unlock of a free file");
        Ok(())
    }
}

fn file(mutexes: bool) -> LockAccess {
    let locks = LockFile {
        path: Path::new("table").into(),
        hash_size: CHAINS,
        mutexes: mutexes.then_some(()),
        table: Arc::default(),
        owners: Arc::default(),
    };
    LockAccess(Arc::new(Access {
        id: 1,
        waiters: locks.clone(),
        freezer: locks,
        frozen: shuttle::sync::atomic::AtomicBool::new(false),
        freeze: Mutex::default(),
        pools: Mutex::default(),
    }))
}

/// Nothing is locked and nobody waits.
fn is_quiet(access: &LockAccess, pool: &WaiterPool) -> bool {
    let table = access.0.waiters.table.lock().unwrap();
    pool.pending() == 0 && !table.all && table.chains.iter().all(|held| !held)
}

fn wait_until(condition: impl Fn() -> bool) {
    while !condition() {
        thread::yield_now();
    }
}

/// Runs under random schedules, and under those that let one thread run long.
fn explore(scenario: impl Fn(bool) + Send + Sync + Copy + 'static) {
    let factor = std::env::var("TDB_SCHEDULES").ok().and_then(|n| n.parse().ok()).unwrap_or(1);
    for mutexes in [false, true] {
        shuttle::check_random(move || scenario(mutexes), 300 * factor);
        shuttle::check_pct(move || scenario(mutexes), 100 * factor, 3);
    }
    println!("{} schedules", 800 * factor);
}

#[test]
fn every_request_is_served_once_and_one_at_a_time() {
    explore(|mutexes| {
        let access = file(mutexes);
        let pool = WaiterPool::new(2);
        let (send, receive) = mpsc::channel();
        for chain in [0, 0, 1, 0] {
            let send = send.clone();
            let deliver = Box::new(move |token: Result<_>| send.send(token.unwrap()).unwrap());
            pool.request_chain(&access, chain, deliver).unwrap();
        }
        let mut served = [0; CHAINS as usize];
        for _ in 0..4 {
            let token = receive.recv().unwrap();
            served[token.chain() as usize] += 1;
            assert!(access.0.waiters.table.lock().unwrap().chains[token.chain() as usize]);
            drop(token);
        }
        assert_eq!(served, [3, 1, 0]);
        wait_until(|| is_quiet(&access, &pool));
    });
}

#[test]
fn a_withdrawn_request_is_not_served() {
    explore(|mutexes| {
        let access = file(mutexes);
        let pool = WaiterPool::new(2);
        let served = Arc::new(AtomicU32::new(0));
        let request = |chain| {
            let served = served.clone();
            let deliver = Box::new(move |token: Result<_>| {
                drop(token.unwrap());
                served.fetch_add(1, Ordering::SeqCst);
            });
            pool.request_chain(&access, chain, deliver).unwrap()
        };
        let tickets = [request(0), request(0), request(1)];
        let withdrawn = tickets.iter().filter(|ticket| pool.cancel(**ticket)).count() as u32;
        wait_until(|| served.load(Ordering::SeqCst) + withdrawn == 3 && is_quiet(&access, &pool));
        thread::yield_now();
        assert_eq!(served.load(Ordering::SeqCst) + withdrawn, 3);
    });
}

#[test]
fn a_freeze_excludes_waiters_and_lets_them_go_on() {
    explore(|mutexes| {
        let access = file(mutexes);
        let pool = WaiterPool::new(2);
        let served = Arc::new(AtomicU32::new(0));
        for chain in [0, 1, 0] {
            let served = served.clone();
            let deliver = Box::new(move |token: Result<_>| {
                drop(token.unwrap());
                served.fetch_add(1, Ordering::SeqCst);
            });
            pool.request_chain(&access, chain, deliver).unwrap();
        }
        let (send, receive) = mpsc::channel();
        let deliver =
            Box::new(move |token: Result<FreezeToken>| send.send(token.unwrap()).unwrap());
        let freezer = Freezer::request(&access, deliver).unwrap();
        let token = receive.recv().unwrap();
        {
            let table = access.0.waiters.table.lock().unwrap();
            assert!(table.all && table.chains.iter().all(|held| !held));
        }
        assert!(!freezer.cancel());
        drop(token);
        wait_until(|| served.load(Ordering::SeqCst) == 3 && is_quiet(&access, &pool));
    });
}

#[test]
fn a_freeze_is_withdrawn_and_requested_again() {
    explore(|mutexes| {
        let access = file(mutexes);
        let pool = WaiterPool::new(1);
        let (send, receive) = mpsc::channel();
        let request = |send: mpsc::Sender<(u32, FreezeToken)>, number| {
            let deliver = Box::new(move |token: Result<FreezeToken>| {
                send.send((number, token.unwrap())).unwrap();
            });
            Freezer::request(&access, deliver)
        };
        let first = request(send.clone(), 1).unwrap();
        let withdrawn = first.cancel();
        if !withdrawn {
            let (number, token) = receive.recv().unwrap();
            assert_eq!(number, 1);
            drop(token);
        }
        // Keeps the second request: dropping it would withdraw it.
        let second = request(send, 2).unwrap();
        let (number, token) = receive.recv().unwrap();
        assert_eq!(number, 2);
        assert!(matches!(request(mpsc::channel().0, 3), Err(Error::Lock(_))));
        drop(token);
        assert!(!second.cancel());
        wait_until(|| is_quiet(&access, &pool));
    });
}
