// SPDX-License-Identifier: GPL-3.0-or-later
//! Database administration (spec/tool.md 10.1-10.6).

use ctdb_wire::control::call;
use ctdb_wire::flags::{db, node, recmode};
use ctdb_wire::types::DbidPadded;
use ctdb_wire::StringN;

use crate::args::Args;
use crate::commands::status::print_row;
use crate::exit::{result_of, Done, Exit, FAILED};
use crate::tool::{text_of, Tool};

/// `getdbmap`
pub(crate) fn getdbmap(tool: &mut Tool<'_>, args: Args<'_>) -> Done {
    args.exactly(0)?;
    let target = tool.target;
    let (machine, sep) = (tool.options.machine, tool.sep());
    let map = tool.control::<call::GetDbMap, _>(target, &())?;
    if machine {
        let columns =
            ["ID", "Name", "Path", "Persistent", "Sticky", "Unhealthy", "Readonly", "Replicated"];
        print_row(sep, &columns);
    } else {
        outln!("Number of databases:{}", map.dbs.len());
    }
    for entry in map.dbs {
        let name = tool.db_name(target, entry.db_id)?;
        let path = text_of(tool.control::<call::GetDbPath, _>(target, &entry.db_id)?);
        let health = tool.control::<call::DbGetHealth, _>(target, &entry.db_id)?;
        let has = |flag: u8| entry.flags & flag != 0;
        let unhealthy = health.is_some();
        if machine {
            let bit = |set: bool| if set { "1" } else { "0" };
            let id = format!("0x{:08X}", entry.db_id);
            let fields = [
                id.as_str(),
                name.as_str(),
                path.as_str(),
                bit(has(db::PERSISTENT)),
                bit(has(db::STICKY)),
                bit(unhealthy),
                bit(has(db::READONLY)),
                bit(has(db::REPLICATED)),
            ];
            print_row(sep, &fields);
            continue;
        }
        let words = [
            (has(db::PERSISTENT), " PERSISTENT"),
            (has(db::STICKY), " STICKY"),
            (has(db::READONLY), " READONLY"),
            (has(db::REPLICATED), " REPLICATED"),
            (unhealthy, " UNHEALTHY"),
        ];
        let words: String = words.iter().filter(|(set, _)| *set).map(|(_, word)| *word).collect();
        outln!("dbid:0x{:08x} name:{name} path:{path}{words}", entry.db_id);
    }
    Ok(())
}

/// `getdbstatus DB`
pub(crate) fn getdbstatus(tool: &mut Tool<'_>, args: Args<'_>) -> Done {
    args.exactly(1)?;
    let found = tool.find_db(&args.text(0))?;
    let target = tool.target;
    let path = text_of(tool.control::<call::GetDbPath, _>(target, &found.id)?);
    let health = tool.control::<call::DbGetHealth, _>(target, &found.id)?;
    let yes = |flag: u8| if found.flags & flag != 0 { "yes" } else { "no" };
    outln!("dbid: 0x{:08x}", found.id);
    outln!("name: {}", found.name);
    outln!("path: {path}");
    outln!("PERSISTENT: {}", yes(db::PERSISTENT));
    outln!("REPLICATED: {}", yes(db::REPLICATED));
    outln!("STICKY: {}", yes(db::STICKY));
    outln!("READONLY: {}", yes(db::READONLY));
    outln!("HEALTH: {}", health.map_or("OK".into(), |reason| reason.to_string()));
    Ok(())
}

/// `getdbseqnum DB`
pub(crate) fn getdbseqnum(tool: &mut Tool<'_>, args: Args<'_>) -> Done {
    args.exactly(1)?;
    let found = tool.find_db(&args.text(0))?;
    let local = tool.pnn();
    let request = DbidPadded { db_id: found.id };
    let seqnum = tool.control::<call::GetDbSeqnum, _>(local, &request).inspect_err(|_| {
        errln!("Failed to get sequence number for DB {}", found.name);
    })?;
    outln!("0x{seqnum:x}");
    Ok(())
}

/// `attach NAME [KIND]`
pub(crate) fn attach(tool: &mut Tool<'_>, args: Args<'_>) -> Done {
    args.between(1, 2)?;
    let flags = match args.get(1).as_deref() {
        None => 0,
        Some("persistent") => db::PERSISTENT,
        Some("readonly") => db::READONLY,
        Some("sticky") => db::STICKY,
        Some("replicated") => db::REPLICATED,
        Some(_) => return Err(Exit::Usage),
    };
    tool.attach_with(&args.text(0), flags).map(|_| ())
}

/// `detach DB...`
pub(crate) fn detach(tool: &mut Tool<'_>, args: Args<'_>) -> Done {
    args.between(1, usize::MAX)?;
    let target = tool.target;
    if tool.value::<call::GetRecmode>(target, &())? == recmode::ACTIVE as i32 {
        errln!("Database cannot be detached when recovery is active");
        return Err(FAILED);
    }
    may_detach(tool)?;
    let mut result = Ok(());
    for text in args.texts() {
        let Ok(found) = tool.find_db(&text) else { continue };
        if !found.is_volatile() {
            errln!("Only volatile databases can be detached");
            return Err(FAILED);
        }
        let local = tool.pnn();
        let limit = tool.limit();
        let detached = tool.client.control::<call::DbDetach, ()>(local, limit, &found.id);
        if let Err(e) = detached {
            let exit = result_of(&e);
            if let Exit::Code(ret) = exit {
                errln!("detach: {} DB_DETACH failed, ret={ret}", found.name);
            }
            errln!("Database {} detach failed", found.name);
            result = Err(exit);
        }
    }
    result
}

/// Clients of no node may attach while databases are detached.
fn may_detach(tool: &mut Tool<'_>) -> Done {
    for entry in tool.nodemap()?.node {
        if entry.flags & (node::DISCONNECTED | node::DELETED) != 0 {
            continue;
        }
        let pnn = entry.pnn;
        if entry.flags & node::INACTIVE != 0 {
            errln!("Database cannot be detached on inactive (stopped or banned) node {pnn}");
            return Err(FAILED);
        }
        let name = StringN::new("AllowClientDBAttach");
        let value = tool.control::<call::GetTunable, _>(pnn, &name).inspect_err(|_| {
            errln!("Unable to get tunable AllowClientDBAttach from node {pnn}");
        })?;
        if value == 1 {
            errln!(
                "Database access is still active on node {pnn}. Set AllowclientDBAttach=0 on all nodes."
            );
            return Err(FAILED);
        }
    }
    Ok(())
}

/// `setdbreadonly DB`
pub(crate) fn setdbreadonly(tool: &mut Tool<'_>, args: Args<'_>) -> Done {
    args.exactly(1)?;
    let found = tool.find_db(&args.text(0))?;
    if !found.is_volatile() {
        errln!("READONLY can be set only on volatile DB");
        return Err(FAILED);
    }
    let target = tool.target;
    tool.control::<call::SetDbReadonly, ()>(target, &found.id)
}

/// `setdbsticky DB`
pub(crate) fn setdbsticky(tool: &mut Tool<'_>, args: Args<'_>) -> Done {
    args.exactly(1)?;
    let found = tool.find_db(&args.text(0))?;
    if !found.is_volatile() {
        errln!("STICKY can be set only on volatile DB");
        return Err(FAILED);
    }
    let target = tool.target;
    tool.control::<call::SetDbSticky, ()>(target, &found.id)
}
