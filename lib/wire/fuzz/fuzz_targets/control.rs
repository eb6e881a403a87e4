// SPDX-License-Identifier: GPL-3.0-or-later
//! Every payload of every control: what decodes encodes to something that decodes to the same.
#![no_main]

use ctdb_wire::{ControlReply, ControlRequest, Encode, Opcode};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Some((number, payload)) = data.split_first() else { return };
    let opcode = Opcode::ALL[usize::from(*number) % Opcode::ALL.len()];
    if let Ok(request) = ControlRequest::decode(opcode, payload) {
        let bytes = request.to_vec();
        assert_eq!(bytes.len(), request.size());
        // compared as text: a NaN does not equal itself
        let again = ControlRequest::decode(opcode, &bytes).expect("own encoding");
        assert_eq!(format!("{again:?}"), format!("{request:?}"));
    }
    if let Ok(reply) = ControlReply::decode(opcode, payload) {
        let bytes = reply.to_vec();
        assert_eq!(bytes.len(), reply.size());
        let again = ControlReply::decode(opcode, &bytes).expect("own encoding");
        assert_eq!(format!("{again:?}"), format!("{reply:?}"));
    }
});
