// SPDX-License-Identifier: GPL-3.0-or-later
//! A native packet with any command and payload never panics a decoder or a conversion.
#![no_main]

use ctdb_wire::native::{self, Body, Checksum, Header, Packet};
use ctdb_wire::Rest;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let _ = Packet::decode(data, Checksum::On);
    let Some((head, payload)) = data.split_first_chunk::<3>() else { return };
    let command = u32::from(u16::from_le_bytes([head[0], head[1]]) % 0x2100);
    let flags = u32::from(head[2] & 3);
    let header = Header { command, flags, ..Header::default() };
    let bytes = native::encode_to_vec(&header, &Rest(payload), Checksum::On).expect("small");
    let packet = Packet::decode(&bytes, Checksum::On).expect("own encoding");
    if let Ok(Body::Common(body)) = packet.body() {
        let mut again = Vec::new();
        let opcode = native::command::control_opcode(command);
        native::encode_common(&mut again, &packet.header, &body, opcode, Checksum::Off)
            .expect("a body that both dialects have");
        let mut old = Vec::new();
        native::to_legacy(&mut old, &packet).expect("a body that both dialects have");
    }
});
