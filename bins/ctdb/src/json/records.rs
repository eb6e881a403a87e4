// SPDX-License-Identifier: GPL-3.0-or-later
//! Records. Databases can be large: a dump is written record by record, each on a line of its own.

use ctdb_wire::types::LtdbHeader;
use schemars::JsonSchema;
use serde::Serialize;

use super::text;
use crate::flags::record_text;

/// Bytes that need not be text.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Bytes {
    /// All bytes, hexadecimal.
    pub hex: String,
    /// The same as text; null if it is none, or has control characters.
    pub text: Option<String>,
}

impl Bytes {
    pub(crate) fn new(bytes: &[u8]) -> Bytes {
        let text = std::str::from_utf8(bytes).ok();
        let text = text.filter(|text| !text.chars().any(char::is_control));
        Bytes { hex: hex(bytes), text: text.map(String::from) }
    }
}

/// Lower-case hexadecimal digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The records of a database.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Dump {
    /// The database.
    pub database: String,
    /// When the backup was made; null if the records are those of a running database.
    pub backup_time: Option<i64>,
    /// The records.
    pub records: Vec<Record>,
    /// Number of the records.
    pub count: u64,
}

/// A record.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Record {
    /// Its key.
    pub key: Bytes,
    /// What is in front of its value.
    #[serde(flatten)]
    pub header: Header,
    /// Its value.
    pub data: Bytes,
}

/// A record without its key.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct RawRecord {
    /// What is in front of its value.
    #[serde(flatten)]
    pub header: Header,
    /// Its value.
    pub data: Bytes,
}

impl RawRecord {
    pub(crate) fn new(header: &LtdbHeader, data: &[u8]) -> RawRecord {
        RawRecord { header: header.into(), data: Bytes::new(data) }
    }
}

/// The header of a record.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Header {
    /// The node that may write it.
    pub dmaster: u32,
    /// The record's sequence number.
    pub rsn: u64,
    /// The flags as a number.
    pub flags_raw: u32,
    /// The names of the flags that are set.
    pub flags: Vec<String>,
}

impl From<&LtdbHeader> for Header {
    fn from(header: &LtdbHeader) -> Header {
        let LtdbHeader { rsn, dmaster, flags, .. } = *header;
        let names = record_text(flags).split_whitespace().map(String::from).collect();
        Header { dmaster, rsn, flags_raw: flags, flags: names }
    }
}

/// The value of a record.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Fetched {
    /// The database.
    pub database: String,
    /// Its key.
    pub key: Bytes,
    /// Its value; empty if there is no such record.
    pub value: Bytes,
}

impl Fetched {
    pub(crate) fn new(database: &str, key: &[u8], value: &[u8]) -> Fetched {
        Fetched { database: database.into(), key: Bytes::new(key), value: Bytes::new(value) }
    }
}

/// A [`Dump`] that is written as its records come.
pub(crate) struct RecordStream {
    count: u64,
}

impl RecordStream {
    /// Writes what comes before the records.
    pub(crate) fn begin(database: &str, backup_time: Option<i64>) -> RecordStream {
        let (database, time) = (line(&database), line(&backup_time));
        out!("{{\n  \"database\": {database},\n  \"backup_time\": {time},\n  \"records\": [");
        RecordStream { count: 0 }
    }

    /// Writes a record.
    pub(crate) fn record(&mut self, key: &[u8], header: &LtdbHeader, data: &[u8]) {
        let record = Record { key: Bytes::new(key), header: header.into(), data: Bytes::new(data) };
        let comma = if self.count == 0 { "" } else { "," };
        self.count += 1;
        out!("{comma}\n    {}", line(&record));
    }

    /// Writes what comes after the records.
    pub(crate) fn end(self) {
        let end = if self.count == 0 { "" } else { "\n  " };
        outln!("{end}],\n  \"count\": {}\n}}", self.count);
    }
}

/// A value on one line.
fn line<T: Serialize>(value: &T) -> String {
    text(serde_json::to_string(value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_text_only_if_that_says_all() {
        let text = |bytes: &[u8]| Bytes::new(bytes).text;
        assert_eq!(text(b"key"), Some("key".into()));
        assert_eq!(text("zw\u{f6}lf".as_bytes()), Some("zw\u{f6}lf".into()));
        assert_eq!(text(b"key\0"), None);
        assert_eq!(text(b"\xff"), None);
        assert_eq!(Bytes::new(b"k\xff").hex, "6bff");
    }
}
