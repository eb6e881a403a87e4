// SPDX-License-Identifier: GPL-3.0-or-later
//! Traverses (spec/wire.md 9.6). The short forms mean "without empty records".

layout! {
    /// A client starts, or a daemon ends, a traverse.
    #[derive(Copy, Eq, Default)]
    pub struct TraverseStart, size 16 {
        /// Database.
        db_id: u32,
        /// Copied into each record that is delivered.
        reqid: u32,
        /// Address the records are delivered to.
        srvid: u64,
    }
}

layout! {
    /// [`TraverseStart`] with a choice about empty records.
    #[derive(Copy, Eq, Default)]
    pub struct TraverseStartExt, size 24 {
        /// Database.
        db_id: u32,
        /// Copied into each record that is delivered.
        reqid: u32,
        /// Address the records are delivered to.
        srvid: u64,
        /// Deliver records without data too.
        withemptyrecords: bool => pad 7,
    }
}

layout! {
    /// A daemon asks others for their records.
    #[derive(Copy, Eq, Default)]
    pub struct TraverseAll, size 24 {
        /// Database.
        db_id: u32,
        /// The asking daemon's id of the traverse.
        reqid: u32,
        /// Node that wants the records.
        pnn: u32,
        /// The client's id of the traverse.
        client_reqid: u32,
        /// Address of the client.
        srvid: u64,
    }
}

layout! {
    /// [`TraverseAll`] with a choice about empty records.
    #[derive(Copy, Eq, Default)]
    pub struct TraverseAllExt, size 32 {
        /// Database.
        db_id: u32,
        /// The asking daemon's id of the traverse.
        reqid: u32,
        /// Node that wants the records.
        pnn: u32,
        /// The client's id of the traverse.
        client_reqid: u32,
        /// Address of the client.
        srvid: u64,
        /// Deliver records without data too.
        withemptyrecords: bool => pad 7,
    }
}
