// SPDX-License-Identifier: GPL-3.0-or-later
//! The ring of locks: the next byte is locked before the last is let go, round and round.
//!
//! With reads and writes, each byte is counted up by every process that comes by. If the file system is coherent, a
//! process finds it increased by the number of processes.

use crate::file::{Bytes, LockFile};
use crate::options::Options;
use ctdb_command_line::{strerror, Ending};
use nix::errno::Errno;
use std::io::Write;
use std::time::{Duration, Instant};

/// How often the speed is told.
const INTERVAL: Duration = Duration::from_secs(1);

/// Plays until something fails, or forever.
pub(crate) fn run(options: &Options, file: &LockFile, locks: u32) -> Result<Ending, Ending> {
    let size = u64::from(locks) + 1;
    let cannot =
        |what: &str, e: std::io::Error| Ending::output(format!("{what} failed! - {e}\n"), 1);
    file.set_size(size).map_err(|e| cannot("ftruncate", e))?;
    let bytes = file.bytes(size as usize, options.mmap).map_err(|e| cannot("mmap", e))?;
    let mut game = Game { options, file, bytes, seen: vec![0; locks as usize], last: 0, turns: 0 };
    file.lock(0).map_err(|e| failed("initial lock at", 0, e))?;
    let mut meter = Meter::new();
    let mut byte = 0;
    loop {
        let next = (byte + 1) % locks;
        game.turn(byte, next)?;
        meter.count();
        byte = next;
    }
}

fn failed(what: &str, byte: u32, error: Errno) -> Ending {
    Ending::output(format!("{what} {byte} failed! - {}\n", strerror(error as i32)), 1)
}

struct Game<'a> {
    options: &'a Options,
    file: &'a LockFile,
    bytes: Bytes<'a>,
    /// What each byte was at the last visit.
    seen: Vec<u8>,
    /// The last increment that was told.
    last: u8,
    turns: u64,
}

impl Game<'_> {
    /// From the lock of `byte` to that of `next`.
    fn turn(&mut self, byte: u32, next: u32) -> Result<(), Ending> {
        self.file.lock(next).map_err(|e| failed("lock at", next, e))?;
        if self.options.check {
            let holder = self.file.holder(byte, 1).map_err(|e| failed("check_lock at", byte, e))?;
            if let Some(holder) = holder {
                return Err(Ending::output(format!("{holder}\n"), 1));
            }
        }
        self.turns += 1;
        if self.options.read {
            self.read(byte)?;
        }
        if self.options.write {
            let seen = self.seen.get(byte as usize).copied().unwrap_or_default();
            let written = self.bytes.write(byte, seen.wrapping_add(1));
            written.map_err(|_| Ending::output(format!("write failed at {byte}\n"), 1))?;
        }
        self.file.unlock(byte).map_err(|e| failed("unlock at", byte, e))
    }

    fn read(&mut self, byte: u32) -> Result<(), Ending> {
        let value = self.bytes.read(byte);
        let value = value.map_err(|_| Ending::output(format!("read failed at {byte}\n"), 1))?;
        let rounds = self.turns / self.seen.len().max(1) as u64;
        if let Some(seen) = self.seen.get_mut(byte as usize) {
            let increment = value.wrapping_sub(*seen);
            *seen = value;
            // The first visit to a byte tells nothing.
            if rounds >= 2 && increment != self.last {
                self.last = increment;
                say(&format!("data increment = {increment}\n"));
            }
        }
        Ok(())
    }
}

/// Counts turns, and tells the speed.
struct Meter {
    start: Instant,
    turns: u64,
}

impl Meter {
    fn new() -> Meter {
        Meter { start: Instant::now(), turns: 0 }
    }

    fn count(&mut self) {
        self.turns += 1;
        let elapsed = self.start.elapsed();
        if elapsed > INTERVAL {
            let speed = 2.0 * self.turns as f64 / elapsed.as_secs_f64();
            say(&format!("{:8} locks/sec\r", speed as u64));
            *self = Meter::new();
        }
    }
}

fn say(text: &str) {
    let mut stdout = std::io::stdout().lock();
    let _ = stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush());
}
