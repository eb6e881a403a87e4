// SPDX-License-Identifier: GPL-3.0-or-later
//! Between the engine's packets and the bytes of the two dialects (`spec/wire.md 2, 5`; docs/protocol.md).
//!
//! Keys and data of a decoded packet are slices of the buffer it was received in; nothing is copied.

use bytes::Bytes;
use ctdb_engine::packet::{
    Body, Call, Control, ControlReply, Dmaster, Endpoint, Packet, CTRL_FLAG_NOREPLY,
};
use ctdb_engine::ports::ClientPacket;
use ctdb_wire::legacy::{self, Rounding, Route};
use ctdb_wire::native::{self, command, flag, Checksum, Header};
use ctdb_wire::{Decode, Encode, Error, Output};

/// Appends a packet for the client socket to `out`. `pnn` and `generation` go into its header.
pub fn encode_client(
    out: &mut Vec<u8>,
    pnn: u32,
    generation: u32,
    packet: &ClientPacket,
) -> Result<(), Error> {
    let route = Route { generation, destnode: 0, srcnode: pnn, reqid: packet.reqid };
    encode_legacy(out, &route, &packet.body)
}

fn encode_legacy(out: &mut Vec<u8>, route: &Route, body: &Body) -> Result<(), Error> {
    use legacy::{encode, ReplyCall, ReplyControl, ReqCall, ReqMessage, ReqTunnel};
    let r = Rounding::Daemon;
    match body {
        Body::Call(c) => encode(
            out,
            route,
            &ReqCall {
                flags: c.flags,
                db_id: c.db,
                callid: c.callid,
                hopcount: c.hopcount,
                key: &c.key,
                calldata: &c.data,
            },
            r,
        ),
        Body::CallReply { status, data } => {
            encode(out, route, &ReplyCall { status: *status, data }, r)
        }
        Body::Message { srvid, data } => encode(out, route, &ReqMessage { srvid: *srvid, data }, r),
        Body::Control(c) => encode(out, route, &control(c), r),
        Body::ControlReply(c) => encode(
            out,
            route,
            &ReplyControl { status: c.status, data: &c.data, errormsg: c.error.as_bytes() },
            r,
        ),
        Body::Tunnel { tunnel_id, flags, data } => {
            encode(out, route, &ReqTunnel { tunnel_id: *tunnel_id, flags: *flags, data }, r)
        }
        // Clients are never sent the rest (spec/wire.md 4.1).
        Body::Dmaster(_) | Body::Error { .. } | Body::Keepalive { .. } | Body::Local(_) => Ok(()),
    }
}

fn control(c: &Control) -> legacy::ReqControl<'_> {
    legacy::ReqControl {
        opcode: c.opcode,
        srvid: c.srvid,
        client_id: c.client_id,
        flags: c.flags,
        data: &c.data,
    }
}

/// What a packet from a client says. None: an operation that clients may not send, to be ignored.
pub fn decode_client(buf: &Bytes) -> Result<Option<ClientPacket>, Error> {
    let (header, packet) = legacy::Packet::decode(buf)?;
    let body = match packet {
        legacy::Packet::ReqCall(c) => Body::Call(call(buf, c)),
        legacy::Packet::ReqMessage(m) => {
            Body::Message { srvid: m.srvid, data: buf.slice_ref(m.data) }
        }
        legacy::Packet::ReqControl(c) => Body::Control(Control {
            opcode: c.opcode,
            srvid: c.srvid,
            client_id: c.client_id,
            flags: c.flags,
            data: buf.slice_ref(c.data),
        }),
        legacy::Packet::ReqTunnel(t) => {
            Body::Tunnel { tunnel_id: t.tunnel_id, flags: t.flags, data: buf.slice_ref(t.data) }
        }
        _ => return Ok(None),
    };
    let legacy::Route { destnode, reqid, .. } = header.route;
    Ok(Some(ClientPacket { destnode, reqid, body }))
}

fn call(buf: &Bytes, c: legacy::ReqCall<'_>) -> Call {
    Call {
        flags: c.flags,
        db: c.db_id,
        callid: c.callid,
        hopcount: c.hopcount,
        key: buf.slice_ref(c.key),
        data: buf.slice_ref(c.calldata),
    }
}

/// The header of an undecodable control of a client, so that it can be answered with an error
/// (`spec/wire.md 11.1`): its reqid, if it wants a reply.
pub fn control_to_refuse(buf: &Bytes) -> Option<u32> {
    let header = legacy::Header::decode(&mut ctdb_wire::Reader::new(buf)).ok()?;
    let noreply = buf.get(52..56).is_some_and(|flags| {
        u32::from_le_bytes([flags[0], flags[1], flags[2], flags[3]]) & CTRL_FLAG_NOREPLY != 0
    });
    (header.operation == legacy::operation::REQ_CONTROL && !noreply).then_some(header.route.reqid)
}

/// Appends a packet for a native link to `out`.
pub fn encode_native(out: &mut Vec<u8>, packet: &Packet) -> Result<(), Error> {
    let mut header = Header {
        length: 0,
        payload_version: 0,
        dst: native::Endpoint::new(packet.dst.node, packet.dst.id),
        src: native::Endpoint::new(packet.src.node, packet.src.id),
        flags: 0,
        reqid: packet.reqid,
        command: 0,
        generation: packet.generation,
    };
    let mut put = |command: u32, flags: u32, body: &dyn Put| {
        header.command = command;
        header.flags = flags;
        body.put(out, &header)
    };
    match &packet.body {
        Body::Call(c) => put(
            command::REQ_CALL,
            0,
            &legacy::ReqCall {
                flags: c.flags,
                db_id: c.db,
                callid: c.callid,
                hopcount: c.hopcount,
                key: &c.key,
                calldata: &c.data,
            },
        ),
        Body::CallReply { status, data } => {
            put(command::REPLY_CALL, flag::REPLY, &legacy::ReplyCall { status: *status, data })
        }
        Body::Dmaster(d) if d.reply => put(
            command::REPLY_DMASTER,
            0,
            &legacy::ReplyDmaster {
                db_id: d.db,
                rsn: d.rsn,
                key: &d.key,
                data: &d.data,
                record_flags: Some(d.record_flags),
            },
        ),
        Body::Dmaster(d) => put(
            command::REQ_DMASTER,
            0,
            &legacy::ReqDmaster {
                db_id: d.db,
                rsn: d.rsn,
                dmaster: d.dmaster,
                key: &d.key,
                data: &d.data,
                record_flags: Some(d.record_flags),
            },
        ),
        Body::Error { status, message } => put(
            command::REPLY_ERROR,
            flag::REPLY,
            &legacy::ReplyError { status: *status, msg: message.as_bytes() },
        ),
        Body::Message { srvid, data } => {
            put(command::MESSAGE, 0, &legacy::ReqMessage { srvid: *srvid, data })
        }
        Body::Control(c) => {
            let flags = if c.flags & CTRL_FLAG_NOREPLY != 0 { flag::NOREPLY } else { 0 };
            let command = command::control(c.opcode).unwrap_or(command::CONTROL_END - 1);
            put(command, flags, &native::ControlPayload::from(&control(c)))
        }
        Body::ControlReply(c) => put(
            command::REPLY_CONTROL,
            flag::REPLY,
            &legacy::ReplyControl { status: c.status, data: &c.data, errormsg: c.error.as_bytes() },
        ),
        Body::Keepalive { version, uptime } => {
            put(command::HEARTBEAT, 0, &legacy::ReqKeepalive { version: *version, uptime: *uptime })
        }
        Body::Tunnel { tunnel_id, flags, data } => put(
            command::TUNNEL,
            0,
            &legacy::ReqTunnel { tunnel_id: *tunnel_id, flags: *flags, data },
        ),
        Body::Local(_) => Ok(()),
    }
}

trait Put {
    fn put(&self, out: &mut Vec<u8>, header: &Header) -> Result<(), Error>;
}

impl<T: Encode> Put for T {
    fn put(&self, out: &mut Vec<u8>, header: &Header) -> Result<(), Error> {
        native::encode(out, header, self, CHECKSUM)
    }
}

/// Links carry checksums until they are inside TLS.
pub const CHECKSUM: Checksum = Checksum::On;

/// What a packet of a native link says. None: a command this release does not know; `Ok(Some)` otherwise.
pub fn decode_native(buf: &Bytes) -> Result<Option<Packet>, Error> {
    let p = native::Packet::decode(buf, CHECKSUM)?;
    let h = p.header;
    let body = match h.command {
        command::REQ_CALL => Body::Call(call(buf, p.payload_as()?)),
        command::REPLY_CALL => {
            let r: legacy::ReplyCall<'_> = p.payload_as()?;
            Body::CallReply { status: r.status, data: buf.slice_ref(r.data) }
        }
        command::REQ_DMASTER => {
            let d: legacy::ReqDmaster<'_> = p.payload_as()?;
            Body::Dmaster(Dmaster {
                reply: false,
                db: d.db_id,
                rsn: d.rsn,
                dmaster: d.dmaster,
                record_flags: d.record_flags.unwrap_or(0),
                key: buf.slice_ref(d.key),
                data: buf.slice_ref(d.data),
            })
        }
        command::REPLY_DMASTER => {
            let d: legacy::ReplyDmaster<'_> = p.payload_as()?;
            Body::Dmaster(Dmaster {
                reply: true,
                db: d.db_id,
                rsn: d.rsn,
                dmaster: h.dst.node,
                record_flags: d.record_flags.unwrap_or(0),
                key: buf.slice_ref(d.key),
                data: buf.slice_ref(d.data),
            })
        }
        command::REPLY_ERROR => {
            let e: legacy::ReplyError<'_> = p.payload_as()?;
            Body::Error { status: e.status, message: text(e.msg) }
        }
        command::MESSAGE => {
            let m: legacy::ReqMessage<'_> = p.payload_as()?;
            Body::Message { srvid: m.srvid, data: buf.slice_ref(m.data) }
        }
        command::HEARTBEAT => {
            let k: legacy::ReqKeepalive = p.payload_as()?;
            Body::Keepalive { version: k.version, uptime: k.uptime }
        }
        command::TUNNEL => {
            let t: legacy::ReqTunnel<'_> = p.payload_as()?;
            Body::Tunnel { tunnel_id: t.tunnel_id, flags: t.flags, data: buf.slice_ref(t.data) }
        }
        c if c == command::REPLY_CONTROL
            || command::control_opcode(c).is_some() && h.is_reply() =>
        {
            let r: legacy::ReplyControl<'_> = p.payload_as()?;
            Body::ControlReply(ControlReply {
                status: r.status,
                data: buf.slice_ref(r.data),
                error: text(r.errormsg),
            })
        }
        c => match command::control_opcode(c) {
            Some(opcode) => {
                let r = p.payload_as::<native::ControlPayload<'_>>()?.with_opcode(opcode);
                Body::Control(Control {
                    opcode: r.opcode,
                    srvid: r.srvid,
                    client_id: r.client_id,
                    flags: r.flags,
                    data: buf.slice_ref(r.data),
                })
            }
            None => return Ok(None),
        },
    };
    Ok(Some(Packet {
        dst: Endpoint { node: h.dst.node, id: h.dst.id },
        src: Endpoint { node: h.src.node, id: h.src.id },
        reqid: h.reqid,
        generation: h.generation,
        body,
    }))
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes.strip_suffix(&[0]).unwrap_or(bytes)).into_owned()
}

/// Appends the first packet of a link.
pub fn encode_hello(out: &mut Vec<u8>, from: u32, to: u32, boot: u64) {
    let hello = native::Hello {
        pnn: from,
        protocol_version: u32::from(native::PROTOCOL_VERSION),
        boot,
        config_hash: 0,
        features: 0,
    };
    let header = Header {
        dst: native::Endpoint::new(to, 0),
        src: native::Endpoint::new(from, 0),
        command: command::HELLO,
        ..Header::default()
    };
    let before = out.written_len();
    if native::encode(out, &header, &hello, CHECKSUM).is_err() {
        out.truncate(before); // cannot happen: the packet is 80 bytes
    }
}

/// Appends the answer to a request whose command this release does not know (docs/protocol.md): an error reply, since
/// a newer peer must learn of it. Nothing, if `buf` is a reply or wants none.
pub fn refuse_unknown(out: &mut Vec<u8>, buf: &[u8]) -> Result<(), Error> {
    let p = native::Packet::decode(buf, CHECKSUM)?;
    if p.header.is_reply() || p.header.flags & flag::NOREPLY != 0 {
        return Ok(());
    }
    let error = native::ErrorReply {
        status: -libc::ENOSYS,
        command: p.header.command,
        message: b"unknown command",
    };
    let header = Header { command: command::ERROR, ..p.header.reply() };
    native::encode(out, &header, &error, CHECKSUM)
}

/// The first packet of a link, if `buf` is one.
pub fn decode_hello(buf: &[u8]) -> Result<Option<native::Hello>, Error> {
    let p = native::Packet::decode(buf, CHECKSUM)?;
    if p.header.command != command::HELLO {
        return Ok(None);
    }
    p.payload_as().map(Some)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn round_trip(body: Body) {
        let packet = Packet {
            dst: Endpoint { node: 1, id: 4 },
            src: Endpoint { node: 0, id: 9 },
            reqid: 77,
            generation: 5,
            body,
        };
        let mut out = Vec::new();
        encode_native(&mut out, &packet).unwrap();
        assert_eq!(decode_native(&Bytes::from(out)).unwrap(), Some(packet));
    }

    #[test]
    fn native_packets_survive() {
        let key = Bytes::from_static(b"key");
        let data = Bytes::from_static(b"value");
        round_trip(Body::Call(Call {
            flags: 1,
            db: 2,
            callid: 3,
            hopcount: 4,
            key: key.clone(),
            data: Bytes::new(),
        }));
        for reply in [false, true] {
            round_trip(Body::Dmaster(Dmaster {
                reply,
                db: 2,
                rsn: 1 << 40,
                dmaster: 1,
                record_flags: 0x10000,
                key: key.clone(),
                data: data.clone(),
            }));
        }
        round_trip(Body::CallReply { status: -1, data: data.clone() });
        round_trip(Body::Error { status: -1, message: "why".into() });
        round_trip(Body::Message { srvid: u64::MAX, data: data.clone() });
        round_trip(Body::Control(Control {
            opcode: 91,
            srvid: 1,
            client_id: 2,
            flags: 1,
            data: data.clone(),
        }));
        round_trip(Body::ControlReply(ControlReply { status: 3, data, error: "text".into() }));
        round_trip(Body::Keepalive { version: 1, uptime: 2 });
    }

    #[test]
    fn hello_is_recognised() {
        let mut out = Vec::new();
        encode_hello(&mut out, 2, 0, 99);
        let hello = decode_hello(&out).unwrap().unwrap();
        assert_eq!((hello.pnn, hello.boot), (2, 99));
        assert_eq!(decode_native(&Bytes::from(out)).unwrap(), None);
    }

    #[test]
    fn a_malformed_control_can_be_refused() {
        let mut out = Vec::new();
        let route = Route { generation: 0, destnode: 0, srcnode: 0, reqid: 9 };
        let mut body =
            legacy::ReqControl { opcode: 3, srvid: 0, client_id: 0, flags: 0, data: b"" };
        legacy::encode(&mut out, &route, &body, Rounding::Exact).unwrap();
        out[56] = 200; // the length of its data
        let buf = Bytes::from(out.clone());
        assert!(decode_client(&buf).is_err());
        assert_eq!(control_to_refuse(&buf), Some(9));
        body.flags = CTRL_FLAG_NOREPLY;
        out.clear();
        legacy::encode(&mut out, &route, &body, Rounding::Exact).unwrap();
        assert_eq!(control_to_refuse(&Bytes::from(out)), None);
    }
}
