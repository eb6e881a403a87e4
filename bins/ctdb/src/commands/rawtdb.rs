// SPDX-License-Identifier: GPL-3.0-or-later
//! Records of a TDB file, whoever uses it (spec/tool.md 11.3).

use std::ffi::OsStr;
use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::OpenOptionsExt;

use ctdb_tdb::{StoreMode, Tdb};
use ctdb_wire::types::LtdbHeader;
use ctdb_wire::{Decode, Encode};

use crate::args::Args;
use crate::commands::dump;
use crate::exit::{Done, Exit, FAILED};
use crate::json;
use crate::number::{atoi, key, number, number32, value};
use crate::tool::Tool;

fn open(args: Args<'_>) -> Result<Tdb, Exit> {
    let path = OsStr::from_bytes(args.bytes(0));
    Tdb::open(path, &ctdb_tdb::OpenOptions::default()).map_err(|_| {
        errln!("Failed to open TDB file {}", args.text(0));
        FAILED
    })
}

/// `tfetch FILE KEY [OUT]`
pub(crate) fn tfetch(tool: &mut Tool<'_>, args: Args<'_>) -> Done {
    args.between(2, 3)?;
    let mut tdb = open(args)?;
    let (key, name) = (key(args.bytes(1))?, args.text(1));
    let Ok(Some(data)) = tdb.fetch(&key) else {
        errln!("No record for key {name}");
        return Err(FAILED);
    };
    let Ok(header) = LtdbHeader::from_prefix(&data) else {
        errln!("Invalid record for key {name}");
        return Err(FAILED);
    };
    let value = data.get(LtdbHeader::SIZE..).unwrap_or_default();
    if tool.options.json {
        json::print(&json::RawRecord::new(&header, value))?;
    } else {
        dump::header(&header);
        outln!("{}", dump::quoted("data", value));
    }
    if args.len() == 3 {
        write_out(args, &data);
    }
    Ok(())
}

/// What was printed is the result: a file that cannot be written is only told of.
fn write_out(args: Args<'_>, data: &[u8]) {
    let path = OsStr::from_bytes(args.bytes(2));
    let opened = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path);
    match opened.map(|mut file| file.write_all(data)) {
        Err(_) => errln!("Failed to open output file {}", args.text(2)),
        Ok(Err(_)) => errln!("Failed to write record to file"),
        Ok(Ok(())) => (),
    }
}

/// `tstore FILE KEY DATA [RSN [DMASTER [FLAGS]]]`
pub(crate) fn tstore(_tool: &mut Tool<'_>, args: Args<'_>) -> Done {
    args.between(3, 6)?;
    let mut tdb = open(args)?;
    let (key, value) = (key(args.bytes(1))?, value(args.bytes(2))?);
    let mut header = LtdbHeader::default();
    if let Some(rsn) = args.get(3) {
        header.rsn = number(&rsn)?;
    }
    if let Some(dmaster) = args.get(4) {
        header.dmaster = atoi(&dmaster) as u32;
    }
    if let Some(flags) = args.get(5) {
        header.flags = number32(&flags)?;
    }
    tdb.store(&key, &[&header.to_vec(), &value], StoreMode::Replace).map_err(|_| {
        errln!("Failed to write record {} to file {}", args.text(1), args.text(0));
        FAILED
    })
}
