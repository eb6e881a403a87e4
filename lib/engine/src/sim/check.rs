// SPDX-License-Identifier: GPL-3.0-or-later
//! What must hold after each turn (`spec/database.md 26`, `spec/cluster.md 27`).
//!
//! - one dmaster per record per generation (I1, I2): among the nodes of one generation, with their
//!   databases thawed, at most one copy names its own node, and none does while the lmaster, having no copy,
//!   owns the record by default
//! - the RSN of a record on a node never goes back while the record stays (I4)
//! - nodes of one generation have the same VNN map

use super::store::{Cause, Change, SimStore};
use crate::packet::{DbId, Pnn};
use crate::ports::DbKind;
use crate::view::{ClusterView, RecoveryMode, INVALID_GENERATION};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// An invariant that did not hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// Which, and with which values.
    pub what: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "invariant violated: {}", self.what)
    }
}

/// A node whose daemon runs.
pub(super) struct Seat<'a> {
    pub pnn: Pnn,
    pub view: &'a ClusterView,
    pub store: &'a SimStore,
}

/// Header fields of a value in a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Header {
    pub rsn: u64,
    pub dmaster: Pnn,
    pub flags: u32,
}

/// The header of a value; none if it is too short to be a record.
pub(super) fn header(value: &[u8]) -> Option<Header> {
    let word =
        |at: usize| value.get(at..at + 4).and_then(|b| b.try_into().ok()).map(u32::from_le_bytes);
    value.get(..24)?;
    Some(Header {
        rsn: u64::from(word(0)?) | u64::from(word(4)?) << 32,
        dmaster: word(8)?,
        flags: word(16)?,
    })
}

/// State of the checks.
#[derive(Default)]
pub(super) struct Check {
    violation: Option<Violation>,
    generations: BTreeMap<Pnn, u32>,
    /// The generation that was installed last, and its members.
    latest: u32,
    past: BTreeSet<u32>,
    members: Vec<Pnn>,
    /// Nodes whose data does not count.
    left_out: BTreeSet<Pnn>,
}

impl Check {
    pub fn violation(&self) -> Option<&Violation> {
        self.violation.as_ref()
    }

    pub fn violated(&mut self, what: String) {
        self.violation.get_or_insert(Violation { what });
    }

    pub fn node_lost(&mut self, node: Pnn) {
        self.generations.remove(&node);
    }

    /// The generation a node had when it was last looked at.
    pub fn generation(&self, node: Pnn) -> Option<u32> {
        self.generations.get(&node).copied()
    }

    /// Whether what happens on a node does not count, since the cluster goes on without it.
    pub fn is_left_out(&self, node: Pnn) -> bool {
        self.left_out.contains(&node)
    }

    /// Whether a node of this generation is one of the cluster.
    fn belongs(&self, node: Pnn, generation: u32) -> bool {
        generation != INVALID_GENERATION
            && (generation == self.latest || self.members.contains(&node))
    }

    pub fn change(&mut self, node: Pnn, change: &Change) {
        if change.cause != Cause::Daemon {
            return;
        }
        let header = |v: &Option<Vec<u8>>| v.as_deref().and_then(header);
        if let (Some(old), Some(new)) = (header(&change.old), header(&change.new)) {
            if new.rsn < old.rsn {
                self.violated(format!(
                    "RSN goes back on node {node}: db {:#x} key {:?}: {old:?} to {new:?}",
                    change.db,
                    String::from_utf8_lossy(&change.key)
                ));
            }
        }
    }

    pub fn one_owner(&mut self, db: DbId, key: &[u8], seats: &[Seat<'_>]) {
        let mut owners: BTreeMap<u32, Vec<(Pnn, Option<Header>)>> = BTreeMap::new();
        for seat in seats {
            let view = seat.view;
            let taking_part = view.generation != INVALID_GENERATION
                && view.recovery_mode == RecoveryMode::Normal
                && !view.is_inactive()
                && seat.store.kind(db) == Some(DbKind::Volatile)
                && !seat.store.is_frozen(db);
            if !taking_part {
                continue;
            }
            let copy = seat.store.client_read(db, key).and_then(header);
            let owner = match copy {
                Some(header) => header.dmaster == seat.pnn,
                None => view.lmaster(key) == Some(seat.pnn),
            };
            if owner {
                owners.entry(view.generation).or_default().push((seat.pnn, copy));
            }
        }
        for (generation, owners) in owners {
            if owners.len() > 1 {
                self.violated(format!(
                    "several owners in generation {generation:#x}: db {db:#x} key {:?}: {owners:?}",
                    String::from_utf8_lossy(key)
                ));
            }
        }
    }

    /// Compares the view of `node` with the others. The nodes that no longer belong to the cluster, and those that
    /// do so again.
    pub fn views(&mut self, node: Pnn, views: &[(Pnn, &ClusterView)]) -> (Vec<Pnn>, Vec<Pnn>) {
        let (mut out, mut back) = (Vec::new(), Vec::new());
        let Some((_, view)) = views.iter().find(|(n, _)| *n == node) else { return (out, back) };
        let known = self.generations.insert(node, view.generation) == Some(view.generation);
        if !known && view.generation != INVALID_GENERATION {
            self.new_generation(node, view, views);
        }
        for (pnn, view) in views {
            if view.is_inactive() || !self.belongs(*pnn, view.generation) {
                if self.left_out.insert(*pnn) {
                    out.push(*pnn);
                }
            } else if view.generation == self.latest && view.recovery_mode == RecoveryMode::Normal {
                // Its records have been merged with those of the others.
                if self.left_out.remove(pnn) {
                    back.push(*pnn);
                }
            }
        }
        (out, back)
    }

    fn new_generation(&mut self, node: Pnn, view: &ClusterView, views: &[(Pnn, &ClusterView)]) {
        let first = views.iter().all(|(n, v)| *n == node || v.generation != view.generation);
        if first && !self.past.contains(&view.generation) {
            self.past.insert(view.generation);
            self.latest = view.generation;
            self.members.clone_from(&view.vnnmap);
        }
        for (other, theirs) in views {
            if theirs.generation == view.generation && theirs.vnnmap != view.vnnmap {
                self.violated(format!(
                    "generation {:#x} has two VNN maps: {:?} on node {node}, {:?} on node {other}",
                    view.generation, view.vnnmap, theirs.vnnmap
                ));
            }
        }
    }
}
