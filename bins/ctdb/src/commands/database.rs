// SPDX-License-Identifier: GPL-3.0-or-later
//! Database administration (spec/tool.md 10.1-10.6).

use ctdb_wire::control::call;
use ctdb_wire::flags::{db, node, recmode};
use ctdb_wire::types::{Dbid, DbidPadded};
use ctdb_wire::StringN;
use ctdbcore::{Deadline, Error, Ticket};

use crate::args::Args;
use crate::commands::status::print_row;
use crate::exit::{control_failed, result_of, Done, Exit, FAILED};
use crate::json;
use crate::paint::{self, Sense};
use crate::tool::{text_of, Tool};

/// Databases that are asked about at once.
const AT_ONCE: usize = 256;

/// An attached database, as a node describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Database {
    pub id: u32,
    pub name: String,
    pub path: String,
    pub persistent: bool,
    pub sticky: bool,
    pub readonly: bool,
    pub replicated: bool,
    /// Why its content is considered unsound.
    pub unhealthy: Option<String>,
}

/// What is asked about a database: its name, path and health.
struct Questions {
    entry: Dbid,
    name: Option<Ticket>,
    path: Ticket,
    health: Ticket,
}

impl Questions {
    fn ask(tool: &mut Tool<'_>, entry: Dbid, with_name: bool) -> Result<Questions, Error> {
        let (target, id) = (tool.target, entry.db_id);
        let name = match with_name {
            true => Some(tool.client.start_control::<call::GetDbName>(target, &id)?),
            false => None,
        };
        let path = tool.client.start_control::<call::GetDbPath>(target, &id)?;
        let health = tool.client.start_control::<call::DbGetHealth>(target, &id)?;
        Ok(Questions { entry, name, path, health })
    }

    fn answers(self, tool: &mut Tool<'_>, deadline: Deadline) -> Result<Database, Error> {
        let client = &mut tool.client;
        let name = match self.name {
            Some(name) => {
                text_of(client.finish_control(name, deadline)?.reply::<call::GetDbName>()?)
            }
            None => String::new(),
        };
        let path = text_of(client.finish_control(self.path, deadline)?.reply::<call::GetDbPath>()?);
        let health = client.finish_control(self.health, deadline)?;
        let unhealthy = health.reply::<call::DbGetHealth>()?.map(|reason| reason.to_string());
        let has = |flag: u8| self.entry.flags & flag != 0;
        Ok(Database {
            id: self.entry.db_id,
            name,
            path,
            persistent: has(db::PERSISTENT),
            sticky: has(db::STICKY),
            readonly: has(db::READONLY),
            replicated: has(db::REPLICATED),
            unhealthy,
        })
    }
}

/// Describes the databases of the target, one after the other. They are asked about many at a time.
fn describe_all(
    tool: &mut Tool<'_>,
    entries: &[Dbid],
    mut show: impl FnMut(Database),
) -> Result<(), Error> {
    for some in entries.chunks(AT_ONCE) {
        let mut asked = Vec::with_capacity(some.len());
        for entry in some {
            asked.push(Questions::ask(tool, *entry, true)?);
        }
        let deadline = Deadline::after(tool.limit());
        for questions in asked {
            show(questions.answers(tool, deadline)?);
        }
    }
    Ok(())
}

/// `getdbmap`
pub(crate) fn getdbmap(tool: &mut Tool<'_>, args: Args<'_>) -> Done {
    args.exactly(0)?;
    let target = tool.target;
    let (machine, sep) = (tool.options.machine, tool.sep());
    let map = tool.control::<call::GetDbMap, _>(target, &())?;
    if tool.options.json {
        let mut databases = Vec::new();
        describe_all(tool, &map.dbs, |database| databases.push(database.json()))
            .map_err(|e| control_failed(&e))?;
        return json::print(&json::Databases { node: target, databases });
    }
    if machine {
        let columns =
            ["ID", "Name", "Path", "Persistent", "Sticky", "Unhealthy", "Readonly", "Replicated"];
        print_row(sep, &columns);
    } else {
        outln!("Number of databases:{}", map.dbs.len());
    }
    if !machine && paint::is_on() {
        return print_aligned(tool, &map.dbs);
    }
    let shown = describe_all(tool, &map.dbs, |database| match machine {
        true => database.print_machine(sep),
        false => database.print_line(0, 0),
    });
    shown.map_err(|e| control_failed(&e))
}

/// The lines with their columns one below the other, for which all have to be known.
fn print_aligned(tool: &mut Tool<'_>, entries: &[Dbid]) -> Done {
    let mut databases = Vec::new();
    let described = describe_all(tool, entries, |database| databases.push(database));
    let widest = |of: fn(&Database) -> &str| databases.iter().map(|db| of(db).len()).max();
    let (name, path) = (widest(|db| &db.name), widest(|db| &db.path));
    for database in &databases {
        database.print_line(name.unwrap_or(0), path.unwrap_or(0));
    }
    described.map_err(|e| control_failed(&e))
}

impl Database {
    fn json(self) -> json::Database {
        json::Database {
            id: json::id(self.id),
            name: self.name,
            path: self.path,
            persistent: self.persistent,
            replicated: self.replicated,
            sticky: self.sticky,
            readonly: self.readonly,
            healthy: self.unhealthy.is_none(),
            unhealthy_reason: self.unhealthy,
        }
    }

    fn print_machine(&self, sep: &str) {
        let bit = |set: bool| if set { "1" } else { "0" };
        let id = format!("0x{:08X}", self.id);
        let fields = [
            id.as_str(),
            self.name.as_str(),
            self.path.as_str(),
            bit(self.persistent),
            bit(self.sticky),
            bit(self.unhealthy.is_some()),
            bit(self.readonly),
            bit(self.replicated),
        ];
        print_row(sep, &fields);
    }

    /// Name and path take at least so much room if something follows.
    fn print_line(&self, name_width: usize, path_width: usize) {
        let words = [
            (self.persistent, " PERSISTENT"),
            (self.sticky, " STICKY"),
            (self.readonly, " READONLY"),
            (self.replicated, " REPLICATED"),
            (self.unhealthy.is_some(), " UNHEALTHY"),
        ];
        let words: String = words.iter().filter(|(set, _)| *set).map(|(_, word)| *word).collect();
        let path_width = if words.is_empty() { 0 } else { path_width };
        let words = match self.unhealthy {
            Some(_) => paint::paint(Sense::Bad, &words),
            None => words.into(),
        };
        let (id, name, path) = (self.id, &self.name, &self.path);
        outln!("dbid:0x{id:08x} name:{name:<name_width$} path:{path:<path_width$}{words}");
    }

    fn print_status(&self) {
        let yes = |set: bool| if set { "yes" } else { "no" };
        outln!("dbid: 0x{:08x}", self.id);
        outln!("name: {}", self.name);
        outln!("path: {}", self.path);
        outln!("PERSISTENT: {}", yes(self.persistent));
        outln!("REPLICATED: {}", yes(self.replicated));
        outln!("STICKY: {}", yes(self.sticky));
        outln!("READONLY: {}", yes(self.readonly));
        outln!(
            "HEALTH: {}",
            paint::judge(self.unhealthy.is_none(), self.unhealthy.as_deref().unwrap_or("OK"))
        );
    }
}

/// `getdbstatus DB`: name and flags are those of the local node.
pub(crate) fn getdbstatus(tool: &mut Tool<'_>, args: Args<'_>) -> Done {
    args.exactly(1)?;
    let found = tool.find_db(&args.text(0))?;
    let deadline = Deadline::after(tool.limit());
    let entry = Dbid { db_id: found.id, flags: found.flags };
    let described =
        Questions::ask(tool, entry, false).and_then(|asked| asked.answers(tool, deadline));
    let database = described.map_err(|e| control_failed(&e))?;
    let database = Database { name: found.name, ..database };
    if tool.options.json {
        return json::print(&database.json());
    }
    database.print_status();
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
    if tool.options.json {
        let id = json::id(found.id);
        return json::print(&json::SequenceNumber { name: found.name, id, seqnum });
    }
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
