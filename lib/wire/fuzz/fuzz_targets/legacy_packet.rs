// SPDX-License-Identifier: GPL-3.0-or-later
//! A packet of the existing protocol that decodes encodes to a packet that decodes to the same.
#![no_main]

use ctdb_wire::legacy::{Header, Packet, Rounding, HEADER_SIZE};
use ctdb_wire::{native, Encode};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let _ = Packet::decode(data);
    // the operation from the first byte, a valid header, the rest is the body
    let Some((operation, body)) = data.split_first() else { return };
    let length = (HEADER_SIZE + body.len()) as u32;
    let header = Header { length, operation: u32::from(*operation % 12), ..Header::default() };
    let mut bytes = header.to_vec();
    bytes.extend_from_slice(body);
    let Ok((header, packet)) = Packet::decode(&bytes) else { return };
    let mut again = Vec::new();
    if packet.encode(&mut again, &header.route, Rounding::Exact).is_ok() {
        let (_, decoded) = Packet::decode(&again).expect("own encoding");
        assert_eq!(decoded, packet);
        let ends = native::NativeEnds::default();
        let mut new = Vec::new();
        if native::from_legacy(&mut new, &again, &ends, native::Checksum::On).is_ok() {
            let new = native::Packet::decode(&new, native::Checksum::On).expect("own encoding");
            let mut back = Vec::new();
            native::to_legacy(&mut back, &new).expect("came from there");
            if again.len() % 8 == 0 {
                assert_eq!(back, again);
            }
        }
    }
});
