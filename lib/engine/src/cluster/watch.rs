// SPDX-License-Identifier: GPL-3.0-or-later
//! How the leader watches the others (`spec/cluster.md 17`, steps A10 to L13).
//!
//! Each node is asked by itself, once a second and whenever there is reason to; what it answers is judged when it
//! has answered, so that one that hangs keeps nobody from noticing what happens to the others.

use super::asking::{control, Asking};
use super::flags;
use super::Cluster;
use crate::env::Env;
use crate::packet::{Packet, Pnn};
use crate::view::flags::{DISCONNECTED, INACTIVE};
use crate::view::RecoveryMode;
use ctdb_wire::types::{NodeMap, VnnMap};
use ctdb_wire::{Decode, Opcode};
use std::collections::BTreeMap;
use std::time::Duration;

/// What the leader knows of one other node.
#[derive(Debug, Default)]
pub(super) struct Watched {
    /// Questions on their way.
    asking: Option<Asking>,
    /// Something happened while they were.
    again: bool,
    /// The node has confirmed its flags since it connected.
    confirmed: bool,
    /// It said that it is in recovery mode.
    in_recovery: bool,
}

impl Cluster {
    /// Asks all connected nodes.
    pub(super) fn watch_all(&mut self, env: &mut Env<'_>) {
        for pnn in self.view.connected() {
            if pnn != self.me {
                self.watch(env, pnn, false);
            }
        }
    }

    /// Asks a node, now or as soon as it has answered what it is being asked.
    fn watch(&mut self, env: &mut Env<'_>, pnn: Pnn, again: bool) {
        if !self.is_leader() {
            return;
        }
        let watched = self.watched.entry(pnn).or_default();
        if watched.asking.is_some() {
            watched.again |= again;
            return;
        }
        let limit = Duration::from_secs(env.tunables().recover_timeout.max(1).into());
        let mut asking = Asking::one(env, &[pnn], limit, Opcode::GetNodemap, &());
        asking.also(env, &[pnn], limit, Opcode::GetCapabilities, &());
        asking.also(env, &[pnn], limit, Opcode::GetRecmode, &());
        asking.also(env, &[pnn], limit, Opcode::GetVnnMap, &());
        watched.asking = Some(asking);
        watched.again = false;
    }

    /// A node has connected: it counts when it has confirmed its flags.
    pub(super) fn watch_newcomer(&mut self, env: &mut Env<'_>, pnn: Pnn) {
        self.forget_watched(pnn);
        self.watch(env, pnn, true);
    }

    /// A node has told us that something changed.
    pub(super) fn node_spoke(&mut self, env: &mut Env<'_>, pnn: Pnn) {
        self.watch(env, pnn, true);
    }

    pub(super) fn forget_watched(&mut self, pnn: Pnn) {
        self.watched.remove(&pnn);
    }

    /// This node leads no longer.
    pub(super) fn stop_watching(&mut self) {
        self.watched.clear();
        self.watch_complaint = None;
        self.credits.clear();
    }

    /// The active nodes, without those that connected and have not yet said whether they are.
    pub(super) fn confirmed_active(&self) -> Vec<Pnn> {
        let confirmed = |pnn: &Pnn| {
            *pnn == self.me || self.watched.get(pnn).is_some_and(|watched| watched.confirmed)
        };
        self.view.active().into_iter().filter(confirmed).collect()
    }

    pub(super) fn watched_in_recovery(&self, pnn: Pnn) -> bool {
        self.watched.get(&pnn).is_some_and(|watched| watched.in_recovery)
    }

    pub(super) fn learn_capabilities(&mut self, pnn: Pnn, capabilities: u32) {
        if let Some(node) = self.view.nodes.get_mut(pnn as usize) {
            node.capabilities = capabilities;
        }
    }

    /// A recovery has put these nodes into normal mode.
    pub(super) fn learn_recovered(&mut self, set: &[Pnn]) {
        for pnn in set {
            let watched = self.watched.entry(*pnn).or_default();
            watched.in_recovery = false;
            watched.confirmed = true;
            // What it is saying just now may be from before.
            watched.asking = None;
        }
        self.watched.remove(&self.me);
    }

    /// Takes a reply; false if it belongs to something else.
    pub(super) fn watch_reply(&mut self, env: &mut Env<'_>, packet: &Packet) -> bool {
        let pnn = packet.src.node;
        let Some(asking) = self.watched.get_mut(&pnn).and_then(|w| w.asking.as_mut()) else {
            return false;
        };
        if !asking.reply(packet) {
            return false;
        }
        if asking.is_done() {
            self.judge(env, pnn);
        }
        true
    }

    /// Questions may be overdue; looked at once a second.
    pub(super) fn watch_overdue(&mut self, env: &mut Env<'_>) {
        let mut done = Vec::new();
        for (pnn, watched) in &mut self.watched {
            if let Some(asking) = &mut watched.asking {
                asking.tick(env.now);
                if asking.is_done() {
                    done.push(*pnn);
                }
            }
        }
        for pnn in done {
            self.judge(env, pnn);
        }
    }

    /// A node has answered, or has not.
    fn judge(&mut self, env: &mut Env<'_>, pnn: Pnn) {
        let Some(watched) = self.watched.get_mut(&pnn) else { return };
        let Some(asking) = watched.asking.take() else { return };
        let again = std::mem::take(&mut watched.again);
        match Answers::of(&asking, pnn) {
            Ok(answers) => self.judge_answers(env, pnn, answers),
            Err(why) => {
                log::error!("Node {pnn} does not answer: {why}");
                self.blame(env, pnn, 1);
            }
        }
        if again {
            self.watch(env, pnn, false);
        }
    }

    fn judge_answers(&mut self, env: &mut Env<'_>, pnn: Pnn, answers: Answers) {
        let Answers { map, capabilities, in_recovery, vnnmap } = answers;
        let Some(word) = flags::own_word(pnn, &map) else {
            self.complain(env, pnn, format!("Node {pnn} does not list itself"));
            return;
        };
        let local = self.view.flags(pnn) & !DISCONNECTED;
        if word != local {
            log::error!(
                "Remote node {pnn} had flags {word:#x}, local had {local:#x} - updating local"
            );
            self.adopt_flags(env, pnn, word);
        }
        self.learn_capabilities(pnn, capabilities);
        if let Some(watched) = self.watched.get_mut(&pnn) {
            watched.confirmed = true;
            watched.in_recovery = in_recovery;
        }
        self.publish(env);
        self.spread_flags(env, pnn, &map);
        if word & INACTIVE == 0 {
            self.compare(env, pnn, &map, &vnnmap, in_recovery);
        }
    }

    /// Tells a node the flags of others that it has wrong, and others those of this one.
    fn spread_flags(&mut self, env: &mut Env<'_>, observer: Pnn, map: &NodeMap) {
        let known =
            |pnn: &Pnn| *pnn == self.me || self.watched.get(pnn).is_some_and(|w| w.confirmed);
        let words: BTreeMap<Pnn, u32> = self
            .view
            .connected()
            .into_iter()
            .filter(known)
            .map(|pnn| (pnn, self.view.flags(pnn) & !DISCONNECTED))
            .collect();
        for change in flags::corrections(&words, observer, map) {
            log::info!("Pushing updated flags for node {} ({:#x})", change.pnn, change.new_flags);
            env.notify(observer, control(Opcode::ModifyFlags, &change));
        }
    }

    /// An active node has to see the cluster as the leader does.
    fn compare(
        &mut self,
        env: &mut Env<'_>,
        pnn: Pnn,
        map: &NodeMap,
        theirs: &VnnMap,
        in_recovery: bool,
    ) {
        let nodes = self.view.nodes.len();
        if map.node.len() != nodes {
            let count = map.node.len();
            let why = format!(
                "Remote node:{pnn} has different node count. {count} vs {nodes} of the local node"
            );
            return self.complain(env, pnn, why);
        }
        if let Some((i, node)) = map.node.iter().enumerate().find(|(i, n)| n.pnn as usize != *i) {
            let why = format!(
                "Remote node:{pnn} has different nodemap pnn for {i} ({} vs {i}).",
                node.pnn
            );
            return self.complain(env, pnn, why);
        }
        // In recovery mode it is about to get a new map anyway.
        let normal = !in_recovery && self.view.recovery_mode == RecoveryMode::Normal;
        if self.run.is_some() || !normal {
            return;
        }
        let (ours, size) = (self.view.generation, self.view.vnnmap.len());
        if theirs.generation != ours {
            let why = format!(
                "Remote node {pnn} has different generation of vnnmap. {} vs {ours} (ours)",
                theirs.generation
            );
            self.complain(env, pnn, why);
        } else if theirs.map.len() != size {
            let why = format!(
                "Remote node {pnn} has different size of vnnmap. {} vs {size} (ours)",
                theirs.map.len()
            );
            self.complain(env, pnn, why);
        } else if theirs.map != self.view.vnnmap {
            self.complain(env, pnn, format!("Remote node {pnn} has different vnnmap."));
        }
    }

    /// Holds it against a node that it differs, unless a recovery, which may be all it lacks, has to wait.
    fn complain(&mut self, env: &Env<'_>, pnn: Pnn, why: String) {
        if self.run.is_some() || self.suspended || self.history.is_pausing(env) {
            return;
        }
        log::info!("{why}");
        self.blame(env, pnn, 1);
        self.watch_complaint = Some(why);
    }
}

/// The answers of one node.
struct Answers {
    map: NodeMap,
    capabilities: u32,
    in_recovery: bool,
    vnnmap: VnnMap,
}

impl Answers {
    fn of(asking: &Asking, pnn: Pnn) -> Result<Answers, String> {
        let payload = |opcode| {
            let data = asking.payloads(opcode).remove(&pnn);
            data.ok_or_else(|| format!("no answer to {opcode}"))
        };
        let text = |e: ctdb_wire::Error| e.to_string();
        // GET_RECMODE answers with its status.
        let recmode = asking.results(Opcode::GetRecmode).find_map(|(_, outcome)| match outcome {
            crate::fanout::Outcome::Reply(reply) => Some(reply.status),
            _ => None,
        });
        Ok(Answers {
            map: NodeMap::from_prefix(&payload(Opcode::GetNodemap)?).map_err(text)?,
            capabilities: u32::from_prefix(&payload(Opcode::GetCapabilities)?).map_err(text)?,
            in_recovery: recmode.ok_or("no answer to GET_RECMODE")? != 0,
            vnnmap: VnnMap::from_prefix(&payload(Opcode::GetVnnMap)?).map_err(text)?,
        })
    }
}
