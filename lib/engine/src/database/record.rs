// SPDX-License-Identifier: GPL-3.0-or-later
//! The record header and the two rules every daemon follows when it touches a file: the store rule
//! (`spec/database.md 5.1`) and the fetch rule (5.3).
//!
//! ```text
//! value in the file = 24 bytes header { rsn, dmaster, reserved, flags, pad } + data
//! ```

use crate::packet::Pnn;
use crate::ports::{ChainRecord, DbKind, StoreError};
use ctdb_wire::flags::record as flag;
use ctdb_wire::types::LtdbHeader;

/// Size of the header in front of the data.
pub const HEADER: usize = LtdbHeader::SIZE;

/// Who stores, and who the location master of the key is.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place {
    pub own: Pnn,
    pub lmaster: Pnn,
    pub kind: DbKind,
}

/// What the store rule says about one store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Plan {
    /// Store the record; otherwise delete it.
    pub keep: bool,
    /// Put it on the delete queue.
    pub schedule: bool,
}

/// What a store did to the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Effect {
    /// Stored: the key leaves the delete queue.
    Kept,
    /// Stored: the key goes on the delete queue.
    Scheduled,
    /// Deleted: the delete queue is left alone.
    Deleted,
}

/// A record as a daemon sees it: what is in the file, or the header the fetch rule invents.
#[derive(Debug, Clone, Copy)]
pub(super) struct Fetched<'a> {
    pub header: LtdbHeader,
    pub data: &'a [u8],
}

/// The header of a value, and the data behind it. None: too short to be a record.
pub(super) fn split(value: &[u8]) -> Option<(LtdbHeader, &[u8])> {
    let (head, data) = value.split_at_checked(HEADER)?;
    let word = |at: usize| {
        head.get(at..at + 4).and_then(|b| b.try_into().ok()).map_or(0, u32::from_le_bytes)
    };
    let rsn = u64::from(word(0)) | u64::from(word(4)) << 32;
    Some((LtdbHeader { rsn, dmaster: word(8), reserved1: word(12), flags: word(16) }, data))
}

/// The header as it is stored; like its encoding in `ctdb_wire`, but without an allocation.
pub(super) fn header_bytes(header: &LtdbHeader) -> [u8; HEADER] {
    let mut bytes = [0; HEADER];
    let (rsn, rest) = bytes.split_at_mut(8);
    rsn.copy_from_slice(&header.rsn.to_le_bytes());
    let words = [header.dmaster, header.reserved1, header.flags, 0];
    for (to, word) in rest.chunks_exact_mut(4).zip(words) {
        to.copy_from_slice(&word.to_le_bytes());
    }
    bytes
}

/// The whole value: header and data.
pub(super) fn join(header: &LtdbHeader, data: &[u8]) -> Vec<u8> {
    let mut value = Vec::with_capacity(HEADER + data.len());
    value.extend_from_slice(&header_bytes(header));
    value.extend_from_slice(data);
    value
}

/// The fetch rule. What it stores at an lmaster for an absent record of a volatile database (RSN 1,
/// dmaster self) is only computed here: every step that goes on from there stores the record.
pub(super) fn fetch<'a>(value: Option<&'a [u8]>, place: &Place) -> Fetched<'a> {
    if let Some((header, data)) = value.and_then(split) {
        return Fetched { header, data };
    }
    let mut header =
        LtdbHeader { rsn: 0, dmaster: place.lmaster, reserved1: 0, flags: flag::AUTOMATIC };
    if place.kind == DbKind::Volatile && place.own == place.lmaster {
        apply_rule(&mut header, true, place);
    }
    Fetched { header, data: &[] }
}

/// The store rule for a record with this header: changes the header as the store will leave it.
pub(super) fn apply_rule(header: &mut LtdbHeader, empty: bool, place: &Place) -> Plan {
    if place.kind != DbKind::Volatile {
        return Plan { keep: true, schedule: false };
    }
    let has = |bits| header.flags & bits != 0;
    let at_lmaster = place.own == place.lmaster;
    let (keep, mut schedule) = if !empty || has(flag::RO_FLAGS) {
        (true, false)
    } else if has(flag::AUTOMATIC) {
        (true, true)
    } else {
        let keep = has(flag::MIGRATED_WITH_DATA)
            || at_lmaster && !has(flag::VACUUM_MIGRATED)
            || at_lmaster && header.dmaster != place.own
            || !at_lmaster && header.dmaster == place.own;
        (keep, false)
    };
    if keep && header.dmaster == place.own && !has(flag::RO_FLAGS) {
        header.rsn = header.rsn.wrapping_add(1);
        schedule |= empty;
    }
    header.flags &= !(flag::VACUUM_MIGRATED | flag::AUTOMATIC);
    Plan { keep, schedule }
}

/// Does to the file what a plan says.
pub(super) fn carry_out(
    record: &mut dyn ChainRecord,
    plan: Plan,
    header: &LtdbHeader,
    data: &[u8],
) -> Result<Effect, StoreError> {
    if !plan.keep {
        return record.delete().map(|()| Effect::Deleted);
    }
    record.store(&[&header_bytes(header), data])?;
    Ok(if plan.schedule { Effect::Scheduled } else { Effect::Kept })
}

/// Stores by the store rule. The header is changed only if it was stored.
pub(super) fn store(
    record: &mut dyn ChainRecord,
    place: &Place,
    header: &mut LtdbHeader,
    data: &[u8],
) -> Result<Effect, StoreError> {
    let mut stored = *header;
    let plan = apply_rule(&mut stored, data.is_empty(), place);
    let effect = carry_out(record, plan, &stored, data)?;
    *header = stored;
    Ok(effect)
}

#[cfg(test)]
mod tests {
    use super::*;
    use ctdb_wire::{Decode, Encode};

    fn place(own: Pnn, lmaster: Pnn) -> Place {
        Place { own, lmaster, kind: DbKind::Volatile }
    }

    fn rule(dmaster: Pnn, flags: u32, empty: bool, at: Place) -> (bool, bool, u64, u32) {
        let mut h = LtdbHeader { rsn: 5, dmaster, reserved1: 0, flags };
        let plan = apply_rule(&mut h, empty, &at);
        (plan.keep, plan.schedule, h.rsn, h.flags)
    }

    #[test]
    fn header_bytes_are_the_wire_layout() {
        let h = LtdbHeader { rsn: 0x0102_0304_0506_0708, dmaster: 9, reserved1: 3, flags: 0x10000 };
        assert_eq!(header_bytes(&h).to_vec(), h.to_vec());
        assert_eq!(split(&join(&h, b"abc")), Some((h, &b"abc"[..])));
        assert_eq!(LtdbHeader::from_exact(&header_bytes(&h)), Ok(h));
        assert_eq!(split(&[0; 23]), None);
    }

    /// The rows of the table in spec/database.md 5.1.
    #[test]
    fn store_rule_rows() {
        const MIG: u32 = flag::MIGRATED_WITH_DATA;
        const VAC: u32 = flag::VACUUM_MIGRATED;
        // 1: data, not ours; data, ours
        assert_eq!(rule(2, 0, false, place(0, 1)), (true, false, 5, 0));
        assert_eq!(rule(0, 0, false, place(0, 1)), (true, false, 6, 0));
        // 2: read-only flags never increment
        let ro = flag::RO_HAVE_DELEGATIONS;
        assert_eq!(rule(0, ro, true, place(0, 1)), (true, false, 5, ro));
        // 3: invented
        assert_eq!(rule(1, flag::AUTOMATIC, true, place(0, 1)), (true, true, 5, 0));
        assert_eq!(rule(0, flag::AUTOMATIC, true, place(0, 0)), (true, true, 6, 0));
        // 4: a tombstone that others may hold with data
        assert_eq!(rule(2, MIG, true, place(0, 1)), (true, false, 5, MIG));
        // 5, 6: the lmaster keeps
        assert_eq!(rule(2, 0, true, place(1, 1)), (true, false, 5, 0));
        assert_eq!(rule(2, VAC, true, place(1, 1)), (true, false, 5, 0));
        assert_eq!(rule(1, 0, true, place(1, 1)), (true, true, 6, 0));
        // 7: the owner keeps, for its clients
        assert_eq!(rule(0, 0, true, place(0, 1)), (true, true, 6, 0));
        // 8: nobody needs it
        assert_eq!(rule(2, 0, true, place(0, 1)), (false, false, 5, 0));
        assert_eq!(rule(1, VAC, true, place(1, 1)), (false, false, 5, 0));
    }

    #[test]
    fn other_kinds_store_unchanged() {
        let at = Place { own: 0, lmaster: 1, kind: DbKind::Persistent };
        assert_eq!(rule(0, flag::AUTOMATIC, true, at), (true, false, 5, flag::AUTOMATIC));
    }

    #[test]
    fn an_absent_record_belongs_to_its_lmaster() {
        let f = fetch(None, &place(0, 1));
        assert_eq!((f.header.dmaster, f.header.rsn), (1, 0));
        let f = fetch(Some(&[0; 10]), &place(1, 1));
        assert_eq!((f.header.dmaster, f.header.rsn, f.header.flags), (1, 1, 0));
    }
}
