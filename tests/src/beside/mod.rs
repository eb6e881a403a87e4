// SPDX-License-Identifier: GPL-3.0-or-later
//! Our `ctdb` beside Debian's on the same running cluster: every command that both have, in every
//! output mode.
//!
//! A [`Script`] is a few commands that leave the cluster as it was. Each is run with one tool and
//! then with the other; what they say and their exit codes have to be the same, but for times,
//! process ids, generations and counters ([`Mask`]).

mod mask;
mod run;
mod scripts;
mod table;

pub use mask::Mask;
pub use run::{compare, start, Difference, Pace, Results};
pub use scripts::{scripts, scripts_without_a_node, Kind, Script};
pub use table::{table, Column};
