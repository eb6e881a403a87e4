// SPDX-License-Identifier: GPL-3.0-or-later
//! syslog(3).

use std::ffi::CString;

/// Names the program, with its process id, to the daemon facility.
pub fn open(ident: &str) {
    let ident = CString::new(ident.replace('\0', "")).unwrap_or_default();
    // SAFETY: openlog keeps the pointer, and `into_raw` gives the string up for ever, so it stays valid. Called
    // once for each location opened, so little is lost.
    unsafe { libc::openlog(ident.into_raw(), libc::LOG_PID, libc::LOG_DAEMON) };
}

/// Sends one message. `severity` is 0 (emergency) to 7 (debug).
pub fn send(severity: u8, message: &str) {
    let message = CString::new(message.replace('\0', "")).unwrap_or_default();
    // SAFETY: the format consumes exactly one string argument, which lives through the call.
    unsafe { libc::syslog(libc::c_int::from(severity & 7), c"%s".as_ptr(), message.as_ptr()) };
}
