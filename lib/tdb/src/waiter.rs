// SPDX-License-Identifier: GPL-3.0-or-later
//! Waiting for chain locks away from the event loop.

use crate::{Error, Result};

/// What waiters of one file share: an open file description of their own and the mutex area. The
/// kernel excludes waiters from the loop's handle, as it excludes other processes. Cheap to clone.
#[derive(Clone)]
pub struct LockAccess {
    _later: (),
}

/// A chain lock that a waiter obtained. Dropping it releases the lock.
///
/// The loop works under it with `Tdb::with_marked_chain`.
pub struct ChainToken {
    chain: u32,
}

impl ChainToken {
    /// The locked chain.
    pub fn chain(&self) -> u32 {
        self.chain
    }
}

/// Names one request of a `WaiterPool`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Ticket(u64);

/// A bounded set of threads that wait for chain locks. Requests beyond the bound queue, first come
/// first served. Ask for one waiter per (file, chain): a second request for the same chain queues
/// behind the first.
pub struct WaiterPool {
    _later: (),
}

#[allow(unused_variables)]
impl WaiterPool {
    /// A pool of at most `max_threads` threads; they start when needed and end when idle.
    pub fn new(max_threads: usize) -> WaiterPool {
        WaiterPool { _later: () }
    }
    /// Requests the exclusive lock of `chain`. `deliver` is called once, on a waiter's thread,
    /// with the token or the error; not at all if the request is cancelled first.
    pub fn request_chain(
        &self,
        access: &LockAccess,
        chain: u32,
        deliver: Box<dyn FnOnce(Result<ChainToken>) + Send>,
    ) -> Result<Ticket> {
        Err(Error::Unsupported("not there yet"))
    }
    /// Withdraws a request. `true`: `deliver` will not be called. `false`: it was or is being
    /// called.
    pub fn cancel(&self, ticket: Ticket) -> bool {
        false
    }
}
