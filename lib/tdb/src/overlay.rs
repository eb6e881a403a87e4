// SPDX-License-Identifier: GPL-3.0-or-later
//! The write buffer of a transaction: whole blocks, read before the file is (spec/tdb.md 15.3).

use crate::Result;

/// Bytes per buffered block.
pub(crate) const BLOCK: u32 = 4096;

/// Buffered blocks by number.
pub(crate) struct Overlay {
    /// Logical size of the file when the transaction started.
    pub old_size: u32,
    /// Logical size of the file now: a commit makes it longer and then writes past the buffer.
    pub file_size: u32,
    /// A write could not be buffered: the transaction cannot commit.
    pub failed: bool,
    /// The transaction needed more room than the file had.
    pub grown: bool,
    blocks: Vec<Option<Box<[u8]>>>,
    changed: Vec<u32>,
}

impl Overlay {
    pub fn new(old_size: u32) -> Overlay {
        Overlay {
            old_size,
            file_size: old_size,
            failed: false,
            grown: false,
            blocks: Vec::new(),
            changed: Vec::new(),
        }
    }

    /// Whether nothing was written.
    pub fn is_empty(&self) -> bool {
        self.changed.is_empty()
    }

    /// Numbers of the changed blocks, ascending.
    pub fn changed(&self) -> Vec<u32> {
        let mut numbers = self.changed.clone();
        numbers.sort_unstable();
        numbers
    }

    /// Repeats a write past the buffer in those blocks that are buffered.
    pub fn patch(&mut self, offset: u32, data: &[u8]) {
        let mut at = offset;
        let mut rest = data;
        while !rest.is_empty() {
            let inside = (at % BLOCK) as usize;
            let count = rest.len().min(BLOCK as usize - inside);
            let (part, tail) = rest.split_at(count);
            if let Some(Some(block)) = self.blocks.get_mut((at / BLOCK) as usize) {
                block[inside..inside + count].copy_from_slice(part);
            }
            at = at.wrapping_add(count as u32);
            rest = tail;
        }
    }

    /// Whether any block of the range is buffered.
    pub fn touches(&self, offset: u32, len: u32) -> bool {
        let last = offset.saturating_add(len.saturating_sub(1)) / BLOCK;
        (offset / BLOCK..=last).any(|number| self.block(number).is_some())
    }

    /// Content of a changed block.
    pub fn block(&self, number: u32) -> Option<&[u8]> {
        self.blocks.get(number as usize)?.as_deref()
    }

    /// Fills `out`; `load` reads what the file has. Bytes behind its end read as zero.
    pub fn read(
        &self,
        offset: u32,
        out: &mut [u8],
        load: impl Fn(u32, &mut [u8]) -> Result<()>,
    ) -> Result<()> {
        let mut at = offset;
        let mut rest = out;
        while !rest.is_empty() {
            let inside = at % BLOCK;
            let count = rest.len().min((BLOCK - inside) as usize);
            let (part, tail) = rest.split_at_mut(count);
            match self.block(at / BLOCK) {
                Some(block) => {
                    part.copy_from_slice(&block[inside as usize..inside as usize + count]);
                }
                None => self.load_file(at, part, &load)?,
            }
            at = at.wrapping_add(count as u32);
            rest = tail;
        }
        Ok(())
    }

    fn load_file(
        &self,
        at: u32,
        part: &mut [u8],
        load: &impl Fn(u32, &mut [u8]) -> Result<()>,
    ) -> Result<()> {
        let old = (self.file_size.saturating_sub(at) as usize).min(part.len());
        let (from_file, fresh) = part.split_at_mut(old);
        fresh.fill(0);
        if from_file.is_empty() {
            Ok(())
        } else {
            load(at, from_file)
        }
    }

    /// Buffers `data`; `load` reads what the file has.
    pub fn write(
        &mut self,
        offset: u32,
        data: &[u8],
        load: impl Fn(u32, &mut [u8]) -> Result<()>,
    ) -> Result<()> {
        let mut at = offset;
        let mut rest = data;
        while !rest.is_empty() {
            let inside = (at % BLOCK) as usize;
            let count = rest.len().min(BLOCK as usize - inside);
            let (part, tail) = rest.split_at(count);
            let number = at / BLOCK;
            if self.block(number).is_none() {
                let mut block = vec![0u8; BLOCK as usize].into_boxed_slice();
                if count < BLOCK as usize {
                    self.load_file(number * BLOCK, &mut block, &load)?;
                }
                if self.blocks.len() <= number as usize {
                    self.blocks.resize_with(number as usize + 1, || None);
                }
                self.blocks[number as usize] = Some(block);
                self.changed.push(number);
            }
            if let Some(Some(block)) = self.blocks.get_mut(number as usize) {
                block[inside..inside + count].copy_from_slice(part);
            }
            at = at.wrapping_add(count as u32);
            rest = tail;
        }
        Ok(())
    }
}
