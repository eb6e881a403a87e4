// SPDX-License-Identifier: GPL-3.0-or-later
//! What carries out what the engine decides: files, sockets, processes, threads.
#![deny(unsafe_code)]

pub mod hot;
pub mod store;
