// SPDX-License-Identifier: GPL-3.0-or-later
//! Which database files this process has open (spec/tdb.md 7.6, 12.5).
//!
//! Closing any descriptor of a file drops all POSIX locks of the process on it, so a file that is
//! open with POSIX locks must not be opened a second time, not even to find out that it is.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::LockStyle;

struct Entry {
    device: u64,
    inode: u64,
    /// Handles inherited over a fork are not this process's.
    pid: u32,
    style: LockStyle,
    serial: u64,
}

struct Registry {
    entries: Vec<Entry>,
    next_serial: u64,
}

static REGISTRY: Mutex<Registry> = Mutex::new(Registry { entries: Vec::new(), next_serial: 1 });

/// An entry in the table; leaving scope removes it.
pub(crate) struct Registration {
    serial: u64,
}

/// Why a file could not be opened and registered.
pub(crate) enum Refusal {
    AlreadyOpen,
    Io(io::Error),
}

fn table() -> MutexGuard<'static, Registry> {
    REGISTRY.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Registry {
    fn clashes(&self, device: u64, inode: u64, style: LockStyle) -> bool {
        let pid = std::process::id();
        self.entries.iter().any(|e| {
            e.device == device
                && e.inode == inode
                && e.pid == pid
                && !(e.style == LockStyle::Ofd && style == LockStyle::Ofd)
        })
    }
}

/// Opens a file with `open` unless this process already has it open, and registers it.
pub(crate) fn open_registered(
    path: &Path,
    style: LockStyle,
    open: impl FnOnce() -> io::Result<File>,
) -> Result<(File, Registration), Refusal> {
    let mut table = table();
    if let Ok(meta) = fs::metadata(path) {
        if table.clashes(meta.dev(), meta.ino(), style) {
            return Err(Refusal::AlreadyOpen);
        }
    }
    let file = open().map_err(Refusal::Io)?;
    let meta = file.metadata().map_err(Refusal::Io)?;
    if table.clashes(meta.dev(), meta.ino(), style) {
        // The path was exchanged between the two looks. Closing would drop the other handle's
        // locks, so this descriptor stays open.
        std::mem::forget(file);
        return Err(Refusal::AlreadyOpen);
    }
    let serial = table.next_serial;
    table.next_serial += 1;
    table.entries.push(Entry {
        device: meta.dev(),
        inode: meta.ino(),
        pid: std::process::id(),
        style,
        serial,
    });
    Ok((file, Registration { serial }))
}

impl Drop for Registration {
    fn drop(&mut self) {
        table().entries.retain(|e| e.serial != self.serial);
    }
}
