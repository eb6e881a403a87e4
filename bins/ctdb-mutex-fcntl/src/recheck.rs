// SPDX-License-Identifier: GPL-3.0-or-later
//! A child process that looks again and again whether the lock file is still there, is still the file that is
//! locked, and can still be locked (byte 1). Its end means that the lock is lost.
//!
//! A process of its own, since looking may hang with the cluster file system, while the holder must go on hearing
//! SIGTERM; and since closing the file there must not release the lock.

use crate::args::Args;
use crate::sys;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

/// The byte that is locked to see whether locking works.
const TEST_LOCK_BYTE: i64 = 1;

/// How often the holder hears from the child when it asked to.
const PING_INTERVAL: Duration = Duration::from_secs(1);

/// The child.
#[derive(Debug)]
pub struct Child {
    /// Its process id.
    pub pid: u32,
    /// Its pings; end of file when it has ended.
    pub pipe: UnixStream,
}

/// Starts the child; none if rechecking is off.
pub fn start(program: &str, args: &Args, locked: &File) -> io::Result<Option<Child>> {
    let Some(interval) = args.recheck_interval else { return Ok(None) };
    let inode = locked.metadata()?.ino();
    let (ours, mut childs) = UnixStream::pair()?;
    let Some(pid) = sys::fork()? else {
        // Only the holder's end may keep the pipe open, and nothing of us the caller's.
        drop(ours);
        sys::close_output();
        // The pipe outlives the message: its end makes the holder kill this process.
        let fault = watch(&args.file, inode, interval, args.ping_timeout.is_some(), &mut childs);
        if let Some(fault) = fault {
            eprintln!("{program}: {fault}");
        }
        sys::exit_now(0);
    };
    Ok(Some(Child { pid, pipe: ours }))
}

/// Until the lock is lost (the answer says why) or the holder is gone.
fn watch(
    path: &Path,
    inode: u64,
    interval: Duration,
    pinging: bool,
    holder: &mut UnixStream,
) -> Option<String> {
    let mut next_check = Instant::now() + interval;
    loop {
        let now = Instant::now();
        if now >= next_check {
            if let Err(fault) = check(path, inode) {
                return Some(fault);
            }
            next_check = Instant::now() + interval;
        }
        if pinging && holder.write_all(&[0]).is_err() {
            return None;
        }
        let mut pause = next_check.saturating_duration_since(Instant::now());
        if pinging {
            pause = pause.min(PING_INTERVAL);
        }
        // The holder never writes: anything here is its end.
        match sys::poll([sys::Watch::Readable(holder.as_fd())], Some(pause)) {
            Ok([false]) => {}
            _ => return None,
        }
    }
}

fn check(path: &Path, inode: u64) -> Result<(), String> {
    let code = |e: &io::Error| e.raw_os_error().unwrap_or(0);
    let shown = path.display();
    let file =
        OpenOptions::new().read(true).write(true).open(path).map_err(|e| {
            format!("lock lost - lock file \"{shown}\" open failed (ret={})", code(&e))
        })?;
    let data = file.metadata().map_err(|e| {
        format!("lock lost - lock file \"{shown}\" check failed (ret={})", code(&e))
    })?;
    if data.ino() != inode {
        return Err(format!("lock lost - lock file \"{shown}\" inode changed"));
    }
    sys::lock_byte(&file, TEST_LOCK_BYTE)
        .map_err(|e| format!("lock fail - lock file \"{shown}\" test lock error ({})", code(&e)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wrong_with_the_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lock");
        let fault =
            |inode| check(&path, inode).unwrap_err().replace(&path.display().to_string(), "F");
        assert_eq!(fault(0), "lock lost - lock file \"F\" open failed (ret=2)");
        std::fs::write(&path, "").unwrap();
        let inode = std::fs::metadata(&path).unwrap().ino();
        assert_eq!(check(&path, inode), Ok(()));
        assert_eq!(fault(inode + 1), "lock lost - lock file \"F\" inode changed");
    }
}
