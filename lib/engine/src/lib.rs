// SPDX-License-Identifier: GPL-3.0-or-later
//! What each daemon of a cluster node *decides*.
//!
//! A service is a deterministic state machine: it is given one event at a time, never waits, and acts
//! through [`Env`]. The same service code runs in a real host, where ports are sockets and TDB files, and
//! in the simulator, where they are values. There is no I/O, clock, thread or random state in this crate.
//!
//! - [`service`]: the [`Service`] trait and its events; [`env`]: what a service may do during a turn
//! - [`ports`]: what the surroundings provide; [`daemon`]: the runtime that runs the services of a node
//! - [`packet`], [`view`], [`time`], [`hash`], [`stats`], [`fanout`]: the values they share
//! - [`database`], [`cluster`], [`proxy`], [`runtime`], [`failover`]: the services
#![forbid(unsafe_code)]

pub mod cluster;
pub mod daemon;
pub mod database;
pub mod env;
pub mod failover;
pub mod fanout;
pub mod hash;
pub mod packet;
pub mod ports;
pub mod proxy;
pub mod rng;
pub mod runtime;
pub mod service;
pub mod sim;
pub mod stats;
pub mod time;
pub mod tunables;
pub mod view;

pub use daemon::{Config, Daemon, Input};
pub use env::Env;
pub use packet::{Body, Endpoint, Packet, Pnn};
pub use ports::{LocalStore, Ports};
pub use service::{Event, News, Service, ServiceId};
pub use stats::Statistics;
pub use time::Time;
pub use tunables::Tunables;
pub use view::{ClusterView, NodeView};
