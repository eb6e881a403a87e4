// SPDX-License-Identifier: GPL-3.0-or-later
//! Reading and writing the file: mapping, bounds, byte order (spec/tdb.md 6 and 11).
//!
//! Mapped memory is shared with other processes. It is read and written through raw pointers;
//! every access is checked against the size, because pointers in the file may be wrong. A slice
//! into the mapping is only handed out borrowed from `&mut Storage`, so that no remapping can
//! happen while it lives; that its bytes do not change is what the chain lock is for.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::Arc;

use memmap2::{MmapOptions, MmapRaw};

#[cfg(test)]
use crate::crash_tests::trace::{self, Traced};
use crate::layout::{REC_HEADER, TAILER};
use crate::overlay::Overlay;
use crate::{Corruption, Error, Result};

/// A record header in native byte order (spec/tdb.md 5.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Rec {
    pub next: u32,
    pub rec_len: u32,
    pub key_len: u32,
    pub data_len: u32,
    pub hash: u32,
    pub magic: u32,
}

impl Rec {
    fn from_words(words: [u32; 6]) -> Rec {
        let [next, rec_len, key_len, data_len, hash, magic] = words;
        Rec { next, rec_len, key_len, data_len, hash, magic }
    }

    fn to_words(self) -> [u32; 6] {
        [self.next, self.rec_len, self.key_len, self.data_len, self.hash, self.magic]
    }
}

/// The file as a byte array with logical offsets.
pub(crate) struct Storage {
    pub path: Arc<Path>,
    pub file: Arc<File>,
    /// File offset of logical offset 0.
    pub start: u64,
    pub writable: bool,
    /// The file's byte order is not this machine's.
    pub swapped: bool,
    /// The buffered writes of a transaction.
    pub overlay: Option<Box<Overlay>>,
    use_map: bool,
    /// The mapping is private memory and all there is: no file.
    memory: bool,
    map: Option<MmapRaw>,
    base: *mut u8,
    map_len: u32,
    size: u32,
    scratch: Vec<u8>,
}

// SAFETY: `base` points into `map`, which moves with the value; nothing is bound to a thread.
unsafe impl Send for Storage {}

impl Storage {
    pub fn new(path: Arc<Path>, file: Arc<File>, writable: bool, use_map: bool) -> Storage {
        Storage {
            path,
            file,
            start: 0,
            writable,
            swapped: false,
            overlay: None,
            use_map,
            memory: false,
            map: None,
            base: std::ptr::null_mut(),
            map_len: 0,
            size: 0,
            scratch: Vec::new(),
        }
    }

    /// The logical size as last seen, or a transaction's own.
    pub fn size(&self) -> u32 {
        self.size
    }

    #[cold]
    pub fn io_error(&self, action: &'static str, source: io::Error) -> Error {
        Error::Io { path: self.path.clone(), action, source }
    }

    #[cold]
    pub fn last_error(&self, action: &'static str) -> Error {
        self.io_error(action, io::Error::last_os_error())
    }

    #[cold]
    pub fn corrupt(
        &self,
        offset: u32,
        expected: impl Into<String>,
        found: impl Into<String>,
    ) -> Error {
        Error::Corrupt(Box::new(Corruption {
            path: self.path.clone(),
            offset,
            expected: expected.into(),
            found: found.into(),
            errno: libc::EIO,
        }))
    }

    #[cold]
    fn beyond_end(&self, offset: u32, len: u32) -> Error {
        self.corrupt(
            offset,
            format!("{len} bytes inside the file"),
            format!("end of file at {}", self.size),
        )
    }

    /// The file's present logical size, from the system.
    pub fn logical_file_size(&self) -> Result<u32> {
        if self.memory {
            return Ok(self.map_len);
        }
        let bytes = self.file.metadata().map_err(|e| self.io_error("fstat", e))?.len();
        u32::try_from(bytes.saturating_sub(self.start))
            .map_err(|_| self.io_error("fstat", io::Error::from_raw_os_error(libc::EFBIG)))
    }

    /// Whether the file is still as long as a transaction takes it to be.
    pub fn is_whole(&self) -> Result<()> {
        let Some(overlay) = &self.overlay else {
            return Ok(());
        };
        let size = self.logical_file_size()?;
        if size >= overlay.file_size {
            return Ok(());
        }
        Err(self.corrupt(
            size,
            format!("a file of {} bytes, as when the transaction began", overlay.file_size),
            format!("end of file at {size}"),
        ))
    }

    /// Adopts the file's present size (spec/tdb.md 11.2). Not inside a transaction.
    pub fn refresh(&mut self) -> Result<()> {
        if self.overlay.is_some() {
            return Ok(());
        }
        let size = self.logical_file_size()?;
        if size != self.size || (self.use_map && self.map.is_none()) {
            self.remap(size);
        }
        Ok(())
    }

    /// Maps the first `size` logical bytes; without a mapping (not wanted, or refused by the
    /// system) accesses use read and write calls.
    pub fn remap(&mut self, size: u32) {
        self.base = std::ptr::null_mut();
        self.map_len = 0;
        self.size = size;
        let old = self.map.take();
        if !self.use_map || size == 0 {
            return;
        }
        match old.map_or_else(|| self.map_anew(size), |map| self.move_map(map, size)) {
            Ok(map) => {
                self.base = map.as_mut_ptr();
                self.map_len = size;
                self.map = Some(map);
            }
            Err(error) => {
                log::warn!("tdb({}): mmap failed, using read/write: {error}", self.path.display());
                self.use_map = false;
            }
        }
    }

    /// Takes the content out of the file into memory of this process, which a child gets a copy of.
    pub fn move_to_memory(&mut self) -> Result<()> {
        let size = self.size;
        let mut content = vec![0; size as usize];
        self.read(0, &mut content)?;
        let map = MmapOptions::new().len(size as usize).map_anon();
        let map = MmapRaw::from(map.map_err(|e| self.io_error("mmap", e))?);
        self.base = map.as_mut_ptr();
        self.map = Some(map);
        self.map_len = size;
        self.memory = true;
        self.write(0, &content)
    }

    /// Whether there is no file.
    pub fn is_memory(&self) -> bool {
        self.memory
    }

    /// Makes memory larger; the new part is zero. On failure nothing has changed.
    pub fn extend_memory(&mut self, size: u32) -> io::Result<()> {
        let map = MmapRaw::from(MmapOptions::new().len(size as usize).map_anon()?);
        let kept = self.map_len.min(size) as usize;
        // SAFETY: both mappings have as many bytes, and they do not overlap.
        unsafe { std::ptr::copy_nonoverlapping(self.base, map.as_mut_ptr(), kept) };
        self.base = map.as_mut_ptr();
        (self.map_len, self.size) = (size, size);
        self.map = Some(map);
        Ok(())
    }

    fn map_anew(&self, size: u32) -> io::Result<MmapRaw> {
        let mut options = MmapOptions::new();
        options.offset(self.start).len(size as usize);
        if self.writable {
            options.map_raw(&*self.file)
        } else {
            options.map_raw_read_only(&*self.file)
        }
    }

    /// Changes the size of a mapping. Pages that are mapped stay so, which spares a fault for each
    /// of them after every growth of the file.
    #[cfg(target_os = "linux")]
    fn move_map(&self, mut map: MmapRaw, size: u32) -> io::Result<MmapRaw> {
        let options = memmap2::RemapOptions::new().may_move(true);
        // SAFETY: nothing points into the old mapping: `base` was cleared, and slices are borrowed
        // from `&mut self`.
        unsafe { map.remap(size as usize, options) }.map(|()| map)
    }

    #[cfg(not(target_os = "linux"))]
    fn move_map(&self, map: MmapRaw, size: u32) -> io::Result<MmapRaw> {
        drop(map);
        self.map_anew(size)
    }

    /// Pointer to `len` mapped bytes at `offset`, if they can be used directly.
    #[inline(always)]
    fn direct(&self, offset: u32, len: u32) -> Option<*mut u8> {
        if self.overlay.is_none() && u64::from(offset) + u64::from(len) <= u64::from(self.map_len) {
            // SAFETY: offset + len is inside the mapping.
            Some(unsafe { self.base.add(offset as usize) })
        } else {
            None
        }
    }

    /// Makes sure that `[offset, offset + len)` is inside the file.
    #[inline]
    pub fn ensure(&mut self, offset: u32, len: u32) -> Result<()> {
        let end = u64::from(offset) + u64::from(len);
        if end <= u64::from(self.size) {
            return Ok(());
        }
        self.refresh()?;
        if end <= u64::from(self.size) {
            Ok(())
        } else {
            Err(self.beyond_end(offset, len))
        }
    }

    #[inline(always)]
    fn order(&self, word: u32) -> u32 {
        if self.swapped {
            word.swap_bytes()
        } else {
            word
        }
    }

    /// Reads the u32 at `offset`.
    #[inline]
    pub fn word(&mut self, offset: u32) -> Result<u32> {
        match self.direct(offset, 4) {
            Some(pointer) => Ok(self.order(load_word(pointer))),
            None => self.word_slow(offset),
        }
    }

    #[cold]
    fn word_slow(&mut self, offset: u32) -> Result<u32> {
        let mut bytes = [0u8; 4];
        self.read(offset, &mut bytes)?;
        Ok(self.order(u32::from_ne_bytes(bytes)))
    }

    /// Asks the CPU to fetch the record that the word at `offset` points to. Only a hint: the word
    /// may be read without a lock.
    #[inline(always)]
    pub fn prefetch_target(&self, offset: u32) {
        let Some(pointer) = self.direct(offset, 4) else {
            return;
        };
        let target = self.order(load_word(pointer));
        self.prefetch_record(target);
    }

    /// Asks the CPU to fetch the record that may be at `offset`; 0 is none.
    #[inline(always)]
    pub fn prefetch_record(&self, offset: u32) {
        if offset == 0 {
            return;
        }
        if let Some(record) = self.direct(offset, 128) {
            prefetch(record);
            prefetch(record.wrapping_add(64));
        }
    }

    /// Asks the CPU to fetch the word at `offset`.
    #[inline(always)]
    pub fn prefetch_word(&self, offset: u32) {
        if let Some(word) = self.direct(offset, 4) {
            prefetch(word);
        }
    }

    /// Writes the u32 at `offset`. A word that publishes a record is written after the record.
    #[inline]
    pub fn put_word(&mut self, offset: u32, word: u32) -> Result<()> {
        let word = self.order(word);
        #[cfg(test)]
        if trace::is_on() {
            return self.write(offset, &word.to_ne_bytes());
        }
        if self.writable && offset % 4 == 0 {
            if let Some(pointer) = self.direct(offset, 4) {
                // SAFETY: 4 mapped, writable, aligned bytes (the mapping is page-aligned).
                unsafe { AtomicU32::from_ptr(pointer.cast()) }.store(word, Ordering::Release);
                return Ok(());
            }
        }
        self.write(offset, &word.to_ne_bytes())
    }

    /// Reads a record header without judging it.
    #[inline]
    pub fn rec(&mut self, offset: u32) -> Result<Rec> {
        let mut words = match self.direct(offset, REC_HEADER) {
            // SAFETY: REC_HEADER mapped bytes; any bit pattern is a valid array of u32.
            Some(pointer) => unsafe { pointer.cast::<[u32; 6]>().read_unaligned() },
            None => self.rec_slow(offset)?,
        };
        if self.swapped {
            words = words.map(u32::swap_bytes);
        }
        Ok(Rec::from_words(words))
    }

    #[cold]
    fn rec_slow(&mut self, offset: u32) -> Result<[u32; 6]> {
        let mut bytes = [0u8; REC_HEADER as usize];
        self.read(offset, &mut bytes)?;
        let mut words = [0u32; 6];
        for (word, chunk) in words.iter_mut().zip(bytes.chunks_exact(4)) {
            *word = u32::from_ne_bytes([chunk[0], chunk[1], chunk[2], chunk[3]]);
        }
        Ok(words)
    }

    /// Writes a record header.
    pub fn put_rec(&mut self, offset: u32, rec: &Rec) -> Result<()> {
        self.write(offset, &self.rec_bytes(rec))
    }

    /// A record header as it is stored in this file.
    pub fn rec_bytes(&self, rec: &Rec) -> [u8; REC_HEADER as usize] {
        let mut bytes = [0u8; REC_HEADER as usize];
        for (chunk, word) in bytes.chunks_exact_mut(4).zip(rec.to_words()) {
            chunk.copy_from_slice(&self.order(word).to_ne_bytes());
        }
        bytes
    }

    /// A word as it is stored in this file.
    pub fn word_bytes(&self, word: u32) -> [u8; 4] {
        self.order(word).to_ne_bytes()
    }

    /// A word of this file, from its bytes.
    pub fn word_from(&self, bytes: [u8; 4]) -> u32 {
        self.order(u32::from_ne_bytes(bytes))
    }

    /// Writes the tailer of a record whose `rec_len` is sound.
    pub fn put_tailer(&mut self, offset: u32, rec_len: u32) -> Result<()> {
        self.put_word(offset + REC_HEADER + rec_len - TAILER, REC_HEADER + rec_len)
    }

    /// Fills `out` from `offset`.
    pub fn read(&mut self, offset: u32, out: &mut [u8]) -> Result<()> {
        let len = length(out.len())?;
        self.ensure(offset, len)?;
        if self.overlay.is_some() {
            return self.read_overlay(offset, out);
        }
        if let Some(pointer) = self.direct(offset, len) {
            // SAFETY: `len` mapped bytes, copied out as raw memory; `out` is not in the mapping.
            unsafe { std::ptr::copy_nonoverlapping(pointer, out.as_mut_ptr(), out.len()) };
            return Ok(());
        }
        self.file
            .read_exact_at(out, self.start + u64::from(offset))
            .map_err(|e| self.io_error("read", e))
    }

    /// Writes `data` at `offset`.
    pub fn write(&mut self, offset: u32, data: &[u8]) -> Result<()> {
        if !self.writable {
            return Err(Error::ReadOnly);
        }
        let len = length(data.len())?;
        self.ensure(offset, len)?;
        if self.overlay.is_some() {
            return self.write_overlay(offset, data);
        }
        self.write_mapped(offset, data)
    }

    /// Writes to the file itself, past any transaction buffer and the mapping: a disk that is full
    /// or fails says so here, while a store to mapped memory that cannot be kept kills the process.
    /// The range must be inside the file.
    pub fn write_through(&mut self, offset: u32, data: &[u8]) -> Result<()> {
        #[cfg(test)]
        trace::note(|| Traced::Write(offset, data.to_vec()));
        self.file
            .write_all_at(data, self.start + u64::from(offset))
            .map_err(|e| self.io_error("write", e))
    }

    fn write_mapped(&mut self, offset: u32, data: &[u8]) -> Result<()> {
        let Some(pointer) = self.direct(offset, data.len() as u32) else {
            return self.write_through(offset, data);
        };
        #[cfg(test)]
        trace::note(|| Traced::Write(offset, data.to_vec()));
        // SAFETY: inside the writable mapping; `copy` allows `data` to lie in another mapping of the
        // same file.
        unsafe { std::ptr::copy(data.as_ptr(), pointer, data.len()) };
        Ok(())
    }

    /// Reads from the file past any transaction buffer.
    pub fn read_through(&self, offset: u32, out: &mut [u8]) -> Result<()> {
        let end = u64::from(offset) + out.len() as u64;
        if end <= u64::from(self.map_len) {
            // SAFETY: inside the mapping; `out` is not in it.
            unsafe {
                std::ptr::copy_nonoverlapping(
                    self.base.add(offset as usize),
                    out.as_mut_ptr(),
                    out.len(),
                );
            }
            return Ok(());
        }
        self.file
            .read_exact_at(out, self.start + u64::from(offset))
            .map_err(|e| self.io_error("read", e))
    }

    /// `len` bytes at `offset`: in place if mapped, else copied into a buffer of the handle.
    #[inline]
    pub fn bytes(&mut self, offset: u32, len: u32) -> Result<&[u8]> {
        match self.direct(offset, len) {
            // SAFETY: `len` mapped bytes. The borrow of `self` prevents remapping; the caller
            // holds the lock that keeps peers from writing here.
            Some(pointer) => Ok(unsafe { std::slice::from_raw_parts(pointer, len as usize) }),
            None => self.bytes_slow(offset, len),
        }
    }

    #[cold]
    fn bytes_slow(&mut self, offset: u32, len: u32) -> Result<&[u8]> {
        self.ensure(offset, len)?;
        let mapped = u64::from(offset) + u64::from(len) <= u64::from(self.map_len);
        let changed = self.overlay.as_ref().is_some_and(|o| {
            o.touches(offset, len) || u64::from(offset) + u64::from(len) > u64::from(o.file_size)
        });
        if mapped && !changed {
            // SAFETY: inside the mapping; else as in `bytes`.
            let pointer = unsafe { self.base.add(offset as usize) };
            // SAFETY: as in `bytes`.
            return Ok(unsafe { std::slice::from_raw_parts(pointer, len as usize) });
        }
        let mut buffer = std::mem::take(&mut self.scratch);
        buffer.resize(len as usize, 0);
        let done = self.read(offset, &mut buffer);
        self.scratch = buffer;
        done?;
        Ok(&self.scratch)
    }

    /// `len` mapped bytes at `offset` for change in place; `None` if they are not mapped.
    pub fn bytes_mut(&mut self, offset: u32, len: u32) -> Option<&mut [u8]> {
        if !self.writable {
            return None;
        }
        let pointer = self.direct(offset, len)?;
        // SAFETY: `len` mapped, writable bytes; the borrow of `self` prevents remapping and other
        // slices of this handle; the caller holds the whole database exclusively.
        Some(unsafe { std::slice::from_raw_parts_mut(pointer, len as usize) })
    }

    /// Whether the bytes at `offset` equal the concatenation of `parts`.
    pub fn equals(&mut self, offset: u32, parts: &[&[u8]]) -> Result<bool> {
        let mut at = offset;
        for part in parts {
            let len = length(part.len())?;
            if self.bytes(at, len)? != *part {
                return Ok(false);
            }
            at = at.wrapping_add(len);
        }
        Ok(true)
    }

    /// Loads a word of the mapping in this machine's byte order; `None` if it is not mapped.
    pub fn atomic_load(&self, offset: u32) -> Option<u32> {
        self.direct(offset, 4).map(load_word)
    }

    /// Atomically adds 1 to a word of the mapping in this machine's byte order; `false` if it is
    /// not mapped.
    pub fn atomic_increment(&mut self, offset: u32) -> bool {
        if !self.writable || offset % 4 != 0 {
            return false;
        }
        match self.direct(offset, 4) {
            Some(pointer) => {
                // SAFETY: 4 mapped, writable, aligned bytes.
                unsafe { AtomicU32::from_ptr(pointer.cast()) }.fetch_add(1, Ordering::SeqCst);
                true
            }
            None => false,
        }
    }

    /// Waits until everything written is on disk.
    pub fn sync(&self) -> Result<()> {
        #[cfg(test)]
        trace::note(|| Traced::Sync);
        // fdatasync writes pages dirtied through a shared mapping too (Linux has one page cache),
        // so no msync is needed.
        // SAFETY: the descriptor is open while `self.file` lives.
        if unsafe { libc::fdatasync(self.file.as_raw_fd()) } != 0 {
            return Err(self.last_error("fdatasync"));
        }
        Ok(())
    }

    /// Lets a transaction count as one that had room enough.
    pub fn forget_growth(&mut self) {
        if let Some(overlay) = &mut self.overlay {
            overlay.grown = false;
        }
    }

    /// Raises the size a transaction sees.
    pub fn grow_overlay(&mut self, size: u32) {
        debug_assert!(self.overlay.is_some());
        self.size = size;
        if let Some(overlay) = &mut self.overlay {
            overlay.grown = true;
        }
    }

    /// Makes the file physically at least `size` long while a transaction runs, and the
    /// transaction's own size with it.
    pub fn extend_under_overlay(&mut self, size: u32) -> Result<()> {
        let present = self.logical_file_size()?;
        let own = self.size;
        #[cfg(test)]
        trace::note(|| Traced::Extend(size));
        let done = if size > present { self.extend_file(present, size - present) } else { Ok(()) };
        if done.is_ok() {
            self.size = own.max(size);
            if let Some(overlay) = &mut self.overlay {
                overlay.file_size = size.max(present);
            }
        } else {
            self.size = own;
        }
        done
    }

    /// Begins to buffer writes.
    pub fn begin_overlay(&mut self) {
        self.overlay = Some(Box::new(Overlay::new(self.size)));
    }

    /// Ends buffering: takes the buffer out and returns to the file's own size.
    pub fn end_overlay(&mut self) -> Option<Box<Overlay>> {
        let overlay = self.overlay.take()?;
        self.size = overlay.old_size;
        Some(overlay)
    }

    fn read_overlay(&mut self, offset: u32, out: &mut [u8]) -> Result<()> {
        let Some(overlay) = self.overlay.take() else {
            return Ok(());
        };
        let done = overlay.read(offset, out, |at, part| self.read_through(at, part));
        self.overlay = Some(overlay);
        done
    }

    fn write_overlay(&mut self, offset: u32, data: &[u8]) -> Result<()> {
        let Some(mut overlay) = self.overlay.take() else {
            return Ok(());
        };
        let done = overlay.write(offset, data, |at, part| self.read_through(at, part));
        overlay.failed |= done.is_err();
        self.overlay = Some(overlay);
        done
    }
}

/// Fetches a cache line in the background.
#[inline(always)]
pub(crate) fn prefetch(pointer: *const u8) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: a prefetch may be given any address.
    unsafe {
        use std::arch::x86_64::{_mm_prefetch, _MM_HINT_T0};
        _mm_prefetch::<_MM_HINT_T0>(pointer.cast());
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = pointer;
}

#[inline(always)]
fn load_word(pointer: *mut u8) -> u32 {
    if pointer as usize % 4 == 0 {
        // SAFETY: the caller got the pointer from `direct(_, 4)`; it is aligned.
        unsafe { AtomicU32::from_ptr(pointer.cast()) }.load(Ordering::Acquire)
    } else {
        // SAFETY: as above, unaligned.
        unsafe { pointer.cast::<u32>().read_unaligned() }
    }
}

fn length(len: usize) -> Result<u32> {
    u32::try_from(len).map_err(|_| Error::Usage("more than 4 GiB"))
}
