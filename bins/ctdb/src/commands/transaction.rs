// SPDX-License-Identifier: GPL-3.0-or-later
//! Records of persistent and replicated databases (spec/tool.md 11.1).

use std::ffi::OsStr;
use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::ffi::OsStrExt;

use ctdbcore::{Client, Database, Deadline, Error, LockKind, LockTable, Transaction};

use crate::args::Args;
use crate::exit::{result_of, Done, Exit, FAILED};
use crate::json;
use crate::number::{key, literal, value};
use crate::tool::{FoundDb, Tool};

fn failed(message: String, error: &Error) -> Exit {
    if error.is_closed() {
        return FAILED;
    }
    errln!("ctdb: {error}");
    errln!("{message}");
    result_of(error)
}

/// Finds a database that has transactions.
fn find(tool: &mut Tool<'_>, text: &str) -> Result<FoundDb, Exit> {
    let found = tool.find_db(text)?;
    if found.is_volatile() {
        errln!("Transactions not supported on DB {}", found.name);
        return Err(FAILED);
    }
    Ok(found)
}

/// Finds and attaches a database that has transactions.
fn open(tool: &mut Tool<'_>, text: &str) -> Result<(FoundDb, Database), Exit> {
    let found = find(tool, text)?;
    let db = tool.attach(&found)?;
    Ok((found, db))
}

/// Runs `work` in a transaction and commits it.
fn transact(
    tool: &mut Tool<'_>,
    (found, mut db): (FoundDb, Database),
    kind: LockKind,
    work: impl FnOnce(&mut Transaction<'_>) -> Done,
) -> Done {
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
    let opened = open(tool, &args.text(0))?;
    let (key, name) = (key(args.bytes(1))?, args.text(1));
    let as_json = tool.options.json.then(|| opened.0.name.clone());
    transact(tool, opened, LockKind::Read, |transaction| {
        let value = transaction.fetch(&key);
        let value =
            value.map_err(|e| failed(format!("Failed to read record for key {name}"), &e))?;
        if let Some(database) = &as_json {
            return json::print(&json::Fetched::new(database, &key, &value));
        }
        crate::output::raw(value.split(|b| *b == 0).next().unwrap_or_default());
        outln!("");
        Ok(())
    })
}

/// `pstore DB KEY VALUE`
pub(crate) fn pstore(tool: &mut Tool<'_>, args: Args<'_>) -> Done {
    args.exactly(3)?;
    let opened = open(tool, &args.text(0))?;
    let (key, value, name) = (key(args.bytes(1))?, value(args.bytes(2))?, args.text(1));
    transact(tool, opened, LockKind::Write, |transaction| {
        let stored = transaction.store(&key, &value);
        stored.map_err(|e| failed(format!("Failed to store record for key {name}"), &e))
    })
}

/// `pdelete DB KEY`
pub(crate) fn pdelete(tool: &mut Tool<'_>, args: Args<'_>) -> Done {
    args.exactly(2)?;
    let opened = open(tool, &args.text(0))?;
    let (key, name) = (key(args.bytes(1))?, args.text(1));
    transact(tool, opened, LockKind::Write, |transaction| {
        let deleted = transaction.delete(&key);
        deleted.map_err(|e| failed(format!("Failed to delete record for key {name}"), &e))
    })
}

/// `ptrans DB [FILE]`: one transaction of all lines of a file or of standard input.
pub(crate) fn ptrans(tool: &mut Tool<'_>, args: Args<'_>) -> Done {
    args.between(1, 2)?;
    let found = find(tool, &args.text(0))?;
    let mut input: Box<dyn BufRead> = match args.len() {
        1 => Box::new(std::io::stdin().lock()),
        _ => Box::new(BufReader::new(File::open(OsStr::from_bytes(args.bytes(1))).map_err(
            |_| {
                errln!("Failed to open file {}", args.text(1));
                FAILED
            },
        )?)),
    };
    let db = tool.attach(&found)?;
    transact(tool, (found, db), LockKind::Write, |transaction| {
        let not_stored = |exit: Exit| {
            errln!("Failed to store record");
            exit
        };
        loop {
            let mut line = Vec::new();
            let read = input.by_ref().take(MAX_LINE).read_until(b'\n', &mut line);
            match read {
                Ok(0) => return Ok(()),
                Ok(_) => (),
                Err(e) => {
                    errln!("ctdb: read: {e}");
                    return Err(Exit::Code(e.raw_os_error().unwrap_or(5)));
                }
            }
            let (key, value) = match pair(&line) {
                Ok(Some(pair)) => pair,
                Ok(None) => continue,
                Err(complaint) => {
                    errln!("{complaint}");
                    continue;
                }
            };
            transaction.store(&key, &value).map_err(|e| {
                errln!("ctdb: {e}");
                not_stored(result_of(&e))
            })?;
        }
    })
}

/// Longer lines are taken apart: nobody writes them.
const MAX_LINE: u64 = 256 << 20;

/// A key and its new value.
type Pair = (Vec<u8>, Vec<u8>);

/// What a line of `ptrans` says; `None` for an empty key. A complaint ends with the rest of the line and
/// its newline.
fn pair(line: &[u8]) -> Result<Option<Pair>, String> {
    let (key, rest) = quoted(line)?;
    if key.is_empty() {
        return Ok(None);
    }
    let (value, _) = quoted(rest)?;
    Ok(Some((key, value)))
}

/// A string in quotes, and what is behind it.
fn quoted(text: &[u8]) -> Result<(Vec<u8>, &[u8]), String> {
    let complaint = |what: &str| format!("{what}{}", String::from_utf8_lossy(text));
    let blanks = text.iter().take_while(|byte| matches!(byte, b' ' | b'\t')).count();
    let Some(string) = text.get(blanks..).and_then(|t| t.strip_prefix(b"\"")) else {
        return Err(complaint("Unsupported input format in "));
    };
    let Some(end) = string.iter().position(|byte| *byte == b'"') else {
        return Err(complaint("Unmatched \" in input "));
    };
    let (string, rest) = string.split_at(end);
    Ok((literal(string)?, rest.get(1..).unwrap_or_default()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_have_a_key_and_a_value_in_quotes() {
        let both = |key: &[u8], value: &[u8]| Ok(Some((key.to_vec(), value.to_vec())));
        for (line, want) in [
            ("\"k\" \"v\"\n", both(b"k", b"v")),
            (" \t\"k\"\t \"v\" more \"words\"\n", both(b"k", b"v")),
            ("\"k\"\"v\"", both(b"k", b"v")),
            ("\"0x6b00\" \"0x\"\n", both(b"k\0", b"")),
            ("\"k\" \"\"\n", both(b"k", b"")),
            ("\"\" \"v\"\n", Ok(None)),
            ("\n", Err("Unsupported input format in \n".into())),
            ("   nokey\n", Err("Unsupported input format in    nokey\n".into())),
            ("\"k\"   v\n", Err("Unsupported input format in    v\n".into())),
            ("\"k\n", Err("Unmatched \" in input \"k\n".into())),
            ("\"k\" \"v\n", Err("Unmatched \" in input  \"v\n".into())),
            ("\"0xzz\" \"v\"\n", Err("Invalid hex: zz".into())),
            ("\"k\" \"0x1\"\n", Err("Key (1) contains odd number of hex digits".into())),
        ] {
            assert_eq!(pair(line.as_bytes()), want, "{line}");
        }
    }
}
