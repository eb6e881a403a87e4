// SPDX-License-Identifier: GPL-3.0-or-later
//! Records of databases (spec/tool.md 10.7, 10.8, 11.2).

use ctdbcore::{Database, Deadline, Error};

use crate::args::Args;
use crate::commands::dump;
use crate::exit::{control_failed, result_of, Done, Exit, FAILED};
use crate::number::{key, value};
use crate::tool::Tool;

/// `catdb DB`
pub(crate) fn catdb(tool: &mut Tool<'_>, args: Args<'_>) -> Done {
    args.exactly(1)?;
    let found = tool.find_db(&args.text(0))?;
    let _db = tool.attach(&found)?;
    let limit = tool.limit();
    let mut count = 0u32;
    let visited =
        tool.client.traverse(found.id, false, limit, Deadline::NEVER, |key, header, value| {
            if !value.is_empty() {
                count += 1;
                dump::record(key, &header, value);
            }
            true
        });
    visited.map_err(|e| traverse_failed(&e))?;
    outln!("Dumped {count} records");
    Ok(())
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
    let visited = db.traverse_local(|key, header, value| {
        dump::record(key, &header, value);
        true
    });
    let visited = visited.map_err(|e| {
        errln!("{e}");
        result_of(&e)
    })?;
    outln!("Dumped {visited} record(s)");
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
        other => errln!("{other}"),
    }
    errln!("Failed to {what} record for key {key}");
    result_of(error)
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
        db.fetch_readonly(&mut tool.client, &key, Deadline::NEVER).map(Option::unwrap_or_default)
    } else {
        db.fetch_lock(&mut tool.client, &key, Deadline::NEVER)
            .and_then(|mut record| Ok(record.value()?.to_vec()))
    };
    let value = value.map_err(|e| failed("read", &name, &e))?;
    out!("Data: size:{} ptr:[", value.len());
    crate::output::raw(value.split(|b| *b == 0).next().unwrap_or_default());
    outln!("]");
    Ok(())
}

/// `writekey DB KEY VALUE`
pub(crate) fn writekey(tool: &mut Tool<'_>, args: Args<'_>) -> Done {
    args.exactly(3)?;
    let mut db = volatile(tool, &args.text(0))?;
    let key = key(args.bytes(1))?;
    let value = value(args.bytes(2))?;
    let name = args.text(1);
    let mut record = db
        .fetch_lock(&mut tool.client, &key, Deadline::NEVER)
        .map_err(|e| failed("lock", &name, &e))?;
    record.store(&value).map_err(|e| failed("store", &name, &e))
}

/// `deletekey DB KEY`
pub(crate) fn deletekey(tool: &mut Tool<'_>, args: Args<'_>) -> Done {
    args.exactly(2)?;
    let mut db = volatile(tool, &args.text(0))?;
    let key = key(args.bytes(1))?;
    let name = args.text(1);
    let record = db
        .fetch_lock(&mut tool.client, &key, Deadline::NEVER)
        .map_err(|e| failed("fetch", &name, &e))?;
    record.delete(&mut tool.client, Deadline::NEVER).map_err(|e| failed("delete", &name, &e))
}
