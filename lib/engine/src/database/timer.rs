// SPDX-License-Identifier: GPL-3.0-or-later
//! The timers of the database service and their tokens.

use crate::packet::DbId;

/// What to look at when a timer fires.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Timer {
    Late,
    ChainRetry,
    LockWatch,
    Collapse,
    Sticky,
    Deferred,
    HotKeys,
    Revokes,
    Vacuum,
    VacuumWork,
    Pull(u32),
    Walk(u32),
    Traverse(u32),
    Update(DbId),
    Commit(DbId),
    Seqnum(DbId),
}

impl Timer {
    /// The kind in the upper half, the subject in the lower.
    pub(super) fn token(self) -> u64 {
        let (kind, id) = match self {
            Timer::Late => (0, 0),
            Timer::ChainRetry => (1, 0),
            Timer::LockWatch => (2, 0),
            Timer::Collapse => (3, 0),
            Timer::Sticky => (4, 0),
            Timer::Deferred => (5, 0),
            Timer::HotKeys => (6, 0),
            Timer::Revokes => (7, 0),
            Timer::Vacuum => (8, 0),
            Timer::VacuumWork => (9, 0),
            Timer::Pull(id) => (10, id),
            Timer::Walk(id) => (11, id),
            Timer::Traverse(id) => (12, id),
            Timer::Update(id) => (13, id),
            Timer::Commit(id) => (14, id),
            Timer::Seqnum(id) => (15, id),
        };
        kind << 32 | u64::from(id)
    }

    pub(super) fn of(token: u64) -> Option<Timer> {
        let id = token as u32;
        Some(match token >> 32 {
            0 => Timer::Late,
            1 => Timer::ChainRetry,
            2 => Timer::LockWatch,
            3 => Timer::Collapse,
            4 => Timer::Sticky,
            5 => Timer::Deferred,
            6 => Timer::HotKeys,
            7 => Timer::Revokes,
            8 => Timer::Vacuum,
            9 => Timer::VacuumWork,
            10 => Timer::Pull(id),
            11 => Timer::Walk(id),
            12 => Timer::Traverse(id),
            13 => Timer::Update(id),
            14 => Timer::Commit(id),
            15 => Timer::Seqnum(id),
            _ => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::Timer;

    #[test]
    fn tokens_come_back() {
        for timer in [Timer::Late, Timer::VacuumWork, Timer::Pull(7), Timer::Seqnum(u32::MAX)] {
            assert_eq!(Timer::of(timer.token()), Some(timer));
        }
        assert_eq!(Timer::of(u64::MAX), None);
    }
}
