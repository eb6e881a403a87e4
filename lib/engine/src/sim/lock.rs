// SPDX-License-Identifier: GPL-3.0-or-later
//! The cluster lock of a simulated cluster: one holder at a time, who may linger after its daemon's death.

use crate::packet::Pnn;
use crate::ports::LockEvent;
use crate::ports::LockRequest;

/// The lock service.
#[derive(Debug, Default)]
pub struct LockService {
    /// Who holds it: node and incarnation of the daemon that took it.
    holder: Option<(Pnn, u64)>,
    /// Every request fails with a time-out: the storage hangs.
    pub hangs: bool,
}

impl LockService {
    /// The node whose daemon holds the lock (or held it and lingers).
    pub fn holder(&self) -> Option<Pnn> {
        self.holder.map(|h| h.0)
    }

    /// A daemon's request; what the answer is (none for a release).
    pub(super) fn request(
        &mut self,
        node: Pnn,
        incarnation: u64,
        request: LockRequest,
    ) -> Option<LockEvent> {
        let test = request == LockRequest::Test;
        if self.hangs && request != LockRequest::Release {
            return Some(LockEvent::Failed { test, timeout: true });
        }
        match (request, self.holder) {
            (LockRequest::Release, Some(holder)) if holder == (node, incarnation) => {
                self.holder = None;
                None
            }
            (LockRequest::Release, _) => None,
            (LockRequest::Take, None) => {
                self.holder = Some((node, incarnation));
                Some(LockEvent::Taken)
            }
            (LockRequest::Test, None) => Some(LockEvent::TestTaken),
            (_, Some(_)) => Some(LockEvent::Contended { test }),
        }
    }

    /// The helper of a dead daemon ends.
    pub(super) fn helper_ended(&mut self, node: Pnn, incarnation: u64) {
        if self.holder == Some((node, incarnation)) {
            self.holder = None;
        }
    }

    /// Breaks the lock; the node that thinks it holds it.
    pub(super) fn lose(&mut self) -> Option<(Pnn, u64)> {
        self.holder.take()
    }
}
