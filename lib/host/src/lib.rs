// SPDX-License-Identifier: GPL-3.0-or-later
//! What carries out what the engine decides: files, sockets, processes, threads.
//!
//! Before the daemon runs (nothing here needs the engine's state):
//! - [`paths`]: where everything lives; [`config`]: ctdb.conf; [`conf_syntax`]: the grammar it shares with
//!   [`tunables_file`]; [`diagnostic`]: a complaint with file and line
//! - [`nodes_file`]: the list of nodes; [`own_address`]: which of them we are
//! - [`startup`]: what must hold before a start; [`pidfile`]; [`process`]: becoming a daemon
//! - [`level`] and [`logging`]: the existing log levels, locations and line formats
//!
//! While it runs:
//! - [`hot`]: the one thread between sockets and the engine; [`store`]: the TDB files
//! - [`signals`], [`child_output`], [`cluster_lock`]: what other threads wait for
//!
//! - `sys`: system calls that no crate wraps
#![deny(unsafe_code)]

pub mod bounded_file;
pub mod child_output;
pub mod cluster_lock;
pub mod conf_syntax;
pub mod config;
pub mod diagnostic;
pub mod hot;
pub mod level;
pub mod logging;
pub mod node;
pub mod nodes_file;
pub mod own_address;
pub mod paths;
pub mod pidfile;
pub mod process;
pub mod signals;
pub mod startup;
pub mod store;
mod sys;
pub mod tunables_file;

pub use config::Config;
pub use diagnostic::Diagnostic;
pub use level::Level;
pub use paths::Paths;
