// SPDX-License-Identifier: GPL-3.0-or-later
//! Records of databases (spec/tool.md 10.7, 10.8, 11.2).

use ctdb_wire::control::call;
use ctdbcore::{Database, Deadline, Error, Record};

use crate::args::Args;
use crate::commands::dump::Dump;
use crate::exit::{control_failed, result_of, Done, Exit, FAILED};
use crate::json;
use crate::number::{key, value};
use crate::tool::Tool;

/// `catdb DB`
pub(crate) fn catdb(tool: &mut Tool<'_>, args: Args<'_>) -> Done {
    args.exactly(1)?;
    let found = tool.find_db(&args.text(0))?;
    let _db = tool.attach(&found)?;
    let limit = tool.limit();
    let mut dump = Dump::begin(tool.options.json, &found.name, None);
    let visited =
        tool.client.traverse(found.id, false, limit, Deadline::NEVER, |key, header, value| {
            if !value.is_empty() {
                dump.record(key, &header, value);
            }
            true
        });
    let done = visited.map(drop).map_err(|e| traverse_failed(&e));
    if !tool.client.is_closed() {
        dump.end("records");
    }
    done
}

fn traverse_failed(error: &Error) -> Exit {
    let exit = result_of(error);
    if let Exit::Code(ret) = exit {
        match error {
            e if e.is_closed() => (),
            Error::Refused { .. } => errln!("traverse: control reply failed, ret={ret}"),
            Error::NoReply { .. } => errln!("traverse: control failed, ret={ret}"),
            other => errln!("traverse: {other}"),
        }
    }
    exit
}

/// `cattdb DB`
pub(crate) fn cattdb(tool: &mut Tool<'_>, args: Args<'_>) -> Done {
    args.exactly(1)?;
    let found = tool.find_db(&args.text(0))?;
    let mut db = tool.attach(&found)?;
    let mut dump = Dump::begin(tool.options.json, &found.name, None);
    let visited = db.traverse_local(|key, header, value| {
        dump.record(key, &header, value);
        true
    });
    visited.map_err(|e| {
        errln!("{e}");
        result_of(&e)
    })?;
    dump.end("record(s)");
    Ok(())
}

/// A volatile database, attached.
fn volatile(tool: &mut Tool<'_>, text: &str) -> Result<Database, Exit> {
    let found = tool.find_db(text)?;
    if !found.is_volatile() {
        errln!("DB {} is not a volatile database", found.name);
        return Err(FAILED);
    }
    tool.attach(&found)
}

/// Says what failed about a record.
fn failed(what: &str, key: &str, error: &Error) -> Exit {
    match error {
        e if e.is_closed() => return FAILED,
        Error::NoReply { .. } | Error::Refused { .. } => {
            control_failed(error);
        }
        // said where it happened
        Error::Usage(_) | Error::Call { .. } => (),
        other => errln!("{other}"),
    }
    errln!("Failed to {what} record for key {key}");
    result_of(error)
}

/// Says that the daemon did not bring a record.
fn call_failed(db: &str, error: &Error) {
    match error {
        Error::Call { status, .. } => errln!("fetch_lock: {db} CALL failed, ret={status}"),
        Error::Usage(_) => errln!("fetch_lock: {db} CALL failed, ret={}", error.errno()),
        _ => (),
    }
}

/// Locks a record, wherever it is. Limited by the run time alone.
fn lock<'d>(tool: &mut Tool<'_>, db: &'d mut Database, key: &'d [u8]) -> Result<Record<'d>, Error> {
    let name = db.name().to_string();
    let locked = db.fetch_lock(&mut tool.client, key, Deadline::NEVER);
    locked.inspect_err(|e| call_failed(&name, e))
}

/// `readkey DB KEY [readonly]`
pub(crate) fn readkey(tool: &mut Tool<'_>, args: Args<'_>) -> Done {
    args.between(2, 3)?;
    let readonly = match args.get(2).as_deref() {
        None => false,
        Some("readonly") => true,
        Some(_) => return Err(Exit::Usage),
    };
    let mut db = volatile(tool, &args.text(0))?;
    let key = key(args.bytes(1))?;
    let name = args.text(1);
    let value = if readonly {
        let copy = db.fetch_readonly(&mut tool.client, &key, Deadline::NEVER);
        copy.map(Option::unwrap_or_default).inspect_err(|e| call_failed(db.name(), e))
    } else {
        lock(tool, &mut db, &key).and_then(|mut record| Ok(record.value()?.to_vec()))
    };
    let value = value.map_err(|e| failed("read", &name, &e))?;
    if tool.options.json {
        return json::print(&json::Fetched::new(db.name(), &key, &value));
    }
    out!("Data: size:{} ptr:[", value.len());
    crate::output::raw(value.split(|b| *b == 0).next().unwrap_or_default());
    outln!("]");
    Ok(())
}

/// `writekey DB KEY VALUE`
pub(crate) fn writekey(tool: &mut Tool<'_>, args: Args<'_>) -> Done {
    args.exactly(3)?;
    let mut db = volatile(tool, &args.text(0))?;
    let (key, value, name) = (key(args.bytes(1))?, value(args.bytes(2))?, args.text(1));
    let mut record = lock(tool, &mut db, &key).map_err(|e| failed("lock", &name, &e))?;
    record.store(&value).map_err(|e| failed("store", &name, &e))
}

/// `deletekey DB KEY`
pub(crate) fn deletekey(tool: &mut Tool<'_>, args: Args<'_>) -> Done {
    args.exactly(2)?;
    let mut db = volatile(tool, &args.text(0))?;
    let (key, name) = (key(args.bytes(1))?, args.text(1));
    let record = lock(tool, &mut db, &key).map_err(|e| failed("fetch", &name, &e))?;
    let limit = tool.limit();
    record.delete(&mut tool.client, limit).map_err(|e| failed("delete", &name, &e))
}

/// `pushrecord DB KEY VALUE`
pub(crate) fn pushrecord(tool: &mut Tool<'_>, args: Args<'_>) -> Done {
    args.exactly(3)?;
    let mut db = volatile(tool, &args.text(0))?;
    let (key, value, name) = (key(args.bytes(1))?, value(args.bytes(2))?, args.text(1));
    let local = tool.pnn();
    let generation = tool.control::<call::GetVnnMap, _>(local, &())?.generation;
    let mut record = lock(tool, &mut db, &key).map_err(|e| failed("fetch", &name, &e))?;
    let pushed = record.push(&mut tool.client, generation, &value);
    drop(record);
    let sent = pushed.and_then(|()| tool.client.drain(Deadline::NEVER));
    sent.map_err(|e| match e {
        Error::Tdb { .. } => failed("store", &name, &e),
        _ => failed("push", &name, &e),
    })
}
