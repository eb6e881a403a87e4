// SPDX-License-Identifier: GPL-3.0-or-later
//! What other threads tell the hot thread.

use crate::cluster_lock::LockNews;
use crate::signals::Signal;
use crossbeam_channel::{Receiver, Sender};
use ctdb_engine::packet::DbId;
use ctdb_engine::ports::WriteOutcome;
use ctdb_tdb::{ChainToken, FreezeToken, Tdb};
use std::sync::Arc;

/// News from another thread. `instance` tells attachments of a database apart.
pub enum Background {
    /// A waiter has a chain lock, or failed.
    Chain {
        /// The database.
        db: DbId,
        /// Its attachment.
        instance: u64,
        /// The chain.
        chain: u32,
        /// The lock.
        result: ctdb_tdb::Result<ChainToken>,
    },
    /// A freezer has the whole-database lock, or failed.
    Frozen {
        /// The database.
        db: DbId,
        /// Its attachment.
        instance: u64,
        /// Which freeze of it.
        freeze: u64,
        /// The lock.
        result: ctdb_tdb::Result<FreezeToken>,
    },
    /// A write transaction ended.
    WriteDone {
        /// Given at its start.
        ticket: u64,
        /// How it ended.
        outcome: WriteOutcome,
    },
    /// A replacement ended; the handle comes back.
    Replaced {
        /// The database.
        db: DbId,
        /// Its attachment.
        instance: u64,
        /// Given at its start.
        ticket: u64,
        /// How it ended.
        outcome: WriteOutcome,
        /// The handle.
        tdb: Box<Tdb>,
    },
    /// News of the cluster lock.
    Lock(LockNews),
    /// A signal arrived.
    Signal(Signal),
}

/// Sends news to the hot thread and wakes it. Cheap to clone.
#[derive(Clone)]
pub struct Notifier {
    sender: Sender<Background>,
    waker: Arc<mio::Waker>,
}

impl Notifier {
    /// A notifier and the end that the hot thread reads.
    pub fn new(waker: mio::Waker) -> (Notifier, Receiver<Background>) {
        // Bounded by what is under way: one item for each lock wait, freeze, write or helper.
        let (sender, receiver) = crossbeam_channel::unbounded();
        (Notifier { sender, waker: Arc::new(waker) }, receiver)
    }

    /// Delivers. If the hot thread has ended, the news is dropped, and with it the locks in it.
    pub fn send(&self, news: Background) {
        if self.sender.send(news).is_ok() {
            if let Err(e) = self.waker.wake() {
                log::error!("cannot wake the event loop: {e}");
            }
        }
    }
}
