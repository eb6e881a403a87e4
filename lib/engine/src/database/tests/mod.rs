// SPDX-License-Identifier: GPL-3.0-or-later
//! Tests of the service: several nodes in one thread, scenario by scenario.

mod attach;
mod calls;
mod delegation;
mod freeze;
mod links;
mod recovery;
mod transactions;
mod traverse;
mod vacuum;

mod store;
mod world;
