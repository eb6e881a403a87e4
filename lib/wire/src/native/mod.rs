// SPDX-License-Identifier: GPL-3.0-or-later
//! The transport packet of our own daemons: endian-neutral, versioned, checksummed (docs/protocol.md).

mod body;
pub mod command;
pub mod endpoint;
mod header;
mod hello;

pub use body::{encode_common, from_legacy, to_legacy, Body, ControlPayload, NativeEnds};
pub use endpoint::Endpoint;
pub use header::{
    encode, encode_to_vec, flag, redirect, Checksum, Header, Packet, HEADER_SIZE, MAGIC,
    PROTOCOL_VERSION,
};
pub use hello::{ErrorReply, Hello};
