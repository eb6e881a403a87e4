// SPDX-License-Identifier: GPL-3.0-or-later
//! Taking the lock of the whole database away from the event loop.
//!
//! One thread takes the lock, reports a token and keeps the lock until the token is dropped: on a
//! mutex file it is the thread that owns the allrecord mutex.

use crate::access::LockAccess;
use crate::fcntl::Wait;
use crate::mutex::Cancel;
use crate::parking::{enter, Parking};
use crate::sync::{thread, Arc, AtomicBool, Ordering};
use crate::waiter::guarded;
use crate::{Error, LockMode, Result};

type Deliver = Box<dyn FnOnce(Result<FreezeToken>) + Send>;

const STACK_BYTES: usize = 128 << 10;

/// The freezer thread of a file.
#[derive(Default)]
pub(crate) struct FreezeState {
    /// A thread waits for the lock or holds it.
    running: bool,
    /// Who gets the token; `None` when it was delivered or withdrawn.
    deliver: Option<Deliver>,
    /// A token is out.
    held: bool,
    /// Names the present request.
    request: u64,
    cancelled: Arc<AtomicBool>,
}

/// The lock of the whole database, held by a freezer. Dropping it releases the lock (thaw).
pub struct FreezeToken {
    access: LockAccess,
    parking: Arc<Parking>,
}

impl FreezeToken {
    /// The file that is frozen.
    pub fn access(&self) -> &LockAccess {
        &self.access
    }
}

impl Drop for FreezeToken {
    fn drop(&mut self) {
        // From here on the next freeze may be requested: the thread takes the lock anew for it.
        enter(&self.access.0.freeze).held = false;
        self.parking.release();
    }
}

/// A running request for the lock of the whole database. Dropping it withdraws the request (a
/// token already delivered stays valid).
pub struct Freezer {
    access: LockAccess,
    request: u64,
}

struct Stop(Arc<AtomicBool>);

impl Cancel for Stop {
    fn is_cancelled(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}

impl Freezer {
    /// Starts to take the lock: the chains gradually, the record range by trying with back-off
    /// (waiting for it could deadlock with a traverser, which nobody would detect). `deliver` is
    /// called once, on the freezer's thread; not at all if withdrawn first.
    ///
    /// One freeze of a file at a time: `Error::Lock` while one is requested or held.
    pub fn request(
        access: &LockAccess,
        deliver: Box<dyn FnOnce(Result<FreezeToken>) + Send>,
    ) -> Result<Freezer> {
        let mut state = enter(&access.0.freeze);
        if state.deliver.is_some() || state.held {
            return Err(Error::Lock("a freeze is requested or held already"));
        }
        state.request += 1;
        let request = state.request;
        if state.running {
            // A withdrawn request still waits for the lock, or a thawed one still lets go of it: its
            // thread works for us from now on.
            state.cancelled.store(false, Ordering::Release);
        } else {
            state.cancelled = Arc::new(AtomicBool::new(false));
            let path = access.0.freezer.path.clone();
            let (access, stop) = (access.clone(), Stop(state.cancelled.clone()));
            thread::Builder::new()
                .name("tdb-freezer".into())
                .stack_size(STACK_BYTES)
                .spawn(move || run(&access, &stop))
                .map_err(|source| Error::Io { path, action: "start a thread", source })?;
            state.running = true;
        }
        state.deliver = Some(deliver);
        drop(state);
        Ok(Freezer { access: access.clone(), request })
    }

    /// Withdraws the request. `true`: `deliver` will not be called.
    pub fn cancel(self) -> bool {
        self.withdraw()
    }

    fn withdraw(&self) -> bool {
        let mut state = enter(&self.access.0.freeze);
        if state.request != self.request {
            return false;
        }
        let Some(deliver) = state.deliver.take() else {
            return false;
        };
        state.cancelled.store(true, Ordering::Release);
        drop(state);
        drop(deliver);
        true
    }
}

impl Drop for Freezer {
    fn drop(&mut self) {
        self.withdraw();
    }
}

/// The freezer's thread.
fn run(access: &LockAccess, stop: &Stop) {
    loop {
        let locked = access.0.freezer.lock_all(LockMode::Exclusive, Wait::Block, stop);
        let deliver = {
            let mut state = enter(&access.0.freeze);
            let deliver = state.deliver.take();
            match (&locked, deliver) {
                // Told to stop, and told to go on again since.
                (Ok(false), Some(deliver)) => {
                    state.deliver = Some(deliver);
                    continue;
                }
                (Ok(true), Some(deliver)) => {
                    state.held = true;
                    deliver
                }
                (Err(_), Some(deliver)) => {
                    state.running = false;
                    deliver
                }
                (_, None) => {
                    if matches!(locked, Ok(true)) {
                        unlock(access);
                    }
                    state.running = false;
                    return;
                }
            }
        };
        match locked {
            Ok(_) => hold(access, deliver),
            Err(error) => return guarded(|| deliver(Err(error))),
        }
        let mut state = enter(&access.0.freeze);
        if state.deliver.is_none() {
            state.running = false;
            return;
        }
    }
}

/// Reports the lock, keeps it until the token is gone and releases it.
fn hold(access: &LockAccess, deliver: Deliver) {
    access.0.frozen.store(true, Ordering::Release);
    let parking = Arc::new(Parking::default());
    let token = FreezeToken { access: access.clone(), parking: parking.clone() };
    guarded(|| deliver(Ok(token)));
    parking.wait();
    unlock(access);
    access.0.frozen.store(false, Ordering::Release);
    let pools: Vec<_> = enter(&access.0.pools).iter().filter_map(|p| p.upgrade()).collect();
    for pool in pools {
        pool.kick_all();
    }
}

fn unlock(access: &LockAccess) {
    if let Err(error) = access.0.freezer.unlock_all() {
        log::error!("{}: freeze not released: {error}", access.0.freezer.path.display());
    }
}
