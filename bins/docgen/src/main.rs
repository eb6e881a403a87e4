// SPDX-License-Identifier: GPL-3.0-or-later
//! `docgen`: makes what describes the programs from their own definitions.
//!
//! `docgen schema FILE` writes the schema of `ctdb --json`.

use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::{Parser, Subcommand};

/// Make what describes the programs from their own definitions.
#[derive(Debug, Parser)]
#[command(name = "docgen", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// The schema of what `ctdb --json` prints
    Schema {
        /// The file to write
        file: PathBuf,
    },
}

fn main() -> Result<()> {
    match Cli::parse().command {
        Command::Schema { file } => {
            let text = serde_json::to_string_pretty(&ctdb::json_schema())?;
            std::fs::write(&file, text + "\n").with_context(|| file.display().to_string())
        }
    }
}
