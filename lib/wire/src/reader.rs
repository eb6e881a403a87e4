// SPDX-License-Identifier: GPL-3.0-or-later
//! The cursor that all decoders read through: bounds checked, aware of its offset in the packet.

use crate::error::{Error, Expected};

/// A cursor over received bytes. Nothing it hands out is copied.
#[derive(Debug, Clone)]
pub struct Reader<'a> {
    buf: &'a [u8],
    pos: usize,
    base: usize,
}

impl<'a> Reader<'a> {
    /// Reads `buf` from its start.
    pub fn new(buf: &'a [u8]) -> Self {
        Reader { buf, pos: 0, base: 0 }
    }

    /// Reads `buf`, which starts `base` bytes into its packet: errors then speak of packet offsets.
    pub fn with_base(buf: &'a [u8], base: usize) -> Self {
        Reader { buf, pos: 0, base }
    }

    /// Offset of the next byte, counted from the start of the packet.
    pub fn offset(&self) -> usize {
        self.base.saturating_add(self.pos)
    }

    /// Bytes that are left.
    pub fn remaining(&self) -> usize {
        self.buf.len().saturating_sub(self.pos)
    }

    /// The rest, without consuming it.
    pub fn rest(&self) -> &'a [u8] {
        self.buf.get(self.pos..).unwrap_or_default()
    }

    /// An error at the current offset.
    pub fn error(&self, expected: Expected) -> Error {
        Error::new("", self.offset(), expected)
    }

    /// Takes `n` bytes.
    pub fn take(&mut self, n: usize) -> Result<&'a [u8], Error> {
        let end = self.pos.checked_add(n);
        match end.and_then(|end| self.buf.get(self.pos..end)) {
            Some(bytes) => {
                self.pos += n;
                Ok(bytes)
            }
            None => Err(self.error(Expected::Bytes { need: n as u64, left: self.remaining() })),
        }
    }

    /// Takes a fixed number of bytes.
    pub fn take_array<const N: usize>(&mut self) -> Result<[u8; N], Error> {
        match self.rest().first_chunk::<N>() {
            Some(bytes) => {
                self.pos += N;
                Ok(*bytes)
            }
            None => Err(self.error(Expected::Bytes { need: N as u64, left: self.remaining() })),
        }
    }

    /// Takes everything that is left.
    pub fn take_rest(&mut self) -> &'a [u8] {
        let rest = self.rest();
        self.pos = self.buf.len();
        rest
    }

    /// Skips padding, whose content never matters (spec/wire.md 1.1).
    pub fn skip(&mut self, n: usize) -> Result<(), Error> {
        self.take(n).map(|_| ())
    }

    /// Reads an element count and checks it against what is left, before anything is allocated.
    pub fn check_count(&self, count: u32, element_size: usize) -> Result<usize, Error> {
        let count = count as usize;
        match count.checked_mul(element_size) {
            Some(need) if need <= self.remaining() => Ok(count),
            _ => Err(self.error(Expected::Elements {
                count: count as u64,
                element_size,
                left: self.remaining(),
            })),
        }
    }

    /// Insists that everything has been read.
    pub fn finish(&self) -> Result<(), Error> {
        match self.remaining() {
            0 => Ok(()),
            left => Err(self.error(Expected::End { left })),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_carry_packet_offsets() {
        let mut r = Reader::with_base(&[1, 2, 3], 32);
        r.skip(2).unwrap();
        let e = r.take(4).unwrap_err();
        assert_eq!((e.offset, e.expected), (34, Expected::Bytes { need: 4, left: 1 }));
        assert_eq!(r.remaining(), 1);
        assert_eq!(r.take(usize::MAX).unwrap_err().offset, 34);
    }

    #[test]
    fn counts_are_checked_without_overflow() {
        let r = Reader::new(&[0; 16]);
        assert_eq!(r.check_count(4, 4), Ok(4));
        assert!(r.check_count(5, 4).is_err());
        assert!(r.check_count(u32::MAX, usize::MAX).is_err());
    }
}
