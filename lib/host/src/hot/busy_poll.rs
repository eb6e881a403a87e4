// SPDX-License-Identifier: GPL-3.0-or-later
//! When to poll again instead of sleeping (docs/decisions/0002-hot-thread.md).
//!
//! Polling after traffic saves the cost of waking an idle processor, as long as processors are idle. Between polls
//! the thread gives its processor away. If it gets it back late, others have work: whoever polls then waits for its
//! turn behind them, while a sleeper that is woken comes first. So a late return stops polling for a while.

use std::time::{Duration, Instant};

/// Getting the processor back later than this means that others want it.
const CROWDED: Duration = Duration::from_micros(150);
/// How long polling stops then; doubled each time until it has gone well for a while. A late return costs a time slice
/// of the scheduler, some milliseconds: at the longest pause that is below one percent.
const PAUSE_FIRST: Duration = Duration::from_millis(4);
const PAUSE_LONGEST: Duration = Duration::from_millis(512);
/// This long without a late return makes the next pause short again.
const CALM: Duration = Duration::from_secs(2);

/// Decides between polling and sleeping.
#[derive(Debug)]
pub struct BusyPoll {
    limit: Duration,
    until: Option<Instant>,
    paused_until: Option<Instant>,
    pause: Duration,
}

impl BusyPoll {
    /// Polls for up to `limit` after traffic; zero: never.
    pub fn new(limit: Duration) -> BusyPoll {
        BusyPoll { limit, until: None, paused_until: None, pause: PAUSE_FIRST }
    }

    /// There was traffic.
    pub fn traffic(&mut self, now: Instant) {
        if self.limit.is_zero() || self.paused_until.is_some_and(|p| now < p) {
            return;
        }
        self.until = Some(now + self.limit);
    }

    /// Whether to poll now.
    pub fn wanted(&mut self, now: Instant) -> bool {
        let wanted = self.until.is_some_and(|until| now < until);
        if !wanted {
            self.until = None;
        }
        wanted
    }

    /// The processor was given away at `before` and came back `now`.
    pub fn returned(&mut self, before: Instant, now: Instant) {
        if now.saturating_duration_since(before) <= CROWDED {
            return;
        }
        if self.paused_until.is_none_or(|end| now.saturating_duration_since(end) > CALM) {
            self.pause = PAUSE_FIRST;
        }
        self.until = None;
        self.paused_until = Some(now + self.pause);
        self.pause = (self.pause * 2).min(PAUSE_LONGEST);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const US: Duration = Duration::from_micros(1);

    #[test]
    fn polls_only_after_traffic_and_for_a_bounded_time() {
        let start = Instant::now();
        let mut poll = BusyPoll::new(50 * US);
        assert!(!poll.wanted(start));
        poll.traffic(start);
        assert!(poll.wanted(start + 49 * US));
        assert!(!poll.wanted(start + 50 * US));
        let mut never = BusyPoll::new(Duration::ZERO);
        never.traffic(start);
        assert!(!never.wanted(start));
    }

    #[test]
    fn a_crowded_processor_stops_it_for_longer_and_longer() {
        let mut now = Instant::now();
        let mut poll = BusyPoll::new(50 * US);
        for pause in [4, 8, 16, 32, 64, 128, 256, 512, 512] {
            poll.traffic(now);
            assert!(poll.wanted(now));
            poll.returned(now, now + 3000 * US);
            now += 3000 * US;
            assert!(!poll.wanted(now));
            now += Duration::from_millis(pause) - US;
            poll.traffic(now);
            assert!(!poll.wanted(now), "still paused");
            now += US;
        }
        // A quick return proves little; two calm seconds make the next pause short again.
        for (calm, pause) in [(Duration::ZERO, 512), (Duration::from_secs(3), 4)] {
            now += calm;
            poll.traffic(now);
            poll.returned(now, now + 5 * US);
            poll.returned(now, now + 3000 * US);
            now += 3000 * US + Duration::from_millis(pause) - US;
            poll.traffic(now);
            assert!(!poll.wanted(now));
            now += US;
            poll.traffic(now);
            assert!(poll.wanted(now));
        }
    }
}
