// SPDX-License-Identifier: GPL-3.0-or-later
//! What threads of waiters and freezers meet at, and where a thread waits that owns a lock.
//!
//! Those modules name the primitives of this one, so that a test can put the schedule of a model
//! checker in their place (tests/waiting.rs).

pub(crate) use std::sync::atomic::{AtomicBool, Ordering};
pub(crate) use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
pub(crate) use std::thread;
