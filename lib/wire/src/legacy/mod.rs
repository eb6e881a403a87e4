// SPDX-License-Identifier: GPL-3.0-or-later
//! The existing packet protocol: client socket and links to C daemons (spec/wire.md 2-5).

mod body;
mod header;
pub(crate) mod packet;
mod typed;

pub use body::{
    Body, ReplyCall, ReplyControl, ReplyDmaster, ReplyError, ReqCall, ReqControl, ReqDmaster,
    ReqKeepalive, ReqMessage, ReqTunnel,
};
pub use header::{operation, Header, Route, HEADER_SIZE, MAGIC, VERSION};
pub use packet::{encode, encode_to_vec, Packet, Rounding};
pub use typed::{TypedControl, TypedMessage, TypedReply};
