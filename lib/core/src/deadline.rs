// SPDX-License-Identifier: GPL-3.0-or-later
//! Until when a call may wait.

use std::time::{Duration, Instant};

/// A point in time, or never.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Deadline(Option<Instant>);

impl Deadline {
    /// Wait for as long as it takes.
    pub const NEVER: Deadline = Deadline(None);

    /// Wait at most this long from now.
    pub fn after(limit: Duration) -> Deadline {
        Deadline(Instant::now().checked_add(limit))
    }

    /// Wait until this moment.
    pub fn at(moment: Instant) -> Deadline {
        Deadline(Some(moment))
    }

    /// What is left: `None` if there is no limit, zero if it has passed.
    pub fn remaining(&self) -> Option<Duration> {
        self.0.map(|moment| moment.saturating_duration_since(Instant::now()))
    }

    /// Whether it has passed.
    pub fn has_passed(&self) -> bool {
        self.0.is_some_and(|moment| Instant::now() >= moment)
    }
}

impl From<Duration> for Deadline {
    fn from(limit: Duration) -> Deadline {
        Deadline::after(limit)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_end_and_never_does_not() {
        assert!(Deadline::after(Duration::ZERO).has_passed());
        assert!(!Deadline::after(Duration::from_secs(60)).has_passed());
        assert!(!Deadline::NEVER.has_passed());
        assert_eq!(Deadline::NEVER.remaining(), None);
        assert_eq!(Deadline::after(Duration::ZERO).remaining(), Some(Duration::ZERO));
        // a limit beyond what the clock can say is no limit
        assert_eq!(Deadline::after(Duration::MAX), Deadline::NEVER);
    }
}
