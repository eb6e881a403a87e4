// SPDX-License-Identifier: GPL-3.0-or-later
//! The arguments of a command.

use std::borrow::Cow;
use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;

use crate::exit::Exit;

/// Arguments behind the command's name.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Args<'a>(&'a [OsString]);

impl<'a> Args<'a> {
    pub(crate) fn new(words: &'a [OsString]) -> Args<'a> {
        Args(words)
    }

    /// All arguments.
    pub(crate) fn words(&self) -> &'a [OsString] {
        self.0
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// Exactly this many, or usage.
    pub(crate) fn exactly(&self, n: usize) -> Result<(), Exit> {
        self.between(n, n)
    }

    /// From `min` to `max` arguments, or usage.
    pub(crate) fn between(&self, min: usize, max: usize) -> Result<(), Exit> {
        if (min..=max).contains(&self.0.len()) {
            Ok(())
        } else {
            Err(Exit::Usage)
        }
    }

    /// The bytes of one argument; empty if it is not there.
    pub(crate) fn bytes(&self, at: usize) -> &'a [u8] {
        self.0.get(at).map(|word| word.as_bytes()).unwrap_or_default()
    }

    /// The text of one argument; empty if it is not there.
    pub(crate) fn text(&self, at: usize) -> Cow<'a, str> {
        String::from_utf8_lossy(self.bytes(at))
    }

    pub(crate) fn get(&self, at: usize) -> Option<Cow<'a, str>> {
        (at < self.0.len()).then(|| self.text(at))
    }

    pub(crate) fn texts(&self) -> impl Iterator<Item = Cow<'a, str>> {
        self.0.iter().map(|word| String::from_utf8_lossy(word.as_bytes()))
    }
}
