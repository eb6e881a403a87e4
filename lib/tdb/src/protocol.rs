// SPDX-License-Identifier: GPL-3.0-or-later
//! How the locks of chains and the lock of the whole database exclude each other on a mutex file
//! (spec/tdb.md 10.3 and 10.4).
//!
//! Who wants a chain takes its mutex, then looks at the allrecord state. Who wants everything takes
//! the allrecord mutex, sets the state, and then waits for each chain whose holder may have looked
//! before. The steps are written against a trait, so that a model checker runs these very lines
//! (tests/mutex_protocol.rs).

use std::io;

use crate::fcntl::Wait;
use crate::mutex::Cancel;
use crate::LockMode;

/// Allrecord states as stored in the file.
pub(crate) const STATE_READ: i16 = libc::F_RDLCK as i16;
pub(crate) const STATE_WRITE: i16 = libc::F_WRLCK as i16;
pub(crate) const STATE_UNLOCKED: i16 = libc::F_UNLCK as i16;

/// The mutexes of a file. `Ok(false)` of a lock: busy with `Wait::Try`, or cancelled.
pub(crate) trait Area {
    /// Whether locking a mutex orders everything before it in front of everything behind it, also
    /// a store in front of a load. So it is on x86, where it takes a locked instruction.
    const LOCK_IS_A_FENCE: bool;

    fn chains(&self) -> u32;
    /// Locks a chain, or with `None` the free list.
    fn lock_list(&self, list: Option<u32>, wait: Wait, cancel: &dyn Cancel) -> io::Result<bool>;
    fn unlock_list(&self, list: Option<u32>) -> io::Result<()>;
    /// Whether nobody holds the chain or died with it.
    fn is_free(&self, chain: u32) -> bool;
    /// Locks the allrecord mutex. If its owner died, the state becomes unlocked first.
    fn lock_allrecord(&self, wait: Wait, cancel: &dyn Cancel) -> io::Result<bool>;
    fn unlock_allrecord(&self) -> io::Result<()>;
    /// The allrecord state. What its last setter did before is visible then.
    fn state(&self) -> i16;
    /// Sets the state. Only for the owner of the allrecord mutex.
    fn set_state(&self, state: i16);
    /// Orders everything before it in front of everything behind it.
    fn fence(&self);
}

/// What became of a lock that someone wanted who holds other chains.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Locked {
    /// Not now.
    Busy,
    Yes,
    /// Ahead of one who wants everything and waits for a chain that the caller holds. What the
    /// caller holds must stay locked until this one is released: else that one gets past it.
    Ahead,
}

/// Whether a chain may be used in this mode, whoever else has locked everything.
#[inline(always)]
fn allows(state: i16, mode: LockMode) -> bool {
    state == STATE_UNLOCKED || (state == STATE_READ && mode == LockMode::Shared)
}

/// Locks a chain, or with `None` the free list. The caller holds no chain (but see `lock_another`).
#[inline]
pub(crate) fn lock_list<A: Area>(
    area: &A,
    list: Option<u32>,
    mode: LockMode,
    wait: Wait,
    cancel: &dyn Cancel,
) -> io::Result<bool> {
    loop {
        if !area.lock_list(list, wait, cancel)? {
            return Ok(false);
        }
        if list.is_none() || allows(area.state(), mode) {
            return Ok(true);
        }
        area.unlock_list(list)?;
        // Wait until the holder of everything is gone.
        if !area.lock_allrecord(wait, cancel)? {
            return Ok(false);
        }
        area.unlock_allrecord()?;
    }
}

/// Locks another chain. `strongest`: how the caller holds those that it holds. To wait for the
/// holder of everything is not possible with chains held, so this is to be called again after a
/// while if it says busy.
pub(crate) fn lock_another<A: Area>(
    area: &A,
    chain: u32,
    mode: LockMode,
    strongest: LockMode,
    wait: Wait,
    cancel: &dyn Cancel,
) -> io::Result<Locked> {
    if !area.lock_list(Some(chain), wait, cancel)? {
        return Ok(Locked::Busy);
    }
    let locked = match mode {
        LockMode::Shared if area.state() == STATE_WRITE => Ok(Locked::Ahead),
        LockMode::Shared => Ok(Locked::Yes),
        LockMode::Exclusive => may_change(area, strongest, cancel),
    };
    if !matches!(locked, Ok(Locked::Yes | Locked::Ahead)) {
        area.unlock_list(Some(chain))?;
    }
    locked
}

/// Whether the holder of a chain's mutex may change what is in the chain.
///
/// Who set the state while the caller holds a chain exclusively waits for him. If he only reads,
/// the other may be reading too, and must end first; unless he waits for the caller to end.
pub(crate) fn may_change<A: Area>(
    area: &A,
    strongest: LockMode,
    cancel: &dyn Cancel,
) -> io::Result<Locked> {
    match area.state() {
        STATE_UNLOCKED => Ok(Locked::Yes),
        _ if strongest == LockMode::Exclusive => Ok(Locked::Ahead),
        STATE_WRITE => Err(io::Error::from_raw_os_error(libc::EDEADLK)),
        _ if area.lock_allrecord(Wait::Try, cancel)? => {
            // He is gone, or dead.
            area.unlock_allrecord()?;
            Ok(Locked::Yes)
        }
        _ => Ok(Locked::Busy),
    }
}

/// Locks everything, but for the free list.
pub(crate) fn lock_all<A: Area>(
    area: &A,
    mode: LockMode,
    wait: Wait,
    cancel: &dyn Cancel,
) -> io::Result<bool> {
    if !area.lock_allrecord(wait, cancel)? {
        return Ok(false);
    }
    if area.state() != STATE_UNLOCKED {
        area.unlock_allrecord()?;
        return Err(io::Error::from_raw_os_error(libc::EINVAL));
    }
    area.set_state(match mode {
        LockMode::Shared => STATE_READ,
        LockMode::Exclusive => STATE_WRITE,
    });
    match pass_chains(area, wait, cancel) {
        Ok(true) => Ok(true),
        refused => {
            unlock_all(area)?;
            refused
        }
    }
}

/// Ends `lock_all`.
pub(crate) fn unlock_all<A: Area>(area: &A) -> io::Result<()> {
    area.set_state(STATE_UNLOCKED);
    area.unlock_allrecord()
}

/// Makes a shared lock of everything exclusive, unless someone reads. `false`: it is still shared.
pub(crate) fn try_upgrade<A: Area>(area: &A, never: &dyn Cancel) -> io::Result<bool> {
    area.set_state(STATE_WRITE);
    let passed = pass_chains(area, Wait::Try, never);
    if !matches!(passed, Ok(true)) {
        area.set_state(STATE_READ);
    }
    passed
}

/// Waits until every holder of a chain is gone who may have looked at the state before it was set.
fn pass_chains<A: Area>(area: &A, wait: Wait, cancel: &dyn Cancel) -> io::Result<bool> {
    let mut next = 0;
    while let Some(chain) = next_held(area, next) {
        if !area.lock_list(Some(chain), wait, cancel)? {
            return Ok(false);
        }
        area.unlock_list(Some(chain))?;
        next = chain + 1;
    }
    Ok(true)
}

/// The first chain from `from` on that has to be locked.
///
/// One that is seen free need not be: whoever takes it later looks at the state behind that, and
/// the fence here puts our look at the mutex behind our setting of the state. One of the two sees
/// the other.
fn next_held<A: Area>(area: &A, from: u32) -> Option<u32> {
    if !A::LOCK_IS_A_FENCE {
        return (from < area.chains()).then_some(from);
    }
    area.fence();
    (from..area.chains()).find(|chain| !area.is_free(*chain))
}
