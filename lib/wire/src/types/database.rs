// SPDX-License-Identifier: GPL-3.0-or-later
//! Databases, recovery transactions, vacuuming (spec/wire.md 9.5).

use super::record::LtdbHeader;

layout! {
    /// Which node is location master of which hash value: `map[hash % map.len()]`.
    #[derive(Eq, Default)]
    pub struct VnnMap {
        /// Generation installed with the map.
        generation: u32,
        /// PNNs of the location masters.
        map: Vec<u32>,
    }
}

layout! {
    /// An attached database.
    #[derive(Copy, Eq, Default)]
    pub struct Dbid, size 8 {
        /// Hash of its name.
        db_id: u32,
        /// [`crate::flags::db`] flags.
        flags: u8 => pad 3,
    }
}

layout! {
    /// All attached databases.
    #[derive(Eq, Default)]
    pub struct DbidMap {
        /// The databases, most recently attached first.
        dbs: Vec<Dbid>,
    }
}

layout! {
    /// A database id in 8 bytes: the request of GET_DB_SEQNUM.
    #[derive(Copy, Eq, Default)]
    pub struct DbidPadded, size 8 {
        /// Database.
        db_id: u32 => pad 4,
    }
}

layout! {
    /// A recovery transaction on a database.
    #[derive(Copy, Eq, Default)]
    pub struct Transdb, size 8 {
        /// Database.
        db_id: u32,
        /// Transaction id: the new generation.
        tid: u32,
    }
}

layout! {
    /// Request of obsolete pull and push controls.
    #[derive(Copy, Eq, Default)]
    pub struct Pulldb, size 8 {
        /// Database.
        db_id: u32,
        /// Location master whose records are meant, or all.
        lmaster: u32,
    }
}

layout! {
    /// A recovery transfer of a database by messages.
    #[derive(Copy, Eq, Default)]
    pub struct PulldbExt, size 16 {
        /// Database.
        db_id: u32,
        /// Ignored; 0xFFFFFFFF.
        lmaster: u32,
        /// Address of the messages that carry the records.
        srvid: u64,
    }
}

layout! {
    /// A record to schedule for deletion.
    #[derive(Eq)]
    pub struct KeyData<'a> {
        /// Database.
        db_id: u32 => pad 4,
        /// Header of the record.
        header: LtdbHeader,
        /// Key of the record.
        key: &'a [u8],
    }
}

layout! {
    /// Request of a vacuuming run. Packed: 5 bytes.
    #[derive(Copy, Eq, Default)]
    pub struct DbVacuum, size 5 {
        /// Database.
        db_id: u32,
        /// Look at all records, not only at the scheduled ones.
        full_vacuum_run: bool,
    }
}

layout! {
    /// A record that a client pushes to all nodes (4.25). No padding in front of the header.
    #[derive(Eq)]
    pub struct PushRecordData<'a> {
        /// Generation of the database.
        generation: u32,
        /// Database.
        db_id: u32,
        /// Header of the record.
        hdr: LtdbHeader,
        /// Key of the record.
        key: &'a [u8],
        /// Data of the record.
        value: &'a [u8],
    }
}
