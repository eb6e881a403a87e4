// SPDX-License-Identifier: GPL-3.0-or-later
//! When to poll again instead of sleeping (docs/decisions/0002-hot-thread.md).
//!
//! Polling after traffic saves the cost of waking an idle processor, as long as the next packet comes soon and
//! nobody else wants the processor. Between polls the thread gives its processor away; if it gets it back late, others
//! have work, and whoever polls waits for its turn behind them, while a sleeper that is woken comes first. And if
//! packets do not come within the time that is polled, polling only takes from the thread's share of the processor.
//! Both stop it for a while, longer each time until it has gone well again.

use std::time::{Duration, Instant};

/// Getting the processor back later than this means that others want it.
const CROWDED: Duration = Duration::from_micros(150);
/// How long polling stops then; doubled each time. A late return costs a time slice of the scheduler, some
/// milliseconds: at the longest pause that is below one percent.
const PAUSE_FIRST: Duration = Duration::from_millis(4);
const PAUSE_LONGEST: Duration = Duration::from_millis(512);
/// This long without a reason to stop makes the next pause short again.
const CALM: Duration = Duration::from_secs(2);
/// The share of polls that have to pay, of [`WHOLE`].
const ENOUGH: u32 = WHOLE / 4;
const WHOLE: u32 = 1 << 16;
/// A poll moves the share by this part of its distance: the last 32 count.
const SHARE_STEP: u32 = 32;

/// Decides between polling and sleeping.
#[derive(Debug)]
pub struct BusyPoll {
    limit: Duration,
    until: Option<Instant>,
    paused_until: Option<Instant>,
    pause: Duration,
    /// The share of recent polls that were ended by traffic, of [`WHOLE`].
    share: u32,
}

impl BusyPoll {
    /// Polls for up to `limit` after traffic; zero: never.
    pub fn new(limit: Duration) -> BusyPoll {
        BusyPoll { limit, until: None, paused_until: None, pause: PAUSE_FIRST, share: WHOLE }
    }

    /// There was traffic.
    pub fn traffic(&mut self, now: Instant) {
        if self.until.take().is_some() {
            self.share += (WHOLE - self.share) / SHARE_STEP;
        }
        if !self.limit.is_zero() && self.paused_until.is_none_or(|end| now >= end) {
            self.until = Some(now + self.limit);
        }
    }

    /// Whether to poll now.
    pub fn wanted(&mut self, now: Instant) -> bool {
        match self.until {
            Some(until) if now < until => true,
            Some(_) => {
                self.until = None;
                self.share -= self.share / SHARE_STEP;
                if self.share < ENOUGH {
                    // Half full: after the pause a few polls decide.
                    self.share = WHOLE / 2;
                    self.stop(now);
                }
                false
            }
            None => false,
        }
    }

    /// The processor was given away at `before` and came back `now`.
    pub fn returned(&mut self, before: Instant, now: Instant) {
        if now.saturating_duration_since(before) > CROWDED {
            self.stop(now);
        }
    }

    fn stop(&mut self, now: Instant) {
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
    const MS: Duration = Duration::from_millis(1);

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
            poll.returned(now, now + 3 * MS);
            now += 3 * MS;
            assert!(!poll.wanted(now));
            now += pause * MS - US;
            poll.traffic(now);
            assert!(!poll.wanted(now), "still paused");
            now += US;
        }
        // A quick return proves little; two calm seconds make the next pause short again.
        for (calm, pause) in [(0, 512), (3000, 4)] {
            now += calm * MS;
            poll.traffic(now);
            poll.returned(now, now + 5 * US);
            poll.returned(now, now + 3 * MS);
            now += 3 * MS + pause * MS - US;
            poll.traffic(now);
            assert!(!poll.wanted(now));
            now += US;
            poll.traffic(now);
            assert!(poll.wanted(now));
        }
    }

    /// Traffic every `gap`: how many of the last 100 packets were polled for.
    fn polled(poll: &mut BusyPoll, start: Instant, gap: Duration) -> u32 {
        let mut now = start;
        let mut polled = 0;
        for n in 0..1000 {
            poll.traffic(now);
            polled += u32::from(n >= 900 && poll.wanted(now + US));
            poll.wanted(now + gap.min(50 * US));
            now += gap;
        }
        polled
    }

    #[test]
    fn polling_that_does_not_pay_stops() {
        let start = Instant::now();
        assert_eq!(polled(&mut BusyPoll::new(50 * US), start, 20 * US), 100);
        assert!(polled(&mut BusyPoll::new(50 * US), start, 100 * US) < 10);
        assert!(polled(&mut BusyPoll::new(50 * US), start, 5 * MS) < 50);
    }
}
