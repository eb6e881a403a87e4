// SPDX-License-Identifier: GPL-3.0-or-later
//! Records of persistent and replicated databases (spec/tool.md 11.1).

use ctdbcore::{Client, Database, Deadline, Error, LockKind, LockTable, Transaction};

use crate::args::Args;
use crate::exit::{result_of, Done, Exit, FAILED};
use crate::number::{key, value};
use crate::tool::{FoundDb, Tool};

fn failed(message: String, error: &Error) -> Exit {
    if error.is_closed() {
        return FAILED;
    }
    errln!("ctdb: {error}");
    errln!("{message}");
    result_of(error)
}

/// Finds and attaches a database that has transactions.
fn open(tool: &mut Tool<'_>, text: &str) -> Result<(FoundDb, Database), Exit> {
    let found = tool.find_db(text)?;
    if found.is_volatile() {
        errln!("Transactions not supported on DB {}", found.name);
        return Err(FAILED);
    }
    let db = tool.attach(&found)?;
    Ok((found, db))
}

/// Runs `work` in a transaction and commits it.
fn transact(
    tool: &mut Tool<'_>,
    text: &str,
    kind: LockKind,
    work: impl FnOnce(&mut Transaction<'_>) -> Done,
) -> Done {
    let (found, mut db) = open(tool, text)?;
    let limit = tool.limit();
    let client: &mut Client = &mut tool.client;
    let not_started = |e| failed(format!("Failed to start transaction on db {}", found.name), &e);
    let mut locks = LockTable::attach(client, limit).map_err(not_started)?;
    let mut transaction = Transaction::start(client, &mut locks, &mut db, kind, Deadline::NEVER)
        .map_err(not_started)?;
    if let Err(exit) = work(&mut transaction) {
        // The first failure is the one to report.
        let _ = transaction.cancel(client, limit);
        return Err(exit);
    }
    transaction
        .commit(client, Deadline::NEVER)
        .map_err(|e| failed(format!("Failed to commit transaction on db {}", found.name), &e))
}

/// `pfetch DB KEY`
pub(crate) fn pfetch(tool: &mut Tool<'_>, args: Args<'_>) -> Done {
    args.exactly(2)?;
    let key = key(args.bytes(1))?;
    let name = args.text(1);
    transact(tool, &args.text(0), LockKind::Read, |transaction| {
        let value = transaction.fetch(&key);
        let value =
            value.map_err(|e| failed(format!("Failed to read record for key {name}"), &e))?;
        crate::output::raw(value.split(|b| *b == 0).next().unwrap_or_default());
        outln!("");
        Ok(())
    })
}

/// `pstore DB KEY VALUE`
pub(crate) fn pstore(tool: &mut Tool<'_>, args: Args<'_>) -> Done {
    args.exactly(3)?;
    let key = key(args.bytes(1))?;
    let value = value(args.bytes(2))?;
    let name = args.text(1);
    transact(tool, &args.text(0), LockKind::Write, |transaction| {
        let stored = transaction.store(&key, &value);
        stored.map_err(|e| failed(format!("Failed to store record for key {name}"), &e))
    })
}

/// `pdelete DB KEY`
pub(crate) fn pdelete(tool: &mut Tool<'_>, args: Args<'_>) -> Done {
    args.exactly(2)?;
    let key = key(args.bytes(1))?;
    let name = args.text(1);
    transact(tool, &args.text(0), LockKind::Write, |transaction| {
        let deleted = transaction.delete(&key);
        deleted.map_err(|e| failed(format!("Failed to delete record for key {name}"), &e))
    })
}
