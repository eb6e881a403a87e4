// SPDX-License-Identifier: GPL-3.0-or-later
//! What is printed, as it comes, and the errors.

use std::io::Write;
use std::process::Stdio;

const RULE: &str = "--------------------------------------------------------------------";

/// The report so far.
#[derive(Debug, Default)]
pub(crate) struct Report {
    errors: Vec<String>,
}

/// Now.
pub(crate) fn date() -> String {
    chrono::Local::now().format("%a %b %e %H:%M:%S %:z %Y").to_string()
}

impl Report {
    /// A line, or several.
    pub fn line(&mut self, text: &str) {
        let mut stdout = std::io::stdout().lock();
        // Without a reader there is nothing to report.
        let _ = stdout.write_all(text.as_bytes()).and_then(|()| stdout.write_all(b"\n"));
        let _ = stdout.flush();
    }

    /// A rule across the page.
    pub fn rule(&mut self) {
        self.line(RULE);
    }

    /// The beginning of a part.
    pub fn section(&mut self, title: &str) {
        self.rule();
        self.line(title);
    }

    /// Something that is wrong.
    pub fn error(&mut self, text: &str) {
        self.line(&format!("ERROR: {text}"));
        self.errors.push(text.to_owned());
    }

    /// Where a command may print.
    pub fn stream() -> Stdio {
        use std::os::fd::AsFd;
        match std::io::stdout().as_fd().try_clone_to_owned() {
            Ok(stdout) => stdout.into(),
            Err(_) => Stdio::inherit(),
        }
    }

    /// Lists the errors, and gives their number.
    pub fn end(mut self) -> usize {
        let errors = std::mem::take(&mut self.errors);
        self.line(&format!("Diagnostics finished with {} errors", errors.len()));
        for (n, error) in errors.iter().enumerate() {
            self.line(&format!(" ERROR[{}]: {error}", n + 1));
        }
        errors.len()
    }
}
