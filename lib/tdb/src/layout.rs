// SPDX-License-Identifier: GPL-3.0-or-later
//! The file format as numbers (spec/tdb.md 2, 3 and 5). Every offset is derived from the one
//! before it.

/// First bytes of every database file; the field is `MAGIC_FOOD_LEN` long and zero-filled.
pub const MAGIC_FOOD: &[u8; 10] = b"TDB file\n\0";
/// Length of the magic string field.
pub const MAGIC_FOOD_LEN: usize = 32;
/// Version word.
pub const VERSION: u32 = 0x2601_1967 + 6;
/// Magic of a record in use.
pub const MAGIC_USED: u32 = 0x2601_1999;
/// Magic of a free record.
pub const MAGIC_FREE: u32 = !MAGIC_USED;
/// Magic of a dead record.
pub const MAGIC_DEAD: u32 = 0xFEE1_DEAD;
/// Magic of a recovery area with valid undo data.
pub const MAGIC_RECOVERY: u32 = 0xF53B_C0E7;
/// Magic of an idle recovery area.
pub const MAGIC_RECOVERY_IDLE: u32 = 0;
/// `rwlocks` value of a Jenkins file without features.
pub const RWLOCKS_HASH: u32 = 0x0BAD_1A51;
/// `rwlocks` value of a file whose feature flags are valid.
pub const RWLOCKS_FEATURES: u32 = 0x0BAD_1A52;
/// Feature: robust mutexes.
pub const FEATURE_MUTEX: u32 = 1;
/// Filler of never-used space.
pub const PAD_WORD: u32 = 0x4242_4242;
/// Hash chains of a file created with hash size 0.
pub const DEFAULT_HASH_SIZE: u32 = 131;
/// Largest hash size an open accepts.
pub const MAX_HASH_SIZE: u32 = 0x3FFF_FFFF;
/// Record alignment.
pub const ALIGN: u32 = 4;

/// Header fields.
pub const OFF_VERSION: u32 = MAGIC_FOOD_LEN as u32;
/// Number of chains.
pub const OFF_HASH_SIZE: u32 = OFF_VERSION + 4;
/// What older libraries refuse.
pub const OFF_RWLOCKS: u32 = OFF_HASH_SIZE + 4;
/// Recovery area, 0 = none.
pub const OFF_RECOVERY_START: u32 = OFF_RWLOCKS + 4;
/// Sequence number.
pub const OFF_SEQNUM: u32 = OFF_RECOVERY_START + 4;
/// First hash check word.
pub const OFF_MAGIC1_HASH: u32 = OFF_SEQNUM + 4;
/// Second hash check word.
pub const OFF_MAGIC2_HASH: u32 = OFF_MAGIC1_HASH + 4;
/// Feature flags.
pub const OFF_FEATURES: u32 = OFF_MAGIC2_HASH + 4;
/// Size of the mutex area.
pub const OFF_MUTEX_SIZE: u32 = OFF_FEATURES + 4;
/// Size of the header; the free list head follows.
pub const HEADER_SIZE: u32 = OFF_MUTEX_SIZE + 4 + 25 * 4;
/// Head word of the free list.
pub const FREE_HEAD: u32 = HEADER_SIZE;

/// Size of a record header.
pub const REC_HEADER: u32 = 24;
/// Size of the word that ends every record.
pub const TAILER: u32 = 4;
/// A free record is split only if this much would be left over.
pub const SPLIT_THRESHOLD: u32 = REC_HEADER + TAILER + 8;

/// Lock bytes (spec/tdb.md 7.1).
pub const LOCK_OPEN: u64 = 0;
/// Held shared by active users.
pub const LOCK_ACTIVE: u64 = 4;
/// Held for the duration of a transaction.
pub const LOCK_TRANSACTION: u64 = 8;
/// Guards the sequence number where it cannot be incremented atomically.
pub const LOCK_SEQNUM: u64 = OFF_SEQNUM as u64;
/// First chain's lock byte; the free list's is four less.
pub const LOCK_CHAINS: u64 = FREE_HEAD as u64;

/// Head word of a chain.
#[inline(always)]
pub const fn chain_head(chain: u32) -> u32 {
    FREE_HEAD + 4 + 4 * chain
}

/// First byte behind the chain heads.
#[inline(always)]
pub const fn data_start(hash_size: u32) -> u32 {
    chain_head(hash_size)
}

const _: () = assert!(HEADER_SIZE == 168 && OFF_SEQNUM == 48 && data_start(131) == 696);
