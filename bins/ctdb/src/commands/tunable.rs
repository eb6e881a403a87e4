// SPDX-License-Identifier: GPL-3.0-or-later
//! Tunables (spec/tool.md 9.1).

use ctdb_wire::control::call;
use ctdb_wire::types::Tunable;
use ctdb_wire::StringN;

use crate::args::Args;
use crate::exit::{Done, Exit, FAILED};
use crate::json;
use crate::number::number32;
use crate::tool::Tool;

/// Names of the target's tunables, in its order.
fn names(tool: &mut Tool<'_>) -> Result<Vec<String>, Exit> {
    let target = tool.target;
    let list = tool.control::<call::ListTunables, _>(target, &())?;
    Ok(list.names().map(|name| name.to_string()).collect())
}

fn known(tool: &mut Tool<'_>, name: &str) -> Done {
    let target = tool.target;
    let names = names(tool).inspect_err(|_| {
        errln!("Failed to get list of variables from node {target}");
    })?;
    if names.iter().any(|known| known.eq_ignore_ascii_case(name)) {
        return Ok(());
    }
    match tool.options.json {
        true => errln!("No such tunable {name}"),
        false => outln!("No such tunable {name}"),
    }
    Err(FAILED)
}

fn value(tool: &mut Tool<'_>, name: &str) -> Result<u32, Exit> {
    let target = tool.target;
    tool.control::<call::GetTunable, _>(target, &StringN::new(name))
}

/// `getvar NAME`
pub(crate) fn getvar(tool: &mut Tool<'_>, args: Args<'_>) -> Done {
    args.exactly(1)?;
    let name = args.text(0);
    known(tool, &name)?;
    let value = value(tool, &name)?;
    if tool.options.json {
        return json::print(&json::Tunable { node: tool.target, name: name.into(), value });
    }
    outln!("{name:<26} = {value}");
    Ok(())
}

/// `setvar NAME VALUE`
pub(crate) fn setvar(tool: &mut Tool<'_>, args: Args<'_>) -> Done {
    args.exactly(2)?;
    let name = args.text(0);
    known(tool, &name)?;
    let value = number32(&args.text(1))?;
    let target = tool.target;
    let request = Tunable { value, name: StringN::new(name.as_ref()) };
    match tool.status::<call::SetTunable>(target, &request)? {
        0 => Ok(()),
        1 => {
            errln!("Control SET_TUNABLE failed, ret=1");
            errln!("Setting obsolete tunable variable '{name}'");
            Ok(())
        }
        status => {
            errln!("Control SET_TUNABLE failed, ret={status}");
            Err(Exit::Code(status))
        }
    }
}

/// `listvars`
pub(crate) fn listvars(tool: &mut Tool<'_>, args: Args<'_>) -> Done {
    args.exactly(0)?;
    let names = names(tool)?;
    if tool.options.json {
        let variables = names.into_iter().map(|name| {
            let value = value(tool, &name)?;
            Ok((name, value))
        });
        let variables = variables.collect::<Result<_, Exit>>()?;
        return json::print(&json::Tunables { node: tool.target, variables });
    }
    for name in names {
        let value = value(tool, &name)?;
        outln!("{name:<26} = {value}");
    }
    Ok(())
}
