// SPDX-License-Identifier: GPL-3.0-or-later
//! Payloads by command. Record packets, messages, tunnels and control replies carry the body of the
//! existing protocol unchanged; a control request carries it without opcode and padding, which the
//! command replaces. So both dialects decode to the same [`legacy::Packet`].

use super::command;
use super::endpoint::Endpoint;
use super::header::{self, flag, Checksum, Header, Packet};
use super::hello::{ErrorReply, Hello};
use crate::codec::Encode;
use crate::error::{Error, Expected};
use crate::flags;
use crate::legacy;
use crate::output::Output;

layout! {
    /// Payload of a control request: what the body of [`legacy::ReqControl`] has behind opcode and
    /// padding, byte for byte.
    pub struct ControlPayload<'a> {
        /// Argument of controls that concern an address; mostly 0.
        srvid: u64,
        /// The calling client in its own daemon; 0 means a daemon.
        client_id: u32,
        /// [`flags::control`] flags.
        flags: u32,
    }
    parts {
        /// Payload, [`crate::ControlRequest`].
        data,
    }
}

impl<'a> ControlPayload<'a> {
    /// The same control as the existing protocol has it.
    pub fn with_opcode(self, opcode: u32) -> legacy::ReqControl<'a> {
        let ControlPayload { srvid, client_id, flags, data } = self;
        legacy::ReqControl { opcode, srvid, client_id, flags, data }
    }
}

impl<'a> From<&legacy::ReqControl<'a>> for ControlPayload<'a> {
    fn from(control: &legacy::ReqControl<'a>) -> Self {
        let legacy::ReqControl { opcode: _, srvid, client_id, flags, data } = *control;
        ControlPayload { srvid, client_id, flags, data }
    }
}

/// A decoded payload.
#[derive(Debug, Clone, PartialEq)]
pub enum Body<'a> {
    /// Greeting of a link.
    Hello(Hello),
    /// A request could not be handled.
    Error(ErrorReply<'a>),
    /// Everything that the existing protocol has too. The opcode of a control reply is that of the
    /// header's command.
    Common(legacy::Packet<'a>),
    /// A command this end does not know: answered with [`command::ERROR`], never by closing the link.
    Unknown(&'a [u8]),
}

impl<'a> Packet<'a> {
    /// Decodes the payload as its command says.
    pub fn body(&self) -> Result<Body<'a>, Error> {
        let Header { command, payload_version, .. } = self.header;
        if payload_version != 0 {
            return Ok(Body::Unknown(self.payload));
        }
        let reply = self.header.is_reply();
        Ok(match (command, command::control_opcode(command)) {
            (command::HELLO, _) => Body::Hello(self.payload_as()?),
            (command::ERROR, _) => Body::Error(self.payload_as()?),
            (_, Some(_)) if reply => Body::Common(legacy::Packet::ReplyControl(self.payload_as()?)),
            (_, Some(opcode)) => {
                let payload: ControlPayload<'a> = self.payload_as()?;
                Body::Common(legacy::Packet::ReqControl(payload.with_opcode(opcode)))
            }
            (_, None) => match command::operation(command) {
                Some(operation) => {
                    Body::Common(legacy::Packet::decode_body(operation, &mut self.reader())?)
                }
                None => Body::Unknown(self.payload),
            },
        })
    }
}

/// Appends a packet with a body that both dialects have. `ends` supplies addresses, reqid and
/// generation; command and flags follow from the body. `reply_opcode` is the opcode of the request,
/// for a control reply, whose body does not repeat it.
pub fn encode_common<O: Output>(
    out: &mut O,
    ends: &Header,
    body: &legacy::Packet<'_>,
    reply_opcode: Option<u32>,
    checksum: Checksum,
) -> Result<(), Error> {
    let (command, flags) = match body {
        legacy::Packet::ReqControl(control) => control_command(control.opcode, control.flags)?,
        legacy::Packet::ReplyControl(_) => reply_command(reply_opcode),
        other => record_command(other.operation().unwrap_or(u32::MAX))?,
    };
    let header = Header { command, flags, payload_version: 0, ..*ends };
    match body {
        legacy::Packet::ReqControl(control) => {
            header::encode(out, &header, &ControlPayload::from(control), checksum)
        }
        other => header::encode(out, &header, &CommonBody(other), checksum),
    }
}

/// The body bytes of a packet of the existing protocol.
struct CommonBody<'p, 'a>(&'p legacy::Packet<'a>);

impl Encode for CommonBody<'_, '_> {
    fn size(&self) -> usize {
        self.0.body_size()
    }
    fn encode<O: Output>(&self, out: &mut O) {
        self.0.encode_body(out);
    }
}

/// What a packet of the existing protocol does not say about its native form.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct NativeEnds {
    /// Endpoint id of the destination.
    pub dst_id: u32,
    /// Endpoint id of the originator.
    pub src_id: u32,
    /// Opcode of the request, for a control reply, if it is known.
    pub reply_opcode: Option<u32>,
}

/// Appends the native form of one whole packet of the existing protocol. The payload is moved, not
/// decoded.
pub fn from_legacy<O: Output>(
    out: &mut O,
    packet: &[u8],
    ends: &NativeEnds,
    checksum: Checksum,
) -> Result<(), Error> {
    use crate::codec::{Decode, Rest};
    use crate::reader::Reader;

    let mut r = Reader::new(packet);
    let old = legacy::Header::decode(&mut r)?;
    let (command, flags) = match old.operation {
        legacy::operation::REQ_CONTROL => {
            let body = legacy::ReqControl::decode(&mut r.clone())?;
            r.skip(8)?;
            control_command(body.opcode, body.flags)?
        }
        legacy::operation::REPLY_CONTROL => reply_command(ends.reply_opcode),
        operation => record_command(operation)?,
    };
    let header = Header {
        length: 0,
        payload_version: 0,
        dst: Endpoint::new(old.route.destnode, ends.dst_id),
        src: Endpoint::new(old.route.srcnode, ends.src_id),
        flags,
        reqid: old.route.reqid,
        command,
        generation: old.route.generation,
    };
    header::encode(out, &header, &Rest(r.take_rest()), checksum)
}

/// Appends the packet of the existing protocol that a native packet stands for. The payload is
/// moved, not decoded. Fails for commands that the existing protocol does not have.
pub fn to_legacy<O: Output>(out: &mut O, packet: &Packet<'_>) -> Result<(), Error> {
    let Header { dst, src, reqid, command, generation, payload_version, .. } = packet.header;
    if payload_version != 0 {
        let expected = Expected::Value { wanted: 0, found: payload_version.into() };
        return Err(Error::new("native header payload_version", 10, expected));
    }
    let opcode = command::control_opcode(command);
    let operation = match opcode {
        Some(_) if packet.header.is_reply() => legacy::operation::REPLY_CONTROL,
        Some(_) => legacy::operation::REQ_CONTROL,
        None => command::operation(command).ok_or_else(|| {
            let wanted = "a command that the existing protocol has";
            let expected = Expected::Words { wanted, found: command.into() };
            Error::new("native header command", 36, expected)
        })?,
    };
    let opcode = opcode.filter(|_| operation == legacy::operation::REQ_CONTROL);
    let exact = legacy::HEADER_SIZE + opcode.map_or(0, |_| 8) + packet.payload.len();
    let size = exact.next_multiple_of(8);
    let length =
        u32::try_from(size).map_err(|_| Error::new("packet", 0, Expected::Encodable { size }))?;
    let (destnode, srcnode) = (dst.node, src.node);
    let route = legacy::Route { generation, destnode, srcnode, reqid };
    out.reserve_bytes(size);
    legacy::Header { length, operation, route }.encode(out);
    if let Some(opcode) = opcode {
        [opcode, 0].encode(out);
    }
    out.put_bytes(packet.payload);
    out.put_zeros(size - exact);
    Ok(())
}

/// Command and header flags of a control request.
fn control_command(opcode: u32, control_flags: u32) -> Result<(u32, u32), Error> {
    let command = command::control(opcode).ok_or_else(|| {
        let expected = Expected::Words { wanted: "an opcode below 4096", found: opcode.into() };
        Error::new("ReqControl.opcode", legacy::HEADER_SIZE, expected)
    })?;
    match control_flags & flags::control::NOREPLY {
        0 => Ok((command, 0)),
        _ => Ok((command, flag::NOREPLY)),
    }
}

/// Command and header flags of a control reply.
fn reply_command(opcode: Option<u32>) -> (u32, u32) {
    (opcode.and_then(command::control).unwrap_or(command::REPLY_CONTROL), flag::REPLY)
}

/// Command and header flags of any other operation.
fn record_command(operation: u32) -> Result<(u32, u32), Error> {
    match command::from_operation(operation) {
        Some(command) if command::is_reply(command) => Ok((command, flag::REPLY)),
        Some(command) => Ok((command, 0)),
        None => {
            let expected = Expected::Words { wanted: "a known operation", found: operation.into() };
            Err(Error::new("packet header operation", 16, expected))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::Decode;
    use crate::legacy::packet::tests::{sample_packet, with_flags_word};
    use crate::legacy::{Rounding, Route};
    use crate::sample::Entropy;
    use proptest::prelude::*;

    fn ends_of(packet: &legacy::Packet<'_>) -> NativeEnds {
        let is_reply = matches!(packet, legacy::Packet::ReplyControl(_));
        NativeEnds { dst_id: 4, src_id: 9, reply_opcode: is_reply.then_some(91) }
    }

    fn bounded_opcode(mut packet: legacy::Packet<'_>) -> legacy::Packet<'_> {
        if let legacy::Packet::ReqControl(control) = &mut packet {
            control.opcode %= 4096;
        }
        packet
    }

    proptest! {
        #[test]
        fn legacy_to_native_and_back_is_the_same_bytes(
            entropy in prop::collection::vec(any::<u8>(), 0..300),
            numbers in any::<[u32; 4]>(),
            checked in any::<bool>(),
        ) {
            let checksum = if checked { Checksum::On } else { Checksum::Off };
            let [generation, destnode, srcnode, reqid] = numbers;
            let route = Route { generation, destnode, srcnode, reqid };
            let packet = bounded_opcode(sample_packet(&mut Entropy::new(&entropy)));
            let mut old = Vec::new();
            packet.encode(&mut old, &route, Rounding::Daemon).unwrap();
            let mut new = Vec::new();
            from_legacy(&mut new, &old, &ends_of(&packet), checksum).unwrap();
            let native = Packet::decode(&new, checksum).unwrap();
            prop_assert_eq!(native.header.dst, Endpoint::new(destnode, 4));
            prop_assert_eq!(native.header.src, Endpoint::new(srcnode, 9));
            let mut back = Vec::new();
            to_legacy(&mut back, &native).unwrap();
            prop_assert_eq!(back, old);
        }

        #[test]
        fn native_to_legacy_and_back_is_the_same_bytes(
            entropy in prop::collection::vec(any::<u8>(), 0..300),
            reqid in any::<u32>(),
        ) {
            let packet = bounded_opcode(sample_packet(&mut Entropy::new(&entropy)));
            let ends = ends_of(&packet);
            let header = Header {
                dst: Endpoint::new(1, ends.dst_id),
                src: Endpoint::new(2, ends.src_id),
                reqid,
                generation: 7,
                ..Header::default()
            };
            let mut new = Vec::new();
            encode_common(&mut new, &header, &packet, ends.reply_opcode, Checksum::On).unwrap();
            let native = Packet::decode(&new, Checksum::On).unwrap();
            match native.body().unwrap() {
                Body::Common(again) => {
                    prop_assert_eq!(with_flags_word(again), with_flags_word(packet))
                }
                other => prop_assert!(false, "{:?}", other),
            }
            let mut old = Vec::new();
            to_legacy(&mut old, &native).unwrap();
            let mut back = Vec::new();
            from_legacy(&mut back, &old, &ends, Checksum::On).unwrap();
            prop_assert_eq!(back, new);
        }

        #[test]
        fn arbitrary_packets_never_panic(
            mut bytes in prop::collection::vec(any::<u8>(), 0..200),
            command in prop_oneof![0u32..0x120, 0x1000u32..0x1100],
            reply in any::<bool>(),
        ) {
            let _ = Packet::decode(&bytes, Checksum::On);
            let _ = from_legacy(&mut Vec::new(), &bytes, &NativeEnds::default(), Checksum::On);
            bytes.resize(bytes.len().next_multiple_of(8).max(header::HEADER_SIZE), 0);
            let length = bytes.len() as u32;
            let flags = u32::from(reply);
            let header = Header { length, command, flags, ..Header::default() };
            bytes.splice(..header::HEADER_SIZE, header.to_vec());
            let packet = Packet::decode(&bytes, Checksum::Off).unwrap();
            let _ = packet.body();
            let _ = to_legacy(&mut Vec::new(), &packet);
        }
    }

    #[test]
    fn a_control_payload_is_the_tail_of_the_existing_body() {
        let control =
            legacy::ReqControl { opcode: 91, srvid: 5, client_id: 6, flags: 1, data: b"data" };
        let payload = ControlPayload::from(&control);
        assert_eq!(control.to_vec()[8..], payload.to_vec());
        assert_eq!(payload.with_opcode(91), control);
    }

    #[test]
    fn a_reply_without_its_opcode_is_still_a_reply() {
        let reply = legacy::ReplyControl { status: 3, data: b"", errormsg: b"" };
        let old = legacy::encode_to_vec(&Route::default(), &reply, Rounding::Daemon).unwrap();
        let mut new = Vec::new();
        from_legacy(&mut new, &old, &NativeEnds::default(), Checksum::Off).unwrap();
        let packet = Packet::decode(&new, Checksum::Off).unwrap();
        assert_eq!(packet.header.command, command::REPLY_CONTROL);
        assert!(packet.header.is_reply());
        assert_eq!(packet.body(), Ok(Body::Common(legacy::Packet::ReplyControl(reply))));
        let mut back = Vec::new();
        to_legacy(&mut back, &packet).unwrap();
        assert_eq!(back, old);
    }

    #[test]
    fn opcodes_far_from_any_control_are_refused() {
        let control =
            legacy::ReqControl { opcode: 4096, srvid: 0, client_id: 0, flags: 0, data: b"" };
        let old = legacy::encode_to_vec(&Route::default(), &control, Rounding::Daemon).unwrap();
        let e = from_legacy(&mut Vec::new(), &old, &NativeEnds::default(), Checksum::Off);
        assert_eq!(e.map_err(|e| (e.what, e.offset)), Err(("ReqControl.opcode", 32)));
    }

    #[test]
    fn own_commands_have_no_existing_form() {
        let hello = Hello { pnn: 1, protocol_version: 1, boot: 9, config_hash: 0, features: 0 };
        let header = Header { command: command::HELLO, ..Header::default() };
        let bytes = header::encode_to_vec(&header, &hello, Checksum::On).unwrap();
        let packet = Packet::decode(&bytes, Checksum::On).unwrap();
        assert_eq!(packet.body(), Ok(Body::Hello(hello)));
        assert!(to_legacy(&mut Vec::new(), &packet).is_err());
        assert!(Header::from_prefix(&bytes).is_ok());
    }

    #[test]
    fn unknown_commands_and_versions_are_not_errors_of_the_link() {
        for header in [
            Header { command: 0x77, ..Header::default() },
            Header { command: command::MESSAGE, payload_version: 2, ..Header::default() },
        ] {
            let bytes = header::encode_to_vec(&header, &(), Checksum::Off).unwrap();
            let packet = Packet::decode(&bytes, Checksum::Off).unwrap();
            assert_eq!(packet.body(), Ok(Body::Unknown(&[])));
        }
    }
}
