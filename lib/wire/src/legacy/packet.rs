// SPDX-License-Identifier: GPL-3.0-or-later
//! Whole packets: header, body, rounding (spec/wire.md 2.3).

use super::body::*;
use super::header::{operation, Header, Route, HEADER_SIZE};
use crate::codec::{Decode, Encode};
use crate::error::{Error, Expected};
use crate::inspect::{Inspect, Value};
use crate::output::Output;
use crate::reader::Reader;

/// How the length of a packet is rounded (spec/wire.md 2.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Rounding {
    /// Up to a multiple of 8, and never below what C daemons send. What daemons do.
    #[default]
    Daemon,
    /// Up to a multiple of 8. What the C client library does.
    Eight,
    /// Not at all. What smbd does; only allowed on the client socket.
    Exact,
}

/// Appends one packet to `out`: at most one reallocation, nothing copied twice. Fails, without
/// writing, only when the packet would be longer than its length field can say.
pub fn encode<O: Output, B: Body>(
    out: &mut O,
    route: &Route,
    body: &B,
    rounding: Rounding,
) -> Result<(), Error> {
    let exact = HEADER_SIZE + body.size();
    let size = match rounding {
        Rounding::Exact => exact,
        Rounding::Eight => exact.next_multiple_of(8),
        Rounding::Daemon => exact.next_multiple_of(8).max(B::DAEMON_MIN_PACKET),
    };
    let length =
        u32::try_from(size).map_err(|_| Error::new("packet", 0, Expected::Encodable { size }))?;
    out.reserve_bytes(size);
    Header { length, operation: B::OPERATION, route: *route }.encode(out);
    body.encode(out);
    out.put_zeros(size - exact);
    Ok(())
}

/// One packet as an owned buffer.
pub fn encode_to_vec<B: Body>(
    route: &Route,
    body: &B,
    rounding: Rounding,
) -> Result<Vec<u8>, Error> {
    let mut out = Vec::new();
    encode(&mut out, route, body, rounding)?;
    Ok(out)
}

/// The body of any packet.
#[derive(Debug, Clone, PartialEq)]
pub enum Packet<'a> {
    /// Operation 0.
    ReqCall(ReqCall<'a>),
    /// Operation 1.
    ReplyCall(ReplyCall<'a>),
    /// Operation 2.
    ReqDmaster(ReqDmaster<'a>),
    /// Operation 3.
    ReplyDmaster(ReplyDmaster<'a>),
    /// Operation 4.
    ReplyError(ReplyError<'a>),
    /// Operation 5.
    ReqMessage(ReqMessage<'a>),
    /// Operation 7.
    ReqControl(ReqControl<'a>),
    /// Operation 8.
    ReplyControl(ReplyControl<'a>),
    /// Operation 9.
    ReqKeepalive(ReqKeepalive),
    /// Operation 9 without a body: the format of old releases (spec/wire.md 5.9).
    OldKeepalive,
    /// Operation 10.
    ReqTunnel(ReqTunnel<'a>),
    /// Any other operation; the bytes behind the header. Receivers log and ignore it.
    Unknown(&'a [u8]),
}

macro_rules! each_body {
    ($value:expr, $body:ident => $with:expr, $otherwise:expr) => {
        match $value {
            Packet::ReqCall($body) => $with,
            Packet::ReplyCall($body) => $with,
            Packet::ReqDmaster($body) => $with,
            Packet::ReplyDmaster($body) => $with,
            Packet::ReplyError($body) => $with,
            Packet::ReqMessage($body) => $with,
            Packet::ReqControl($body) => $with,
            Packet::ReplyControl($body) => $with,
            Packet::ReqKeepalive($body) => $with,
            Packet::ReqTunnel($body) => $with,
            Packet::OldKeepalive | Packet::Unknown(_) => $otherwise,
        }
    };
}

impl<'a> Packet<'a> {
    /// Decodes one whole packet. `buf` holds exactly one packet, as a [`crate::Framer`] returns it.
    /// Payload sizes are taken from the inner lengths; bytes behind the payload are ignored.
    pub fn decode(buf: &'a [u8]) -> Result<(Header, Packet<'a>), Error> {
        let mut r = Reader::new(buf);
        let header = Header::decode(&mut r)?;
        if header.length as usize != buf.len() {
            let expected =
                Expected::Value { wanted: buf.len() as u64, found: header.length.into() };
            return Err(Error::new("packet header length", 0, expected));
        }
        let packet = Packet::decode_body(header.operation, &mut r)?;
        Ok((header, packet))
    }

    /// Decodes what follows the header.
    pub fn decode_body(operation: u32, r: &mut Reader<'a>) -> Result<Packet<'a>, Error> {
        Ok(match operation {
            operation::REQ_CALL => Packet::ReqCall(Decode::decode(r)?),
            operation::REPLY_CALL => Packet::ReplyCall(Decode::decode(r)?),
            operation::REQ_DMASTER => Packet::ReqDmaster(Decode::decode(r)?),
            operation::REPLY_DMASTER => Packet::ReplyDmaster(Decode::decode(r)?),
            operation::REPLY_ERROR => Packet::ReplyError(Decode::decode(r)?),
            operation::REQ_MESSAGE => Packet::ReqMessage(Decode::decode(r)?),
            operation::REQ_CONTROL => Packet::ReqControl(Decode::decode(r)?),
            operation::REPLY_CONTROL => Packet::ReplyControl(Decode::decode(r)?),
            operation::REQ_KEEPALIVE if r.remaining() == 0 => Packet::OldKeepalive,
            operation::REQ_KEEPALIVE => Packet::ReqKeepalive(Decode::decode(r)?),
            operation::REQ_TUNNEL => Packet::ReqTunnel(Decode::decode(r)?),
            _ => Packet::Unknown(r.take_rest()),
        })
    }

    /// The operation of this body; none for an unknown packet, whose header knows it.
    pub fn operation(&self) -> Option<u32> {
        fn of<B: Body>(_: &B) -> u32 {
            B::OPERATION
        }
        match self {
            Packet::OldKeepalive => Some(operation::REQ_KEEPALIVE),
            known => each_body!(known, body => Some(of(body)), None),
        }
    }

    /// Size of the body in bytes, without rounding.
    pub(crate) fn body_size(&self) -> usize {
        match self {
            Packet::Unknown(rest) => rest.len(),
            known => each_body!(known, body => body.size(), 0),
        }
    }

    /// Appends the body alone.
    pub(crate) fn encode_body<O: Output>(&self, out: &mut O) {
        match self {
            Packet::Unknown(rest) => out.put_bytes(rest),
            known => each_body!(known, body => body.encode(out), ()),
        }
    }

    /// Appends the packet to `out`. A body of unknown operation is refused.
    pub fn encode<O: Output>(
        &self,
        out: &mut O,
        route: &Route,
        rounding: Rounding,
    ) -> Result<(), Error> {
        if matches!(self, Packet::OldKeepalive) {
            let length = HEADER_SIZE as u32;
            Header { length, operation: operation::REQ_KEEPALIVE, route: *route }.encode(out);
            return Ok(());
        }
        each_body!(self, body => encode(out, route, body, rounding), {
            let expected = Expected::Words { wanted: "a known operation", found: 0 };
            Err(Error::new("packet", 16, expected))
        })
    }
}

impl Inspect for Packet<'_> {
    fn inspect(&self) -> Value {
        match self {
            Packet::Unknown(rest) => Value::Bytes(rest.to_vec()),
            known => each_body!(known, body => body.inspect(), Value::Record(Vec::new())),
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::sample::{Entropy, Sample};
    use proptest::prelude::*;

    pub(crate) fn sample_packet<'a>(u: &mut Entropy<'a>) -> Packet<'a> {
        match u.below(11) {
            0 => Packet::ReqCall(Sample::sample(u)),
            1 => Packet::ReplyCall(Sample::sample(u)),
            2 => Packet::ReqDmaster(Sample::sample(u)),
            3 => Packet::ReplyDmaster(Sample::sample(u)),
            4 => Packet::ReplyError(Sample::sample(u)),
            5 => Packet::ReqMessage(Sample::sample(u)),
            6 => Packet::ReqControl(Sample::sample(u)),
            7 => Packet::ReplyControl(Sample::sample(u)),
            8 => Packet::ReqKeepalive(Sample::sample(u)),
            9 => Packet::ReqTunnel(Sample::sample(u)),
            _ => Packet::OldKeepalive,
        }
    }

    /// Rounding may add the flags word that a sender left out, as zero: it means the same.
    pub(crate) fn with_flags_word(mut packet: Packet<'_>) -> Packet<'_> {
        match &mut packet {
            Packet::ReqDmaster(body) => body.record_flags = body.record_flags.or(Some(0)),
            Packet::ReplyDmaster(body) => body.record_flags = body.record_flags.or(Some(0)),
            _ => (),
        }
        packet
    }

    proptest! {
        #[test]
        fn packets_survive_the_round_trip(
            entropy in prop::collection::vec(any::<u8>(), 0..300),
            numbers in any::<[u32; 4]>(),
        ) {
            let [generation, destnode, srcnode, reqid] = numbers;
            let route = Route { generation, destnode, srcnode, reqid };
            let packet = sample_packet(&mut Entropy::new(&entropy));
            for rounding in [Rounding::Exact, Rounding::Eight, Rounding::Daemon] {
                let mut out = Vec::new();
                packet.encode(&mut out, &route, rounding).unwrap();
                prop_assert!(rounding == Rounding::Exact || out.len() % 8 == 0);
                let (header, again) = Packet::decode(&out).unwrap();
                prop_assert_eq!(header.route, route);
                prop_assert_eq!(Some(header.operation), packet.operation());
                if rounding == Rounding::Exact {
                    prop_assert_eq!(&again, &packet);
                } else {
                    prop_assert_eq!(with_flags_word(again), with_flags_word(packet.clone()));
                }
            }
        }

        #[test]
        fn arbitrary_bytes_never_panic(
            mut bytes in prop::collection::vec(any::<u8>(), 0..200),
            operation in 0u32..12,
        ) {
            let _ = Packet::decode(&bytes);
            let length = bytes.len() as u32;
            if bytes.len() >= HEADER_SIZE {
                let header = Header { length, operation, route: Route::default() };
                bytes.splice(..HEADER_SIZE, header.to_vec());
                if let Err(e) = Packet::decode(&bytes) {
                    prop_assert!(e.offset >= HEADER_SIZE && e.offset <= bytes.len(), "{e}");
                    prop_assert!(!e.what.is_empty());
                }
            }
        }
    }

    #[test]
    fn an_empty_reply_is_as_long_as_a_daemon_sends_it() {
        let reply = ReplyCall { status: 0, data: b"" };
        let route = Route::default();
        assert_eq!(encode_to_vec(&route, &reply, Rounding::Daemon).unwrap().len(), 48);
        assert_eq!(encode_to_vec(&route, &reply, Rounding::Eight).unwrap().len(), 40);
    }

    #[test]
    fn inner_lengths_beyond_the_packet_are_refused_where_they_bite() {
        let body = ReqMessage { srvid: 1, data: b"payload" };
        let mut bytes = encode_to_vec(&Route::default(), &body, Rounding::Exact).unwrap();
        bytes[40] = 8;
        let e = Packet::decode(&bytes).unwrap_err();
        assert_eq!((e.what, e.offset), ("ReqMessage.data", 44));
        assert_eq!(e.expected, Expected::Bytes { need: 8, left: 7 });
    }

    #[test]
    fn decoding_borrows_from_the_packet() {
        let body = ReqMessage { srvid: 1, data: b"payload" };
        let bytes = encode_to_vec(&Route::default(), &body, Rounding::Daemon).unwrap();
        match Packet::decode(&bytes).unwrap().1 {
            Packet::ReqMessage(m) => assert!(bytes.as_ptr_range().contains(&m.data.as_ptr())),
            other => panic!("{other:?}"),
        }
    }
}
