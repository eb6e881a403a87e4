// SPDX-License-Identifier: GPL-3.0-or-later
//! Virtual time: what a service knows of clocks.

use std::time::Duration;

/// A point of monotonic time, in nanoseconds since an arbitrary start. The host passes the real one, the
/// simulator its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Hash)]
pub struct Time(pub u64);

impl Time {
    /// The time `after` later than this one; saturates.
    pub fn plus(self, after: Duration) -> Time {
        Time(self.0.saturating_add(u64::try_from(after.as_nanos()).unwrap_or(u64::MAX)))
    }

    /// How much later `self` is than `earlier`; zero if it is not.
    pub fn since(self, earlier: Time) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

/// Wall-clock time since the Unix epoch; only ever shown or compared between nodes by elections.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Hash)]
pub struct WallTime(pub Duration);
