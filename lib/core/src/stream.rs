// SPDX-License-Identifier: GPL-3.0-or-later
//! The byte stream to the daemon, with its two buffers (spec/wire.md 2).
//!
//! Packets are encoded into the output buffer and decoded in place from the input buffer. Both
//! buffers follow the bytes that are really there, never a length that a header claims.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use ctdb_wire::frame::{peek, Dialect, DEFAULT_MAX_PACKET};
use ctdb_wire::legacy::{self, Body, Rounding, Route};

use crate::deadline::Deadline;
use crate::error::{Error, Result};
use crate::sys::{self, Wait};

/// Size of a fresh input buffer, and the size above which an empty buffer is given back.
const INPUT_SIZE: usize = 64 << 10;
const KEEP_SIZE: usize = 1 << 20;
/// Most bytes waiting to be sent. A daemon that does not read that much is stuck.
const MAX_OUTPUT: usize = 256 << 20;
/// How long one blocking receive lasts at most; deadlines further away are waited for in steps.
const RECEIVE_STEP: Duration = Duration::from_secs(1);

/// A connected socket and its buffers.
#[derive(Debug)]
pub(crate) struct Stream {
    socket: UnixStream,
    input: Vec<u8>,
    /// Received and not yet consumed: `input[start..end]`.
    start: usize,
    end: usize,
    output: Vec<u8>,
    /// The part of `output` that has been sent.
    sent: usize,
}

impl Stream {
    pub(crate) fn connect(path: &Path) -> Result<Stream> {
        let failed = |source| Error::Connect { path: path.to_path_buf(), source };
        let socket = UnixStream::connect(path).map_err(failed)?;
        Stream::new(socket)
    }

    /// Takes over a connected socket.
    pub(crate) fn new(socket: UnixStream) -> Result<Stream> {
        let step = Some(RECEIVE_STEP);
        socket.set_read_timeout(step).map_err(|e| Error::io("set receive timeout", e))?;
        Ok(Stream {
            socket,
            input: vec![0; INPUT_SIZE],
            start: 0,
            end: 0,
            output: Vec::new(),
            sent: 0,
        })
    }

    pub(crate) fn fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    /// Whether bytes wait for the socket to take them.
    pub(crate) fn wants_write(&self) -> bool {
        self.sent < self.output.len()
    }

    /// Queues one packet and sends what the socket takes.
    pub(crate) fn send<B: Body>(&mut self, route: &Route, body: &B) -> Result<()> {
        if self.output.len() - self.sent + body.size() > MAX_OUTPUT {
            return Err(Error::QueueFull("the daemon does not read what is sent to it"));
        }
        legacy::encode(&mut self.output, route, body, Rounding::Eight)
            .map_err(|source| Error::Malformed { what: "request", source })?;
        self.flush()
    }

    /// Sends what the socket takes without waiting.
    pub(crate) fn flush(&mut self) -> Result<()> {
        while self.wants_write() {
            match sys::send(self.socket.as_fd(), &self.output[self.sent..]) {
                Ok(n) => self.sent += n,
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => break,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
                Err(e) if is_hangup(&e) => return Err(Error::Closed),
                Err(e) => return Err(Error::io("send", e)),
            }
        }
        if !self.wants_write() {
            self.output.clear();
            self.output.shrink_to(KEEP_SIZE);
            self.sent = 0;
        } else if self.sent > KEEP_SIZE {
            self.output.drain(..self.sent);
            self.sent = 0;
        }
        Ok(())
    }

    /// The next whole packet in the input buffer, as a range to use with [`Stream::packet`].
    pub(crate) fn next_packet(&mut self) -> Result<Option<(usize, usize)>> {
        let waiting = &self.input[self.start..self.end];
        match peek(Dialect::LegacyClient, DEFAULT_MAX_PACKET, waiting) {
            Ok(Some(length)) if length <= waiting.len() => {
                let range = (self.start, self.start + length);
                self.start += length;
                Ok(Some(range))
            }
            Ok(_) => Ok(None),
            Err((_, fault)) => Err(Error::Stream(fault)),
        }
    }

    /// The bytes of a packet; valid until the next receive.
    pub(crate) fn packet(&self, (from, to): (usize, usize)) -> &[u8] {
        &self.input[from..to]
    }

    /// Receives once. `false`: nothing was there, or (when waiting) the step is over.
    pub(crate) fn receive(&mut self, wait: Wait) -> Result<bool> {
        self.make_room();
        loop {
            match sys::recv(self.socket.as_fd(), &mut self.input[self.end..], wait) {
                Ok(0) => return Err(Error::Closed),
                Ok(n) => {
                    self.end += n;
                    return Ok(true);
                }
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Ok(false),
                Err(e) if e.kind() == io::ErrorKind::Interrupted && wait == Wait::No => (),
                Err(e) if e.kind() == io::ErrorKind::Interrupted => return Ok(false),
                Err(e) if is_hangup(&e) => return Err(Error::Closed),
                Err(e) => return Err(Error::io("receive", e)),
            }
        }
    }

    /// Waits until something was received or the deadline passed; `false` then. May also return
    /// `false` early: callers look at the deadline.
    pub(crate) fn wait_receive(&mut self, deadline: Deadline) -> Result<bool> {
        let left = deadline.remaining();
        if !self.wants_write() && left.is_none_or(|left| left >= RECEIVE_STEP) {
            return self.receive(Wait::Yes);
        }
        let ready = sys::poll(self.socket.as_fd(), self.wants_write(), left)
            .map_err(|e| Error::io("poll", e))?;
        self.flush()?;
        if ready {
            self.receive(Wait::No)
        } else {
            Ok(false)
        }
    }

    /// Makes the free part of the input buffer worth a system call.
    fn make_room(&mut self) {
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
            if self.input.len() > KEEP_SIZE {
                self.input = vec![0; INPUT_SIZE];
            }
        }
        if self.input.len() - self.end >= INPUT_SIZE / 4 {
            return;
        }
        self.input.copy_within(self.start..self.end, 0);
        (self.start, self.end) = (0, self.end - self.start);
        if self.input.len() - self.end < INPUT_SIZE / 4 {
            self.input.resize(self.input.len() * 2, 0);
        }
    }
}

fn is_hangup(e: &io::Error) -> bool {
    matches!(e.kind(), io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset)
}

#[cfg(test)]
mod tests {
    use super::*;
    use ctdb_wire::legacy::ReqMessage;
    use std::io::{Read, Write};

    fn pair() -> (Stream, UnixStream) {
        let (ours, theirs) = UnixStream::pair().unwrap();
        (Stream::new(ours).unwrap(), theirs)
    }

    fn message(len: usize) -> Vec<u8> {
        let data = vec![7; len];
        legacy::encode_to_vec(
            &Route::default(),
            &ReqMessage { srvid: 1, data: &data },
            Rounding::Daemon,
        )
        .unwrap()
    }

    #[test]
    fn packets_are_cut_from_any_pieces_of_the_stream() {
        let (mut stream, mut peer) = pair();
        let packets = [message(0), message(13), message(300_000), message(5)];
        let bytes = packets.concat();
        let writer = std::thread::spawn(move || {
            for piece in bytes.chunks(997) {
                peer.write_all(piece).unwrap();
            }
            peer
        });
        for packet in &packets {
            let range = loop {
                if let Some(range) = stream.next_packet().unwrap() {
                    break range;
                }
                stream.wait_receive(Deadline::after(Duration::from_secs(10))).unwrap();
            };
            assert_eq!(stream.packet(range), packet);
        }
        drop(writer.join().unwrap());
        assert!(matches!(stream.receive(Wait::Yes), Err(Error::Closed)));
    }

    #[test]
    fn output_waits_for_a_slow_reader() {
        let (mut stream, mut peer) = pair();
        let data = vec![9; 4 << 20];
        let body = ReqMessage { srvid: 2, data: &data };
        stream.send(&Route::default(), &body).unwrap();
        assert!(stream.wants_write());
        let size = message(4 << 20).len();
        let reader = std::thread::spawn(move || {
            let mut got = vec![0; size];
            peer.read_exact(&mut got).unwrap();
            got[44..44 + (4 << 20)].iter().all(|b| *b == 9)
        });
        let limit = Deadline::after(Duration::from_secs(10));
        while stream.wants_write() && !limit.has_passed() {
            stream.wait_receive(Deadline::after(Duration::from_millis(10))).ok();
        }
        assert!(reader.join().unwrap());
    }

    #[test]
    fn absurd_lengths_break_the_stream() {
        let (mut stream, mut peer) = pair();
        peer.write_all(&[16, 0, 0, 0]).unwrap();
        stream.receive(Wait::Yes).unwrap();
        assert!(matches!(stream.next_packet(), Err(Error::Stream(_))));
    }

    #[test]
    fn a_passed_deadline_does_not_wait() {
        let (mut stream, _peer) = pair();
        assert!(!stream.wait_receive(Deadline::after(Duration::ZERO)).unwrap());
    }
}
