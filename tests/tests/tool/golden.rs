// SPDX-License-Identifier: GPL-3.0-or-later
//! The golden files of tests/golden/tool. With `CTDB_GOLDEN=record` in the environment, as in
//! `make golden`, they are written anew.

use std::path::{Path, PathBuf};

use anyhow::{ensure, Context, Result};
use ctdb_tests::golden::{check, record, Tools};
use ctdb_tests::{skip, Needs, Side};

const DEBIAN: &str = "/usr/bin/ctdb";

fn directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("golden/tool")
}

fn golden(name: &str) -> Result<()> {
    let tools = Tools { ours: Side::our_tool()?, debian: DEBIAN.into() };
    let file = directory().join(name).with_extension("txt");
    if std::env::var_os("CTDB_GOLDEN").is_some_and(|how| how == "record") {
        record(&file, &tools)?;
    }
    let report = check(&file, &tools, false)?;
    report.ok().context("our tool")?;
    // and the recordings are still what Debian's tool says
    if skip(Needs::DebianCtdb) {
        return Ok(());
    }
    check(&file, &tools, true)?.ok().context("Debian's tool")
}

macro_rules! golden_files {
    ($($(#[$attribute:meta])* $name:ident),* $(,)?) => {
        $(
            $(#[$attribute])*
            #[test]
            fn $name() -> Result<()> {
                golden(stringify!($name))
            }
        )*

        #[test]
        fn every_golden_file_has_a_test() -> Result<()> {
            for entry in std::fs::read_dir(directory())? {
                let name = entry?.path();
                let name = name.file_stem().map(|stem| stem.to_string_lossy().into_owned());
                let name = name.unwrap_or_default();
                ensure!([$(stringify!($name)),*].contains(&name.as_str()), "{name}: no test");
            }
            Ok(())
        }
    };
}

golden_files! {
    addresses,
    admin,
    backup,
    counters,
    databases,
    faults,
    info,
    json,
    large,
    nodes,
    nodes_file,
    options,
    records,
    tunables,
}
