// SPDX-License-Identifier: GPL-3.0-or-later
//! How records are shown (spec/tool.md 10.7).

use ctdb_wire::escaped;
use ctdb_wire::types::LtdbHeader;

use crate::flags::record_text;
use crate::json::RecordStream;

/// Records that are shown one after the other.
pub(crate) struct Dump {
    json: Option<RecordStream>,
    count: u64,
}

impl Dump {
    /// Of a database, or of a backup that was made at `time`.
    pub(crate) fn begin(json: bool, database: &str, time: Option<i64>) -> Dump {
        Dump { json: json.then(|| RecordStream::begin(database, time)), count: 0 }
    }

    /// Shows a record.
    pub(crate) fn record(&mut self, key: &[u8], head: &LtdbHeader, value: &[u8]) {
        self.count += 1;
        match &mut self.json {
            Some(stream) => stream.record(key, head, value),
            None => record(key, head, value),
        }
    }

    /// Says how many there were; `unit` is what the command calls them.
    pub(crate) fn end(self, unit: &str) {
        match self.json {
            Some(stream) => stream.end(),
            None => outln!("Dumped {} {unit}", self.count),
        }
    }
}

/// `NAME(SIZE) = "..."`: printable ASCII as it is, other bytes as `\XX`.
pub(crate) fn quoted(name: &str, bytes: &[u8]) -> String {
    format!("{name}({}) = \"{}\"", bytes.len(), escaped(bytes))
}

/// The header's lines.
pub(crate) fn header(header: &LtdbHeader) {
    outln!("dmaster: {}", header.dmaster);
    outln!("rsn: {}", header.rsn);
    outln!("flags: 0x{:08x}{}", header.flags, record_text(header.flags));
}

/// A whole record and an empty line.
fn record(key: &[u8], head: &LtdbHeader, value: &[u8]) {
    outln!("{}", quoted("key", key));
    header(head);
    outln!("{}\n", quoted("data", value));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_quoted() {
        assert_eq!(quoted("key", b"k2\0\xff"), "key(4) = \"k2\\00\\FF\"");
        assert_eq!(quoted("data", b"a\"\\ ~\x7f"), "data(6) = \"a\\22\\5C ~\\7F\"");
    }
}
