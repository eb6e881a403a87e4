// SPDX-License-Identifier: GPL-3.0-or-later
//! One recovery: the procedure of the leader (`spec/cluster.md 19`).
//!
//! ```text
//! Survey -> ModeActive -> StartEvent -> SetMap -> Databases -> ModeNormal -> EndEvent -> completed
//!                                                     |
//!                                                     +-> Blame -> failed
//! ```
//!
//! A run uses only controls and messages that C daemons understand, to its own node too. It can be dropped at any
//! moment: whatever it has begun, the next run of whichever leader takes over.

mod database;
mod merge;

use super::asking::{control, Asking};
use super::flags::{self, Change};
use crate::env::Env;
use crate::packet::{DbId, Packet, Pnn};
use crate::time::Time;
use crate::view::flags::INACTIVE;
use crate::view::INVALID_GENERATION;
use bytes::Bytes;
use ctdb_wire::flags::capability::LMASTER;
use ctdb_wire::flags::db::{READONLY, STICKY};
use ctdb_wire::flags::recmode;
use ctdb_wire::types::{BanState, DbidMap, NodeMap, VnnMap};
use ctdb_wire::{Decode, Opcode};
use database::{Common, Context, Database, Transfers};
use std::collections::BTreeMap;
use std::time::Duration;

/// A node is banned for what it did to a recovery from this many credits on.
const CREDITS_TO_BAN: u32 = 3;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    Survey,
    ModeActive,
    StartEvent,
    SetMap,
    Databases,
    ModeNormal,
    EndEvent,
    Blame,
    Over,
}

/// A recovery in progress.
#[derive(Debug)]
pub(super) struct Run {
    step: Step,
    asking: Asking,
    common: Common,
    databases: BTreeMap<DbId, Database>,
    transfers: Transfers,
    credits: BTreeMap<Pnn, u32>,
    capabilities: BTreeMap<Pnn, u32>,
    map: Vec<Pnn>,
    outcome: Option<End>,
    started: Time,
}

/// How a recovery ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum End {
    /// All its nodes are in normal mode.
    Completed {
        /// The active set.
        set: Vec<Pnn>,
        /// Their capabilities.
        capabilities: BTreeMap<Pnn, u32>,
    },
    /// Something failed; to be tried again.
    Failed {
        /// The link to a node of the set was lost: there is no reason to wait.
        lost: bool,
    },
}

impl Run {
    /// Begins a recovery: asks every connected node for its node map, capabilities and databases.
    pub fn start(env: &mut Env<'_>) -> Run {
        let limit = Duration::from_secs(env.tunables().recover_timeout.max(1).into());
        let connected = env.view().connected();
        let mut asking = Asking::one(env, &connected, limit, Opcode::GetNodemap, &());
        asking.also(env, &connected, limit, Opcode::GetCapabilities, &());
        asking.also(env, &connected, limit, Opcode::GetDbMap, &());
        let leader = env.pnn();
        let random = env.rng().next_u64() as u32;
        Run {
            step: Step::Survey,
            asking,
            common: Common { generation: new_generation(env), set: connected, limit, leader },
            databases: BTreeMap::new(),
            transfers: Transfers::new(leader, random),
            credits: BTreeMap::new(),
            capabilities: BTreeMap::new(),
            map: Vec::new(),
            outcome: None,
            started: env.now,
        }
    }

    /// Whether it has ended, and how.
    pub fn end(&self) -> Option<&End> {
        self.outcome.as_ref()
    }

    /// When a control will be overdue.
    pub fn deadline(&self) -> Option<Time> {
        let databases = self.databases.values().filter_map(Database::deadline).min();
        [self.asking.deadline(), databases].into_iter().flatten().min()
    }

    /// Takes a reply; false if it belongs to something else.
    pub fn reply(&mut self, packet: &Packet, env: &mut Env<'_>) -> bool {
        if self.asking.reply(packet) {
            self.advance(env);
            return true;
        }
        let mut context = Context {
            common: &self.common,
            transfers: &mut self.transfers,
            credits: &mut self.credits,
        };
        let ours = self.databases.values_mut().any(|db| db.reply(packet, env, &mut context));
        if ours {
            self.advance(env);
        }
        ours
    }

    /// Whether a message to this address carries records for us.
    pub fn wants_message(&self, srvid: u64) -> bool {
        self.databases.values().any(|db| db.wants_message(srvid))
    }

    /// A record buffer arrived.
    pub fn message(&mut self, srvid: u64, source: Pnn, data: Bytes) {
        if let Some(db) = self.databases.values_mut().find(|db| db.wants_message(srvid)) {
            db.message(srvid, source, data);
        }
    }

    /// The link to a node went down. If it takes part, the recovery is pointless.
    pub fn link_down(&mut self, pnn: Pnn, env: &mut Env<'_>) {
        if self.common.set.contains(&pnn) {
            self.fail(&format!("node {pnn} disconnected"), true);
        } else {
            self.asking.link_down(pnn);
            self.advance(env);
        }
    }

    /// A node that takes part says that it is inactive now.
    pub fn node_left(&mut self, pnn: Pnn) {
        // During the survey its own word will be heard anyway.
        if self.step != Step::Survey && self.common.set.contains(&pnn) {
            self.fail(&format!("node {pnn} became inactive"), true);
        }
    }

    /// Controls may be overdue.
    pub fn tick(&mut self, env: &mut Env<'_>) {
        self.asking.tick(env.now);
        let mut context = Context {
            common: &self.common,
            transfers: &mut self.transfers,
            credits: &mut self.credits,
        };
        for db in self.databases.values_mut() {
            db.tick(env, &mut context);
        }
        self.advance(env);
    }

    /// Pushes one buffer of each database. None: nothing is left; otherwise when to come again.
    pub fn push(&mut self, env: &mut Env<'_>) -> Option<Duration> {
        let mut context = Context {
            common: &self.common,
            transfers: &mut self.transfers,
            credits: &mut self.credits,
        };
        let (mut left, mut blocked) = (false, true);
        for db in self.databases.values_mut().filter(|db| db.is_pushing()) {
            let congested = db.push(env, &mut context);
            left |= db.is_pushing();
            blocked &= congested;
        }
        self.advance(env);
        left.then_some(if blocked { Duration::from_millis(1) } else { Duration::ZERO })
    }

    /// Whether records remain to be pushed.
    pub fn is_pushing(&self) -> bool {
        self.databases.values().any(Database::is_pushing)
    }

    fn fail(&mut self, why: &str, lost: bool) {
        if self.outcome.is_none() {
            log::error!("Recovery failed: {why}");
            self.outcome = Some(End::Failed { lost });
            self.step = Step::Over;
        }
    }

    fn ask(&mut self, env: &mut Env<'_>, step: Step, opcode: Opcode, p: &impl ctdb_wire::Encode) {
        self.asking = Asking::one(env, &self.common.set, self.common.limit, opcode, p);
        self.step = step;
    }

    fn advance(&mut self, env: &mut Env<'_>) {
        while self.step != Step::Over && self.asking.is_done() {
            if self.step == Step::Databases && !self.databases.values().all(Database::is_over) {
                return;
            }
            if !matches!(self.step, Step::Databases | Step::Blame) {
                if let Some(failure) = self.asking.failures().first() {
                    let lost = failure.outcome == crate::fanout::Outcome::Disconnected;
                    return self.fail(&failure.to_string(), lost);
                }
            }
            if let Err(why) = self.next(env) {
                return self.fail(&why, false);
            }
        }
    }

    /// The step's controls have succeeded: take the next.
    fn next(&mut self, env: &mut Env<'_>) -> Result<(), String> {
        match self.step {
            Step::Survey => {
                self.survey(env)?;
                self.ask(env, Step::ModeActive, Opcode::SetRecmode, &recmode::ACTIVE);
            }
            Step::ModeActive => {
                log::info!("Set recovery mode to ACTIVE");
                self.ask(env, Step::StartEvent, Opcode::StartRecovery, &());
            }
            Step::StartEvent => {
                log::info!("start_recovery event finished");
                let map = VnnMap { generation: self.common.generation, map: self.map.clone() };
                self.ask(env, Step::SetMap, Opcode::SetVnnMap, &map);
            }
            Step::SetMap => {
                log::info!("updated VNNMAP");
                self.start_databases(env);
            }
            Step::Databases => self.finish_databases(env),
            Step::ModeNormal => {
                log::info!("Set recovery mode to NORMAL");
                self.ask(env, Step::EndEvent, Opcode::EndRecovery, &());
            }
            Step::EndEvent => {
                log::info!("recovered event finished");
                let took = env.now.since(self.started).as_secs_f64();
                log::info!("recovery took {took:.3}s");
                let set = self.common.set.clone();
                let capabilities = std::mem::take(&mut self.capabilities);
                self.outcome = Some(End::Completed { set, capabilities });
                self.step = Step::Over;
            }
            Step::Blame => self.blame(env),
            Step::Over => {}
        }
        Ok(())
    }

    /// Fixes the set of nodes from each node's own word on its flags: one that has been stopped or banned since
    /// we last heard of it must not contribute its records (bug 14294).
    fn survey(&mut self, env: &mut Env<'_>) -> Result<(), String> {
        let maps: BTreeMap<Pnn, NodeMap> = decode_all(&self.asking, Opcode::GetNodemap)?;
        let capabilities: BTreeMap<Pnn, u32> = decode_all(&self.asking, Opcode::GetCapabilities)?;
        let said = |pnn: &Pnn| maps.get(pnn).and_then(|map| flags::own_word(*pnn, map));
        self.common.set.retain(|pnn| said(pnn).is_some_and(|flags| flags & INACTIVE == 0));
        if !self.common.set.contains(&self.common.leader) {
            return Err("This node can no longer be leader, abort recovery".to_string());
        }
        let words: BTreeMap<Pnn, u32> =
            maps.keys().filter_map(|pnn| said(pnn).map(|flags| (*pnn, flags))).collect();
        for (observer, map) in &maps {
            for change in flags::corrections(&words, *observer, map) {
                let Change { pnn, new_flags, .. } = change;
                log::debug!("Pushing updated flags for node {pnn} ({new_flags:#x})");
                env.notify(*observer, control(Opcode::ModifyFlags, &change));
            }
        }
        log::info!("Recovery - updated flags");
        self.capabilities = capabilities;
        self.capabilities.retain(|pnn, _| self.common.set.contains(pnn));
        self.map = vnnmap(&self.common.set, &self.capabilities, self.common.leader);
        self.list_databases()
    }

    /// Which databases there are, and who has them.
    fn list_databases(&mut self) -> Result<(), String> {
        let lists: BTreeMap<Pnn, DbidMap> = decode_all(&self.asking, Opcode::GetDbMap)?;
        let mut merged: BTreeMap<DbId, (u8, Vec<Pnn>)> = BTreeMap::new();
        for (node, list) in lists.iter().filter(|(node, _)| self.common.set.contains(node)) {
            for db in &list.dbs {
                let found = db.flags & !(READONLY | STICKY);
                let (flags, holders) = merged.entry(db.db_id).or_insert((found, Vec::new()));
                if *flags != found {
                    let id = db.db_id;
                    return Err(format!(
                        "Incompatible database flags for {id:#x} ({flags:#x} != {found:#x})"
                    ));
                }
                holders.push(*node);
            }
        }
        let new = |(id, (flags, holders))| (id, Database::new(id, flags, holders));
        self.databases = merged.into_iter().map(new).collect();
        Ok(())
    }

    fn start_databases(&mut self, env: &mut Env<'_>) {
        self.asking = Asking::default();
        self.step = Step::Databases;
        let mut context = Context {
            common: &self.common,
            transfers: &mut self.transfers,
            credits: &mut self.credits,
        };
        for db in self.databases.values_mut() {
            db.start(env, &mut context);
        }
    }

    fn finish_databases(&mut self, env: &mut Env<'_>) {
        let total = self.databases.len();
        let failed = self.databases.values().filter(|db| db.has_failed()).count();
        log::info!("{} of {total} databases recovered", total - failed);
        if failed == 0 {
            return self.ask(env, Step::ModeNormal, Opcode::SetRecmode, &recmode::NORMAL);
        }
        if env.tunables().enable_bans == 0 {
            log::info!("Bans are not enabled");
            self.credits.clear();
        }
        self.accuse(env);
    }

    /// Asks the node with the most credits whether it is still active, before it is banned.
    fn accuse(&mut self, env: &mut Env<'_>) {
        let worst = self.credits.iter().max_by_key(|(pnn, credits)| (**credits, u32::MAX - **pnn));
        match worst.map(|(pnn, credits)| (*pnn, *credits)) {
            Some((pnn, credits)) if credits >= CREDITS_TO_BAN => {
                let limit = self.common.limit;
                self.asking = Asking::one(env, &[pnn], limit, Opcode::GetNodemap, &());
                self.step = Step::Blame;
            }
            _ => self.fail("databases could not be recovered", false),
        }
    }

    fn blame(&mut self, env: &mut Env<'_>) {
        let Some((pnn, outcome)) = self.asking.results(Opcode::GetNodemap).next() else {
            return self.fail("databases could not be recovered", false);
        };
        let active = outcome
            .ok()
            .and_then(|reply| NodeMap::from_exact(&reply.data).ok())
            .and_then(|map| flags::own_word(pnn, &map))
            .is_none_or(|flags| flags & INACTIVE == 0);
        if !active {
            self.credits.remove(&pnn);
            return self.accuse(env);
        }
        let time = env.tunables().recovery_ban_period;
        log::error!("Banning node {pnn} for {time} seconds");
        env.notify(pnn, control(Opcode::SetBanState, &BanState { pnn, time }));
        self.fail("databases could not be recovered", false);
    }
}

/// The nodes that are lmasters: in the order of the node list the active ones that may be, else the leader.
pub(super) fn vnnmap(set: &[Pnn], capabilities: &BTreeMap<Pnn, u32>, leader: Pnn) -> Vec<Pnn> {
    let may = |pnn: &&Pnn| capabilities.get(pnn).is_some_and(|c| c & LMASTER != 0);
    let map: Vec<Pnn> = set.iter().filter(may).copied().collect();
    if map.is_empty() {
        log::warn!("No active lmasters found. Adding recmaster anyway");
        return vec![leader];
    }
    map
}

/// A random 31-bit number that is neither invalid nor the present one.
fn new_generation(env: &mut Env<'_>) -> u32 {
    loop {
        let generation = env.rng().next_u64() as u32 & 0x7FFF_FFFF;
        if generation > INVALID_GENERATION && generation != env.view().generation {
            return generation;
        }
    }
}

/// The payloads of all successful replies.
fn decode_all<T: for<'a> Decode<'a>>(
    asking: &Asking,
    opcode: Opcode,
) -> Result<BTreeMap<Pnn, T>, String> {
    let decode = |(node, data): (Pnn, Bytes)| match T::from_prefix(&data) {
        Ok(value) => Ok((node, value)),
        Err(e) => Err(format!("reply to {opcode} from node {node}: {e}")),
    };
    asking.payloads(opcode).into_iter().map(decode).collect()
}
