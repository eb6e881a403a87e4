// SPDX-License-Identifier: GPL-3.0-or-later
//! A shared mapping, byte by byte: other processes change it at the same time.
#![allow(unsafe_code)]

use memmap2::{MmapOptions, MmapRaw};
use std::fs::File;
use std::io;
use std::sync::atomic::{AtomicU8, Ordering};

/// The mapping.
#[derive(Debug)]
pub(crate) struct Mapping {
    map: MmapRaw,
}

impl Mapping {
    /// Maps the first `size` bytes of the file.
    pub fn new(file: &File, size: usize) -> io::Result<Mapping> {
        Ok(Mapping { map: MmapOptions::new().len(size).map_raw(file)? })
    }

    fn byte(&self, offset: usize) -> io::Result<&AtomicU8> {
        if offset >= self.map.len() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        // SAFETY: the offset is within the mapping, which lives as long as the reference; the bytes are only ever
        // accessed atomically here, and by other processes. A file that is cut ends the process by SIGBUS.
        Ok(unsafe { AtomicU8::from_ptr(self.map.as_mut_ptr().add(offset)) })
    }

    /// One byte.
    pub fn read(&self, offset: usize) -> io::Result<u8> {
        Ok(self.byte(offset)?.load(Ordering::SeqCst))
    }

    /// Changes it.
    pub fn write(&self, offset: usize, value: u8) -> io::Result<()> {
        self.byte(offset)?.store(value, Ordering::SeqCst);
        Ok(())
    }
}
