// SPDX-License-Identifier: GPL-3.0-or-later
//! A scripted daemon: it answers a client from a cluster state that is written down as data.
//!
//! It serves the client socket protocol (spec/wire.md 4.1) the way a daemon does that has a cluster
//! behind it: controls to any node, messages and their replies, record calls, traverses, databases
//! in real files. Nothing in it changes but by what the client asks for, so a tool prints the same
//! on every run; and at any control it can fall silent, hang up or answer nonsense ([`Fault`]).
//!
//! - [`State`] is the cluster, [`scenario`] the named ones
//! - [`FakeDaemon`] serves one in a directory and notes what it was asked for

mod answer;
mod fault;
mod files;
mod scenario;
mod server;
mod state;

pub use fault::{Action, Fault};
pub use files::write as prepare;
pub use scenario::{scenario, SCENARIOS};
pub use server::FakeDaemon;
pub use state::{Db, FakeNode, State};
