// SPDX-License-Identifier: GPL-3.0-or-later
//! Records and sequences of records (spec/wire.md 9.1, 9.2). Keys and data borrow from the packet.

use std::borrow::Cow;

use crate::codec::{encode_len, Decode, Encode};
use crate::error::{Error, Expected};
use crate::inspect::{Inspect, Value};
use crate::output::Output;
use crate::reader::Reader;

layout! {
    /// The header in front of the data of every record in a cluster database.
    #[derive(Copy, Eq, Default)]
    pub struct LtdbHeader, size 24 {
        /// Record sequence number: the copy with the highest is the newest.
        rsn: u64,
        /// PNN of the data master.
        dmaster: u32,
        /// Not used.
        reserved1: u32,
        /// [`crate::flags::record`] flags.
        flags: u32 => pad 4,
    }
}

/// One record. Its layout starts with its total length:
///
/// ```text
/// 0   u32 length = 16 + keylen + datalen
/// 4   u32 reqid
/// 8   u32 keylen
/// 12  u32 datalen
/// 16  key, data
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RecData<'a> {
    /// Traverse id; elsewhere not significant.
    pub reqid: u32,
    /// Key.
    pub key: &'a [u8],
    /// Data, in most uses with an [`LtdbHeader`] in front.
    pub data: &'a [u8],
}

const REC_DATA_FIXED: usize = 16;

impl<'a> RecData<'a> {
    /// The header and the data behind it, if the data is long enough to hold a header.
    pub fn split_header(&self) -> Option<(LtdbHeader, &'a [u8])> {
        let mut r = Reader::new(self.data);
        let header = LtdbHeader::decode(&mut r).ok()?;
        Some((header, r.rest()))
    }

    /// True for the record that ends a traverse: no key, no data.
    pub fn is_end_of_traverse(&self) -> bool {
        self.key.is_empty() && self.data.is_empty()
    }
}

impl Encode for RecData<'_> {
    fn size(&self) -> usize {
        REC_DATA_FIXED + self.key.len() + self.data.len()
    }
    fn encode<O: Output>(&self, out: &mut O) {
        encode_len(self.size(), out);
        self.reqid.encode(out);
        encode_len(self.key.len(), out);
        encode_len(self.data.len(), out);
        out.put_bytes(self.key);
        out.put_bytes(self.data);
    }
}

impl<'a> Decode<'a> for RecData<'a> {
    const MIN_SIZE: usize = REC_DATA_FIXED;
    fn decode(r: &mut Reader<'a>) -> Result<Self, Error> {
        let start = r.clone();
        let length = u32::decode(r).map_err(|e| e.named("RecData.length"))?;
        if (length as usize) < REC_DATA_FIXED {
            let wanted = "a record length of at least 16";
            let expected = Expected::Words { wanted, found: length.into() };
            return Err(start.error(expected).named("RecData.length"));
        }
        let body = r
            .take(length as usize - 4)
            .map_err(|e| Error { offset: start.offset(), ..e }.named("RecData.length"))?;
        let mut body = Reader::with_base(body, start.offset() + 4);
        let [reqid, keylen, datalen] = <[u32; 3]>::decode(&mut body)?;
        let key = body.take(keylen as usize).map_err(|e| e.named("RecData.key"))?;
        let data = body.take(datalen as usize).map_err(|e| e.named("RecData.data"))?;
        Ok(RecData { reqid, key, data })
    }
}

impl Inspect for RecData<'_> {
    fn inspect(&self) -> Value {
        Value::Record(vec![
            ("reqid", self.reqid.inspect()),
            ("key", self.key.inspect()),
            ("data", self.data.inspect()),
        ])
    }
}

/// Records of one database, back to back: u32 db_id, u32 count, the records. All records are
/// checked when it is decoded; none is copied.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RecBuffer<'a> {
    db_id: u32,
    count: u32,
    records: Cow<'a, [u8]>,
}

impl<'a> RecBuffer<'a> {
    /// A buffer without records.
    pub fn new(db_id: u32) -> Self {
        RecBuffer { db_id, count: 0, records: Cow::Borrowed(&[]) }
    }

    /// The database.
    pub fn db_id(&self) -> u32 {
        self.db_id
    }

    /// Number of records.
    pub fn count(&self) -> u32 {
        self.count
    }

    /// Appends a record.
    pub fn push(&mut self, record: &RecData<'_>) {
        record.encode(self.records.to_mut());
        self.count = self.count.saturating_add(1);
    }

    /// Appends a record whose data is `header` followed by `data`, without joining them first.
    pub fn push_with_header(&mut self, reqid: u32, key: &[u8], header: &LtdbHeader, data: &[u8]) {
        let records = self.records.to_mut();
        let datalen = LtdbHeader::SIZE + data.len();
        encode_len(REC_DATA_FIXED + key.len() + datalen, records);
        reqid.encode(records);
        encode_len(key.len(), records);
        encode_len(datalen, records);
        records.put_bytes(key);
        header.encode(records);
        records.put_bytes(data);
        self.count = self.count.saturating_add(1);
    }

    /// The records in order.
    pub fn iter(&self) -> impl Iterator<Item = RecData<'_>> + '_ {
        let mut r = Reader::new(&self.records);
        // every record was checked by decode() or written by push(): none fails here
        std::iter::from_fn(move || (r.remaining() > 0).then(|| RecData::decode(&mut r).ok())?)
    }

    /// Forgets all records, keeping the memory.
    pub fn clear(&mut self) {
        self.count = 0;
        match &mut self.records {
            Cow::Borrowed(records) => *records = &[],
            Cow::Owned(records) => records.clear(),
        }
    }

    /// A buffer that owns its records.
    pub fn into_owned(self) -> RecBuffer<'static> {
        let RecBuffer { db_id, count, records } = self;
        RecBuffer { db_id, count, records: Cow::Owned(records.into_owned()) }
    }
}

impl Encode for RecBuffer<'_> {
    fn size(&self) -> usize {
        8 + self.records.len()
    }
    fn encode<O: Output>(&self, out: &mut O) {
        self.db_id.encode(out);
        self.count.encode(out);
        out.put_bytes(&self.records);
    }
}

impl<'a> Decode<'a> for RecBuffer<'a> {
    const MIN_SIZE: usize = 8;
    fn decode(r: &mut Reader<'a>) -> Result<Self, Error> {
        let [db_id, count] = <[u32; 2]>::decode(r).map_err(|e| e.named("RecBuffer"))?;
        r.check_count(count, REC_DATA_FIXED).map_err(|e| e.named("RecBuffer.count"))?;
        let records = r.rest();
        let before = r.remaining();
        for _ in 0..count {
            RecData::decode(r)?;
        }
        let records = records.get(..before - r.remaining()).unwrap_or_default();
        Ok(RecBuffer { db_id, count, records: Cow::Borrowed(records) })
    }
}

impl Inspect for RecBuffer<'_> {
    fn inspect(&self) -> Value {
        Value::Record(vec![
            ("db_id", self.db_id.inspect()),
            ("count", self.count.inspect()),
            ("records", Value::List(self.iter().map(|record| record.inspect()).collect())),
        ])
    }
}

#[cfg(test)]
mod sample {
    use super::{RecBuffer, RecData};
    use crate::sample::{Entropy, Sample};

    impl<'a> Sample<'a> for RecData<'a> {
        fn sample(u: &mut Entropy<'a>) -> Self {
            RecData { reqid: Sample::sample(u), key: Sample::sample(u), data: Sample::sample(u) }
        }
    }

    impl<'a> Sample<'a> for RecBuffer<'a> {
        fn sample(u: &mut Entropy<'a>) -> Self {
            let mut buffer = RecBuffer::new(Sample::sample(u));
            Vec::<RecData<'a>>::sample(u).iter().for_each(|record| buffer.push(record));
            buffer
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trailing_bytes_are_not_part_of_the_buffer() {
        let mut buffer = RecBuffer::new(7);
        buffer.push(&RecData { reqid: 1, key: b"k", data: b"v" });
        let mut bytes = buffer.to_vec();
        bytes.extend_from_slice(b"rounding");
        let again = RecBuffer::from_prefix(&bytes).unwrap();
        assert_eq!(again, buffer);
        assert_eq!(again.iter().map(|r| r.key).collect::<Vec<_>>(), [b"k"]);
    }

    #[test]
    fn header_and_data_can_be_pushed_apart() {
        let header = LtdbHeader { rsn: 9, dmaster: 2, reserved1: 0, flags: 0x10000 };
        let mut apart = RecBuffer::new(7);
        apart.push_with_header(3, b"key", &header, b"data");
        let mut joined = header.to_vec();
        joined.extend_from_slice(b"data");
        let mut whole = RecBuffer::new(7);
        whole.push(&RecData { reqid: 3, key: b"key", data: &joined });
        assert_eq!(apart, whole);
        let record = apart.iter().next().unwrap();
        assert_eq!(record.split_header(), Some((header, &b"data"[..])));
    }

    #[test]
    fn absurd_counts_and_lengths_are_refused() {
        let e = RecBuffer::from_exact(&[1, 0, 0, 0, 255, 255, 255, 255]).unwrap_err();
        assert_eq!((e.what, e.offset), ("RecBuffer.count", 8));
        let mut record = RecData { reqid: 0, key: b"key", data: b"data" }.to_vec();
        record[8] = 200;
        let e = RecData::from_exact(&record).unwrap_err();
        assert_eq!((e.what, e.offset), ("RecData.key", 16));
        record[0] = 200;
        let e = RecData::from_exact(&record).unwrap_err();
        assert_eq!((e.what, e.offset), ("RecData.length", 0));
        assert!(RecData::from_exact(&[15, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]).is_err());
    }
}
