// SPDX-License-Identifier: GPL-3.0-or-later
//! Taking the lock of the whole database away from the event loop.

use crate::{Error, LockAccess, Result};

/// The lock of the whole database, held by a freezer. Dropping it releases the lock (thaw).
pub struct FreezeToken {
    _later: (),
}

/// A running request for the lock of the whole database. Dropping it withdraws the request (a
/// token already delivered stays valid).
pub struct Freezer {
    _later: (),
}

#[allow(unused_variables)]
impl Freezer {
    /// Starts to take the lock: the chains gradually, the record range by trying with back-off
    /// (waiting for it could deadlock with a traverser, which nobody would detect). `deliver` is
    /// called once, on the freezer's thread; not at all if withdrawn first.
    pub fn request(
        access: &LockAccess,
        deliver: Box<dyn FnOnce(Result<FreezeToken>) + Send>,
    ) -> Result<Freezer> {
        Err(Error::Unsupported("not there yet"))
    }
    /// Withdraws the request. `true`: `deliver` will not be called.
    pub fn cancel(self) -> bool {
        false
    }
}
