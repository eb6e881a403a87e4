// SPDX-License-Identifier: GPL-3.0-or-later
//! Controls: numbers, names, and the type of each request and reply (spec/wire.md 8).
//!
//! The table in `table.rs` is the only declaration. From it come [`Opcode`], the enums
//! [`ControlRequest`] and [`ControlReply`] for code that handles any control, and one type for each
//! control in [`call`] for code that makes one particular call.

#[macro_use]
mod declare;
mod opcode;
mod table;
#[cfg(test)]
mod tests;

pub use opcode::obsolete_name;
pub use table::{call, ControlReply, ControlRequest, Opcode};

use crate::codec::{Decode, Encode};
use crate::error::Error;
use crate::reader::Reader;

/// One control, as a pair of payload types. `()` stands for an empty payload.
pub trait Control {
    /// Its number.
    const OPCODE: Opcode;
    /// Payload of the request.
    type Request<'a>: Encode;
    /// Payload of a successful reply.
    type Reply<'a>: Decode<'a>;

    /// Decodes the payload of a reply with status 0.
    fn decode_reply(payload: &[u8]) -> Result<Self::Reply<'_>, Error> {
        Self::Reply::decode(&mut Reader::new(payload))
    }
}
