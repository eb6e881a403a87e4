// SPDX-License-Identifier: GPL-3.0-or-later
//! The merged content of a database (`spec/database.md 20.2, 20.4`).
//!
//! Records stay in the buffers they arrived in; only a position and what decides between two copies is kept
//! of each. A million records thus cost an index of some 40 MB and no copy before they are pushed.
//!
//! ```text
//! table: hash -> index into records (open addressing, linear probing, at most half full)
//! records: { rsn, hash, place in buffers, owner }
//! buffers: as received
//! ```

use crate::packet::Pnn;
use bytes::Bytes;
use ctdb_wire::flags::record::MIGRATED_WITH_DATA;
use ctdb_wire::types::{LtdbHeader, RecData};
use ctdb_wire::{Decode, Encode, Output, Reader};

const EMPTY: u32 = u32::MAX;
const RECORDS_MAX: usize = 1 << 30;
const REC_DATA_FIXED: usize = 16;
/// Offsets of the two header fields that a push changes.
const DMASTER_AT: usize = 8;
const FLAGS_AT: usize = 16;

/// Records of one database, the winning copy of each.
#[derive(Debug)]
pub(super) struct Merge {
    leader: Pnn,
    seed: u64,
    buffers: Vec<Bytes>,
    records: Vec<Winner>,
    table: Vec<u32>,
}

#[derive(Debug, Clone, Copy)]
struct Winner {
    rsn: u64,
    hash: u32,
    buffer: u32,
    /// Of the key within the buffer; the data follows it.
    offset: u32,
    key_len: u32,
    data_len: u32,
    source: Pnn,
    dmaster: Pnn,
}

/// Why a batch was not merged.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum BadBatch {
    #[error("{0}")]
    Malformed(#[from] ctdb_wire::Error),
    #[error("record of {0} bytes at offset {1}, shorter than its header")]
    Short(usize, usize),
    #[error("batch of database {0:#010x}")]
    Foreign(u32),
    #[error("too many records")]
    TooMany,
}

/// What a push does to the headers of the records.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Headers {
    /// Leaves them as merged: persistent databases.
    Keep,
    /// The leader becomes dmaster and the record has migrated with data.
    Own(Pnn),
}

impl Merge {
    /// An empty one. Ties are broken with the leader in mind; the seed makes collisions unpredictable.
    pub fn new(leader: Pnn, seed: u64) -> Merge {
        Merge { leader, seed, buffers: Vec::new(), records: Vec::new(), table: vec![EMPTY; 64] }
    }

    /// Number of different keys, empty records included.
    pub fn len(&self) -> usize {
        self.records.len()
    }

    /// Merges a record buffer that `source` has sent and returns the number of records in it. A batch with an
    /// error changes nothing.
    pub fn add(&mut self, db: u32, source: Pnn, batch: Bytes) -> Result<u32, BadBatch> {
        let buffer = u32::try_from(self.buffers.len()).map_err(|_| BadBatch::TooMany)?;
        let winners = parse(&batch, db, source, buffer, self.seed)?;
        if self.records.len() + winners.len() > RECORDS_MAX {
            return Err(BadBatch::TooMany);
        }
        let count = winners.len() as u32;
        self.buffers.push(batch);
        for winner in winners {
            self.merge(winner);
        }
        Ok(count)
    }

    fn merge(&mut self, new: Winner) {
        if (self.records.len() + 1) * 2 > self.table.len() {
            self.grow();
        }
        let mask = self.table.len() - 1;
        let mut slot = new.hash as usize & mask;
        loop {
            match self.table[slot] {
                EMPTY => {
                    self.table[slot] = self.records.len() as u32;
                    self.records.push(new);
                    return;
                }
                index => {
                    let held = self.records[index as usize];
                    if held.hash == new.hash && self.key(&held) == self.key(&new) {
                        if self.beats(&new, &held) {
                            self.records[index as usize] = new;
                        }
                        return;
                    }
                }
            }
            slot = (slot + 1) & mask;
        }
    }

    /// The higher RSN wins. On a tie the rule for nodes pulled one after the other in node order is followed:
    /// the first copy that does not name the leader as dmaster, else the last.
    fn beats(&self, new: &Winner, held: &Winner) -> bool {
        if new.rsn != held.rsn {
            return new.rsn > held.rsn;
        }
        match (new.dmaster == self.leader, held.dmaster == self.leader) {
            (false, true) => true,
            (true, false) => false,
            (true, true) => new.source > held.source,
            (false, false) => new.source < held.source,
        }
    }

    fn grow(&mut self) {
        let size = self.table.len() * 2;
        let mut table = vec![EMPTY; size];
        for (index, record) in self.records.iter().enumerate() {
            let mut slot = record.hash as usize & (size - 1);
            while table[slot] != EMPTY {
                slot = (slot + 1) & (size - 1);
            }
            table[slot] = index as u32;
        }
        self.table = table;
    }

    fn slice(&self, w: &Winner, from: usize, len: usize) -> &[u8] {
        let start = w.offset as usize + from;
        self.buffers.get(w.buffer as usize).and_then(|b| b.get(start..start + len)).unwrap_or(&[])
    }

    fn key(&self, w: &Winner) -> &[u8] {
        self.slice(w, 0, w.key_len as usize)
    }

    fn data(&self, w: &Winner) -> &[u8] {
        self.slice(w, w.key_len as usize, w.data_len as usize)
    }

    /// Encodes records from `cursor` on into one buffer of about `limit` bytes and moves the cursor. Records
    /// without data are left out: this is where deletions take effect. Returns the buffer and its count.
    pub fn encode(
        &self,
        db: u32,
        cursor: &mut usize,
        limit: usize,
        headers: Headers,
    ) -> (Bytes, u32) {
        let mut out: Vec<u8> = Vec::with_capacity(limit.min(self.bytes_left(*cursor, limit)) + 8);
        [db, 0].encode(&mut out);
        let mut count = 0_u32;
        while let Some(record) = self.records.get(*cursor) {
            if out.len() >= limit {
                break;
            }
            *cursor += 1;
            let data = self.data(record);
            if data.len() <= LtdbHeader::SIZE {
                continue;
            }
            let key = self.key(record);
            RecData { reqid: 0, key, data }.encode(&mut out);
            let header_at = out.len() - data.len();
            if let Headers::Own(leader) = headers {
                patch(&mut out, header_at + DMASTER_AT, |_| leader);
                patch(&mut out, header_at + FLAGS_AT, |flags| flags | MIGRATED_WITH_DATA);
            }
            count += 1;
        }
        patch(&mut out, 4, |_| count);
        (out.into(), count)
    }

    /// Whether records remain behind the cursor.
    pub fn is_encoded(&self, cursor: usize) -> bool {
        cursor >= self.records.len()
    }

    /// An estimate of what a buffer needs, so that small databases do not take large ones.
    fn bytes_left(&self, cursor: usize, limit: usize) -> usize {
        let mut bytes = 0;
        for r in self.records.iter().skip(cursor) {
            bytes += REC_DATA_FIXED + r.key_len as usize + r.data_len as usize;
            if bytes >= limit {
                break;
            }
        }
        bytes
    }
}

/// Replaces the word at `at`.
fn patch(out: &mut impl Output, at: usize, f: impl FnOnce(u32) -> u32) {
    if let Some(bytes) = out.written_mut().get_mut(at..).and_then(|b| b.first_chunk_mut::<4>()) {
        *bytes = f(u32::from_le_bytes(*bytes)).to_le_bytes();
    }
}

/// Finds the records of a batch, without copying any.
fn parse(
    batch: &[u8],
    db: u32,
    source: Pnn,
    buffer: u32,
    seed: u64,
) -> Result<Vec<Winner>, BadBatch> {
    let mut r = Reader::new(batch);
    let [found, count] = <[u32; 2]>::decode(&mut r)?;
    if found != db {
        return Err(BadBatch::Foreign(found));
    }
    if u32::try_from(batch.len()).is_err() {
        return Err(BadBatch::TooMany);
    }
    let mut winners = Vec::with_capacity(r.check_count(count, REC_DATA_FIXED)?);
    for _ in 0..count {
        let offset = r.offset();
        let record = RecData::decode(&mut r)?;
        let Ok(header) = LtdbHeader::from_prefix(record.data) else {
            return Err(BadBatch::Short(record.data.len(), offset));
        };
        winners.push(Winner {
            rsn: header.rsn,
            hash: hash(record.key, seed),
            buffer,
            offset: (offset + REC_DATA_FIXED) as u32,
            key_len: record.key.len() as u32,
            data_len: record.data.len() as u32,
            source,
            dmaster: header.dmaster,
        });
    }
    Ok(winners)
}

/// Eight bytes a step, multiply and rotate, mixed at the end.
fn hash(key: &[u8], seed: u64) -> u32 {
    const K: u64 = 0x9E37_79B9_7F4A_7C15;
    let mut h = seed ^ (key.len() as u64).wrapping_mul(K);
    for chunk in key.chunks(8) {
        let mut word = [0; 8];
        for (to, from) in word.iter_mut().zip(chunk) {
            *to = *from;
        }
        h = (h.rotate_left(23) ^ u64::from_le_bytes(word)).wrapping_mul(K);
    }
    h ^= h >> 32;
    h = h.wrapping_mul(0xD6E8_FEB8_6659_FD93);
    (h ^ (h >> 32)) as u32
}

#[cfg(test)]
mod tests {
    use super::*;
    use ctdb_wire::types::RecBuffer;
    use std::collections::BTreeMap;

    const DB: u32 = 7;

    fn batch(records: &[(&[u8], u64, u32, &[u8])]) -> Bytes {
        let mut buffer = RecBuffer::new(DB);
        for (key, rsn, dmaster, data) in records {
            let header = LtdbHeader { rsn: *rsn, dmaster: *dmaster, reserved1: 0, flags: 1 << 20 };
            buffer.push_with_header(0, key, &header, data);
        }
        buffer.to_vec().into()
    }

    fn pushed(
        merge: &Merge,
        limit: usize,
        headers: Headers,
    ) -> Vec<(Vec<u8>, LtdbHeader, Vec<u8>)> {
        let mut cursor = 0;
        let mut all = Vec::new();
        while !merge.is_encoded(cursor) {
            let (bytes, count) = merge.encode(DB, &mut cursor, limit, headers);
            let buffer = RecBuffer::from_exact(&bytes).expect("well formed");
            assert_eq!(buffer.count(), count);
            for record in buffer.iter() {
                let (header, data) = record.split_header().expect("a header");
                all.push((record.key.to_vec(), header, data.to_vec()));
            }
        }
        all
    }

    #[test]
    fn the_highest_rsn_wins_and_the_leader_owns_it() {
        let mut m = Merge::new(2, 1);
        m.add(DB, 0, batch(&[(b"a", 5, 0, b"old"), (b"b", 9, 1, b"new")])).expect("merged");
        m.add(DB, 1, batch(&[(b"a", 6, 1, b"new"), (b"b", 8, 1, b"old")])).expect("merged");
        let all = pushed(&m, 1000, Headers::Own(2));
        assert_eq!(all.len(), 2);
        for (_, header, data) in &all {
            assert_eq!(data, b"new");
            assert_eq!(header.dmaster, 2);
            assert_eq!(header.flags, 1 << 20 | MIGRATED_WITH_DATA);
        }
        assert_eq!(pushed(&m, 1000, Headers::Keep)[1].1.dmaster, 1);
    }

    /// A tombstone with the highest RSN hides older copies with data, and is not pushed itself.
    #[test]
    fn deleted_records_disappear() {
        let mut m = Merge::new(0, 1);
        m.add(DB, 0, batch(&[(b"a", 5, 0, b"data")])).expect("merged");
        m.add(DB, 1, batch(&[(b"a", 6, 1, b"")])).expect("merged");
        assert_eq!(m.len(), 1);
        assert!(pushed(&m, 1000, Headers::Own(0)).is_empty());
    }

    /// The outcome of a tie does not depend on which node's records arrive first.
    #[test]
    fn ties_follow_node_order_whatever_arrives_first() {
        let copies: [(Pnn, u32, &[u8]); 3] = [(0, 9, b"zero"), (1, 3, b"one"), (2, 3, b"two")];
        for leader in [3, 9] {
            let mut expected = None::<(u32, &[u8])>;
            for (_, dmaster, data) in copies {
                if expected.is_none_or(|(held, _)| held == leader) {
                    expected = Some((dmaster, data));
                }
            }
            for order in [[0, 1, 2], [2, 1, 0], [1, 2, 0], [1, 0, 2]] {
                let mut m = Merge::new(leader, 1);
                for i in order {
                    let (node, dmaster, data) = copies[i];
                    m.add(DB, node, batch(&[(b"k", 4, dmaster, data)])).expect("merged");
                }
                let all = pushed(&m, 1000, Headers::Keep);
                assert_eq!(Some((all[0].1.dmaster, &all[0].2[..])), expected, "{leader} {order:?}");
            }
        }
    }

    #[test]
    fn a_bad_batch_changes_nothing() {
        let mut m = Merge::new(0, 1);
        let mut bad = RecBuffer::new(DB);
        bad.push(&RecData { reqid: 0, key: b"good", data: &[0; 24] });
        bad.push(&RecData { reqid: 0, key: b"short", data: &[0; 23] });
        let bytes: Bytes = bad.to_vec().into();
        assert_eq!(m.add(DB, 1, bytes.clone()), Err(BadBatch::Short(23, 52)));
        assert_eq!(m.add(DB + 1, 1, bytes.clone()), Err(BadBatch::Foreign(DB)));
        assert!(m.add(DB, 1, bytes.slice(..bytes.len() - 1)).is_err());
        assert!(m.add(DB, 1, Bytes::from_static(&[7, 0, 0, 0, 255, 255, 255, 255])).is_err());
        assert_eq!(m.len(), 0);
        assert!(pushed(&m, 1000, Headers::Keep).is_empty());
    }

    #[test]
    fn buffers_close_after_the_record_that_exceeds_the_limit() {
        let mut m = Merge::new(0, 1);
        let keys: Vec<[u8; 4]> = (0_u32..100).map(u32::to_be_bytes).collect();
        let records: Vec<_> = keys.iter().map(|k| (&k[..], 1, 0, &b"0123456789"[..])).collect();
        m.add(DB, 0, batch(&records)).expect("merged");
        let mut cursor = 0;
        let (bytes, count) = m.encode(DB, &mut cursor, 200, Headers::Keep);
        assert!(bytes.len() >= 200 && bytes.len() < 200 + 54 + 8, "{}", bytes.len());
        assert_eq!(count as usize, cursor);
        assert_eq!(pushed(&m, 200, Headers::Keep).len(), 100);
    }

    /// Many keys from several nodes, compared with a map.
    #[test]
    fn agrees_with_a_map() {
        let mut rng = crate::rng::Rng::new(42);
        let mut m = Merge::new(1, rng.next_u64());
        let mut map: BTreeMap<Vec<u8>, (u64, Vec<u8>)> = BTreeMap::new();
        for round in 0..60 {
            let mut buffer = RecBuffer::new(DB);
            let mut in_batch = 0;
            for _ in 0..200 {
                let key = rng.below(3000).to_be_bytes()[3..].repeat(1 + rng.below(3) as usize);
                let rsn = rng.next_u64();
                let data = if rng.below(4) == 0 { vec![] } else { rsn.to_le_bytes().to_vec() };
                let header = LtdbHeader { rsn, dmaster: 2, reserved1: 0, flags: 0 };
                buffer.push_with_header(0, &key, &header, &data);
                in_batch += 1;
                let held = map.entry(key).or_insert((rsn, data.clone()));
                if rsn >= held.0 {
                    *held = (rsn, data);
                }
            }
            assert_eq!(m.add(DB, round % 3, buffer.to_vec().into()), Ok(in_batch));
        }
        assert_eq!(m.len(), map.len());
        let mut all: Vec<_> =
            pushed(&m, 5000, Headers::Keep).into_iter().map(|(k, h, d)| (k, (h.rsn, d))).collect();
        all.sort();
        map.retain(|_, (_, data)| !data.is_empty());
        assert_eq!(all, map.into_iter().collect::<Vec<_>>());
    }
}
