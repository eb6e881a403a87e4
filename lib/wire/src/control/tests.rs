// SPDX-License-Identifier: GPL-3.0-or-later
//! Properties that hold for every control of the table.

use super::table::sample;
use super::*;
use crate::error::Expected;
use crate::sample::Entropy;
use crate::types::NodeMap;
use proptest::prelude::*;

proptest! {
    #[test]
    fn requests_survive_the_round_trip(entropy in prop::collection::vec(any::<u8>(), 0..400)) {
        for &opcode in Opcode::ALL {
            let request = sample::request(opcode, &mut Entropy::new(&entropy));
            prop_assert_eq!(request.opcode(), opcode);
            let bytes = request.to_vec();
            prop_assert_eq!(bytes.len(), request.size());
            prop_assert_eq!(ControlRequest::decode(opcode, &bytes), Ok(request));
        }
    }

    #[test]
    fn replies_survive_the_round_trip(entropy in prop::collection::vec(any::<u8>(), 0..2500)) {
        for &opcode in Opcode::ALL {
            let reply = sample::reply(opcode, &mut Entropy::new(&entropy));
            prop_assert_eq!(reply.opcode(), opcode);
            let bytes = reply.to_vec();
            prop_assert_eq!(bytes.len(), reply.size());
            prop_assert_eq!(ControlReply::decode(opcode, &bytes), Ok(reply));
        }
    }

    #[test]
    fn cut_and_changed_payloads_never_panic(
        entropy in prop::collection::vec(any::<u8>(), 0..400),
        cut in any::<prop::sample::Index>(),
        at in any::<prop::sample::Index>(),
        byte in any::<u8>(),
    ) {
        for &opcode in Opcode::ALL {
            let mut bytes = sample::request(opcode, &mut Entropy::new(&entropy)).to_vec();
            mutate(&mut bytes, cut, at, byte);
            if let Err(e) = ControlRequest::decode(opcode, &bytes) {
                prop_assert!(e.offset <= bytes.len() && !e.what.is_empty(), "{opcode}: {e}");
            }
            let mut bytes = sample::reply(opcode, &mut Entropy::new(&entropy)).to_vec();
            mutate(&mut bytes, cut, at, byte);
            if let Err(e) = ControlReply::decode(opcode, &bytes) {
                prop_assert!(e.offset <= bytes.len() && !e.what.is_empty(), "{opcode}: {e}");
            }
        }
    }

    #[test]
    fn arbitrary_payloads_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
        for &opcode in Opcode::ALL {
            let _ = ControlRequest::decode(opcode, &bytes);
            let _ = ControlReply::decode(opcode, &bytes);
        }
    }
}

fn mutate(bytes: &mut Vec<u8>, cut: prop::sample::Index, at: prop::sample::Index, byte: u8) {
    if !bytes.is_empty() {
        let at = at.index(bytes.len());
        bytes[at] = byte;
        bytes.truncate(cut.index(bytes.len() + 1));
    }
}

#[test]
fn there_are_107_live_controls_in_ascending_order() {
    assert_eq!(Opcode::ALL.len(), 107);
    assert!(Opcode::ALL.is_sorted());
    for number in 0..400 {
        let live = Opcode::from_u32(number);
        assert_eq!(live.map(u32::from), live.map(|_| number));
        assert!(live.is_none() || obsolete_name(number).is_none(), "{number}");
    }
}

#[test]
fn sizes_are_checked_as_the_daemon_checks_them() {
    // exactly the fixed size
    assert!(ControlRequest::decode(Opcode::GetDbName, &[0; 4]).is_ok());
    assert!(ControlRequest::decode(Opcode::GetDbName, &[0; 3]).is_err());
    let e = ControlRequest::decode(Opcode::GetDbName, &[0; 8]).unwrap_err();
    assert_eq!((e.what, e.offset, e.expected), ("GET_DBNAME", 4, Expected::End { left: 4 }));
    // "-" must be empty, "any" is ignored
    assert!(ControlRequest::decode(Opcode::Ping, &[0]).is_err());
    assert_eq!(ControlRequest::decode(Opcode::GetPnn, &[0; 9]), Ok(ControlRequest::GetPnn));
    // unchecked
    assert!(ControlRequest::decode(Opcode::DbDetach, &[0; 9]).is_ok());
    // GET_DB_SEQNUM needs the 4 extra bytes
    assert!(ControlRequest::decode(Opcode::GetDbSeqnum, &[0; 4]).is_err());
    assert!(ControlRequest::decode(Opcode::GetDbSeqnum, &[0; 8]).is_ok());
}

#[test]
fn a_call_type_ties_request_and_reply_together() {
    fn roundtrip<C: Control>(request: C::Request<'_>, reply: &[u8]) -> (u32, Vec<u8>, bool) {
        (C::OPCODE.into(), request.to_vec(), C::decode_reply(reply).is_ok())
    }
    let map = NodeMap { node: Vec::new() };
    assert_eq!(roundtrip::<call::GetNodemap>((), &map.to_vec()), (91, vec![], true));
    assert_eq!(roundtrip::<call::GetDbName>(1, b"a.tdb\0"), (25, vec![1, 0, 0, 0], true));
}
