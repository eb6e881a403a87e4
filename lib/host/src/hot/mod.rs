// SPDX-License-Identifier: GPL-3.0-or-later
//! The hot path: everything between a packet that arrives and the packets that it causes.
//!
//! - [`event_loop`]: the one thread that does it; [`busy_poll`]: when it polls instead of sleeping;
//!   [`background`]: what other threads tell it
//! - [`links`]: node links; [`clients`]: the client socket; [`inbuf`], [`outbuf`]: their buffers
//! - [`codec`]: between the engine's packets and bytes
//! - `os`: system calls that no crate wraps

pub mod background;
pub mod busy_poll;
pub mod clients;
pub mod codec;
pub mod event_loop;
pub mod inbuf;
pub mod links;
pub(crate) mod os;
pub mod outbuf;

/// What a stream is ready for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Ready {
    /// It takes more bytes, or has connected.
    pub writable: bool,
    /// It has bytes, or its end or an error is there to be read.
    pub readable: bool,
    /// Its end is there behind the bytes: no further event will tell.
    pub closed: bool,
}

impl Ready {
    /// Of an event of the poll.
    pub fn of(event: &mio::event::Event) -> Ready {
        let closed = event.is_read_closed() || event.is_error();
        Ready { writable: event.is_writable(), readable: event.is_readable() || closed, closed }
    }

    /// Only readable.
    pub fn to_read() -> Ready {
        Ready { readable: true, ..Ready::default() }
    }
}

pub use background::{Background, Notifier};
pub use event_loop::{HotThread, Parts, Process, WAKER};
