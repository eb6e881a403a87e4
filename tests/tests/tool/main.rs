// SPDX-License-Identifier: GPL-3.0-or-later
//! Our `ctdb` on a scripted daemon: every row and flag of its output, every exit code, and what it
//! does when the daemon misbehaves.

mod golden;
mod helpers;
mod nonsense;
mod scripts;
