// SPDX-License-Identifier: GPL-3.0-or-later
//! What waits to be written to one stream.

use std::io::{self, Write};

/// Bytes queued for a stream that does not block, with the number of packets among them.
#[derive(Default)]
pub struct OutBuf {
    bytes: Vec<u8>,
    written: usize,
    packets: usize,
}

/// After a burst the buffer is given back to the system above this capacity.
const KEEP_CAPACITY: usize = 256 * 1024;

impl OutBuf {
    /// Where encoders append whole packets.
    pub fn tail(&mut self) -> &mut Vec<u8> {
        self.packets += 1;
        &mut self.bytes
    }

    /// Bytes not yet taken by the stream.
    pub fn backlog(&self) -> usize {
        self.bytes.len() - self.written
    }

    /// Packets queued since the buffer was last empty: at least the number not yet taken.
    pub fn packets(&self) -> usize {
        self.packets
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.backlog() == 0
    }

    /// Drops what waits.
    pub fn clear(&mut self) {
        *self = OutBuf::default();
    }

    /// Writes as much as the stream takes. True if all of it was taken.
    pub fn flush(&mut self, stream: &mut impl Write) -> io::Result<bool> {
        while self.written < self.bytes.len() {
            match stream.write(&self.bytes[self.written..]) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(n) => self.written += n,
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {
                    // Move the rest to the front once the part that was written dominates.
                    if self.written > self.bytes.len() / 2 {
                        self.bytes.drain(..self.written);
                        self.written = 0;
                    }
                    return Ok(false);
                }
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
        self.bytes.clear();
        self.written = 0;
        self.packets = 0;
        if self.bytes.capacity() > KEEP_CAPACITY {
            self.bytes = Vec::new();
        }
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Takes a few bytes at a time and then wants to wait.
    struct Slow(Vec<u8>, usize);

    impl Write for Slow {
        fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
            if self.1 == 0 {
                return Err(io::ErrorKind::WouldBlock.into());
            }
            let n = buf.len().min(self.1);
            self.1 -= n;
            self.0.extend_from_slice(&buf[..n]);
            Ok(n)
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn nothing_is_lost_on_a_slow_stream() {
        let mut out = OutBuf::default();
        let mut slow = Slow(Vec::new(), 0);
        let mut expected = Vec::new();
        for round in 0..50u8 {
            out.tail().extend_from_slice(&[round; 7]);
            expected.extend_from_slice(&[round; 7]);
            slow.1 = usize::from(round) % 11;
            let done = out.flush(&mut slow).unwrap();
            assert_eq!(done, out.is_empty());
        }
        assert!(out.packets() > 0);
        slow.1 = usize::MAX;
        assert!(out.flush(&mut slow).unwrap());
        assert_eq!(slow.0, expected);
        assert_eq!((out.backlog(), out.packets()), (0, 0));
    }
}
