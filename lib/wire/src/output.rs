// SPDX-License-Identifier: GPL-3.0-or-later
//! Where encoders write: a growing buffer that the caller supplies and reuses.

use bytes::BytesMut;

/// A buffer that encoders append to. Sizes are known beforehand, so a packet costs at most one
/// reallocation.
pub trait Output {
    /// Makes room for `additional` more bytes.
    fn reserve_bytes(&mut self, additional: usize);
    /// Appends `bytes`.
    fn put_bytes(&mut self, bytes: &[u8]);
    /// Appends `n` zero bytes.
    fn put_zeros(&mut self, n: usize);
    /// Everything written so far, for back-patching a checksum.
    fn written_mut(&mut self) -> &mut [u8];
    /// Number of bytes written so far.
    fn written_len(&self) -> usize;
}

impl Output for Vec<u8> {
    fn reserve_bytes(&mut self, additional: usize) {
        self.reserve(additional);
    }
    fn put_bytes(&mut self, bytes: &[u8]) {
        self.extend_from_slice(bytes);
    }
    fn put_zeros(&mut self, n: usize) {
        self.resize(self.len() + n, 0);
    }
    fn written_mut(&mut self) -> &mut [u8] {
        self
    }
    fn written_len(&self) -> usize {
        self.len()
    }
}

impl Output for BytesMut {
    fn reserve_bytes(&mut self, additional: usize) {
        self.reserve(additional);
    }
    fn put_bytes(&mut self, bytes: &[u8]) {
        self.extend_from_slice(bytes);
    }
    fn put_zeros(&mut self, n: usize) {
        self.resize(self.len() + n, 0);
    }
    fn written_mut(&mut self) -> &mut [u8] {
        self
    }
    fn written_len(&self) -> usize {
        self.len()
    }
}
