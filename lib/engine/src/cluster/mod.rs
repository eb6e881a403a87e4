// SPDX-License-Identifier: GPL-3.0-or-later
//! The cluster service: membership, node flags, leadership, cluster lock, recovery.

use crate::env::Env;
use crate::packet::endpoint;
use crate::service::{Command, Event, Service};

/// The cluster service.
#[derive(Default)]
pub struct Cluster {}

impl Service for Cluster {
    fn name(&self) -> &'static str {
        "cluster"
    }
    fn endpoint(&self) -> u32 {
        endpoint::CLUSTER
    }
    fn matches(&self, _command: Command) -> bool {
        false
    }
    fn handle(&mut self, _event: Event, _env: &mut Env<'_>) {}
    fn as_any(&self) -> &dyn std::any::Any {
        self
    }
}
