// SPDX-License-Identifier: GPL-3.0-or-later
//! The life of simulated nodes: processes that start, take turns, stop and die, and what they did to their
//! surroundings.

use super::trace::Note;
use super::*;
use crate::service::News;

impl Sim {
    /// Starts the daemons of all nodes that are down, at about the same time.
    pub fn start_all(&mut self) {
        for node in 0..self.len() {
            if self.daemon(node).is_none() {
                self.start(node).unwrap_or_else(|e| panic!("node {node} does not start: {e}"));
            }
        }
    }

    /// Starts the daemon of a node.
    pub fn start(&mut self, node: Pnn) -> Result<(), String> {
        let (now, wall) = (self.now, self.wall());
        let mut config = Config {
            pnn: node,
            nodes: (0..self.len()).map(node_view).collect(),
            seed: self.rng.next_u64(),
            cluster_lock: self.options.cluster_lock.then(|| "!/sim/lock".to_owned()),
            leader_timeout: self.options.leader_timeout,
            can_be_leader: true,
            can_be_lmaster: true,
            start_as_stopped: false,
            start_as_disabled: false,
            version: (4 << 16) | 17,
            test_mode: false,
            started: wall,
        };
        (self.options.configure)(&mut config);
        let mut daemon = Daemon::new(config, self.options.tunables.clone(), (self.build)(node));
        let n = &mut self.nodes[node as usize];
        n.incarnation += 1;
        n.stopped = false;
        n.inbox.clear();
        n.timer_at = None;
        n.exit_code = None;
        n.ports.deeds.clear();
        n.ports.link_bytes.clear();
        n.ports.client_packets.clear();
        n.ports.pid = 100_000 * (node + 1) + n.incarnation as u32;
        daemon.start(now, wall, &mut n.ports)?;
        n.daemon = Some(daemon);
        self.trace.add(now, Some(node), Note::Text("daemon starts".to_owned()));
        self.after_turn(node);
        for peer in 0..self.len() {
            if peer != node {
                self.reconnect(node, peer);
            }
        }
        Ok(())
    }

    /// The daemon's process dies; the machine goes on, and says so to peers and clients.
    pub fn kill(&mut self, node: Pnn) {
        self.trace.add(self.now, Some(node), Note::Text("daemon killed".to_owned()));
        self.process_ends(node, true);
    }

    /// The whole machine dies: silence, and what was not synced is lost. [`Sim::start`] boots it again.
    pub fn machine_death(&mut self, node: Pnn) {
        self.trace.add(self.now, Some(node), Note::Text("machine dies".to_owned()));
        let on_it: Vec<ClientId> =
            self.clients.iter().filter(|(_, c)| c.node == node).map(|(id, _)| *id).collect();
        for client in on_it {
            self.client_dies(client);
        }
        self.process_ends(node, false);
        self.nodes[node as usize].ports.store.machine_died();
        self.check_changes(node);
    }

    pub(super) fn process_ends(&mut self, node: Pnn, heard: bool) {
        let n = &mut self.nodes[node as usize];
        if n.daemon.take().is_none() {
            return;
        }
        let incarnation = n.incarnation;
        n.inbox.clear();
        n.timer_at = None;
        let rng = &mut self.rng;
        n.ports.store.process_died(&mut || rng.below(2) == 0);
        self.check_changes(node);
        self.check.node_lost(node);
        self.oracle.lost(node, false);
        let linger = self.between(self.options.lock_linger);
        self.after(linger, What::LockHelperEnds(node, incarnation));
        for peer in 0..self.len() {
            if peer != node {
                let was_up = self.network.is_up(peer, node);
                self.network.set_up(node, peer, false);
                self.network.new_epoch(node, peer);
                if heard && was_up && !self.network.is_blocked(node, peer) {
                    self.link_ends(peer, node);
                }
            }
        }
        let clients: Vec<ClientId> = self
            .clients
            .iter()
            .filter(|(_, c)| c.node == node && c.incarnation == incarnation)
            .map(|(id, _)| *id)
            .collect();
        for client in clients {
            let notices = self.between((Duration::from_micros(10), Duration::from_millis(100)));
            self.after(notices, What::ClientClosed(client));
        }
        self.pump(node);
    }

    /// Stops the daemon's process (SIGSTOP): links stay up, nothing is done.
    pub fn stop_process(&mut self, node: Pnn) {
        self.trace.add(self.now, Some(node), Note::Text("process stopped".to_owned()));
        self.nodes[node as usize].stopped = true;
    }

    /// Lets it go on (SIGCONT).
    pub fn continue_process(&mut self, node: Pnn) {
        self.trace.add(self.now, Some(node), Note::Text("process continues".to_owned()));
        self.nodes[node as usize].stopped = false;
        self.schedule_work(node);
        self.schedule_timer(node);
    }

    /// Hands an input to a node's daemon.
    pub fn give(&mut self, node: Pnn, input: Input) {
        let n = &mut self.nodes[node as usize];
        if n.daemon.is_some() {
            n.inbox.push_back(input);
            self.schedule_work(node);
        }
    }

    pub(super) fn schedule_work(&mut self, node: Pnn) {
        let n = &mut self.nodes[node as usize];
        if !n.working && !n.stopped {
            n.working = true;
            let delay = self.between((Duration::from_micros(1), Duration::from_micros(20)));
            self.after(delay, What::Work(node));
        }
    }

    pub(super) fn work(&mut self, node: Pnn) {
        let (now, wall) = (self.now, self.wall());
        let coin = self.rng.below(2) == 0;
        let n = &mut self.nodes[node as usize];
        n.working = false;
        let Some(daemon) = n.daemon.as_mut().filter(|_| !n.stopped) else { return };
        let local = daemon.run_local(0, now, wall, &mut n.ports);
        if local && (coin || n.inbox.is_empty()) {
            daemon.run_local(1, now, wall, &mut n.ports);
        } else if let Some(input) = n.inbox.pop_front() {
            self.trace.add(now, Some(node), Note::of(&input));
            daemon.handle(input, now, wall, &mut n.ports);
        } else {
            return;
        }
        self.after_turn(node);
    }

    pub(super) fn timer(&mut self, node: Pnn) {
        let (now, wall) = (self.now, self.wall());
        let n = &mut self.nodes[node as usize];
        n.timer_at = None;
        let Some(daemon) = n.daemon.as_mut().filter(|_| !n.stopped) else { return };
        daemon.fire_timers(now, wall, &mut n.ports);
        self.after_turn(node);
    }

    pub(super) fn schedule_timer(&mut self, node: Pnn) {
        let n = &mut self.nodes[node as usize];
        let Some(due) = n.daemon.as_ref().and_then(Daemon::next_deadline) else { return };
        let due = due.max(self.now);
        if n.timer_at.is_none_or(|at| at > due) {
            n.timer_at = Some(due);
            self.at(due, What::Timer(node));
        }
    }

    /// Makes happen what a daemon did, and checks what must hold.
    pub(super) fn after_turn(&mut self, node: Pnn) {
        self.steps += 1;
        for deed in std::mem::take(&mut self.nodes[node as usize].ports.deeds) {
            self.do_deed(node, deed);
        }
        self.pump(node);
        self.check_changes(node);
        self.check_views(node);
        self.schedule_timer(node);
        let (now, wall) = (self.now, self.wall());
        let n = &mut self.nodes[node as usize];
        let Some(daemon) = n.daemon.as_mut() else { return };
        if !n.inbox.is_empty() || daemon.run_local(0, now, wall, &mut n.ports) {
            self.schedule_work(node);
        }
    }

    pub(super) fn do_deed(&mut self, node: Pnn, deed: Deed) {
        let incarnation = self.nodes[node as usize].incarnation;
        match deed {
            Deed::Send(to, packet) => self.send(node, to, packet),
            Deed::ResetLink(to, why) => {
                self.trace.add(self.now, Some(node), Note::Text(format!("resets {to}: {why}")));
                self.reset_link(node, to);
            }
            Deed::SetNodes(nodes) => {
                let deleted = crate::view::flags::DELETED;
                for (peer, _) in nodes.iter().enumerate().filter(|(_, n)| n.flags & deleted != 0) {
                    self.reset_link(node, peer as Pnn);
                }
            }
            Deed::ToClient(client, packet) => self.send_to_client(client, packet),
            Deed::CloseClient(client) => {
                self.give(node, Input::News(News::ClientGone { client }));
                self.after(Duration::from_micros(5), What::ClientClosed(client));
            }
            Deed::Lock(request) => {
                let takes = self.between((Duration::from_millis(1), Duration::from_millis(200)));
                self.after(takes, What::Lock(node, incarnation, request));
            }
            Deed::Exit(code) => {
                self.trace.add(self.now, Some(node), Note::Text(format!("exits with {code}")));
                self.nodes[node as usize].exit_code = Some(code);
                self.process_ends(node, true);
            }
        }
    }

    /// Grants what is free, and carries out what the store began.
    pub(super) fn pump(&mut self, node: Pnn) {
        let n = &mut self.nodes[node as usize];
        let incarnation = n.incarnation;
        let rng = &mut self.rng;
        n.ports.store.pump(&mut |choices| rng.below(choices as u64) as usize);
        for effect in std::mem::take(&mut self.nodes[node as usize].ports.store.effects) {
            let delay = match effect {
                store::Effect::WriteStarted { .. } => self.between(self.options.write_delay),
                _ => self.between((Duration::from_micros(3), Duration::from_micros(60))),
            };
            if let store::Effect::ClientGranted { client, .. } = effect {
                self.after(delay, What::ClientGranted(client));
            } else {
                self.after(delay, What::Store(node, incarnation, effect));
            }
        }
    }

    pub(super) fn store_effect(&mut self, node: Pnn, incarnation: u64, effect: store::Effect) {
        if self.nodes[node as usize].incarnation != incarnation || self.daemon(node).is_none() {
            return;
        }
        let store = &mut self.nodes[node as usize].ports.store;
        let input = match effect {
            store::Effect::ChainGranted { db, chain, wait } => {
                if !store.grant_stands(db, chain, wait) {
                    return;
                }
                Input::News(News::ChainGranted { db, chain, ok: true })
            }
            store::Effect::Frozen { db, wait } => {
                if !store.freeze_stands(db, wait) {
                    return;
                }
                Input::News(News::Frozen { db, ok: true })
            }
            store::Effect::WriteStarted { ticket, durable } => {
                let fails = self.rng.below(1000) < self.options.write_failures_permille;
                let store = &mut self.nodes[node as usize].ports.store;
                let Some(outcome) = store.finish_write(ticket, fails.then_some("disk full")) else {
                    let again = store::Effect::WriteStarted { ticket, durable };
                    return self
                        .after(Duration::from_micros(200), What::Store(node, incarnation, again));
                };
                self.check_changes(node);
                if std::mem::take(&mut self.nodes[node as usize].ports.store.damaged) {
                    self.oracle.lost(node, false);
                }
                Input::News(News::WriteDone { ticket, outcome })
            }
            store::Effect::ClientGranted { .. } => return,
        };
        self.give(node, input);
    }

    pub(super) fn lock_request(&mut self, node: Pnn, incarnation: u64, request: LockRequest) {
        let alive =
            self.daemon(node).is_some() && self.nodes[node as usize].incarnation == incarnation;
        if !alive && request != LockRequest::Release {
            return;
        }
        if let Some(event) = self.lock.request(node, incarnation, request) {
            self.give(node, Input::News(News::ClusterLock(event)));
        }
    }

    /// Whoever holds the cluster lock loses it, and is told.
    pub fn lose_lock(&mut self) {
        if let Some((node, incarnation)) = self.lock.lose() {
            self.note(format!("node {node} loses the cluster lock"));
            let told = self.between((Duration::from_millis(1), Duration::from_millis(50)));
            let input = Input::News(News::ClusterLock(LockEvent::Lost));
            self.after(told, What::Input(node, incarnation, input));
        }
    }
}
