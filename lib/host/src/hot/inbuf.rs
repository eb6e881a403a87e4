// SPDX-License-Identifier: GPL-3.0-or-later
//! Reading packets off one stream.

use bytes::{Bytes, BytesMut};
use ctdb_wire::frame::{Dialect, FrameError};
use ctdb_wire::Framer;
use std::io::{self, Read};

/// Size of the buffer that all streams read into.
pub const SCRATCH: usize = 256 * 1024;

/// The receive buffer of a stream.
pub struct InBuf {
    buf: BytesMut,
    framer: Framer,
}

/// What a read came to.
#[derive(Debug, PartialEq, Eq)]
pub enum ReadState {
    /// The stream has no more for now.
    Drained,
    /// The block was filled: there may be more.
    More,
    /// The peer closed.
    Closed,
}

impl InBuf {
    /// A buffer for a new stream.
    pub fn new(dialect: Dialect, max_packet: usize) -> InBuf {
        InBuf { buf: BytesMut::new(), framer: Framer::with_max_packet(dialect, max_packet) }
    }

    /// Reads once, through `scratch`, which all streams share: a stream that is silent holds no memory.
    pub fn read(&mut self, stream: &mut impl Read, scratch: &mut [u8]) -> io::Result<ReadState> {
        let n = loop {
            match stream.read(scratch) {
                Ok(n) => break n,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Ok(ReadState::Drained),
                Err(e) => return Err(e),
            }
        };
        self.buf.extend_from_slice(scratch.get(..n).unwrap_or_default());
        Ok(match n {
            0 => ReadState::Closed,
            // A stream that gave less than asked for has no more; the next byte makes a new event (epoll(7)).
            n if n < scratch.len() => ReadState::Drained,
            _ => ReadState::More,
        })
    }

    /// The next whole packet.
    pub fn next_packet(&mut self) -> Result<Option<Bytes>, FrameError> {
        self.framer.next_packet(&mut self.buf)
    }
}
