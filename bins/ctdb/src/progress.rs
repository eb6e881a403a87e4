// SPDX-License-Identifier: GPL-3.0-or-later
//! How far long work is, on standard error and only if that is a terminal.

use std::io::IsTerminal;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// Work that is done in less is not worth a line.
const QUIET: Duration = Duration::from_millis(300);

/// A line that tells how far work is, and is gone when that is done.
pub(crate) struct Progress {
    bar: Option<ProgressBar>,
    since: std::time::Instant,
}

impl Progress {
    /// Work on `total` bytes.
    pub(crate) fn bytes(what: &'static str, total: u64) -> Progress {
        Progress::new(what, Some(total), "{msg} [{wide_bar}] {bytes}/{total_bytes} ({eta})")
    }

    /// Work on nobody knows how many records.
    pub(crate) fn records(what: &'static str) -> Progress {
        Progress::new(what, None, "{spinner} {msg} {human_pos} records")
    }

    /// Work of others that is waited for.
    pub(crate) fn waiting(what: &'static str) -> Progress {
        let progress = Progress::new(what, None, "{spinner} {msg} {elapsed}");
        if let Some(bar) = &progress.bar {
            bar.set_draw_target(ProgressDrawTarget::stderr());
            bar.enable_steady_tick(QUIET);
        }
        progress
    }

    fn new(what: &'static str, total: Option<u64>, style: &str) -> Progress {
        let since = std::time::Instant::now();
        if !std::io::stderr().is_terminal() {
            return Progress { bar: None, since };
        }
        let bar = match total {
            Some(total) => ProgressBar::new(total),
            None => ProgressBar::new_spinner(),
        };
        bar.set_draw_target(ProgressDrawTarget::hidden());
        if let Ok(style) = ProgressStyle::with_template(style) {
            bar.set_style(style);
        }
        bar.set_message(what);
        Progress { bar: Some(bar), since }
    }

    /// So much is done.
    pub(crate) fn at(&self, position: u64) {
        if let Some(bar) = &self.bar {
            if bar.is_hidden() && self.since.elapsed() >= QUIET {
                bar.set_draw_target(ProgressDrawTarget::stderr());
            }
            bar.set_position(position);
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}
