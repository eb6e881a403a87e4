// SPDX-License-Identifier: GPL-3.0-or-later
//! What the cluster looks like at one moment, and the thread that asks for it again and again.
//!
//! All questions of a sample are asked at once and share one limit, so that a node that is silent
//! costs its own line and no more. When the daemon goes away the thread connects again.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender};
use std::time::{Duration, Instant};

use ctdb_wire::control::call;
use ctdb_wire::flags::{node, pnn, recmode, INVALID_GENERATION};
use ctdb_wire::srvid;
use ctdb_wire::types::{DbStatistics, Dbid, Statistics};
use ctdbcore::{Client, Deadline, Error, Ticket};

use crate::tool::text_of;

/// Most databases that are looked at.
const MAX_DATABASES: usize = 1024;
/// Most questions under way at once.
const AT_ONCE: usize = 256;
/// Between attempts to reach a daemon that has gone.
const RECONNECT: Duration = Duration::from_millis(500);
/// Longest wait for a daemon that takes a connection and says nothing.
const CONNECT_LIMIT: Duration = Duration::from_secs(2);
/// Least time that nodes have to answer.
const LEAST_LIMIT: Duration = Duration::from_secs(1);

/// The cluster at one moment.
#[derive(Debug, Clone)]
pub(crate) struct Sample {
    pub at: Instant,
    /// The node whose daemon was asked.
    pub pnn: u32,
    pub leader: Option<u32>,
    pub generation: Option<u32>,
    pub recovering: bool,
    pub nodes: Vec<NodeSample>,
    pub databases: Vec<DbSample>,
}

/// A node.
#[derive(Debug, Clone)]
pub(crate) struct NodeSample {
    pub pnn: u32,
    pub address: String,
    pub flags: u32,
    /// `None` if it did not answer.
    pub statistics: Option<Statistics>,
}

/// A database, and its counters on the nodes that answered.
#[derive(Debug, Clone)]
pub(crate) struct DbSample {
    pub id: u32,
    pub flags: u8,
    pub name: String,
    pub nodes: Vec<(u32, DbStatistics)>,
}

/// What the thread tells.
#[derive(Debug)]
pub(crate) enum News {
    Sample(Box<Sample>),
    /// There is no sample, and why.
    Trouble(String),
}

/// What the thread is told.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Order {
    /// Take a sample now.
    Now,
    /// Take them this far apart.
    Every(Duration),
}

/// Takes samples.
pub(crate) struct Sampler {
    path: PathBuf,
    limit: Duration,
    client: Option<Client>,
    leader: Option<u32>,
    names: HashMap<u32, String>,
}

impl Sampler {
    /// `client` listens for the leader already.
    pub(crate) fn new(client: Client, path: &Path, limit: Duration) -> Sampler {
        Sampler {
            path: path.into(),
            limit,
            client: Some(client),
            leader: None,
            names: HashMap::new(),
        }
    }

    /// Works until nobody listens any more.
    pub(crate) fn run(
        mut self,
        mut every: Duration,
        orders: &Receiver<Order>,
        news: &SyncSender<News>,
    ) {
        loop {
            let begun = Instant::now();
            let limit = self.limit.min(every.max(LEAST_LIMIT));
            let (told, pause) = match self.sample(Deadline::after(limit)) {
                Ok(sample) => (News::Sample(Box::new(sample)), every),
                Err(e) => {
                    if self.client.as_ref().is_none_or(Client::is_closed) {
                        self.client = None;
                    }
                    (News::Trouble(e.to_string()), every.min(RECONNECT))
                }
            };
            if news.send(told).is_err() {
                return;
            }
            let mut until = begun + pause;
            loop {
                let left = until.saturating_duration_since(Instant::now());
                match orders.recv_timeout(left) {
                    Ok(Order::Every(new)) => {
                        every = new;
                        until = begun + new;
                    }
                    Ok(Order::Now) | Err(RecvTimeoutError::Timeout) => break,
                    Err(RecvTimeoutError::Disconnected) => return,
                }
            }
        }
    }

    fn client(&mut self) -> Result<Client, Error> {
        if let Some(client) = self.client.take() {
            return Ok(client);
        }
        let mut client = Client::connect(&self.path, CONNECT_LIMIT)?;
        client.register(srvid::LEADER, CONNECT_LIMIT)?;
        self.leader = None;
        Ok(client)
    }

    fn sample(&mut self, deadline: Deadline) -> Result<Sample, Error> {
        let mut client = self.client()?;
        let sample = self.sample_with(&mut client, deadline);
        self.client = Some(client);
        sample
    }

    fn sample_with(&mut self, client: &mut Client, deadline: Deadline) -> Result<Sample, Error> {
        let own = client.pnn();
        let map = client.control::<call::GetNodemap, _>(own, deadline, &())?;
        let vnnmap = client.control::<call::GetVnnMap, _>(own, deadline, &())?;
        let mode = client.control_status::<call::GetRecmode>(own, deadline, &())?;
        let mut dbs = client.control::<call::GetDbMap, _>(own, deadline, &())?.dbs;
        dbs.truncate(MAX_DATABASES);
        self.learn_names(client, &dbs, deadline)?;
        let asked: Vec<u32> = map
            .node
            .iter()
            .filter(|entry| entry.flags & (node::DISCONNECTED | node::DELETED) == 0)
            .map(|entry| entry.pnn)
            .collect();
        let statistics = client.control_many::<call::Statistics>(&asked, deadline, &());
        let mut statistics: HashMap<u32, Statistics> = statistics
            .into_iter()
            .filter_map(|(pnn, answer)| Some((pnn, answer.ok()?.reply::<call::Statistics>().ok()?)))
            .collect();
        let answering: Vec<u32> =
            asked.into_iter().filter(|pnn| statistics.contains_key(pnn)).collect();
        let databases = self.databases(client, &dbs, &answering, deadline)?;
        self.hear_leader(client);
        if client.is_closed() {
            return Err(Error::Closed);
        }
        let nodes = map.node.iter().filter(|entry| entry.flags & node::DELETED == 0);
        Ok(Sample {
            at: Instant::now(),
            pnn: own,
            leader: self.leader,
            generation: Some(vnnmap.generation).filter(|g| *g != INVALID_GENERATION),
            recovering: mode != recmode::NORMAL as i32,
            nodes: nodes
                .map(|entry| NodeSample {
                    pnn: entry.pnn,
                    address: entry.addr.ip().to_string(),
                    flags: entry.flags,
                    statistics: statistics.remove(&entry.pnn),
                })
                .collect(),
            databases,
        })
    }

    /// The leader's announcements that came since the last sample.
    fn hear_leader(&mut self, client: &mut Client) {
        while let Some(message) = client.take_message_to(srvid::LEADER) {
            if let Ok(bytes) = message.data.as_slice().try_into() {
                self.leader = Some(u32::from_le_bytes(bytes)).filter(|at| *at != pnn::UNKNOWN);
            }
        }
    }

    fn learn_names(
        &mut self,
        client: &mut Client,
        dbs: &[Dbid],
        deadline: Deadline,
    ) -> Result<(), Error> {
        self.names.retain(|id, _| dbs.iter().any(|db| db.db_id == *id));
        let own = client.pnn();
        let new: Vec<u32> =
            dbs.iter().map(|db| db.db_id).filter(|id| !self.names.contains_key(id)).collect();
        for some in new.chunks(AT_ONCE) {
            let mut tickets = Vec::with_capacity(some.len());
            for id in some {
                tickets.push((*id, client.start_control::<call::GetDbName>(own, id)?));
            }
            for (id, ticket) in tickets {
                let answer = client.finish_control(ticket, deadline);
                let name = answer.and_then(|answer| answer.reply::<call::GetDbName>().map(text_of));
                if let Ok(name) = name {
                    self.names.insert(id, name);
                }
            }
        }
        Ok(())
    }

    fn databases(
        &self,
        client: &mut Client,
        dbs: &[Dbid],
        nodes: &[u32],
        deadline: Deadline,
    ) -> Result<Vec<DbSample>, Error> {
        let mut samples: Vec<DbSample> = dbs
            .iter()
            .map(|db| DbSample {
                id: db.db_id,
                flags: db.flags,
                name: self
                    .names
                    .get(&db.db_id)
                    .cloned()
                    .unwrap_or_else(|| crate::json::id(db.db_id)),
                nodes: Vec::new(),
            })
            .collect();
        let step = (AT_ONCE / nodes.len().max(1)).max(1);
        for some in samples.chunks_mut(step) {
            let mut tickets: Vec<(usize, u32, Ticket)> = Vec::new();
            for (at, db) in some.iter().enumerate() {
                for pnn in nodes {
                    let ticket = client.start_control::<call::GetDbStatistics>(*pnn, &db.id)?;
                    tickets.push((at, *pnn, ticket));
                }
            }
            for (at, pnn, ticket) in tickets {
                let answer = client.finish_control(ticket, deadline);
                let Ok(answer) = answer else { continue };
                if let (Ok(statistics), Some(db)) =
                    (answer.reply::<call::GetDbStatistics>(), some.get_mut(at))
                {
                    db.nodes.push((pnn, statistics));
                }
            }
        }
        Ok(samples)
    }
}
