// SPDX-License-Identifier: GPL-3.0-or-later
//! Our TDB engine beside the C library, its tools and its Python module: processes of all kinds on
//! one file, and files made by each for the others.

mod bench;
mod torture;
