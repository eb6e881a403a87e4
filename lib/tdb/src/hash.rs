// SPDX-License-Identifier: GPL-3.0-or-later
//! The two built-in hash functions (spec/tdb.md 4).

/// A hash function of the caller's own.
pub type HashFunction = fn(&[u8]) -> u32;

/// The hash functions a file can be made with.
#[derive(Debug, Clone, Copy)]
pub enum HashKind {
    /// The default of files created without TDB_INCOMPATIBLE_HASH.
    Old,
    /// Bob Jenkins' lookup3 hashlittle.
    Jenkins,
    /// A function of the caller's own: whoever opens the file has to bring it.
    Custom(HashFunction),
}

impl PartialEq for HashKind {
    fn eq(&self, other: &HashKind) -> bool {
        match (self, other) {
            (HashKind::Old, HashKind::Old) | (HashKind::Jenkins, HashKind::Jenkins) => true,
            (HashKind::Custom(a), HashKind::Custom(b)) => std::ptr::fn_addr_eq(*a, *b),
            _ => false,
        }
    }
}

impl Eq for HashKind {}

impl HashKind {
    /// Hash of a key.
    #[inline]
    pub fn hash(self, key: &[u8]) -> u32 {
        match self {
            HashKind::Old => old_hash(key),
            HashKind::Jenkins => jenkins_hash(key),
            HashKind::Custom(function) => function(key),
        }
    }
}

/// The old hash (spec/tdb.md 4.1).
pub fn old_hash(key: &[u8]) -> u32 {
    let mut value = 0x238F_13AFu32.wrapping_mul(key.len() as u32);
    let mut shift = 0u32;
    for &byte in key {
        value = value.wrapping_add(u32::from(byte) << shift);
        shift = (shift + 5) % 24;
    }
    1_103_515_243u32.wrapping_mul(value).wrapping_add(12345)
}

#[inline(always)]
fn le32(bytes: &[u8; 12], at: usize) -> u32 {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

/// The Jenkins hash (spec/tdb.md 4.2). Also what a cluster derives database ids and location
/// masters from.
#[inline]
pub fn jenkins_hash(key: &[u8]) -> u32 {
    let start = 0xDEAD_BEEFu32.wrapping_add(key.len() as u32);
    let (mut a, mut b, mut c) = (start, start, start);
    let mut rest = key;
    while rest.len() > 12 {
        let (block, tail) = rest.split_at(12);
        let mut words = [0u8; 12];
        words.copy_from_slice(block);
        a = a.wrapping_add(le32(&words, 0));
        b = b.wrapping_add(le32(&words, 4));
        c = c.wrapping_add(le32(&words, 8));
        // MIX
        a = a.wrapping_sub(c) ^ c.rotate_left(4);
        c = c.wrapping_add(b);
        b = b.wrapping_sub(a) ^ a.rotate_left(6);
        a = a.wrapping_add(c);
        c = c.wrapping_sub(b) ^ b.rotate_left(8);
        b = b.wrapping_add(a);
        a = a.wrapping_sub(c) ^ c.rotate_left(16);
        c = c.wrapping_add(b);
        b = b.wrapping_sub(a) ^ a.rotate_left(19);
        a = a.wrapping_add(c);
        c = c.wrapping_sub(b) ^ b.rotate_left(4);
        b = b.wrapping_add(a);
        rest = tail;
    }
    if rest.is_empty() {
        return c;
    }
    let mut words = [0u8; 12];
    words[..rest.len()].copy_from_slice(rest);
    a = a.wrapping_add(le32(&words, 0));
    b = b.wrapping_add(le32(&words, 4));
    c = c.wrapping_add(le32(&words, 8));
    // FINAL
    c = (c ^ b).wrapping_sub(b.rotate_left(14));
    a = (a ^ c).wrapping_sub(c.rotate_left(11));
    b = (b ^ a).wrapping_sub(a.rotate_left(25));
    c = (c ^ b).wrapping_sub(b.rotate_left(16));
    a = (a ^ c).wrapping_sub(c.rotate_left(4));
    b = (b ^ a).wrapping_sub(a.rotate_left(14));
    (c ^ b).wrapping_sub(b.rotate_left(24))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn empty_keys() {
        assert_eq!(old_hash(b""), 0x3039);
        assert_eq!(jenkins_hash(b""), 0xDEAD_BEEF);
    }

    #[test]
    fn check_words() {
        assert_eq!(old_hash(b"TDB file\n\0"), 0xF67D_9F0D);
        assert_eq!(old_hash(&0x2601_1999u32.to_le_bytes()), 0x3AFE_F920);
        assert_eq!(old_hash(&0x2601_1999u32.to_be_bytes()), 0x566F_1E0F);
        assert_eq!(jenkins_hash(b"TDB file\n\0"), 0xD7B6_94E5);
        assert_eq!(jenkins_hash(&0x2601_1999u32.to_le_bytes()), 0x76B9_440E);
        assert_eq!(jenkins_hash(&0x2601_1999u32.to_be_bytes()), 0x123C_1283);
    }
}
