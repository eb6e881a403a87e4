// SPDX-License-Identifier: GPL-3.0-or-later
//! What a decoder reports: which field, at which byte, and what was expected there.

use std::fmt;

/// Malformed input, or a value that does not fit its field.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what}: at byte {offset}: {expected}")]
pub struct Error {
    /// The structure and field, as `ReqCall.key`.
    pub what: &'static str,
    /// Offset in bytes from the start of the packet (or of the payload, when only that was given).
    pub offset: usize,
    /// What should have been there.
    pub expected: Expected,
}

/// The expectation that the input did not meet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expected {
    /// More bytes than are left.
    Bytes {
        /// Bytes the field takes.
        need: u64,
        /// Bytes that are left.
        left: usize,
    },
    /// A count of elements that fits into the rest of the payload.
    Elements {
        /// The count found.
        count: u64,
        /// Smallest size of one element in bytes.
        element_size: usize,
        /// Bytes that are left.
        left: usize,
    },
    /// One particular value.
    Value {
        /// The value that belongs there.
        wanted: u64,
        /// The value found.
        found: u64,
    },
    /// Something described in words; `found` is the offending value.
    Words {
        /// What was expected.
        wanted: &'static str,
        /// The value found.
        found: u64,
    },
    /// The end of the payload.
    End {
        /// Bytes that were left over.
        left: usize,
    },
    /// A packet that its 32-bit length can describe.
    Encodable {
        /// The size it would have.
        size: usize,
    },
}

impl fmt::Display for Expected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Expected::Bytes { need, left } => write!(f, "{need} bytes expected, {left} left"),
            Expected::Elements { count, element_size, left } => {
                write!(
                    f,
                    "{count} elements of at least {element_size} bytes expected, {left} bytes left"
                )
            }
            Expected::Value { wanted, found } => {
                write!(f, "{wanted:#x} expected, {found:#x} found")
            }
            Expected::Words { wanted, found } => write!(f, "{wanted} expected, {found:#x} found"),
            Expected::End { left } => write!(f, "end of payload expected, {left} bytes left"),
            Expected::Encodable { size } => {
                write!(f, "size below 4 GiB expected, {size} bytes needed")
            }
        }
    }
}

impl Error {
    /// An error in the field `what` at `offset`.
    pub fn new(what: &'static str, offset: usize, expected: Expected) -> Self {
        Error { what, offset, expected }
    }

    /// Names the field, unless an inner layout has already done so.
    pub(crate) fn named(mut self, what: &'static str) -> Self {
        if self.what.is_empty() {
            self.what = what;
        }
        self
    }
}
