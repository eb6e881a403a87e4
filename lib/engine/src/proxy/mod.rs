// SPDX-License-Identifier: GPL-3.0-or-later
//! The proxy service: clients of the existing socket.

use crate::env::Env;
use crate::packet::endpoint;
use crate::service::{Command, Event, Service};

/// The proxy service.
#[derive(Default)]
pub struct Proxy {}

impl Service for Proxy {
    fn name(&self) -> &'static str {
        "proxy"
    }
    fn endpoint(&self) -> u32 {
        endpoint::PROXY
    }
    fn matches(&self, _command: Command) -> bool {
        false
    }
    fn handle(&mut self, _event: Event, _env: &mut Env<'_>) {}
    fn as_any(&self) -> &dyn std::any::Any {
        self
    }
}
