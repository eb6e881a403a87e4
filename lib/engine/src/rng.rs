// SPDX-License-Identifier: GPL-3.0-or-later
//! The seeded random source of a daemon (splitmix64: Steele, Lea, Flood, OOPSLA 2014).

/// Deterministic random numbers. A host seeds it from the system, the simulator from its seed.
#[derive(Debug, Clone)]
pub struct Rng(u64);

impl Rng {
    /// A source that yields the same sequence for the same `seed`.
    pub fn new(seed: u64) -> Rng {
        Rng(seed)
    }

    /// The next 64 random bits.
    pub fn next_u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// A number below `bound` (0 if `bound` is 0).
    pub fn below(&mut self, bound: u64) -> u64 {
        if bound == 0 {
            0
        } else {
            self.next_u64() % bound
        }
    }
}
