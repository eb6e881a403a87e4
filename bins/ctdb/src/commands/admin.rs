// SPDX-License-Identifier: GPL-3.0-or-later
//! Node administration (spec/tool.md 5).

use std::time::Duration;

use ctdb_wire::control::call;
use ctdb_wire::flags::{node, recmode};
use ctdb_wire::types::BanState;
use ctdb_wire::Control;
use ctdbcore::Deadline;

use crate::args::Args;
use crate::exit::{control_failed, Done, Exit, INVALID};
use crate::number::number32;
use crate::runtime::pause;
use crate::tool::Tool;

/// A flag that a command sets or clears.
struct Change {
    flag: u32,
    set: bool,
    /// The flag in words: `already disabled`.
    word: &'static str,
    /// What has failed if the control does: `disable node`.
    failed: &'static str,
}

impl Change {
    /// Whether there is nothing to do; says so. Without a node map it is tried all the same: where all
    /// nodes are banned, one of them is to be unbanned.
    fn is_done(&self, tool: &mut Tool<'_>) -> Result<bool, Exit> {
        match tool.target_has(self.flag) {
            Ok(has) if has == self.set => (),
            Err(exit) if tool.client.is_closed() => return Err(exit),
            Ok(_) | Err(_) => return Ok(false),
        }
        let is = if self.set { "is already" } else { "is not" };
        errln!("Node {} {is} {}", tool.target, self.word);
        Ok(true)
    }

    /// Sends the control, waits for the flag, then for the takeover run that follows from it.
    fn make<C>(&self, tool: &mut Tool<'_>, request: &C::Request<'_>) -> Done
    where
        C: for<'a> Control<Reply<'a> = ()>,
    {
        let target = tool.target;
        tool.control::<C, ()>(target, request).inspect_err(|_| {
            errln!("Failed to {} {target}", self.failed);
        })?;
        tool.wait_for_flag(self.flag, self.set)?;
        tool.ipreallocate()
    }
}

fn change<C>(tool: &mut Tool<'_>, args: Args<'_>, change: Change) -> Done
where
    C: for<'a> Control<Request<'a> = (), Reply<'a> = ()>,
{
    args.exactly(0)?;
    if change.is_done(tool)? {
        return Ok(());
    }
    change.make::<C>(tool, &())
}

/// `disable`
pub(crate) fn disable(tool: &mut Tool<'_>, args: Args<'_>) -> Done {
    let flag = node::PERMANENTLY_DISABLED;
    let what = Change { flag, set: true, word: "disabled", failed: "disable node" };
    change::<call::DisableNode>(tool, args, what)
}

/// `enable`
pub(crate) fn enable(tool: &mut Tool<'_>, args: Args<'_>) -> Done {
    let flag = node::PERMANENTLY_DISABLED;
    let what = Change { flag, set: false, word: "disabled", failed: "enable node" };
    change::<call::EnableNode>(tool, args, what)
}

/// `stop`
pub(crate) fn stop(tool: &mut Tool<'_>, args: Args<'_>) -> Done {
    let what = Change { flag: node::STOPPED, set: true, word: "stopped", failed: "stop node" };
    change::<call::StopNode>(tool, args, what)
}

/// `continue`
pub(crate) fn resume(tool: &mut Tool<'_>, args: Args<'_>) -> Done {
    let failed = "continue stopped node";
    let what = Change { flag: node::STOPPED, set: false, word: "stopped", failed };
    change::<call::ContinueNode>(tool, args, what)
}

/// `ban TIME`
pub(crate) fn ban(tool: &mut Tool<'_>, args: Args<'_>) -> Done {
    args.exactly(1)?;
    let what = Change { flag: node::BANNED, set: true, word: "banned", failed: "ban node" };
    if what.is_done(tool)? {
        return Ok(());
    }
    let time = number32(&args.text(0))?;
    if time == 0 {
        errln!("Ban time cannot be zero");
        return Err(INVALID);
    }
    let pnn = tool.target;
    what.make::<call::SetBanState>(tool, &BanState { pnn, time })
}

/// `unban`
pub(crate) fn unban(tool: &mut Tool<'_>, args: Args<'_>) -> Done {
    args.exactly(0)?;
    let what = Change { flag: node::BANNED, set: false, word: "banned", failed: "unban node" };
    if what.is_done(tool)? {
        return Ok(());
    }
    let pnn = tool.target;
    what.make::<call::SetBanState>(tool, &BanState { pnn, time: 0 })
}

/// `shutdown`: of the local node, returns when the daemon has closed the connection.
pub(crate) fn shutdown(tool: &mut Tool<'_>, args: Args<'_>) -> Done {
    args.exactly(0)?;
    let target = tool.target;
    tool.client.post_control::<call::Shutdown>(target, &()).map_err(|e| {
        errln!("Unable to shutdown node {target}");
        control_failed(&e)
    })?;
    if target != tool.pnn() {
        return tool.client.drain(Deadline::NEVER).map_err(|e| control_failed(&e));
    }
    while !tool.client.is_closed() {
        // Whatever still arrives is of no interest.
        let _ = tool.client.turn(Deadline::NEVER, "shutdown");
        while tool.client.take_message().is_some() {}
    }
    Ok(())
}

/// `recover`: returns when a whole recovery has happened since.
pub(crate) fn recover(tool: &mut Tool<'_>, args: Args<'_>) -> Done {
    args.exactly(0)?;
    let before = tool.generation()?;
    let target = tool.target;
    tool.control::<call::SetRecmode, ()>(target, &recmode::ACTIVE).inspect_err(|_| {
        errln!("Failed to set recovery mode active");
    })?;
    loop {
        let now = tool.generation().inspect_err(|_| errln!("Failed to confirm end of recovery"))?;
        if now != before {
            return Ok(());
        }
        pause(Duration::from_secs(1));
    }
}

/// `ipreallocate`, `sync`
pub(crate) fn ipreallocate(tool: &mut Tool<'_>, args: Args<'_>) -> Done {
    args.exactly(0)?;
    tool.ipreallocate()
}

fn on_or_off(args: Args<'_>) -> Result<u32, Exit> {
    args.exactly(1)?;
    match args.text(0).as_ref() {
        "on" => Ok(1),
        "off" => Ok(0),
        _ => Err(Exit::Usage),
    }
}

/// `setlmasterrole on|off`
pub(crate) fn setlmasterrole(tool: &mut Tool<'_>, args: Args<'_>) -> Done {
    let value = on_or_off(args)?;
    let target = tool.target;
    tool.control::<call::SetLmasterRole, ()>(target, &value)
}

/// `setleaderrole on|off`
pub(crate) fn setleaderrole(tool: &mut Tool<'_>, args: Args<'_>) -> Done {
    let value = on_or_off(args)?;
    let target = tool.target;
    tool.control::<call::SetRecmasterRole, ()>(target, &value)
}
