// SPDX-License-Identifier: GPL-3.0-or-later
//! The TDB flag bits (spec/tdb.md 20.1). They are visible outside the engine: a cluster daemon
//! hands them to its clients in the "get open flags" control.

/// Wipe the file if nobody else is active; hold the active lock.
pub const TDB_CLEAR_IF_FIRST: u32 = 1;
/// Process-private database without a file.
pub const TDB_INTERNAL: u32 = 2;
/// Take no locks at all.
pub const TDB_NOLOCK: u32 = 4;
/// Use read and write calls instead of a mapping.
pub const TDB_NOMMAP: u32 = 8;
/// At creation: use the byte order foreign to this machine. After open: the file has it.
pub const TDB_CONVERT: u32 = 16;
/// Set by open: the file is big-endian.
pub const TDB_BIGENDIAN: u32 = 32;
/// Transactions do not wait for the disk.
pub const TDB_NOSYNC: u32 = 64;
/// Maintain the sequence number.
pub const TDB_SEQNUM: u32 = 128;
/// Keep up to five dead records per chain.
pub const TDB_VOLATILE: u32 = 256;
/// Nested transactions are counted (default).
pub const TDB_ALLOW_NESTING: u32 = 512;
/// A nested transaction start fails.
pub const TDB_DISALLOW_NESTING: u32 = 1024;
/// At creation: Jenkins hash.
pub const TDB_INCOMPATIBLE_HASH: u32 = 2048;
/// At creation: robust mutexes instead of fcntl chain locks. At open: allow such files.
pub const TDB_MUTEX_LOCKING: u32 = 4096;
