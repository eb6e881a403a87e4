// SPDX-License-Identifier: GPL-3.0-or-later
//! Holding the lock until something ends that. SIGTERM needs no code: it ends the process, and with it the lock.

use crate::args::Args;
use crate::parent::{Parent, CHECK_INTERVAL};
use crate::recheck::{self, Child};
use crate::sys::{self, Watch};
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

/// Returns when the lock is to be given up or is lost; what remains is to exit.
pub fn hold(program: &str, args: &Args, locked: File, parent: Parent) {
    // Looked at only now: it may have ended before we began to watch.
    if parent.is_gone() {
        eprintln!("{program}: parent gone");
        return;
    }
    let mut child = match recheck::start(program, args, &locked) {
        Ok(child) => child,
        Err(e) => {
            eprintln!("{program}: cannot start the lock test child: {e}");
            return;
        }
    };
    let why = wait(args.ping_timeout, &parent, child.as_mut());
    // First the lock: the rest may take time.
    drop(locked);
    if let Some(why) = why {
        eprintln!("{program}: {why}");
    }
    if let Some(child) = child {
        sys::kill(child.pid);
    }
}

/// The answer says why, if the child has not said it already.
fn wait(
    ping_timeout: Option<Duration>,
    parent: &Parent,
    mut child: Option<&mut Child>,
) -> Option<String> {
    let output = io::stdout();
    let mut last_ping = Instant::now();
    let mut next_check = Instant::now() + CHECK_INTERVAL;
    loop {
        let mut deadline = next_check;
        let ping_deadline = child.as_ref().and(ping_timeout).map(|limit| last_ping + limit);
        if let Some(limit) = ping_deadline {
            deadline = deadline.min(limit);
        }
        let watches = [
            parent.end().map_or(Watch::Nothing, Watch::Readable),
            if parent.output_is_pipe() { Watch::HangUp(output.as_fd()) } else { Watch::Nothing },
            child.as_ref().map_or(Watch::Nothing, |c| Watch::Readable(c.pipe.as_fd())),
        ];
        let left = deadline.saturating_duration_since(Instant::now());
        let [parent_ended, output_closed, child_spoke] = match sys::poll(watches, Some(left)) {
            Ok(events) => events,
            Err(e) => return Some(format!("cannot wait: {e}")),
        };
        if parent_ended || output_closed {
            return Some("parent gone".into());
        }
        if child_spoke {
            let mut pings = [0; 64];
            match child.as_mut().map(|c| c.pipe.read(&mut pings)) {
                Some(Ok(0) | Err(_)) => return None,
                _ => last_ping = Instant::now(),
            }
            continue;
        }
        let now = Instant::now();
        if ping_deadline.is_some_and(|limit| now >= limit) {
            return Some("ping timeout from lock test child".into());
        }
        if now >= next_check {
            if parent.is_gone() {
                return Some("parent gone".into());
            }
            next_check = now + CHECK_INTERVAL;
        }
    }
}
