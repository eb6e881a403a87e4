// SPDX-License-Identifier: GPL-3.0-or-later
//! System calls that no crate wraps. Each function is safe to call as its signature says.
#![allow(unsafe_code)]

pub mod fork;
pub mod lock;
pub mod memory;
pub mod net;
pub mod signal;
pub mod syslog;
pub mod time;

use std::io;

/// The error of the last system call if it returned -1.
fn check(result: libc::c_int) -> io::Result<libc::c_int> {
    if result == -1 {
        Err(io::Error::last_os_error())
    } else {
        Ok(result)
    }
}

/// The machine's name as `gethostname` gives it; none if there is none.
pub fn host_name() -> Option<String> {
    let mut buffer = [0u8; 256];
    // SAFETY: the buffer is writable for the length given, which leaves a terminating NUL untouched.
    let result = unsafe { libc::gethostname(buffer.as_mut_ptr().cast(), buffer.len() - 1) };
    check(result).ok()?;
    let name = buffer.split(|&b| b == 0).next().unwrap_or_default();
    Some(String::from_utf8_lossy(name).into_owned()).filter(|n| !n.is_empty())
}

#[cfg(test)]
mod tests {
    #[test]
    fn host_name_is_the_kernels() {
        let kernel = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap();
        assert_eq!(super::host_name().as_deref(), Some(kernel.trim_end()));
    }
}
