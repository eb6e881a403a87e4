// SPDX-License-Identifier: GPL-3.0-or-later
//! Where a thread that owns a lock waits until it may release it.

use crate::sync::{Condvar, Mutex, MutexGuard, PoisonError};

/// Locks a mutex whose data stays sound whatever its holders do.
pub(crate) fn enter<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A place to wait for a release.
#[derive(Default)]
pub(crate) struct Parking {
    released: Mutex<bool>,
    wake: Condvar,
}

impl Parking {
    pub fn wait(&self) {
        let mut released = enter(&self.released);
        while !*released {
            released = self.wake.wait(released).unwrap_or_else(PoisonError::into_inner);
        }
    }

    pub fn release(&self) {
        *enter(&self.released) = true;
        self.wake.notify_all();
    }
}
