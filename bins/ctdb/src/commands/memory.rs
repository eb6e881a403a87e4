// SPDX-License-Identifier: GPL-3.0-or-later
//! Memory reports (spec/tool.md 13).

use ctdb_wire::control::call;
use ctdb_wire::srvid::MEM_DUMP;
use ctdb_wire::types::SrvidMessage;
use ctdb_wire::Encode;
use ctdbcore::Deadline;

use crate::args::Args;
use crate::exit::{control_failed, Done};
use crate::json;
use crate::tool::Tool;

/// `dumpmemory`
pub(crate) fn dumpmemory(tool: &mut Tool<'_>, _args: Args<'_>) -> Done {
    let (target, limit) = (tool.target, tool.limit());
    let outcome = tool.client.control_outcome::<call::DumpMemory>(target, limit, &());
    let outcome = outcome.and_then(|outcome| outcome.success().map(|()| outcome));
    let outcome = outcome.map_err(|e| control_failed(&e))?;
    print(tool, &outcome.payload)
}

fn print(tool: &Tool<'_>, report: &[u8]) -> Done {
    if tool.options.json {
        let text = report.strip_suffix(b"\0").unwrap_or(report);
        let report = String::from_utf8_lossy(text).into_owned();
        return json::print(&json::Report { node: tool.target, report });
    }
    crate::output::raw(report);
    Ok(())
}

/// `rddumpmemory`: waits without a limit of its own.
pub(crate) fn rddumpmemory(tool: &mut Tool<'_>, _args: Args<'_>) -> Done {
    let reply = tool.reply_srvid();
    tool.register(reply)?;
    let request = SrvidMessage { pnn: tool.pnn(), srvid: reply }.to_vec();
    let target = tool.target;
    tool.send(target, MEM_DUMP, &request)?;
    let message = tool.client.wait_message(reply, Deadline::NEVER);
    let message = message.map_err(|e| control_failed(&e))?;
    print(tool, message.data.split(|b| *b == 0).next().unwrap_or_default())?;
    tool.deregister(reply)
}
