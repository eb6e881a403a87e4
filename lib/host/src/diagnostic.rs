// SPDX-License-Identifier: GPL-3.0-or-later
//! A complaint about an input file, with the place where the reader finds its cause.

use std::fmt;
use std::path::{Path, PathBuf};

/// Complaints kept for one file; a file with more faults than this has one cause.
const KEPT_MAX: usize = 100;

/// One complaint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnostic {
    /// The file, as it was named to us.
    pub file: PathBuf,
    /// The line, from 1; none when the file as a whole is meant.
    pub line: Option<usize>,
    /// What is wrong.
    pub text: String,
}

impl Diagnostic {
    /// A complaint about one line.
    pub fn at(file: &Path, line: usize, text: impl Into<String>) -> Diagnostic {
        Diagnostic { file: file.to_path_buf(), line: Some(line), text: text.into() }
    }

    /// A complaint about the whole file.
    pub fn whole(file: &Path, text: impl Into<String>) -> Diagnostic {
        Diagnostic { file: file.to_path_buf(), line: None, text: text.into() }
    }
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            Some(line) => write!(f, "{}:{}: {}", self.file.display(), line, self.text),
            None => write!(f, "{}: {}", self.file.display(), self.text),
        }
    }
}

/// Appends, up to the bound.
pub(crate) fn keep(list: &mut Vec<Diagnostic>, diagnostic: Diagnostic) {
    if list.len() < KEPT_MAX {
        list.push(diagnostic);
    }
}
