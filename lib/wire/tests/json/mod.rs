// SPDX-License-Identifier: GPL-3.0-or-later
//! Comparing a decoded layout with the JSON form of the golden data.

use ctdb_wire::types::LtdbHeader;
use ctdb_wire::{Decode, Encode, Inspect, Value};
use serde_json::Value as Json;

/// Bytes from a hex string.
pub fn hex(json: &Json) -> Vec<u8> {
    let text = json.as_str().expect("hex string");
    assert_eq!(text.len() % 2, 0);
    (0..text.len())
        .step_by(2)
        .map(|i| u8::from_str_radix(&text[i..i + 2], 16).expect("hex"))
        .collect()
}

/// A number, which may be as large as 2^64 - 1.
pub fn number(json: &Json) -> u64 {
    json.as_u64().unwrap_or_else(|| panic!("{json} is not an unsigned number"))
}

/// Bytes from `{"bytes": hex, "ascii": text}`.
pub fn data_bytes(json: &Json) -> Option<Vec<u8>> {
    json.get("bytes").map(hex)
}

/// A field of a structure.
pub fn field<'v>(value: &'v Value, name: &str) -> &'v Value {
    let Value::Record(fields) = value else { panic!("{name}: {value} is not a structure") };
    let found = fields.iter().find(|(field, _)| *field == name);
    &found.unwrap_or_else(|| panic!("no field {name} in {value}")).1
}

/// Asserts that `found` is what the golden data says.
pub fn compare(at: &str, found: &Value, wanted: &Json) {
    match (found, wanted) {
        (Value::Record(fields), Json::Object(object)) => compare_record(at, fields, object),
        (Value::List(list), Json::Array(array)) => {
            assert_eq!(list.len(), array.len(), "{at}");
            for (i, (found, wanted)) in list.iter().zip(array).enumerate() {
                compare(&format!("{at}[{i}]"), found, wanted);
            }
        }
        (Value::Bytes(bytes), Json::String(text)) => assert_eq!(bytes, text.as_bytes(), "{at}"),
        (Value::Bytes(bytes), _) => {
            assert_eq!(Some(bytes), data_bytes(wanted).as_ref(), "{at}")
        }
        (Value::Text(text), _) => assert_eq!(Some(text.as_str()), wanted.as_str(), "{at}"),
        (Value::Unsigned(n), _) => assert_eq!(Some(*n), wanted.as_u64(), "{at}"),
        (Value::Signed(n), _) => assert_eq!(Some(*n), wanted.as_i64(), "{at}"),
        (Value::Float(n), _) => assert_eq!(Some(*n), wanted.as_f64(), "{at}"),
        (Value::Bool(b), _) => assert_eq!(Some(*b), wanted.as_bool(), "{at}"),
        (Value::Null, _) => assert!(wanted.is_null(), "{at}: {wanted}"),
        _ => panic!("{at}: {found} is not {wanted}"),
    }
}

type Fields = [(&'static str, Value)];

/// Every key of the golden data must be a field, except element counts, and every field a key.
fn compare_record(at: &str, fields: &Fields, object: &serde_json::Map<String, Json>) {
    let mut matched = 0;
    for (key, wanted) in object {
        let at = format!("{at}.{key}");
        // a field whose name is reserved in Rust
        let name = if key == "type" { "lock_type" } else { key };
        let found = fields.iter().find(|(field, _)| *field == name).map(|(_, value)| value);
        match (key.as_str(), found) {
            ("data", Some(Value::Bytes(bytes))) if object.contains_key("header") => {
                compare_record_data(&at, bytes, &object["header"], wanted)
            }
            ("header", None) => continue,
            (_, Some(found)) => compare(&at, found, wanted),
            ("num" | "count" | "size" | "num_scripts", None) => {
                let list = fields.iter().find_map(|(_, value)| match value {
                    Value::List(list) => Some(list.len() as u64),
                    _ => None,
                });
                assert_eq!(list, wanted.as_u64(), "{at}");
                continue;
            }
            _ => panic!("{at}: no such field"),
        }
        matched += 1;
    }
    assert_eq!(
        matched,
        fields.len(),
        "{at}: fields that the golden data does not have: {fields:?}"
    );
}

/// The golden data splits a record's data into the record header and the rest.
fn compare_record_data(at: &str, found: &[u8], header: &Json, rest: &Json) {
    let mut bytes = found;
    if !header.is_null() {
        let decoded = LtdbHeader::from_prefix(found).expect("record header");
        compare(&format!("{at}.header"), &decoded.inspect(), header);
        bytes = &found[decoded.to_vec().len()..];
    }
    assert_eq!(Some(bytes), data_bytes(rest).as_deref(), "{at}");
}
