// SPDX-License-Identifier: GPL-3.0-or-later
//! The 32-byte packet header (spec/wire.md 2.2).
//!
//! ```text
//! offset size field
//! 0      4    length        of the whole packet
//! 4      4    ctdb_magic    0x43544442
//! 8      4    ctdb_version  1
//! 12     4    generation    of the sender
//! 16     4    operation     section 5
//! 20     4    destnode
//! 24     4    srcnode       the originator, never the link peer
//! 28     4    reqid
//! ```

use crate::codec::{Decode, Encode};
use crate::error::{Error, Expected};
use crate::inspect::{Inspect, Value};
use crate::output::Output;
use crate::reader::Reader;

/// Size of the header in bytes.
pub const HEADER_SIZE: usize = 32;
/// `CTDB`, read as a number.
pub const MAGIC: u32 = 0x4354_4442;
/// The protocol version.
pub const VERSION: u32 = 1;

/// Packet operations (spec/wire.md 5).
pub mod operation {
    /// Record call.
    pub const REQ_CALL: u32 = 0;
    /// Result of a record call.
    pub const REPLY_CALL: u32 = 1;
    /// dmaster to lmaster: make that node the dmaster.
    pub const REQ_DMASTER: u32 = 2;
    /// lmaster to the new dmaster: the record.
    pub const REPLY_DMASTER: u32 = 3;
    /// A record request that failed.
    pub const REPLY_ERROR: u32 = 4;
    /// Message to a SRVID.
    pub const REQ_MESSAGE: u32 = 5;
    /// Control.
    pub const REQ_CONTROL: u32 = 7;
    /// Result of a control.
    pub const REPLY_CONTROL: u32 = 8;
    /// Sign of life of a link.
    pub const REQ_KEEPALIVE: u32 = 9;
    /// Tunnel packet.
    pub const REQ_TUNNEL: u32 = 10;

    /// The name used in logs.
    pub const fn name(operation: u32) -> &'static str {
        match operation {
            REQ_CALL => "REQ_CALL",
            REPLY_CALL => "REPLY_CALL",
            REQ_DMASTER => "REQ_DMASTER",
            REPLY_DMASTER => "REPLY_DMASTER",
            REPLY_ERROR => "REPLY_ERROR",
            REQ_MESSAGE => "REQ_MESSAGE",
            REQ_CONTROL => "REQ_CONTROL",
            REPLY_CONTROL => "REPLY_CONTROL",
            REQ_KEEPALIVE => "REQ_KEEPALIVE",
            REQ_TUNNEL => "REQ_TUNNEL",
            _ => "unknown operation",
        }
    }
}

/// Where a packet goes to and comes from: what its sender chooses besides the body.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Route {
    /// Cluster generation of the sender; the fence of the record packets.
    pub generation: u32,
    /// PNN of the destination, or a special value.
    pub destnode: u32,
    /// PNN of the originator.
    pub srcnode: u32,
    /// Request id.
    pub reqid: u32,
}

/// The packet header, without its constant fields.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Header {
    /// Length of the whole packet in bytes.
    pub length: u32,
    /// One of [`operation`].
    pub operation: u32,
    /// The rest.
    pub route: Route,
}

impl Encode for Header {
    fn size(&self) -> usize {
        HEADER_SIZE
    }
    fn encode<O: Output>(&self, out: &mut O) {
        let Route { generation, destnode, srcnode, reqid } = self.route;
        [self.length, MAGIC, VERSION, generation, self.operation, destnode, srcnode, reqid]
            .encode(out);
    }
}

/// Checks magic and version, not the length: the cursor may hold the header alone.
impl<'a> Decode<'a> for Header {
    const MIN_SIZE: usize = HEADER_SIZE;
    fn decode(r: &mut Reader<'a>) -> Result<Self, Error> {
        let base = r.offset();
        let [length, magic, version, generation, operation, destnode, srcnode, reqid] =
            <[u32; 8]>::decode(r).map_err(|e| e.named("packet header"))?;
        check("packet header magic", base + 4, MAGIC, magic)?;
        check("packet header version", base + 8, VERSION, version)?;
        let route = Route { generation, destnode, srcnode, reqid };
        Ok(Header { length, operation, route })
    }
}

fn check(what: &'static str, offset: usize, wanted: u32, found: u32) -> Result<(), Error> {
    if wanted == found {
        return Ok(());
    }
    let expected = Expected::Value { wanted: wanted.into(), found: found.into() };
    Err(Error::new(what, offset, expected))
}

impl Inspect for Header {
    fn inspect(&self) -> Value {
        Value::Record(vec![
            ("length", self.length.inspect()),
            ("ctdb_magic", MAGIC.inspect()),
            ("ctdb_version", VERSION.inspect()),
            ("generation", self.route.generation.inspect()),
            ("operation", self.operation.inspect()),
            ("destnode", self.route.destnode.inspect()),
            ("srcnode", self.route.srcnode.inspect()),
            ("reqid", self.route.reqid.inspect()),
        ])
    }
}
