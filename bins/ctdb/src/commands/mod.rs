// SPDX-License-Identifier: GPL-3.0-or-later
//! The commands, by subject.

pub(crate) mod admin;
pub(crate) mod backup;
pub(crate) mod database;
pub(crate) mod dump;
pub(crate) mod event;
pub(crate) mod help;
pub(crate) mod hosting;
pub(crate) mod ips;
pub(crate) mod listnodes;
pub(crate) mod memory;
pub(crate) mod rawtdb;
pub(crate) mod record;
pub(crate) mod reloadnodes;
pub(crate) mod statistics;
pub(crate) mod status;
pub(crate) mod tickles;
pub(crate) mod transaction;
pub(crate) mod tunable;
