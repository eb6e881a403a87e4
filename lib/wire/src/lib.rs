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
//!
//! A client asks its daemon for the nodes:
//!
//! ```
//! use ctdb_wire::control::{call, Control};
//! use ctdb_wire::flags::pnn;
//! use ctdb_wire::legacy::{self, Packet, ReplyControl, Rounding, Route, TypedControl};
//! use ctdb_wire::types::NodeMap;
//! use ctdb_wire::Encode;
//!
//! # fn main() -> Result<(), ctdb_wire::Error> {
//! let route = Route { destnode: pnn::CURRENT_NODE, srcnode: pnn::UNKNOWN, reqid: 1, generation: 0 };
//! let mut out = Vec::new();
//! let request = TypedControl::of::<call::GetNodemap>(&());
//! legacy::encode(&mut out, &route, &request, Rounding::Eight)?;
//! assert_eq!(out.len(), 64);
//!
//! # let data = NodeMap { node: Vec::new() }.to_vec();
//! # let reply = ReplyControl { status: 0, data: &data, errormsg: b"" };
//! # let received = legacy::encode_to_vec(&route, &reply, Rounding::Daemon)?;
//! let (header, packet) = Packet::decode(&received)?; // borrows from `received`
//! if let Packet::ReplyControl(reply) = packet {
//!     assert_eq!(header.route.reqid, 1);
//!     let map: NodeMap = call::GetNodemap::decode_reply(reply.data)?;
//!     assert!(map.node.is_empty());
//! }
//! # Ok(())
//! # }
//! ```
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
pub mod event;
pub mod flags;
pub mod frame;
pub mod legacy;
pub mod message;
pub mod native;
pub mod srvid;
pub mod tcp;
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
pub use text::{escaped, CharArray, StringN, StringZ, Text};
