// SPDX-License-Identifier: GPL-3.0-or-later
//! The file header: reading, judging and making one (spec/tdb.md 3.1, 4.3, 12.2).

use crate::layout::*;
use crate::{HashFunction, HashKind};

/// The header fields an open needs, in native byte order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Header {
    pub hash_size: u32,
    pub rwlocks: u32,
    pub magic_hash: (u32, u32),
    pub features: u32,
    /// Logical start; 0 without the mutex feature.
    pub mutex_size: u32,
    pub swapped: bool,
    pub hash_kind: HashKind,
}

/// Why a header is refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct HeaderError {
    pub offset: u32,
    pub expected: String,
    pub found: String,
    pub errno: i32,
}

fn refuse<T>(
    offset: u32,
    expected: impl Into<String>,
    found: u32,
    errno: i32,
) -> Result<T, HeaderError> {
    Err(HeaderError { offset, expected: expected.into(), found: format!("{found:#010x}"), errno })
}

/// The check words of a hash function in a file of the given byte order.
fn check_words(kind: HashKind, swapped: bool) -> (u32, u32) {
    let magic = if swapped { MAGIC_USED.swap_bytes() } else { MAGIC_USED };
    match (kind.hash(MAGIC_FOOD), kind.hash(&magic.to_ne_bytes())) {
        // Two zeroes stand for a file without check words.
        (0, 0) => (1, 0),
        words => words,
    }
}

/// The hash function of a file with these check words: the caller's own if there is one, or the
/// built-in one that fits.
fn hash_kind(
    words: (u32, u32),
    swapped: bool,
    custom: Option<HashFunction>,
) -> Result<HashKind, HeaderError> {
    let (candidates, expected) = match custom {
        Some(function) => (vec![HashKind::Custom(function)], "the caller's hash function"),
        None => (vec![HashKind::Old, HashKind::Jenkins], "a known hash function"),
    };
    // Two zeroes: made by a library that wrote no check words.
    let fits = |kind: &HashKind| words == (0, 0) || words == check_words(*kind, swapped);
    match candidates.into_iter().find(fits) {
        Some(kind) => Ok(kind),
        None => {
            refuse(OFF_MAGIC1_HASH, format!("check words of {expected}"), words.0, libc::EINVAL)
        }
    }
}

impl Header {
    /// `Ok(None)`: not a TDB file at all (no magic string).
    pub fn parse(
        bytes: &[u8; HEADER_SIZE as usize],
        custom: Option<HashFunction>,
    ) -> Result<Option<Header>, HeaderError> {
        // Comparing ten bytes includes the terminating NUL.
        if !bytes.starts_with(MAGIC_FOOD) {
            return Ok(None);
        }
        let raw = |offset: u32| {
            let at = offset as usize;
            u32::from_ne_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
        };
        let swapped = match raw(OFF_VERSION) {
            VERSION => false,
            word if word.swap_bytes() == VERSION => true,
            word => {
                return refuse(OFF_VERSION, format!("version {VERSION:#010x}"), word, libc::EIO)
            }
        };
        let word = |offset| if swapped { raw(offset).swap_bytes() } else { raw(offset) };
        let rwlocks = word(OFF_RWLOCKS);
        if !matches!(rwlocks, 0 | RWLOCKS_HASH | RWLOCKS_FEATURES) {
            return refuse(OFF_RWLOCKS, "a known locking format", rwlocks, libc::ENOSYS);
        }
        let hash_size = word(OFF_HASH_SIZE);
        if hash_size == 0 {
            return refuse(OFF_HASH_SIZE, "at least one chain", 0, libc::ENOSYS);
        }
        let features = if rwlocks == RWLOCKS_FEATURES { word(OFF_FEATURES) } else { 0 };
        if features & !FEATURE_MUTEX != 0 {
            return refuse(OFF_FEATURES, "known features", features, libc::ENOSYS);
        }
        let magic_hash = (word(OFF_MAGIC1_HASH), word(OFF_MAGIC2_HASH));
        let hash_kind = hash_kind(magic_hash, swapped, custom)?;
        let mutex_size = if features & FEATURE_MUTEX != 0 { word(OFF_MUTEX_SIZE) } else { 0 };
        Ok(Some(Header {
            hash_size,
            rwlocks,
            magic_hash,
            features,
            mutex_size,
            swapped,
            hash_kind,
        }))
    }

    /// The header of an empty database; `None` if the sizes do not fit.
    pub fn fresh(
        hash_size: u32,
        hash_kind: HashKind,
        swapped: bool,
        mutex_size: u64,
    ) -> Option<Header> {
        let features = if mutex_size > 0 { FEATURE_MUTEX } else { 0 };
        let header = Header {
            hash_size,
            rwlocks: match (features, hash_kind) {
                (0, HashKind::Old | HashKind::Custom(_)) => 0,
                (0, HashKind::Jenkins) => RWLOCKS_HASH,
                _ => RWLOCKS_FEATURES,
            },
            magic_hash: check_words(hash_kind, swapped),
            features,
            mutex_size: u32::try_from(mutex_size).ok()?,
            swapped,
            hash_kind,
        };
        (header.heads_end() <= u64::from(u32::MAX)).then_some(header)
    }

    /// The header as it is stored.
    pub fn bytes(&self) -> [u8; HEADER_SIZE as usize] {
        let mut bytes = [0u8; HEADER_SIZE as usize];
        bytes[..MAGIC_FOOD.len()].copy_from_slice(MAGIC_FOOD);
        for (offset, word) in [
            (OFF_VERSION, VERSION),
            (OFF_HASH_SIZE, self.hash_size),
            (OFF_RWLOCKS, self.rwlocks),
            (OFF_MAGIC1_HASH, self.magic_hash.0),
            (OFF_MAGIC2_HASH, self.magic_hash.1),
            (OFF_FEATURES, self.features),
            (OFF_MUTEX_SIZE, self.mutex_size),
        ] {
            let word = if self.swapped { word.swap_bytes() } else { word };
            bytes[offset as usize..offset as usize + 4].copy_from_slice(&word.to_ne_bytes());
        }
        bytes
    }

    pub fn has_mutexes(&self) -> bool {
        self.features & FEATURE_MUTEX != 0
    }

    pub fn is_big_endian(&self) -> bool {
        self.swapped != cfg!(target_endian = "big")
    }

    /// Logical end of the chain heads.
    pub fn heads_end(&self) -> u64 {
        u64::from(FREE_HEAD) + 4 + 4 * u64::from(self.hash_size)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fresh_headers_parse_back() {
        for kind in [HashKind::Old, HashKind::Jenkins] {
            for swapped in [false, true] {
                let header = Header::fresh(131, kind, swapped, 0).unwrap();
                assert_eq!(Header::parse(&header.bytes(), None), Ok(Some(header)));
            }
        }
        let header = Header::fresh(101, HashKind::Jenkins, false, 8192).unwrap();
        assert_eq!(Header::parse(&header.bytes(), None), Ok(Some(header)));
    }

    #[test]
    fn no_magic_string_is_no_database() {
        assert_eq!(Header::parse(&[0; HEADER_SIZE as usize], None), Ok(None));
    }
}
