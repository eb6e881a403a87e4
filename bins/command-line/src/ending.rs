// SPDX-License-Identifier: GPL-3.0-or-later
//! The end of a program.

use std::io::Write;

/// What is still to be printed, and the exit code.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Ending {
    /// For standard output.
    pub output: Vec<u8>,
    /// For standard error.
    pub complaint: String,
    /// The exit code.
    pub code: i32,
}

impl Ending {
    /// Only a code.
    pub fn code(code: i32) -> Ending {
        Ending { code, ..Ending::default() }
    }

    /// Text for standard output.
    pub fn output(text: impl Into<Vec<u8>>, code: i32) -> Ending {
        Ending { output: text.into(), code, ..Ending::default() }
    }

    /// Text for standard error.
    pub fn complaint(text: impl Into<String>, code: i32) -> Ending {
        Ending { complaint: text.into(), code, ..Ending::default() }
    }

    /// The environment makes no sense. Existing programs end by SIGABRT then, which a shell sees as this code.
    pub fn aborted(why: &impl std::fmt::Display) -> Ending {
        Ending::complaint(format!("{why}\n"), 128 + 6)
    }

    /// Prints what is to be printed and gives the code. A reader that has gone away is no reason to complain.
    pub fn say(self) -> i32 {
        let _ = std::io::stderr().write_all(self.complaint.as_bytes());
        let mut stdout = std::io::stdout();
        let _ = stdout.write_all(&self.output).and_then(|()| stdout.flush());
        self.code
    }
}

/// What the system calls an errno.
pub fn strerror(code: i32) -> String {
    let text = std::io::Error::from_raw_os_error(code).to_string();
    match text.rfind(" (os error") {
        Some(end) => text.get(..end).unwrap_or(&text).to_owned(),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errno_texts_have_no_number() {
        assert_eq!(strerror(2), "No such file or directory");
        assert_eq!(strerror(4), "Interrupted system call");
    }
}
