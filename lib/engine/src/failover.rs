// SPDX-License-Identifier: GPL-3.0-or-later
//! The failover service: public addresses and client TCP connections.

use crate::env::Env;
use crate::packet::endpoint;
use crate::service::{Command, Event, Service};

/// The failover service.
#[derive(Default)]
pub struct Failover {}

impl Service for Failover {
    fn name(&self) -> &'static str {
        "failover"
    }
    fn endpoint(&self) -> u32 {
        endpoint::FAILOVER
    }
    fn matches(&self, _command: Command) -> bool {
        false
    }
    fn handle(&mut self, _event: Event, _env: &mut Env<'_>) {}
    fn as_any(&self) -> &dyn std::any::Any {
        self
    }
}
