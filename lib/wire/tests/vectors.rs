// SPDX-License-Identifier: GPL-3.0-or-later
//! Golden data: every vector of tests/vectors/protocol.json decodes to the stated fields and encodes
//! back to the same bytes (spec/wire.md 14). The data was produced by, or captured from, C daemons.

mod json;

use std::net::SocketAddr;

use ctdb_wire::legacy::{Header, Packet, Rounding, HEADER_SIZE};
use ctdb_wire::types::*;
use ctdb_wire::{
    native, ControlReply, ControlRequest, Decode, Encode, Inspect, MessagePayload, Opcode, StringN,
    Text, Value,
};
use json::{compare, hex, number};
use serde_json::Value as Json;

const VECTORS_IN_FILE: usize = 341;

fn load() -> Vec<Json> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/vectors/protocol.json");
    let text = std::fs::read_to_string(path).expect(path);
    serde_json::from_str(&text).expect("vectors are a JSON array")
}

/// The bytes of each vector that is a packet.
fn packets() -> Vec<(String, Vec<u8>)> {
    let is_packet = |v: &&Json| v["kind"] != "type" && v["name"] != "packet_header";
    load().iter().filter(is_packet).map(|v| (v["name"].to_string(), hex(&v["hex"]))).collect()
}

#[test]
fn every_vector_decodes_to_its_fields_and_encodes_to_its_bytes() {
    let vectors = load();
    assert_eq!(vectors.len(), VECTORS_IN_FILE);
    let mut checked = 0;
    for vector in &vectors {
        let name = vector["name"].as_str().expect("name");
        let bytes = hex(&vector["hex"]);
        let fields = &vector["fields"];
        match vector["kind"].as_str().expect("kind") {
            "type" => check_type(name, fields, &bytes),
            "packet" if name == "packet_header" => check_header(name, fields, &bytes),
            "packet" | "control-request" | "control-reply" | "message" => {
                check_packet(name, vector, &bytes)
            }
            other => panic!("{name}: kind {other}"),
        }
        checked += 1;
    }
    assert_eq!(checked, VECTORS_IN_FILE);
}

fn check_header(name: &str, fields: &Json, bytes: &[u8]) {
    let header = Header::from_exact(bytes).unwrap_or_else(|e| panic!("{name}: {e}"));
    let mut wanted = fields["header"].clone();
    wanted["length"] = fields["length"].clone();
    compare(name, &header.inspect(), &wanted);
    assert_eq!(header.to_vec(), bytes, "{name}");
}

fn check_packet(name: &str, vector: &Json, bytes: &[u8]) {
    let fields = &vector["fields"];
    check_header(name, fields, &bytes[..HEADER_SIZE]);
    let (header, packet) = Packet::decode(bytes).unwrap_or_else(|e| panic!("{name}: {e}"));
    assert_eq!(packet.operation(), Some(header.operation), "{name}");

    let exact = name.ends_with("unaligned") || name.ends_with("exact_length");
    let rounding = if exact { Rounding::Exact } else { Rounding::Eight };
    let mut again = Vec::new();
    packet.encode(&mut again, &header.route, rounding).expect(name);
    assert_eq!(again, bytes, "{name}");

    let payload_offset = vector.get("payload_offset").map(|v| number(v) as usize);
    match &packet {
        Packet::ReqControl(control) => {
            compare_fields(name, &packet.inspect(), fields, &["pad", "opcode_name", "data_bytes"]);
            assert_eq!(payload_offset, Some(60), "{name}");
            assert!(bytes[60..].starts_with(control.data), "{name}");
            check_request(name, control.opcode, control.data, fields);
        }
        Packet::ReplyControl(reply) => {
            let other = ["opcode", "opcode_name", "data_bytes", "errmsg", "note"];
            compare_fields(name, &packet.inspect(), fields, &other);
            assert_eq!(payload_offset, Some(44), "{name}");
            assert_eq!(reply.error_text().as_deref(), fields["errmsg"].as_str(), "{name}");
            check_reply(name, reply.data, fields);
        }
        Packet::ReqMessage(message) if vector["kind"] == "message" => {
            assert_eq!(payload_offset, Some(44), "{name}");
            assert_eq!(message.srvid, number(&fields["srvid"]), "{name}");
            check_message(name, message.srvid, message.data, &fields["data"]);
        }
        other => {
            for (key, wanted) in fields.as_object().expect(name) {
                if key != "header" && key != "length" {
                    compare(&format!("{name}.{key}"), json::field(&other.inspect(), key), wanted);
                }
            }
        }
    }
}

/// Compares the packet's own fields; `other` are compared elsewhere, as the payload is.
fn compare_fields(name: &str, found: &Value, fields: &Json, other: &[&str]) {
    for (key, wanted) in fields.as_object().expect(name) {
        if !["header", "length", "data"].contains(&key.as_str()) && !other.contains(&key.as_str()) {
            compare(&format!("{name}.{key}"), json::field(found, key), wanted);
        }
    }
}

fn opcode_of(name: &str, number: u64) -> Opcode {
    Opcode::from_u32(number as u32).unwrap_or_else(|| panic!("{name}: control {number}"))
}

fn check_request(name: &str, number_found: u32, payload: &[u8], fields: &Json) {
    let opcode = opcode_of(name, number(&fields["opcode"]));
    assert_eq!(u32::from(opcode), number_found, "{name}");
    if let Some(wanted) = fields["opcode_name"].as_str() {
        assert_eq!(opcode.name(), wanted, "{name}");
    }
    let request = ControlRequest::decode(opcode, payload).unwrap_or_else(|e| panic!("{name}: {e}"));
    assert_eq!(request.to_vec(), payload, "{name}");
    match fields.get("data_bytes") {
        Some(raw) => assert_eq!(payload, hex(raw), "{name}"),
        None => compare_payload(name, &request.inspect(), payload, &fields["data"]),
    }
}

fn check_reply(name: &str, payload: &[u8], fields: &Json) {
    if let Some(raw) = fields.get("data_bytes") {
        return assert_eq!(payload, hex(raw), "{name}");
    }
    let Some(opcode) = fields.get("opcode") else {
        return assert!(payload.is_empty(), "{name}");
    };
    let opcode = opcode_of(name, number(opcode));
    assert_eq!(Some(opcode.name()), fields["opcode_name"].as_str(), "{name}");
    let reply = ControlReply::decode(opcode, payload).unwrap_or_else(|e| panic!("{name}: {e}"));
    assert_eq!(reply.to_vec(), payload, "{name}");
    compare_payload(name, &reply.inspect(), payload, &fields["data"]);
}

fn check_message(name: &str, srvid: u64, payload: &[u8], data: &Json) {
    let message = MessagePayload::decode(srvid, payload).unwrap_or_else(|e| panic!("{name}: {e}"));
    assert_eq!(message.to_vec(), payload, "{name}");
    compare_payload(name, &message.inspect(), payload, data);
}

/// The vectors wrap most payloads into an object with one key that names the argument.
fn compare_payload(name: &str, found: &Value, payload: &[u8], wanted: &Json) {
    let Some(object) = wanted.as_object() else {
        return assert!(wanted.is_null() && payload.is_empty(), "{name}");
    };
    let unwrapped = match object.iter().next() {
        Some((key, argument)) if object.len() == 1 => match found {
            // a structure with that field alone is not wrapped
            Value::Record(fields) if fields.len() == 1 && fields[0].0 == key => wanted,
            _ => argument,
        },
        _ => wanted,
    };
    // text without a length is compared as bytes: the memory report has no NUL, the vector one
    match (found, unwrapped) {
        (Value::Bytes(bytes), Json::String(text)) => {
            let text_found = bytes.strip_suffix(&[0]).unwrap_or(bytes);
            assert_eq!(text_found, text.as_bytes(), "{name}");
        }
        _ => compare(name, found, unwrapped),
    }
}

/// Checks one marshalled type.
fn check_type(name: &str, fields: &Json, bytes: &[u8]) {
    fn as_type<'a, T: Decode<'a> + Encode + Inspect>(name: &str, fields: &Json, bytes: &'a [u8]) {
        let value = T::from_exact(bytes).unwrap_or_else(|e| panic!("{name}: {e}"));
        assert_eq!(value.size(), bytes.len(), "{name}");
        assert_eq!(value.to_vec(), bytes, "{name}");
        let mut wanted = fields.clone();
        let object = wanted.as_object_mut().expect("fields are an object");
        object.remove("type_name");
        match value.inspect() {
            Value::List(list) => {
                compare(name, &Value::Record(vec![("lock", Value::List(list))]), &wanted)
            }
            record @ Value::Record(_) => compare(name, &record, &wanted),
            scalar => compare(name, &scalar, &wanted["value"]),
        }
    }
    let check = match fields["type_name"].as_str().expect("type_name") {
        "ltdb_header" => as_type::<LtdbHeader>,
        "rec_data" => as_type::<RecData<'_>>,
        "rec_buffer" => as_type::<RecBuffer<'_>>,
        "vnn_map" => as_type::<VnnMap>,
        "dbid" => as_type::<Dbid>,
        "dbid_map" => as_type::<DbidMap>,
        "latency_counter" => as_type::<LatencyCounter>,
        "statistics" => as_type::<Statistics>,
        "statistics_list" => as_type::<StatisticsList>,
        "db_statistics" => as_type::<DbStatistics>,
        "pulldb" => as_type::<Pulldb>,
        "pulldb_ext" => as_type::<PulldbExt>,
        "db_vacuum" => as_type::<DbVacuum>,
        "echo_data" => as_type::<EchoData<'_>>,
        "traverse_start" => as_type::<TraverseStart>,
        "traverse_all" => as_type::<TraverseAll>,
        "traverse_start_ext" => as_type::<TraverseStartExt>,
        "traverse_all_ext" => as_type::<TraverseAllExt>,
        "sock_addr" => as_type::<SocketAddr>,
        "connection" => as_type::<Connection>,
        "connection_list" => as_type::<ConnectionList>,
        "tunable" => as_type::<Tunable>,
        "node_flag_change" => as_type::<NodeFlagChange>,
        "var_list" => as_type::<VarList>,
        "tunable_list" => as_type::<TunableList>,
        "tickle_list" => as_type::<TickleList>,
        "addr_info" => as_type::<AddrInfo>,
        "transdb" => as_type::<Transdb>,
        "uptime" => as_type::<Uptime>,
        "public_ip" => as_type::<PublicIp>,
        "public_ip_list" => as_type::<PublicIpList>,
        "node_and_flags" => as_type::<NodeAndFlags>,
        "node_map" => as_type::<NodeMap>,
        "script" => as_type::<Script>,
        "script_list" => as_type::<ScriptList>,
        "ban_state" => as_type::<BanState>,
        "notify_data" => as_type::<NotifyData<'_>>,
        "iface" => as_type::<Iface>,
        "iface_list" => as_type::<IfaceList>,
        "public_ip_info" => as_type::<PublicIpInfo>,
        "key_data" => as_type::<KeyData<'_>>,
        "pid_srvid" => as_type::<PidSrvid>,
        "election_message" => as_type::<ElectionMessage>,
        "srvid_message" => as_type::<SrvidMessage>,
        "disable_message" => as_type::<DisableMessage>,
        "server_id" => as_type::<ServerId>,
        "g_lock" => as_type::<GLock>,
        "g_lock_list" => as_type::<RestList<GLock>>,
        "push_record_data" => as_type::<PushRecordData<'_>>,
        "string" => as_type::<Option<Text>>,
        "stringn" => as_type::<StringN>,
        "tdb_datan" => as_type::<&[u8]>,
        "timeval" => as_type::<Timeval>,
        "double" => as_type::<f64>,
        "bool" => as_type::<bool>,
        "pid" => as_type::<i32>,
        other => panic!("{name}: type {other}"),
    };
    check(name, fields, bytes);
}

#[test]
fn every_packet_survives_the_native_dialect() {
    for (name, bytes) in packets() {
        let ends = native::NativeEnds { dst_id: 4, src_id: 9, reply_opcode: None };
        let mut new = Vec::new();
        native::from_legacy(&mut new, &bytes, &ends, native::Checksum::On).expect(&name);
        let packet = native::Packet::decode(&new, native::Checksum::On).expect(&name);
        let mut back = Vec::new();
        native::to_legacy(&mut back, &packet).expect(&name);
        if bytes.len() % 8 == 0 {
            assert_eq!(back, bytes, "{name}");
        }
        let (old_header, old) = Packet::decode(&bytes).expect(&name);
        let (header, again) = Packet::decode(&back).expect(&name);
        assert_eq!((header.route, &again), (old_header.route, &old), "{name}");
        assert_eq!(packet.body(), Ok(native::Body::Common(old)), "{name}");
    }
}

#[test]
fn cut_and_changed_vectors_never_panic() {
    for (name, bytes) in packets() {
        for cut in 0..bytes.len() {
            let mut shorter = bytes[..cut].to_vec();
            let _ = Packet::decode(&shorter);
            // with a matching length the bodies are reached
            if cut >= HEADER_SIZE {
                shorter[..4].copy_from_slice(&(cut as u32).to_le_bytes());
                decode_deeply(&name, &shorter);
            }
        }
        for at in HEADER_SIZE..bytes.len().min(400) {
            for byte in [0x00, 0x01, 0x7F, 0xFF] {
                let mut changed = bytes.clone();
                changed[at] = byte;
                decode_deeply(&name, &changed);
            }
        }
    }
}

fn decode_deeply(name: &str, bytes: &[u8]) {
    match Packet::decode(bytes) {
        Ok((_, Packet::ReqControl(control))) => {
            if let Some(opcode) = Opcode::from_u32(control.opcode) {
                let _ = ControlRequest::decode(opcode, control.data);
            }
        }
        Ok((_, Packet::ReplyControl(reply))) => {
            for &opcode in Opcode::ALL {
                let _ = ControlReply::decode(opcode, reply.data);
            }
        }
        Ok((_, Packet::ReqMessage(message))) => {
            let _ = MessagePayload::decode(message.srvid, message.data);
        }
        Ok(_) => (),
        Err(e) => {
            assert!(e.offset <= bytes.len(), "{name}: {e}");
            assert!(!e.what.is_empty(), "{name}: {e}");
        }
    }
    let ends = native::NativeEnds::default();
    let _ = native::from_legacy(&mut Vec::new(), bytes, &ends, native::Checksum::Off);
}
