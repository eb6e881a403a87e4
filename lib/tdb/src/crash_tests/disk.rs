// SPDX-License-Identifier: GPL-3.0-or-later
//! A simulated disk: what may be on it when the machine stops (the rule is in `crash_tests`).

use std::collections::BTreeMap;

use super::trace::Traced;
use super::Random;

/// What the disk writes or does not write.
pub(super) const SECTOR: usize = 512;

/// How many states of each kind are tried between two syncs.
#[derive(Clone, Copy)]
pub(super) struct Effort {
    pub cuts: usize,
    pub singles: usize,
    pub random: usize,
}

/// How a state came about.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Order {
    /// Everything up to a moment, nothing after it.
    Cut,
    /// Anything else.
    Reordered,
}

/// A file as an earlier state of the machine left it, and what happened to it since.
pub(super) struct Disk {
    /// Bytes before logical offset 0.
    start: usize,
    /// Content, durable.
    durable: Vec<u8>,
    /// Content as the system's cache has it.
    cache: Vec<u8>,
    /// Since the last sync: the versions of each sector, oldest first.
    sectors: BTreeMap<usize, Vec<Box<[u8]>>>,
    /// Since the last sync: sectors in the order of their writes.
    order: Vec<usize>,
    /// Sizes since the last sync, and after how many sector writes they came.
    sizes: Vec<(usize, usize)>,
}

impl Disk {
    pub fn new(image: Vec<u8>, start: u64) -> Disk {
        let size = image.len();
        Disk {
            start: start as usize,
            cache: image.clone(),
            durable: image,
            sectors: BTreeMap::new(),
            order: Vec::new(),
            sizes: vec![(size, 0)],
        }
    }

    /// What a process sees.
    pub fn cache(&self) -> &[u8] {
        &self.cache
    }

    pub fn apply(&mut self, step: &Traced) {
        match step {
            Traced::Write(offset, data) => self.write(self.start + *offset as usize, data),
            Traced::Extend(size) => self.resize(self.start + *size as usize),
            Traced::Sync => {
                self.durable.clone_from(&self.cache);
                self.sectors.clear();
                self.order.clear();
                self.sizes = vec![(self.cache.len(), 0)];
            }
        }
    }

    fn resize(&mut self, size: usize) {
        if size > self.cache.len() {
            self.cache.resize(size, 0);
            self.sizes.push((size, self.order.len()));
        }
    }

    fn write(&mut self, offset: usize, data: &[u8]) {
        if data.is_empty() {
            return;
        }
        let end = offset + data.len();
        self.resize(end);
        let mut at = offset;
        while at < end {
            let number = at / SECTOR;
            let stop = ((number + 1) * SECTOR).min(end);
            self.cache[at..stop].copy_from_slice(&data[at - offset..stop - offset]);
            let whole = number * SECTOR..((number + 1) * SECTOR).min(self.cache.len());
            let version = self.cache[whole].to_vec().into_boxed_slice();
            self.sectors.entry(number).or_default().push(version);
            self.order.push(number);
            at = stop;
        }
    }

    /// Whether anything is not durable yet.
    pub fn is_dirty(&self) -> bool {
        !self.order.is_empty() || self.sizes.len() > 1
    }

    /// The disk with `versions` of each dirty sector written (0: none) and a size.
    fn image(&self, size: usize, versions: impl Fn(usize) -> usize) -> Vec<u8> {
        let mut image = self.durable.clone();
        image.resize(size, 0);
        for (number, all) in &self.sectors {
            let from = number * SECTOR;
            let Some(version) = versions(*number).checked_sub(1) else {
                continue;
            };
            let bytes = &all[version];
            let room = size.saturating_sub(from).min(bytes.len());
            if room > 0 {
                image[from..from + room].copy_from_slice(&bytes[..room]);
            }
        }
        image
    }

    fn size_after(&self, writes: usize) -> usize {
        self.sizes.iter().rev().find(|(_, after)| *after <= writes).map_or(0, |(size, _)| *size)
    }

    /// The disk after the first `writes` sector writes since the last sync.
    fn cut(&self, writes: usize) -> Vec<u8> {
        let mut counts: BTreeMap<usize, usize> = BTreeMap::new();
        for number in &self.order[..writes] {
            *counts.entry(*number).or_default() += 1;
        }
        self.image(self.size_after(writes), |number| counts.get(&number).copied().unwrap_or(0))
    }

    /// Calls `judge` with states in which the machine may have stopped since the last sync.
    pub fn states(
        &self,
        effort: Effort,
        random: &mut Random,
        mut judge: impl FnMut(&[u8], Order, &mut Random),
    ) {
        for writes in some_of(self.order.len() + 1, effort.cuts) {
            judge(&self.cut(writes), Order::Cut, random);
        }
        let newest = self.cache.len();
        let numbers: Vec<usize> = self.sectors.keys().copied().collect();
        for at in some_of(numbers.len(), effort.singles) {
            let one = numbers[at];
            let versions = self.sectors[&one].len();
            let all = |number: usize| self.sectors[&number].len();
            let without = |n: usize| if n == one { versions - 1 } else { all(n) };
            judge(&self.image(newest, without), Order::Reordered, random);
            let alone = |n: usize| if n == one { versions } else { 0 };
            judge(&self.image(newest, alone), Order::Reordered, random);
            judge(&self.image(self.sizes[0].0, alone), Order::Reordered, random);
        }
        if numbers.len() < 2 {
            return;
        }
        for i in 0..effort.random {
            let eighths = [1, 4, 7][i % 3];
            let mut chosen = BTreeMap::new();
            for (number, versions) in &self.sectors {
                if random.below(8) < eighths {
                    chosen.insert(*number, 1 + random.below(versions.len() as u32) as usize);
                }
            }
            let (size, _) = self.sizes[random.below(self.sizes.len() as u32) as usize];
            let image = self.image(size, |number| chosen.get(&number).copied().unwrap_or(0));
            judge(&image, Order::Reordered, random);
        }
    }
}

/// All of `0..count`, or so many: the first and last ones, and between them at even distances.
pub(super) fn some_of(count: usize, wanted: usize) -> Vec<usize> {
    if count <= wanted {
        return (0..count).collect();
    }
    let edge = wanted / 4;
    let inner = wanted - 2 * edge;
    let span = count - 2 * edge;
    let mut chosen: Vec<usize> = (0..edge).collect();
    chosen.extend((0..inner).map(|i| edge + i * span / inner));
    chosen.extend(count - edge..count);
    chosen
}
