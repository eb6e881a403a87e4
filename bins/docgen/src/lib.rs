// SPDX-License-Identifier: GPL-3.0-or-later
//! What describes the programs, made from their own definitions: manual pages, completions, and the schema
//! of `ctdb --json`.

mod completions;
mod man;
mod programs;

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

/// Writes the manual pages into `directory/man1`.
pub fn write_man(directory: &Path) -> Result<()> {
    for program in programs::all() {
        let name = format!("man1/{}.1", program.command.get_name());
        write(&directory.join(name), &man::page(&program)?)?;
    }
    Ok(())
}

/// Writes the completions into directories below `directory`, as they are below `PREFIX/share`.
pub fn write_completions(directory: &Path) -> Result<()> {
    for program in programs::all() {
        for (name, text) in completions::all(&program.command) {
            write(&directory.join(name), &text)?;
        }
    }
    Ok(())
}

/// Writes the schema of what `ctdb --json` prints.
pub fn write_schema(file: &Path) -> Result<()> {
    write(file, (serde_json::to_string_pretty(&ctdb::json_schema())? + "\n").as_bytes())
}

fn write(file: &Path, text: &[u8]) -> Result<()> {
    if let Some(directory) = file.parent() {
        fs::create_dir_all(directory).with_context(|| directory.display().to_string())?;
    }
    fs::write(file, text).with_context(|| file.display().to_string())
}
