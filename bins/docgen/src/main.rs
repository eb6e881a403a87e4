// SPDX-License-Identifier: GPL-3.0-or-later
//! `docgen`: writes what describes the programs. Used by the Makefile.

use std::path::PathBuf;

use anyhow::Result;
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
    /// Manual pages, into DIRECTORY/man1
    Man {
        /// Where to write them
        directory: PathBuf,
    },
    /// Completions of bash, zsh and fish, below DIRECTORY
    Completions {
        /// Where to write them
        directory: PathBuf,
    },
    /// The schema of what `ctdb --json` prints
    Schema {
        /// The file to write
        file: PathBuf,
    },
}

fn main() -> Result<()> {
    match Cli::parse().command {
        Command::Man { directory } => docgen::write_man(&directory),
        Command::Completions { directory } => docgen::write_completions(&directory),
        Command::Schema { file } => docgen::write_schema(&file),
    }
}
