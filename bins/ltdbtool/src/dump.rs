// SPDX-License-Identifier: GPL-3.0-or-later
//! `dump`: the records as tdbdump prints them, so that tdbrestore reads them; with `-p` also their headers.

use crate::options::Options;
use ctdb_wire::escaped;

use crate::record::Record;
use crate::{failed, FAILED};
use ctdb_command_line::Ending;
use ctdb_tdb::{OpenOptions, Tdb};
use std::io::{self, BufWriter, Write};
use std::path::Path;

/// Prints all records.
pub(crate) fn dump(options: &Options, file: &Path) -> Result<(), Ending> {
    let mut output = BufWriter::new(io::stdout().lock());
    let print = |key: &[u8], record: &Record<'_>| write_record(&mut output, options, key, record);
    let written = for_each(options, file, print);
    // What came before a fault is printed too.
    output.flush().map_err(not_written)?;
    written
}

fn not_written(error: io::Error) -> Ending {
    Ending::complaint(format!("standard output: {error}\n"), FAILED)
}

fn write_record(
    output: &mut impl Write,
    options: &Options,
    key: &[u8],
    record: &Record<'_>,
) -> Result<(), Ending> {
    let mut text = format!("{{\nkey({}) = \"{}\"\n", key.len(), escaped(key));
    if options.headers {
        let header = record.fields();
        text += &format!(
            "dmaster: {}\nrsn: {}\nflags: 0x{:X}\n",
            header.dmaster as i32, header.rsn, header.flags
        );
    }
    text += &format!("data({}) = \"{}\"\n}}\n", record.data.len(), escaped(record.data));
    output.write_all(text.as_bytes()).map_err(not_written)
}

/// Calls `visit` for the records of a file that are wanted, until one is at fault.
pub(crate) fn for_each(
    options: &Options,
    file: &Path,
    mut visit: impl FnMut(&[u8], &Record<'_>) -> Result<(), Ending>,
) -> Result<(), Ending> {
    let read_only = OpenOptions { read_only: true, ..OpenOptions::default() };
    let mut tdb = Tdb::open(file, &read_only).map_err(|e| failed("tdbopen in", &e))?;
    let mut outcome = Ok(());
    let walked = tdb.traverse(|key, value| {
        outcome = Record::split(key, value, options.input_size).and_then(|record| {
            match record.data.is_empty() && !options.empty {
                true => Ok(()),
                false => visit(key, &record),
            }
        });
        outcome.is_ok()
    });
    outcome?;
    walked.map(|_| ()).map_err(|e| failed("tdb_traverse", &e))
}
