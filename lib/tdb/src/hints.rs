// SPDX-License-Identifier: GPL-3.0-or-later
//! Where this handle met the records of each chain: what to fetch into the cache in one go.
//!
//! In a file larger than the processor's caches a lookup waits for memory three or four times, one
//! after the other, because each record tells where the next one is. A handle that remembers the
//! offsets of its last walk asks for all of them at once, together with the chain's mutex, and then
//! walks as ever. The offsets are hints only: nothing is concluded from them, so it does not matter
//! that other processes change the chain.
//!
//! A handle that looks up little, or in a small file, has its records cached anyway and would pay
//! the memory for nothing: the table is made after `WALKS_BEFORE` walks.

/// Walks a handle makes before it begins to remember.
const WALKS_BEFORE: u32 = 1 << 14;
/// Chains that are remembered; others share their places.
const MAX_CHAINS: u32 = 1 << 17;
/// Fewer chains than this are not worth it.
const MIN_CHAINS: u32 = 1 << 12;
/// Records of a chain that are remembered: with 1 to 3 records a chain that is nearly always all.
const DEPTH: usize = 4;

/// The offsets of a chain's first records; 0 is none.
type Chain = [u32; DEPTH];

/// The hints of one handle.
#[derive(Default)]
pub(crate) struct Hints {
    /// A power of two of places, or empty: not remembering.
    chains: Box<[Chain]>,
    walks: u32,
}

impl Hints {
    /// Where the first records of a chain may be.
    #[inline(always)]
    pub fn of(&self, chain: u32) -> Option<&Chain> {
        self.chains.get(self.place(chain))
    }

    #[inline(always)]
    fn place(&self, chain: u32) -> usize {
        chain as usize & self.chains.len().wrapping_sub(1)
    }

    /// Notes the `at`th record of a chain, if it is not known.
    #[inline(always)]
    pub fn note(&mut self, chain: u32, at: usize, offset: u32) {
        let place = self.place(chain);
        let known = self.chains.get_mut(place).and_then(|known| known.get_mut(at));
        if let Some(known) = known.filter(|known| **known != offset) {
            *known = offset;
        }
    }

    /// Counts a walk in a file of `chains` chains.
    #[inline(always)]
    pub fn count(&mut self, chains: u32) {
        if self.walks < WALKS_BEFORE {
            self.walks += 1;
            if self.walks == WALKS_BEFORE && chains >= MIN_CHAINS {
                self.begin(chains);
            }
        }
    }

    #[cold]
    fn begin(&mut self, chains: u32) {
        let places = chains.min(MAX_CHAINS).next_power_of_two();
        // Zeroed memory from the system: what is never used costs nothing.
        self.chains = vec![[0; DEPTH]; places as usize].into_boxed_slice();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_busy_handle_remembers() {
        let mut hints = Hints::default();
        hints.note(7, 0, 100);
        assert_eq!(hints.of(7), None);
        for _ in 0..WALKS_BEFORE {
            hints.count(100_001);
        }
        hints.note(100_000, 0, 100);
        hints.note(100_000, DEPTH, 200);
        assert_eq!(hints.of(100_000), Some(&[100, 0, 0, 0]));
        assert_eq!(hints.of(u32::MAX), Some(&[0; DEPTH]));
    }

    #[test]
    fn few_chains_are_not_remembered() {
        let mut hints = Hints::default();
        for _ in 0..2 * WALKS_BEFORE {
            hints.count(131);
        }
        assert_eq!(hints.of(0), None);
    }
}
