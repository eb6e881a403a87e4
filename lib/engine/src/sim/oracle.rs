// SPDX-License-Identifier: GPL-3.0-or-later
//! The history of each record, and whether what clients see fits it (`spec/database.md 26`: I5, I7, I10).
//!
//! Every write of a client is a version with a number of its own, which is in the value. The history of a key is
//! a chain of versions. A client that owns the record must see the newest one. It may see an older one only if
//! every node that held a newer one has lost it since: it died, became inactive, or was left out by a recovery
//! (a node behind a broken network). Deletion is a version too, with an empty value.

use crate::packet::{DbId, Pnn};
use crate::time::Time;
use std::collections::{BTreeMap, BTreeSet};

/// A record's name.
pub type Name = (DbId, Vec<u8>);

/// Number of a version; 0: the record has never been written.
pub type VersionId = u64;

/// Newest versions of a key that are remembered in any case.
const REMEMBERED: usize = 200;

#[derive(Debug, Clone)]
struct Version {
    parent: VersionId,
    node: Pnn,
    deleted: bool,
    /// Nodes that a recovery left out while this was the newest they had, or that wrote it then. Should such a node
    /// come back with it, the RSN decides, and it may win against what the others did meanwhile.
    stray_of: BTreeSet<Pnn>,
    was_stray: bool,
    /// Nodes that have stored this version, and have not lost their data since.
    held: BTreeSet<Pnn>,
    superseded: Option<Time>,
}

impl Version {
    fn new(parent: VersionId, node: Pnn, deleted: bool) -> Version {
        Version {
            parent,
            node,
            deleted,
            stray_of: BTreeSet::new(),
            was_stray: false,
            held: BTreeSet::new(),
            superseded: None,
        }
    }

    fn is_stray(&self) -> bool {
        !self.stray_of.is_empty()
    }
}

#[derive(Debug, Default)]
struct Key {
    current: VersionId,
    versions: BTreeMap<VersionId, Version>,
    /// A node was left out with an empty record, which may come back as other versions may.
    stray_empty: bool,
    /// When the record was last empty and then written.
    empty_until: Option<Time>,
}

/// What was counted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Writes that count.
    pub writes: u64,
    /// Reads that were checked.
    pub reads: u64,
    /// Times that a newest version had died with its nodes.
    pub rollbacks: u64,
    /// Times that a version from behind a broken network won.
    pub strays: u64,
}

/// See the module.
#[derive(Debug, Default)]
pub struct Oracle {
    keys: BTreeMap<Name, Key>,
    last: VersionId,
    counts: Counts,
}

impl Oracle {
    /// What was counted so far.
    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// A node stored this value of a record, by whatever cause. None: empty, which is what deleting leaves.
    pub(super) fn stored(&mut self, node: Pnn, name: &Name, version: Option<VersionId>) {
        let Some(key) = self.keys.get_mut(name) else { return };
        let id = version.unwrap_or(key.current);
        if let Some(v) = key.versions.get_mut(&id) {
            if v.deleted == version.is_none() {
                v.held.insert(node);
                if v.was_stray && id != key.current {
                    // A recovery has spread it.
                    v.stray_of.insert(node);
                }
            }
        }
    }

    /// A node lost all its records. `left_out`: it has them still, but the cluster goes on without.
    pub(super) fn lost(&mut self, node: Pnn, left_out: bool) {
        for key in self.keys.values_mut() {
            for version in key.versions.values_mut() {
                version.held.remove(&node);
                if !left_out {
                    version.stray_of.remove(&node);
                }
            }
        }
    }

    /// A node deleted its copy of a record that its owner has deleted.
    pub(super) fn copy_deleted(&mut self, node: Pnn, name: &Name) {
        for version in self.keys.get_mut(name).into_iter().flat_map(|k| k.versions.values_mut()) {
            version.held.remove(&node);
        }
    }

    /// What a node that was left out has in its file. None: an empty record.
    pub(super) fn left_out_with(&mut self, node: Pnn, name: &Name, version: Option<VersionId>) {
        let key = self.keys.entry(name.clone()).or_default();
        match version {
            None => key.stray_empty = true,
            Some(id) => {
                let forgotten = || Version::new(0, node, false);
                let version = key.versions.entry(id).or_insert_with(forgotten);
                version.stray_of.insert(node);
                version.was_stray = true;
            }
        }
    }

    /// A client that owns a record, or has a valid copy of it, sees this version. An error says what does not fit.
    pub(super) fn sees(
        &mut self,
        name: &Name,
        seen: Option<VersionId>,
        since: Time,
        now: Time,
    ) -> Result<(), String> {
        self.counts.reads += 1;
        let key = self.keys.entry(name.clone()).or_default();
        if fits(key, key.current, seen) {
            return Ok(());
        }
        if let Some(v) = seen.and_then(|id| key.versions.get(&id)) {
            // Read without the lock: it was the newest when the read began.
            if v.superseded.is_some_and(|at| at > since) {
                return Ok(());
            }
        }
        if seen.is_none() && key.empty_until.is_some_and(|at| at > since) {
            return Ok(());
        }
        let was = key.current;
        let mut at = key.current;
        let mut path = vec![at];
        while let Some(version) = key.versions.get(&at) {
            if fits(key, at, seen) {
                break;
            }
            if !version.held.is_empty() {
                let why = format!(
                    "a write is lost: {} saw version {seen:?}, but {at} of node {} is held by {:?}",
                    show(name),
                    version.node,
                    version.held
                );
                return self.stray(name, seen, was, now).ok_or(why);
            }
            at = version.parent;
            path.push(at);
        }
        // What is older than all that is remembered: nothing is known against it.
        let forgotten =
            at != 0 && seen.is_some_and(|id| id <= at && !key.versions.contains_key(&id));
        if forgotten {
            let version = Version::new(0, 0, false);
            at = seen.unwrap_or(at);
            key.versions.insert(at, version);
        } else if !fits(key, at, seen) {
            return self.stray(name, seen, was, now).ok_or(format!(
                "{} saw version {seen:?}, not an ancestor of {path:?}",
                show(name)
            ));
        }
        key.current = at;
        if let Some(v) = key.versions.get_mut(&at) {
            v.superseded = None;
        }
        self.counts.rollbacks += 1;
        Ok(())
    }

    /// Whether the version seen is one that may come back; then it is the newest now.
    fn stray(
        &mut self,
        name: &Name,
        seen: Option<VersionId>,
        was: VersionId,
        now: Time,
    ) -> Option<()> {
        let key = self.keys.get_mut(name)?;
        let id = match seen {
            Some(id) => id,
            // A deletion cannot be told from another, nor from a record that was never written.
            None => {
                let stray = |(_, v): &(&VersionId, &Version)| v.is_stray() && v.deleted;
                match key.versions.iter().rev().find(stray) {
                    Some((id, _)) => *id,
                    None if key.stray_empty => {
                        self.last += 1;
                        let mut version = Version::new(was, 0, true);
                        version.stray_of = BTreeSet::from([0]);
                        key.versions.insert(self.last, version);
                        self.last
                    }
                    None => return None,
                }
            }
        };
        key.versions.get_mut(&id).filter(|v| v.is_stray())?.superseded = None;
        key.current = id;
        if let Some(v) = key.versions.get_mut(&was) {
            v.superseded = Some(now);
        }
        self.counts.strays += 1;
        Some(())
    }

    /// A client on `node` writes, after it saw version `seen`: the number of the new version. `left_out`: the
    /// node does not belong to the cluster at this moment.
    pub(super) fn writes(
        &mut self,
        node: Pnn,
        name: &Name,
        (seen, deleted): (Option<VersionId>, bool),
        left_out: bool,
        now: Time,
    ) -> VersionId {
        self.last += 1;
        let id = self.last;
        let key = self.keys.entry(name.clone()).or_default();
        let mut version = Version::new(seen.unwrap_or(key.current), node, deleted);
        if left_out {
            version.stray_of.insert(node);
            version.was_stray = true;
            version.superseded = Some(now);
        } else {
            version.held.insert(node);
        }
        if !left_out && fits(key, key.current, None) {
            key.empty_until = Some(now);
        }
        key.versions.insert(id, version);
        if !left_out {
            if let Some(old) = key.versions.get_mut(&key.current) {
                old.superseded = Some(now);
            }
            key.current = id;
            self.counts.writes += 1;
        }
        if key.versions.len() > 2 * REMEMBERED {
            let keep: BTreeSet<VersionId> =
                key.versions.keys().rev().take(REMEMBERED).copied().collect();
            key.versions.retain(|id, v| keep.contains(id) || v.is_stray());
        }
        id
    }
}

/// Whether `seen` is what version `id` looks like.
fn fits(key: &Key, id: VersionId, seen: Option<VersionId>) -> bool {
    match (seen, key.versions.get(&id)) {
        (Some(seen), _) => seen == id,
        (None, Some(version)) => version.deleted,
        (None, None) => true,
    }
}

fn show(name: &Name) -> String {
    format!("db {:#x} key {:?}", name.0, String::from_utf8_lossy(&name.1))
}

#[cfg(test)]
mod tests {
    use super::*;

    const T: Time = Time(0);

    fn name() -> Name {
        (1, b"k".to_vec())
    }

    #[test]
    fn the_newest_version_must_be_seen_while_somebody_holds_it() {
        let mut o = Oracle::default();
        assert_eq!(o.sees(&name(), None, T, T), Ok(()));
        let one = o.writes(0, &name(), (None, false), false, T);
        assert!(o.sees(&name(), None, T, T).is_err());
        let two = o.writes(0, &name(), (None, false), false, T);
        o.stored(1, &name(), Some(one));
        assert!(o.sees(&name(), Some(one), T, T).is_err(), "node 0 holds the newer one");
        o.lost(0, false);
        assert_eq!(o.sees(&name(), Some(one), T, T), Ok(()));
        assert_eq!(o.counts().rollbacks, 1);
        assert!(o.sees(&name(), Some(two), T, T).is_err(), "it was lost");
        assert!(o.sees(&name(), None, T, T).is_err(), "node 1 holds the first");
    }

    #[test]
    fn what_was_deleted_stays_deleted() {
        let mut o = Oracle::default();
        let one = o.writes(0, &name(), (None, false), false, T);
        o.stored(1, &name(), Some(one));
        o.writes(0, &name(), (None, true), false, T);
        assert_eq!(o.sees(&name(), None, T, T), Ok(()));
        assert!(o.sees(&name(), Some(one), T, T).is_err());
    }

    #[test]
    fn a_node_that_was_left_out_may_bring_its_version_back() {
        let mut o = Oracle::default();
        let one = o.writes(0, &name(), (None, false), false, T);
        o.stored(1, &name(), Some(one));
        let two = o.writes(1, &name(), (None, false), false, T);
        o.lost(1, true);
        o.left_out_with(1, &name(), Some(two));
        assert_eq!(o.sees(&name(), Some(one), T, T), Ok(()));
        let three = o.writes(0, &name(), (None, false), false, T);
        let stray = o.writes(1, &name(), (None, false), true, T);
        assert_eq!(o.sees(&name(), Some(three), T, T), Ok(()));
        assert_eq!(o.sees(&name(), Some(stray), T, T), Ok(()));
        assert_eq!(o.sees(&name(), Some(two), T, T), Ok(()));
        assert_eq!(o.counts().strays, 2);
    }

    #[test]
    fn a_read_may_be_as_old_as_its_beginning() {
        let mut o = Oracle::default();
        let one = o.writes(0, &name(), (None, false), false, Time(10));
        o.writes(0, &name(), (None, false), false, Time(20));
        assert_eq!(o.sees(&name(), Some(one), Time(15), Time(30)), Ok(()));
        assert!(o.sees(&name(), Some(one), Time(25), Time(30)).is_err());
    }
}
