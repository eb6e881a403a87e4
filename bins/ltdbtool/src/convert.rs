// SPDX-License-Identifier: GPL-3.0-or-later
//! `convert`: copies the records into a new file, with a header of another size.

use crate::dump::for_each;
use crate::failed;
use crate::options::Options;
use ctdb_command_line::Ending;
use ctdb_tdb::{OpenOptions, StoreMode, Tdb};
use std::path::Path;

/// Copies `from` to `to`, which must not exist.
pub(crate) fn convert(options: &Options, from: &Path, to: &Path) -> Result<(), Ending> {
    // Without a file to read none is made.
    let read_only = OpenOptions { read_only: true, ..OpenOptions::default() };
    Tdb::open(from, &read_only).map_err(|e| failed("tdbopen in", &e))?;
    let create =
        OpenOptions { create: true, exclusive: true, mode: 0o600, ..OpenOptions::default() };
    let mut output = Tdb::open(to, &create).map_err(|e| failed("tdbopen out", &e))?;
    for_each(options, from, |key, record| {
        let parts = [record.head(options.output_size), record.data];
        output.store(key, &parts, StoreMode::Insert).map_err(|e| failed("tdb_store", &e))
    })
}
