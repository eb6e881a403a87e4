// SPDX-License-Identifier: GPL-3.0-or-later
//! Traversal (spec/tdb.md 17, 26).

use crate::{Error, Result, Tdb};

/// A traversal taken in pieces, for an event loop: each call visits whole chains until it has
/// seen at least as many records or bytes as asked for.
#[derive(Debug, Clone, Default)]
pub struct TraverseCursor {
    next_chain: u32,
}

#[allow(unused_variables)]
impl TraverseCursor {
    /// A cursor before the first chain.
    pub fn new() -> TraverseCursor {
        TraverseCursor::default()
    }
    /// Visits records until at least `max_records` or `max_bytes` were seen; `false` if the end of
    /// the database was reached. Without a lock of the whole database each chain is locked shared
    /// while it is visited. `visit` returning `false` ends the turn behind the current chain.
    pub fn next_batch(
        &mut self,
        tdb: &mut Tdb,
        max_records: u64,
        max_bytes: u64,
        visit: impl FnMut(&[u8], &[u8]) -> bool,
    ) -> Result<bool> {
        Err(Error::Unsupported("not there yet"))
    }
    /// The chain the next call begins with.
    pub fn next_chain(&self) -> u32 {
        self.next_chain
    }
}
