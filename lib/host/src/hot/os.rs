// SPDX-License-Identifier: GPL-3.0-or-later
//! System calls that no crate wraps.
#![allow(unsafe_code)]

use std::io;
use std::os::fd::AsRawFd;

/// The process id of the peer of a Unix socket, as it was when it connected (SO_PEERCRED, unix(7)).
pub fn peer_pid(socket: &impl AsRawFd) -> io::Result<u32> {
    let mut credentials = libc::ucred { pid: 0, uid: 0, gid: 0 };
    let mut length = std::mem::size_of::<libc::ucred>() as libc::socklen_t;
    // SAFETY: the descriptor is open (borrowed from a live socket), the buffer is a ucred and its size is given.
    let result = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_PEERCRED,
            std::ptr::addr_of_mut!(credentials).cast(),
            &mut length,
        )
    };
    if result != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(u32::try_from(credentials.pid).unwrap_or(0))
}

/// Whether a process with this id exists, ours to signal or not.
pub fn process_exists(pid: u32) -> bool {
    let Ok(pid) = libc::pid_t::try_from(pid) else { return false };
    // Zero and negative ids mean groups.
    if pid <= 0 {
        return false;
    }
    // SAFETY: signal 0 only asks.
    let result = unsafe { libc::kill(pid, 0) };
    result == 0 || io::Error::last_os_error().raw_os_error() == Some(libc::EPERM)
}

/// Makes the calling process a real-time one at the lowest priority, its children ordinary (sched(7)).
pub fn set_realtime() -> io::Result<()> {
    let parameters = libc::sched_param { sched_priority: 1 };
    let policy = libc::SCHED_FIFO | libc::SCHED_RESET_ON_FORK;
    // SAFETY: the parameters live across the call; 0 is the calling thread.
    match unsafe { libc::sched_setscheduler(0, policy, &parameters) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}
