// SPDX-License-Identifier: GPL-3.0-or-later
//! The recovery of one database (`spec/cluster.md 20`, `spec/database.md 20`).
//!
//! ```text
//! Name -> (Attach) -> Freeze -> Begin -> (Seqnum) -> Pull -> Clear -> Push -> Confirm -> Commit -> Thaw -> Done
//! ```
//!
//! Each step is a control to all nodes of the recovery; the next begins when all have succeeded. A failure starts
//! the database anew, at most three times. Every step copes with any prefix of these steps having been taken
//! before, on any node, for another generation or leader: nothing is ever cleaned up.

use super::merge::{Headers, Merge};
use crate::cluster::asking::{control, Asking};
use crate::env::Env;
use crate::packet::{endpoint, Control, DbId, Packet, Pnn, CTRL_FLAG_ATTACH_RECOVERY};
use crate::time::Time;
use bytes::Bytes;
use ctdb_wire::flags::db::{PERSISTENT, REPLICATED};
use ctdb_wire::types::{DbidPadded, PulldbExt, Transdb};
use ctdb_wire::{Decode, Opcode, StringZ, Text};
use std::collections::BTreeMap;
use std::time::Duration;

/// How often the recovery of a database is attempted.
const ATTEMPTS: u32 = 3;
/// A push waits while this much is queued for one of the nodes.
const BACKLOG_MAX: usize = 8 << 20;

/// What all databases of a recovery have in common.
#[derive(Debug, Clone)]
pub(super) struct Common {
    pub generation: u32,
    pub set: Vec<Pnn>,
    pub limit: Duration,
    pub leader: Pnn,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    Name,
    Attach,
    Freeze,
    Begin,
    Seqnum,
    Pull,
    Clear,
    Push,
    Confirm,
    Commit,
    Thaw,
    Done,
    Failed,
}

/// A database under recovery.
#[derive(Debug)]
pub(super) struct Database {
    id: DbId,
    flags: u8,
    /// Nodes of the recovery that have it attached.
    holders: Vec<Pnn>,
    name: String,
    step: Step,
    attempts: u32,
    asking: Asking,
    merge: Merge,
    /// Where each node sends its records, and how many have arrived.
    pulls: BTreeMap<u64, Pull>,
    push: Push,
    /// When the freeze, and each step after it, began, for the log.
    times: Times,
}

#[derive(Debug, Default)]
struct Times {
    frozen: Time,
    pulled: Time,
    pushed: Time,
}

impl Times {
    fn text(&self, now: Time) -> String {
        let s = |to: Time, from: Time| to.since(from).as_secs_f64();
        format!(
            "frozen for {:.3}s (pull {:.3}s, push {:.3}s, commit {:.3}s)",
            s(now, self.frozen),
            s(self.pulled, self.frozen),
            s(self.pushed, self.pulled),
            s(now, self.pushed)
        )
    }
}

#[derive(Debug)]
struct Pull {
    node: Pnn,
    received: u32,
}

#[derive(Debug, Default)]
struct Push {
    srvid: u64,
    cursor: usize,
    sent: u32,
    begun: bool,
}

/// Numbers the transfers of a recovery.
#[derive(Debug)]
pub(super) struct Transfers {
    next: u32,
}

impl Transfers {
    /// Transfers of different nodes have different numbers, and so have those of successive recoveries.
    pub fn new(leader: Pnn, random: u32) -> Transfers {
        Transfers { next: (leader & 0xFF) << 24 | random & 0x00FF_FFFF }
    }

    fn srvid(&mut self) -> u64 {
        self.next = self.next & 0xFF00_0000 | self.next.wrapping_add(1) & 0x00FF_FFFF;
        ctdb_wire::srvid::recovery(self.next)
    }
}

/// What a database shares with the run it belongs to.
pub(super) struct Context<'a> {
    pub common: &'a Common,
    pub transfers: &'a mut Transfers,
    pub credits: &'a mut BTreeMap<Pnn, u32>,
}

impl Database {
    pub fn new(id: DbId, flags: u8, holders: Vec<Pnn>) -> Database {
        Database {
            id,
            flags,
            holders,
            name: format!("{id:#010x}"),
            step: Step::Name,
            attempts: 0,
            asking: Asking::default(),
            merge: Merge::new(0, 0),
            pulls: BTreeMap::new(),
            push: Push::default(),
            times: Times::default(),
        }
    }

    pub fn is_over(&self) -> bool {
        matches!(self.step, Step::Done | Step::Failed)
    }

    pub fn has_failed(&self) -> bool {
        self.step == Step::Failed
    }

    pub fn deadline(&self) -> Option<Time> {
        self.asking.deadline()
    }

    pub fn wants_message(&self, srvid: u64) -> bool {
        self.pulls.contains_key(&srvid)
    }

    /// Whether records remain to be pushed.
    pub fn is_pushing(&self) -> bool {
        self.step == Step::Push && self.push.begun
    }

    /// Begins, or begins again.
    pub fn start(&mut self, env: &mut Env<'_>, cx: &mut Context<'_>) {
        self.attempts += 1;
        self.merge = Merge::new(cx.common.leader, env.rng().next_u64());
        self.pulls.clear();
        self.push = Push::default();
        let asking = Asking::one(env, &self.holders, cx.common.limit, Opcode::GetDbName, &self.id);
        self.asking = asking;
        self.step = Step::Name;
        self.advance(env, cx);
    }

    pub fn reply(&mut self, packet: &Packet, env: &mut Env<'_>, cx: &mut Context<'_>) -> bool {
        let ours = self.asking.reply(packet);
        if ours {
            self.advance(env, cx);
        }
        ours
    }

    pub fn tick(&mut self, env: &mut Env<'_>, cx: &mut Context<'_>) {
        self.asking.tick(env.now);
        self.advance(env, cx);
    }

    /// A record buffer arrived for one of our pulls.
    pub fn message(&mut self, srvid: u64, source: Pnn, data: Bytes) {
        let Some(pull) = self.pulls.get_mut(&srvid) else { return };
        if pull.node != source {
            log::warn!("records of {} from node {source}, asked node {}", self.name, pull.node);
            return;
        }
        match self.merge.add(self.id, source, data) {
            Ok(count) => pull.received = pull.received.saturating_add(count),
            // The count will not match and the pull fails.
            Err(e) => log::error!("bad records of {} from node {source}: {e}", self.name),
        }
    }

    /// Ask all nodes of the recovery.
    fn ask(
        &mut self,
        env: &mut Env<'_>,
        cx: &Context<'_>,
        step: Step,
        opcode: Opcode,
        payload: &impl ctdb_wire::Encode,
    ) {
        self.asking = Asking::one(env, &cx.common.set, cx.common.limit, opcode, payload);
        self.step = step;
    }

    fn advance(&mut self, env: &mut Env<'_>, cx: &mut Context<'_>) {
        while !self.is_over() && self.asking.is_done() && !self.is_pushing() {
            let step = self.step;
            if let Err(why) = self.next(env, cx) {
                log::error!("recovery of {} failed at {step:?}: {why}", self.name);
                if self.attempts >= ATTEMPTS {
                    self.asking = Asking::default();
                    self.step = Step::Failed;
                    return;
                }
                return self.start(env, cx);
            }
        }
    }

    /// The step's questions are answered: judge them and take the next step.
    fn next(&mut self, env: &mut Env<'_>, cx: &mut Context<'_>) -> Result<(), String> {
        let tid = Transdb { db_id: self.id, tid: cx.common.generation };
        self.check_failures(cx)?;
        match self.step {
            Step::Name => {
                self.name = self.agreed_name(cx)?;
                self.attach_missing(env, cx);
            }
            Step::Attach => {
                log::debug!("freezing {}", self.name);
                self.holders = cx.common.set.clone();
                self.times.frozen = env.now;
                self.ask(env, cx, Step::Freeze, Opcode::DbFreeze, &self.id.clone());
            }
            Step::Freeze => self.ask(env, cx, Step::Begin, Opcode::DbTransactionStart, &tid),
            Step::Begin if self.is_volatile() => self.pull(env, cx, &cx.common.set.clone()),
            Step::Begin => {
                let payload = DbidPadded { db_id: self.id };
                self.ask(env, cx, Step::Seqnum, Opcode::GetDbSeqnum, &payload);
            }
            Step::Seqnum => {
                let newest = self.newest()?;
                self.pull(env, cx, &[newest]);
            }
            Step::Pull => {
                self.check_pulled(cx)?;
                self.times.pulled = env.now;
                self.pulls.clear();
                self.clear(env, cx, &tid);
            }
            Step::Clear => {
                self.step = Step::Push;
                self.push.begun = true;
                self.push(env, cx);
            }
            Step::Push => {}
            Step::Confirm => {
                self.check_stored()?;
                self.times.pushed = env.now;
                // The records are in the nodes' hands now.
                self.merge = Merge::new(cx.common.leader, 0);
                self.ask(env, cx, Step::Commit, Opcode::DbTransactionCommit, &tid);
            }
            Step::Commit => self.ask(env, cx, Step::Thaw, Opcode::DbThaw, &self.id.clone()),
            Step::Thaw => {
                log::info!("{} recovered, {}", self.name, self.times.text(env.now));
                self.step = Step::Done;
            }
            Step::Done | Step::Failed => {}
        }
        Ok(())
    }

    /// Fails if a node failed. Attach, freeze and pull failures cost the node a credit.
    fn check_failures(&self, cx: &mut Context<'_>) -> Result<(), String> {
        let failures = self.asking.failures();
        if matches!(self.step, Step::Attach | Step::Freeze | Step::Pull) {
            for failure in &failures {
                *cx.credits.entry(failure.node).or_default() += 1;
            }
        }
        failures.first().map_or(Ok(()), |failure| Err(failure.to_string()))
    }

    fn is_volatile(&self) -> bool {
        self.flags & (PERSISTENT | REPLICATED) == 0
    }

    /// The name, which must be the same everywhere.
    fn agreed_name(&self, cx: &mut Context<'_>) -> Result<String, String> {
        let mut agreed: Option<Text> = None;
        for (node, data) in self.asking.payloads(Opcode::GetDbName) {
            let name = Option::<Text>::from_exact(&data)
                .ok()
                .flatten()
                .ok_or_else(|| format!("no name from node {node}"))?;
            match &agreed {
                None => agreed = Some(name),
                Some(first) if *first == name => {}
                Some(first) => {
                    *cx.credits.entry(node).or_default() += 1;
                    return Err(format!("name {name} on node {node}, {first} before"));
                }
            }
        }
        agreed.map(|name| name.to_string()).ok_or_else(|| "nobody has it".to_string())
    }

    /// Creates the database where it is missing. Inside the recovery, so that what a stale file holds is never
    /// taken for current (bug 14294).
    fn attach_missing(&mut self, env: &mut Env<'_>, cx: &mut Context<'_>) {
        let opcode = if self.flags & PERSISTENT != 0 {
            Opcode::DbAttachPersistent
        } else if self.flags & REPLICATED != 0 {
            Opcode::DbAttachReplicated
        } else {
            Opcode::DbAttach
        };
        let missing = cx.common.set.iter().filter(|n| !self.holders.contains(n));
        let attach = |&node| {
            let name = control(opcode, &StringZ(Text::from(self.name.as_str())));
            (node, Control { flags: CTRL_FLAG_ATTACH_RECOVERY, ..name })
        };
        let requests: Vec<_> = missing.map(attach).collect();
        self.asking = Asking::each(env, cx.common.limit, opcode, requests);
        self.step = Step::Attach;
    }

    /// The node with the highest sequence number; the first of several.
    fn newest(&self) -> Result<Pnn, String> {
        let mut newest: Option<(u64, Pnn)> = None;
        for (node, data) in self.asking.payloads(Opcode::GetDbSeqnum) {
            let seqnum = u64::from_prefix(&data).map_err(|e| e.to_string())?;
            if newest.is_none_or(|(highest, _)| seqnum > highest) {
                newest = Some((seqnum, node));
            }
        }
        let (seqnum, node) = newest.ok_or("no sequence numbers")?;
        log::debug!("{}: taking the copy of node {node}, sequence number {seqnum}", self.name);
        Ok(node)
    }

    /// Asks nodes for their records, all at the same time.
    fn pull(&mut self, env: &mut Env<'_>, cx: &mut Context<'_>, nodes: &[Pnn]) {
        let mut requests = Vec::new();
        for &node in nodes {
            let srvid = cx.transfers.srvid();
            self.pulls.insert(srvid, Pull { node, received: 0 });
            let payload = PulldbExt { db_id: self.id, lmaster: endpoint::UNKNOWN_PNN, srvid };
            requests.push((node, control(Opcode::DbPull, &payload)));
        }
        self.asking = Asking::each(env, cx.common.limit, Opcode::DbPull, requests);
        self.step = Step::Pull;
    }

    /// Every node must have sent as many records as it says.
    fn check_pulled(&self, cx: &mut Context<'_>) -> Result<(), String> {
        for (node, data) in self.asking.payloads(Opcode::DbPull) {
            let said = u32::from_prefix(&data).map_err(|e| e.to_string())?;
            let received = self.pulls.values().find(|p| p.node == node).map_or(0, |p| p.received);
            if said != received {
                *cx.credits.entry(node).or_default() += 1;
                return Err(format!("{received} of {said} records from node {node}"));
            }
        }
        log::debug!("{}: {} records", self.name, self.merge.len());
        Ok(())
    }

    /// Empties all copies and prepares them for the records, in one go: the order on each link is kept.
    fn clear(&mut self, env: &mut Env<'_>, cx: &mut Context<'_>, tid: &Transdb) {
        self.push = Push { srvid: cx.transfers.srvid(), ..Push::default() };
        let start =
            PulldbExt { db_id: self.id, lmaster: endpoint::UNKNOWN_PNN, srvid: self.push.srvid };
        self.ask(env, cx, Step::Clear, Opcode::WipeDatabase, tid);
        self.asking.also(env, &cx.common.set, cx.common.limit, Opcode::DbPushStart, &start);
    }

    /// Sends one buffer of records to all nodes, unless a link is congested; after the last asks for the counts.
    /// True if it could not send.
    pub fn push(&mut self, env: &mut Env<'_>, cx: &mut Context<'_>) -> bool {
        let own = env.pnn();
        let congested = |&&node: &&Pnn| node != own && env.ports.link_backlog(node) > BACKLOG_MAX;
        if cx.common.set.iter().find(congested).is_some() {
            return true;
        }
        let limit = (env.tunables().rec_buffer_size_limit as usize).clamp(1024, 64 << 20);
        let headers = if self.flags & PERSISTENT != 0 {
            Headers::Keep
        } else {
            Headers::Own(cx.common.leader)
        };
        let (buffer, count) = self.merge.encode(self.id, &mut self.push.cursor, limit, headers);
        let last = self.merge.is_encoded(self.push.cursor);
        // The last buffer may hold nothing but tombstones; the first is sent even if empty.
        if count > 0 || self.push.sent == 0 && last {
            for &node in &cx.common.set {
                env.message(node, self.push.srvid, buffer.clone());
            }
        }
        self.push.sent = self.push.sent.saturating_add(count);
        if last {
            self.push.begun = false;
            self.ask(env, cx, Step::Confirm, Opcode::DbPushConfirm, &self.id.clone());
            self.advance(env, cx);
        }
        false
    }

    /// Every node must have stored all records.
    fn check_stored(&self) -> Result<(), String> {
        for (node, data) in self.asking.payloads(Opcode::DbPushConfirm) {
            let stored = u32::from_prefix(&data).map_err(|e| e.to_string())?;
            if stored != self.push.sent {
                return Err(format!("node {node} stored {stored} of {} records", self.push.sent));
            }
        }
        Ok(())
    }
}
