// SPDX-License-Identifier: GPL-3.0-or-later
//! The limit of the whole run (spec/tool.md 1.5).

use std::sync::mpsc;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use crate::{helper, unfinished};

/// How long it may take to say that the time is over: standard error may be a pipe that nobody reads.
const SAYING: Duration = Duration::from_secs(1);

/// When the run has to be over, if it has a limit.
static END: OnceLock<Instant> = OnceLock::new();

/// Ends the program when the time is over.
pub(crate) fn watch(limit: Duration) {
    let Some(end) = Instant::now().checked_add(limit) else { return };
    let _ = END.set(end);
    std::thread::spawn(move || {
        std::thread::sleep(end.saturating_duration_since(Instant::now()));
        helper::terminate();
        let (said, told) = mpsc::channel();
        std::thread::spawn(move || {
            errln!("Maximum runtime exceeded - exiting");
            let _ = said.send(());
        });
        let _ = told.recv_timeout(SAYING);
        unfinished::undo();
        std::process::exit(1);
    });
}

/// Waits between two looks at something. When the run's time is over nothing comes after it.
pub(crate) fn pause(time: Duration) {
    std::thread::sleep(time);
    while END.get().is_some_and(|end| Instant::now() >= *end) {
        std::thread::park();
    }
}
