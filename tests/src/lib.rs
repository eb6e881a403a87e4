// SPDX-License-Identifier: GPL-3.0-or-later
//! A cluster of real daemons, and Samba on it, on one machine.
//!
//! The integration tests, `make demo`, `make smbtorture` and the benchmarks all start their nodes
//! through [`Cluster`]: each in a network namespace that belongs to one thread and vanishes with
//! it, on 127.0.0.1, 127.0.0.2 and so on, with private directories. Which daemon and tool run is a
//! [`Side`]: ours, Debian's, or whatever `CTDBD` and `CTDB` name.
//!
//! The set-up follows spec/samba-client.md 20 and spec/events-config.md 1.
//!
//! For the tool alone there is also a scripted daemon ([`fake`]) and, on top of it, golden files
//! ([`golden`]); [`beside`] runs it beside Debian's on real clusters.

#![forbid(unsafe_code)]

pub mod beside;
mod cluster;
mod command;
mod daemon;
pub mod fake;
pub mod golden;
mod history;
mod netns;
mod report;
mod requirements;
mod samba;
mod shape;
mod side;
pub mod tdb_torture;
mod torture;
mod twins;
mod wait;
mod workdir;

pub use cluster::{Cluster, Node, Options};
pub use command::{run, run_ok, run_with_input, Outcome};
pub use daemon::Daemon;
pub use history::{Figures, Random};
pub use netns::{private_mounts, Netns};
pub use report::{comparison_table, median, merge_results, today, write_section, Comparison};
pub use requirements::{missing, skip, Needs};
pub use samba::{HeldOpen, OpenResult, ShareMode, SHARES, SMB_PASSWORD, SMB_USER};
pub use shape::like;
pub use side::Side;
pub use torture::{expected, Counts, Expected, Verdict};
pub use twins::{write_program, Twins};
pub use wait::{wait_for, wait_until};
pub use workdir::Workdir;

/// Ends a program of this package: with exit code 0, or with what went wrong and 1.
pub fn exit_with(result: anyhow::Result<()>) {
    if let Err(e) = result {
        eprintln!("{e:#}");
        std::process::exit(1);
    }
}
