// SPDX-License-Identifier: GPL-3.0-or-later
//! Packets and types of the cluster protocol: layouts, encoders, decoders. No I/O, no clock, no state.
//!
//! Two dialects share their payloads: [`legacy`], the packets that existing clients and daemons
//! exchange (spec/wire.md), and [`native`], the endian-neutral transport packet of our own daemons
//! (docs/protocol.md). Each layout is declared once; the structure, the encoder, the decoder and the
//! field names for dumps are generated from that declaration.
//!
//! Decoders borrow from the packet, never panic, never allocate more than the packet justifies, and
//! report what is malformed, where, and what was expected ([`Error`]).
#![forbid(unsafe_code)]

#[macro_use]
mod layout;

mod codec;
mod error;
mod inspect;
mod output;
mod reader;
mod text;

pub mod control;
pub mod flags;
pub mod frame;
pub mod legacy;
pub mod message;
pub mod native;
pub mod srvid;
pub mod types;

#[cfg(test)]
mod sample;

pub use codec::{canonical_addr, Decode, Encode, Rest};
pub use control::{Control, ControlReply, ControlRequest, Opcode};
pub use error::{Error, Expected};
pub use frame::{FrameError, FrameFault, Framer};
pub use inspect::{Inspect, Value};
pub use message::MessagePayload;
pub use output::Output;
pub use reader::Reader;
pub use text::{CharArray, StringN, StringZ, Text};
