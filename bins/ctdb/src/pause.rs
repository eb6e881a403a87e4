// SPDX-License-Identifier: GPL-3.0-or-later
//! Asking the nodes to do without takeover runs or recoveries for a while (spec/tool.md 2.6).

use std::collections::BTreeSet;

use ctdb_wire::srvid::{DISABLE_RECOVERIES, DISABLE_TAKEOVER_RUNS};
use ctdb_wire::types::DisableMessage;
use ctdb_wire::Encode;
use ctdbcore::Deadline;

use crate::exit::{control_failed, Done, Exit};
use crate::tool::Tool;

/// What the nodes are to do without.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Pause {
    TakeoverRuns,
    Recoveries,
}

/// A node has not answered in time.
const TIMED_OUT: Exit = Exit::Code(110);

impl Pause {
    fn srvid(self) -> u64 {
        match self {
            Pause::TakeoverRuns => DISABLE_TAKEOVER_RUNS,
            Pause::Recoveries => DISABLE_RECOVERIES,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Pause::TakeoverRuns => "takeover runs",
            Pause::Recoveries => "recoveries",
        }
    }

    /// Begins the pause. It ends by itself after twice the limit of a control.
    pub(crate) fn begin(self, tool: &mut Tool<'_>, nodes: &[u32]) -> Done {
        let seconds = tool.limit().as_secs().saturating_mul(2);
        let seconds = u32::try_from(seconds).unwrap_or(u32::MAX);
        self.ask(tool, nodes, seconds, "disable")
    }

    /// Ends the pause.
    pub(crate) fn end(self, tool: &mut Tool<'_>, nodes: &[u32]) -> Done {
        self.ask(tool, nodes, 0, "enable")
    }

    fn ask(self, tool: &mut Tool<'_>, nodes: &[u32], seconds: u32, verb: &str) -> Done {
        let reply = tool.reply_srvid();
        tool.register(reply)?;
        let agreed = self.ask_all(tool, nodes, reply, seconds);
        if agreed == Err(TIMED_OUT) {
            errln!("Timed out waiting to {verb} {}", self.name());
        }
        let deregistered = tool.deregister(reply);
        agreed.and(deregistered).inspect_err(|_| errln!("Failed to {verb} {}", self.name()))
    }

    /// Each node answers with its number, or with something negative if it will not.
    fn ask_all(self, tool: &mut Tool<'_>, nodes: &[u32], reply: u64, timeout: u32) -> Done {
        let request = DisableMessage { pnn: tool.pnn(), srvid: reply, timeout }.to_vec();
        for node in nodes {
            tool.send(*node, self.srvid(), &request)?;
        }
        let deadline = Deadline::after(tool.limit());
        let mut missing: BTreeSet<u32> = nodes.iter().copied().collect();
        while !missing.is_empty() {
            let message = match tool.client.wait_message(reply, deadline) {
                Ok(message) => message,
                Err(e) if e.is_timeout() => return Err(TIMED_OUT),
                Err(e) => return Err(control_failed(&e)),
            };
            let Ok(answer) = message.data.as_slice().try_into().map(i32::from_le_bytes) else {
                continue;
            };
            match u32::try_from(answer) {
                Ok(pnn) => missing.remove(&pnn),
                Err(_) => return Err(crate::exit::FAILED),
            };
        }
        Ok(())
    }
}
