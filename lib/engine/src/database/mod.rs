// SPDX-License-Identifier: GPL-3.0-or-later
//! The database service: attached databases, record migration, freeze, recovery work, transactions, traverse.

use crate::env::Env;
use crate::packet::endpoint;
use crate::service::{Command, Event, Service};

/// The database service.
#[derive(Default)]
pub struct Database {}

impl Service for Database {
    fn name(&self) -> &'static str {
        "database"
    }
    fn endpoint(&self) -> u32 {
        endpoint::DATABASE
    }
    fn matches(&self, _command: Command) -> bool {
        false
    }
    fn handle(&mut self, _event: Event, _env: &mut Env<'_>) {}
    fn as_any(&self) -> &dyn std::any::Any {
        self
    }
}
