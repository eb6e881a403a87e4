// SPDX-License-Identifier: GPL-3.0-or-later
//! The runtime service: tunables, statistics, log level, ping, shutdown.

use crate::env::Env;
use crate::packet::endpoint;
use crate::service::{Command, Event, Service};

/// SHUTDOWN.
pub const CONTROL_SHUTDOWN: u32 = 36;

/// The runtime service.
#[derive(Default)]
pub struct Runtime {}

impl Service for Runtime {
    fn name(&self) -> &'static str {
        "runtime"
    }
    fn endpoint(&self) -> u32 {
        endpoint::RUNTIME
    }
    fn matches(&self, _command: Command) -> bool {
        false
    }
    fn handle(&mut self, _event: Event, _env: &mut Env<'_>) {}
    fn as_any(&self) -> &dyn std::any::Any {
        self
    }
}
