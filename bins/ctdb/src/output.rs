// SPDX-License-Identifier: GPL-3.0-or-later
//! Printing. Data goes to standard output and talk to standard error; a reader that has gone away
//! ends the program quietly.

use std::fmt::Arguments;
use std::io::Write;
use std::sync::atomic::{AtomicBool, Ordering};

/// Prints to standard output, without a newline of its own.
macro_rules! out {
    ($($arg:tt)*) => { $crate::output::stdout(format_args!($($arg)*)) };
}

/// Prints to standard output with a newline.
macro_rules! outln {
    ($($arg:tt)*) => { $crate::output::stdout(format_args!("{}\n", format_args!($($arg)*))) };
}

/// Prints to standard error with a newline.
macro_rules! errln {
    ($($arg:tt)*) => { $crate::output::stderr(format_args!("{}\n", format_args!($($arg)*))) };
}

pub(crate) fn stdout(text: Arguments<'_>) {
    raw(text.to_string().as_bytes());
}

/// Bytes that need not be text.
pub(crate) fn raw(bytes: &[u8]) {
    let mut out = std::io::stdout().lock();
    if out.write_all(bytes).and_then(|()| out.flush()).is_err() {
        std::process::exit(1);
    }
}

/// The daemon has gone in the middle of a command.
static SILENT: AtomicBool = AtomicBool::new(false);

/// From now on nothing is said on standard error. The C tool ends at the moment when its daemon
/// goes away, so that no step of a command gets to report its failure; scripts see the exit code.
pub(crate) fn fall_silent() {
    SILENT.store(true, Ordering::Relaxed);
}

pub(crate) fn stderr(text: Arguments<'_>) {
    if SILENT.load(Ordering::Relaxed) {
        return;
    }
    // Nobody is left to be told about a broken standard error.
    let _ = std::io::stderr().lock().write_all(text.to_string().as_bytes());
}
