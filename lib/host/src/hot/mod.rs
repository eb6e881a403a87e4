// SPDX-License-Identifier: GPL-3.0-or-later
//! The hot path: everything between a packet that arrives and the packets that it causes.
//!
//! - [`event_loop`]: the one thread that does it; [`background`]: what other threads tell it
//! - [`links`]: node links; [`clients`]: the client socket; [`inbuf`], [`outbuf`]: their buffers
//! - [`codec`]: between the engine's packets and bytes
//! - `os`: system calls that no crate wraps

pub mod background;
pub mod clients;
pub mod codec;
pub mod event_loop;
pub mod inbuf;
pub mod links;
pub(crate) mod os;
pub mod outbuf;

pub use background::{Background, Notifier};
pub use event_loop::{HotThread, Parts, Process, WAKER};
