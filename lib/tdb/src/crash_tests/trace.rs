// SPDX-License-Identifier: GPL-3.0-or-later
//! What a thread's storage does to its file, in order.

use std::cell::RefCell;

/// One step towards the disk. Offsets are logical.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Traced {
    Write(u32, Vec<u8>),
    /// The file has this size from now on.
    Extend(u32),
    Sync,
}

thread_local! {
    static STEPS: RefCell<Option<Vec<Traced>>> = const { RefCell::new(None) };
}

/// Begins to record this thread.
pub(crate) fn start() {
    STEPS.with_borrow_mut(|steps| *steps = Some(Vec::new()));
}

/// Ends recording and gives what was recorded.
pub(crate) fn stop() -> Vec<Traced> {
    STEPS.take().unwrap_or_default()
}

pub(crate) fn is_on() -> bool {
    STEPS.with_borrow(Option::is_some)
}

pub(crate) fn note(step: impl FnOnce() -> Traced) {
    STEPS.with_borrow_mut(|steps| {
        if let Some(steps) = steps {
            steps.push(step());
        }
    });
}
