// SPDX-License-Identifier: GPL-3.0-or-later
//! A record of a node's file: the header of the cluster, then the data.
//!
//! The header has 24 bytes, or 20 as 32 bit systems write it, or none; a part of it at most. What is missing comes
//! from the default header: nobody is data master.

use crate::FAILED;
use ctdb_command_line::Ending;
use ctdb_wire::escaped;
use ctdb_wire::types::LtdbHeader;
use ctdb_wire::{Decode, Encode};
use std::io::Write;

/// Where the padding of a header begins.
const PADDING: usize = 20;

/// A record, its header in full.
#[derive(Debug)]
pub(crate) struct Record<'a> {
    header: [u8; LtdbHeader::SIZE],
    /// What belongs to the database's user.
    pub data: &'a [u8],
}

impl<'a> Record<'a> {
    /// Takes the header from the first `size` bytes of `value`.
    pub fn split(key: &[u8], value: &'a [u8], size: usize) -> Result<Record<'a>, Ending> {
        let Some((head, data)) = value.split_at_checked(size) else {
            let text = format!(
                "Value too short to contain a ctdb header: \"{}\" = \"{}\"\n",
                escaped(key),
                escaped(value)
            );
            return Err(Ending::complaint(text, FAILED));
        };
        if head.get(PADDING..).unwrap_or_default().iter().any(|byte| *byte != 0) {
            let warning = "Warning: header padding isn't zero! Wrong header size?";
            let _ = writeln!(std::io::stderr(), "{warning}");
        }
        let mut header = default_header();
        header.iter_mut().zip(head).for_each(|(to, from)| *to = *from);
        Ok(Record { header, data })
    }

    /// The fields of the header.
    pub fn fields(&self) -> LtdbHeader {
        LtdbHeader::from_exact(&self.header).unwrap_or_default()
    }

    /// The first bytes of the header.
    pub fn head(&self, size: usize) -> &[u8] {
        self.header.get(..size).unwrap_or(&self.header)
    }
}

fn default_header() -> [u8; LtdbHeader::SIZE] {
    let header = LtdbHeader { dmaster: u32::MAX, ..LtdbHeader::default() };
    header.to_vec().try_into().unwrap_or([0; LtdbHeader::SIZE])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_of_all_sizes() {
        let value: Vec<u8> = LtdbHeader { rsn: 9, dmaster: 2, reserved1: 7, flags: 0x10000 }
            .to_vec()
            .into_iter()
            .chain(*b"data")
            .collect();
        let whole = Record::split(b"k", &value, 24).unwrap();
        assert_eq!(
            (whole.fields().rsn, whole.fields().flags, whole.data),
            (9, 0x10000, &b"data"[..])
        );
        assert_eq!(whole.head(20), &value[..20]);
        let short = Record::split(b"k", &value, 8).unwrap();
        assert_eq!((short.fields().rsn, short.fields().dmaster), (9, u32::MAX));
        let none = Record::split(b"k", &value, 0).unwrap();
        assert_eq!((none.fields().rsn, none.data.len()), (0, 28));
        let error = Record::split(b"\0k", b"ab", 20).unwrap_err();
        assert_eq!(error.code, 255);
        assert!(error.complaint.ends_with("header: \"\\00k\" = \"ab\"\n"));
    }
}
