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

impl Registry {
    fn register(&mut self, device: u64, inode: u64, style: LockStyle) -> Registration {
        let serial = self.next_serial;
        self.next_serial += 1;
        self.entries.push(Entry { device, inode, pid: std::process::id(), style, serial });
        Registration { serial }
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
    let registration = table.register(meta.dev(), meta.ino(), style);
    Ok((file, registration))
}

impl Registration {
    /// Registers a file that came over a fork; `None` if this process has it open already.
    pub fn inherited(file: &File, style: LockStyle) -> io::Result<Option<Registration>> {
        let meta = file.metadata()?;
        let mut table = table();
        if table.clashes(meta.dev(), meta.ino(), style) {
            return Ok(None);
        }
        Ok(Some(table.register(meta.dev(), meta.ino(), style)))
    }
}

/// Whether closing a descriptor of this file would drop locks that another handle of this process
/// holds.
pub(crate) fn closing_would_unlock(file: &File) -> bool {
    let Ok(meta) = file.metadata() else { return true };
    let pid = std::process::id();
    table().entries.iter().any(|e| {
        (e.device, e.inode, e.pid) == (meta.dev(), meta.ino(), pid) && e.style == LockStyle::Posix
    })
}

impl Drop for Registration {
    fn drop(&mut self) {
        table().entries.retain(|e| e.serial != self.serial);
    }
}
