// SPDX-License-Identifier: GPL-3.0-or-later
//! Noticing the end of the daemon at once, however it ends: a lock that outlives its daemon delays the election of
//! a new leader.
//!
//! Three signs, any of which counts: a pidfd of the parent becomes readable; the reading end of the pipe that is our
//! standard output closes; and, every five seconds in case there is neither, our parent is another process. Not
//! PR_SET_PDEATHSIG: that watches the thread that started us.

use crate::sys;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::os::unix::process::parent_id;
use std::time::Duration;

/// How often the parent's id is compared.
pub const CHECK_INTERVAL: Duration = Duration::from_secs(5);

/// init: what orphans belong to. Never waited for, unless it really is our daemon, as in a container; then only
/// the pipe can tell.
const INIT: u32 = 1;

/// The process that started us.
#[derive(Debug)]
pub struct Parent {
    id: u32,
    end: Option<OwnedFd>,
    output_is_pipe: bool,
}

impl Parent {
    /// Begins to watch it.
    pub fn watch() -> Parent {
        let id = parent_id();
        let end = if id == INIT { None } else { sys::process_fd(id) };
        Parent { id, end, output_is_pipe: sys::output_is_pipe() }
    }

    /// Readable once the parent is gone.
    pub fn end(&self) -> Option<BorrowedFd<'_>> {
        use std::os::fd::AsFd;
        self.end.as_ref().map(AsFd::as_fd)
    }

    /// Whether hang-up of our output means its end.
    pub fn output_is_pipe(&self) -> bool {
        self.output_is_pipe
    }

    /// Whether its end shows in the process table. Asked after [`Parent::watch`], so that a parent that ended before
    /// it is noticed too.
    pub fn is_gone(&self) -> bool {
        parent_id() != self.id || (self.id == INIT && !self.output_is_pipe)
    }
}
