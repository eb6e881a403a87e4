// SPDX-License-Identifier: GPL-3.0-or-later
//! The timers of the cluster service.

/// What a timer is for; the value is its token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u64)]
pub(super) enum Timer {
    /// The periodic check.
    Check = 1,
    /// The leader's next announcement.
    Announce,
    /// No announcement has been heard for too long.
    Leader,
    /// A starting node has waited long enough.
    Start,
    /// Try again to take the cluster lock.
    LockRetry,
    /// An election has gone quiet.
    Election,
    /// Answer a challenger.
    Candidacy,
    /// Send and count keepalives.
    Keepalive,
    /// The ban ends.
    Ban,
    /// Recoveries are no longer disabled.
    Reenable,
    /// A recovery that had to wait may begin.
    Recovery,
    /// A control of the running recovery may be overdue.
    Run,
    /// Push more records.
    Push,
}

impl Timer {
    const ALL: [Timer; 13] = [
        Timer::Check,
        Timer::Announce,
        Timer::Leader,
        Timer::Start,
        Timer::LockRetry,
        Timer::Election,
        Timer::Candidacy,
        Timer::Keepalive,
        Timer::Ban,
        Timer::Reenable,
        Timer::Recovery,
        Timer::Run,
        Timer::Push,
    ];

    pub fn token(self) -> u64 {
        self as u64
    }

    pub fn of(token: u64) -> Option<Timer> {
        Timer::ALL.into_iter().find(|t| t.token() == token)
    }
}
