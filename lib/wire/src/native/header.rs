// SPDX-License-Identifier: GPL-3.0-or-later
//! The 48-byte packet header, little-endian on every machine, and whole packets.
//!
//! ```text
//! offset size field
//! 0      4    length            of the whole packet in bytes, a multiple of 8
//! 4      4    magic             0x5044_5443: the bytes "CTDP"
//! 8      2    protocol_version  1
//! 10     2    payload_version   of the payload's layout, for each command
//! 12     8    dst               node u32, endpoint id u32
//! 20     8    src               node u32, endpoint id u32: the originator, never the link peer
//! 28     4    flags
//! 32     4    reqid
//! 36     4    command
//! 40     4    generation        the fence of the record packets
//! 44     4    crc32c            of the packet with this field zero; zero when switched off
//! ```

use super::endpoint::Endpoint;
use crate::codec::{Decode, Encode};
use crate::error::{Error, Expected};
use crate::output::Output;
use crate::reader::Reader;

/// Size of the header in bytes.
pub const HEADER_SIZE: usize = 48;
/// The bytes `CTDP`.
pub const MAGIC: u32 = 0x5044_5443;
/// The version of this header.
pub const PROTOCOL_VERSION: u16 = 1;
/// Offset of the checksum.
const CRC_OFFSET: usize = 44;

/// Header flags. Bits that are not named here are ignored and forwarded.
pub mod flag {
    /// Answers the request with the same command and reqid.
    pub const REPLY: u32 = 0x0000_0001;
    /// The sender wants no reply, not even on error.
    pub const NOREPLY: u32 = 0x0000_0002;
}

/// Whether packets carry and check a checksum: on for bare TCP, off inside TLS and in memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Checksum {
    /// Computed when written, verified when read.
    On,
    /// Written as zero, ignored when read.
    Off,
}

/// The header without its constant fields and the checksum.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Header {
    /// Length of the whole packet in bytes. Encoders compute it.
    pub length: u32,
    /// Version of the payload's layout.
    pub payload_version: u16,
    /// Destination.
    pub dst: Endpoint,
    /// Originator.
    pub src: Endpoint,
    /// [`flag`] bits.
    pub flags: u32,
    /// Request id; the reply repeats it.
    pub reqid: u32,
    /// What is asked for, [`super::command`].
    pub command: u32,
    /// Cluster generation of the sender.
    pub generation: u32,
}

impl Header {
    /// True if this answers a request.
    pub fn is_reply(&self) -> bool {
        self.flags & flag::REPLY != 0
    }

    /// Header of the reply to this packet: ends exchanged, same command, reqid and version.
    pub fn reply(&self) -> Header {
        let flags = flag::REPLY;
        Header { dst: self.src, src: self.dst, flags, length: 0, ..*self }
    }
}

impl Encode for Header {
    fn size(&self) -> usize {
        HEADER_SIZE
    }
    fn encode<O: Output>(&self, out: &mut O) {
        self.length.encode(out);
        MAGIC.encode(out);
        PROTOCOL_VERSION.encode(out);
        self.payload_version.encode(out);
        let Endpoint { node: dst, id: dst_id } = self.dst;
        let Endpoint { node: src, id: src_id } = self.src;
        [dst, dst_id, src, src_id, self.flags, self.reqid, self.command, self.generation, 0]
            .encode(out);
    }
}

/// Checks magic, version and the shape of the length, neither the checksum nor that the length is
/// that of the buffer: the cursor may hold the header alone.
impl<'a> Decode<'a> for Header {
    const MIN_SIZE: usize = HEADER_SIZE;
    fn decode(r: &mut Reader<'a>) -> Result<Self, Error> {
        let base = r.offset();
        let named = |e: Error| e.named("native header");
        let length = u32::decode(r).map_err(named)?;
        let magic = u32::decode(r).map_err(named)?;
        let protocol_version = u16::decode(r).map_err(named)?;
        let payload_version = u16::decode(r).map_err(named)?;
        let [dst, dst_id, src, src_id, flags, reqid, command, generation, _crc] =
            <[u32; 9]>::decode(r).map_err(named)?;
        if magic != MAGIC {
            let expected = Expected::Value { wanted: MAGIC.into(), found: magic.into() };
            return Err(Error::new("native header magic", base + 4, expected));
        }
        if protocol_version != PROTOCOL_VERSION {
            let wanted = PROTOCOL_VERSION.into();
            let expected = Expected::Value { wanted, found: protocol_version.into() };
            return Err(Error::new("native header protocol_version", base + 8, expected));
        }
        if length % 8 != 0 || (length as usize) < HEADER_SIZE {
            let wanted = "a multiple of 8, at least 48,";
            let expected = Expected::Words { wanted, found: length.into() };
            return Err(Error::new("native header length", base, expected));
        }
        Ok(Header {
            length,
            payload_version,
            dst: Endpoint::new(dst, dst_id),
            src: Endpoint::new(src, src_id),
            flags,
            reqid,
            command,
            generation,
        })
    }
}

/// Appends one packet: the header, `payload` and zeros up to a multiple of 8. `header.length` is
/// ignored. Fails, without writing, only when the packet would be longer than its length field can
/// say.
pub fn encode<O: Output, P: Encode>(
    out: &mut O,
    header: &Header,
    payload: &P,
    checksum: Checksum,
) -> Result<(), Error> {
    let exact = HEADER_SIZE + payload.size();
    let size = exact.next_multiple_of(8);
    let length = u32::try_from(size)
        .map_err(|_| Error::new("native packet", 0, Expected::Encodable { size }))?;
    out.reserve_bytes(size);
    let start = out.written_len();
    Header { length, ..*header }.encode(out);
    payload.encode(out);
    out.put_zeros(size - exact);
    if checksum == Checksum::On {
        if let Some(packet) = out.written_mut().get_mut(start..) {
            seal(packet);
        }
    }
    Ok(())
}

/// One packet as an owned buffer.
pub fn encode_to_vec<P: Encode>(
    header: &Header,
    payload: &P,
    checksum: Checksum,
) -> Result<Vec<u8>, Error> {
    let mut out = Vec::new();
    encode(&mut out, header, payload, checksum)?;
    Ok(out)
}

/// Checksum of a packet, its own field taken as zero.
fn crc_of(packet: &[u8]) -> Option<u32> {
    let head = packet.get(..CRC_OFFSET)?;
    let tail = packet.get(HEADER_SIZE..)?;
    let crc = crc32c::crc32c_append(crc32c::crc32c(head), &[0; 4]);
    Some(crc32c::crc32c_append(crc, tail))
}

/// Stores the checksum into an encoded packet, for example after a redirect rewrote its `dst`.
fn seal(packet: &mut [u8]) {
    let crc = crc_of(packet);
    if let (Some(crc), Some(field)) = (crc, packet.get_mut(CRC_OFFSET..HEADER_SIZE)) {
        field.copy_from_slice(&crc.to_le_bytes());
    }
}

/// A whole packet, borrowed from the receive buffer.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Packet<'a> {
    /// The header.
    pub header: Header,
    /// What follows it, including up to 7 bytes of padding: payloads carry their own lengths.
    pub payload: &'a [u8],
}

impl<'a> Packet<'a> {
    /// Validates and splits one whole packet. `buf` holds exactly one packet.
    pub fn decode(buf: &'a [u8], checksum: Checksum) -> Result<Self, Error> {
        let mut r = Reader::new(buf);
        let header = Header::decode(&mut r)?;
        if header.length as usize != buf.len() {
            let expected =
                Expected::Value { wanted: buf.len() as u64, found: header.length.into() };
            return Err(Error::new("native header length", 0, expected));
        }
        if checksum == Checksum::On {
            let stored = Reader::new(buf.get(CRC_OFFSET..HEADER_SIZE).unwrap_or_default());
            let found = u32::decode(&mut stored.clone())?;
            match crc_of(buf) {
                Some(wanted) if wanted == found => (),
                wanted => {
                    let wanted = wanted.unwrap_or_default().into();
                    let expected = Expected::Value { wanted, found: found.into() };
                    return Err(Error::new("native header crc32c", CRC_OFFSET, expected));
                }
            }
        }
        Ok(Packet { header, payload: r.take_rest() })
    }

    /// A cursor over the payload whose errors speak of packet offsets.
    pub fn reader(&self) -> Reader<'a> {
        Reader::with_base(self.payload, HEADER_SIZE)
    }

    /// Decodes the payload, ignoring bytes behind it.
    pub fn payload_as<T: Decode<'a>>(&self) -> Result<T, Error> {
        T::decode(&mut self.reader())
    }
}

/// Rewrites the destination of an encoded packet and its checksum: all that a redirect does to the
/// header. The hop count is part of the payload.
pub fn redirect(packet: &mut [u8], dst: Endpoint, checksum: Checksum) -> Result<(), Error> {
    Header::from_prefix(packet)?;
    if let Some(field) = packet.get_mut(12..20) {
        let mut bytes = Vec::with_capacity(8);
        [dst.node, dst.id].encode(&mut bytes);
        field.copy_from_slice(&bytes);
    }
    if checksum == Checksum::On {
        seal(packet);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::Rest;
    use crate::legacy::ReqMessage;
    use crate::native::command;

    fn header() -> Header {
        Header {
            dst: Endpoint::new(2, 4),
            src: Endpoint::new(1, 9),
            reqid: 77,
            command: command::MESSAGE,
            generation: 0x2B1C_6D07,
            ..Header::default()
        }
    }

    #[test]
    fn the_layout_is_the_documented_one() {
        let body = ReqMessage { srvid: 5, data: b"hi" };
        let bytes = encode_to_vec(&header(), &body, Checksum::Off).unwrap();
        assert_eq!(bytes.len(), 64);
        assert_eq!(bytes[..8], [64, 0, 0, 0, b'C', b'T', b'D', b'P']);
        assert_eq!(bytes[8..12], [1, 0, 0, 0]);
        assert_eq!(bytes[12..28], [2, 0, 0, 0, 4, 0, 0, 0, 1, 0, 0, 0, 9, 0, 0, 0]);
        assert_eq!(bytes[28..40], [0, 0, 0, 0, 77, 0, 0, 0, 5, 1, 0, 0]);
        assert_eq!(bytes[40..48], [0x07, 0x6D, 0x1C, 0x2B, 0, 0, 0, 0]);
        assert_eq!(bytes[48..62], [5, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, b'h', b'i']);
        let packet = Packet::decode(&bytes, Checksum::Off).unwrap();
        assert_eq!(packet.header, Header { length: 64, ..header() });
        assert_eq!(packet.payload_as::<ReqMessage<'_>>(), Ok(body));
    }

    #[test]
    fn any_flipped_bit_is_noticed() {
        let bytes = encode_to_vec(&header(), &Rest(b"payload"), Checksum::On).unwrap();
        assert!(Packet::decode(&bytes, Checksum::On).is_ok());
        for bit in 0..bytes.len() * 8 {
            let mut bad = bytes.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(Packet::decode(&bad, Checksum::On).is_err(), "bit {bit}");
        }
    }

    #[test]
    fn a_redirect_keeps_the_originator() {
        let mut bytes = encode_to_vec(&header(), &Rest(b"payload"), Checksum::On).unwrap();
        redirect(&mut bytes, Endpoint::new(7, 4), Checksum::On).unwrap();
        let packet = Packet::decode(&bytes, Checksum::On).unwrap();
        assert_eq!(packet.header.dst, Endpoint::new(7, 4));
        assert_eq!(packet.header.src, header().src);
        assert!(redirect(&mut [0; 20], Endpoint::default(), Checksum::Off).is_err());
    }

    #[test]
    fn odd_lengths_are_refused() {
        let mut bytes = encode_to_vec(&header(), &Rest(b""), Checksum::Off).unwrap();
        for length in [0, 40, 47, 52] {
            bytes[0] = length;
            let e = Header::from_prefix(&bytes).unwrap_err();
            assert_eq!((e.what, e.offset), ("native header length", 0));
        }
    }
}
