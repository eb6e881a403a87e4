// SPDX-License-Identifier: GPL-3.0-or-later
//! The simulator: many nodes in one thread, virtual time, seeded faults.
