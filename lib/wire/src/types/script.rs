// SPDX-License-Identifier: GPL-3.0-or-later
//! Results of event scripts, in the form of an obsolete control (spec/wire.md 9.13).

use super::list::PaddedList;
use super::node::Timeval;
use crate::text::CharArray;

layout! {
    /// One run of a script.
    #[derive(Copy, Eq)]
    pub struct Script, size 584 {
        /// Its name.
        name: CharArray<32>,
        /// When it was started.
        start: Timeval,
        /// When it ended.
        finished: Timeval,
        /// Its exit code, or a negative errno.
        status: i32,
        /// Its output, cut.
        output: CharArray<512> => pad 4,
    }
}

layout! {
    /// The scripts of one event.
    #[derive(Eq)]
    pub struct ScriptList {
        /// The scripts.
        script: PaddedList<Script>,
    }
}
