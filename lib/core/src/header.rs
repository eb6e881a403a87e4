// SPDX-License-Identifier: GPL-3.0-or-later
//! The header of a record as its bytes: what the hot path looks at and writes back
//! (spec/wire.md 9.1, spec/database.md 4, 7).

use ctdb_wire::flags::record;
use ctdb_wire::types::LtdbHeader;
use ctdb_wire::{Decode, Encode};

const SIZE: usize = LtdbHeader::SIZE;
const DMASTER: usize = 8;
const FLAGS: usize = 16;

/// The 24 bytes in front of a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct RawHeader([u8; SIZE]);

impl RawHeader {
    /// The header of a record's data, if the data is long enough to have one.
    #[inline]
    pub(crate) fn of(data: Option<&[u8]>) -> Option<RawHeader> {
        data?.first_chunk::<SIZE>().map(|bytes| RawHeader(*bytes))
    }

    #[inline]
    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    #[inline]
    fn word(&self, offset: usize) -> u32 {
        let bytes = self.0.get(offset..).and_then(|rest| rest.first_chunk::<4>());
        u32::from_le_bytes(bytes.copied().unwrap_or_default())
    }

    /// The value behind the header.
    pub(crate) fn value<'a>(&self, data: &'a [u8]) -> &'a [u8] {
        data.get(SIZE..).unwrap_or_default()
    }

    /// Whether node `pnn` may read and write the record under its lock.
    #[inline]
    pub(crate) fn is_writable_at(&self, pnn: u32) -> bool {
        self.word(DMASTER) == pnn && self.word(FLAGS) & record::RO_HAVE_DELEGATIONS == 0
    }

    /// Whether node `pnn` may read the record: its own, or a delegated copy.
    #[inline]
    pub(crate) fn is_readable_at(&self, pnn: u32) -> bool {
        const COPY: u32 = record::RO_HAVE_READONLY | record::RO_HAVE_DELEGATIONS;
        self.word(DMASTER) == pnn || self.word(FLAGS) & COPY != 0
    }
}

impl From<RawHeader> for LtdbHeader {
    fn from(raw: RawHeader) -> LtdbHeader {
        LtdbHeader::from_exact(&raw.0).unwrap_or_default()
    }
}

impl From<&LtdbHeader> for RawHeader {
    fn from(header: &LtdbHeader) -> RawHeader {
        let mut bytes = [0; SIZE];
        for (to, from) in bytes.iter_mut().zip(header.to_vec()) {
            *to = from;
        }
        RawHeader(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn raw(dmaster: u32, flags: u32) -> RawHeader {
        RawHeader::from(&LtdbHeader { rsn: 7, dmaster, reserved1: 0, flags })
    }

    #[test]
    fn only_the_data_master_without_delegations_writes() {
        assert!(raw(1, 0).is_writable_at(1));
        assert!(raw(1, record::MIGRATED_WITH_DATA).is_writable_at(1));
        assert!(!raw(2, 0).is_writable_at(1));
        assert!(!raw(1, record::RO_HAVE_DELEGATIONS).is_writable_at(1));
        assert!(raw(1, record::RO_HAVE_DELEGATIONS).is_readable_at(1));
        assert!(raw(2, record::RO_HAVE_READONLY).is_readable_at(1));
        assert!(!raw(2, 0).is_readable_at(1));
    }

    #[test]
    fn bytes_and_fields_are_the_same_header() {
        let header = LtdbHeader { rsn: 7, dmaster: 2, reserved1: 5, flags: 0x0100_0001 };
        assert_eq!(LtdbHeader::from(RawHeader::from(&header)), header);
    }

    #[test]
    fn data_shorter_than_a_header_has_none() {
        assert_eq!(RawHeader::of(None), None);
        assert_eq!(RawHeader::of(Some(&[0; 23])), None);
        let header = RawHeader::of(Some(&[0; 30])).unwrap();
        assert_eq!(header.value(&[0; 30]).len(), 6);
    }
}
