// SPDX-License-Identifier: GPL-3.0-or-later
//! The command line: `<file> [recheck_interval [ping_timeout]]`, seconds. It is a configured text and no dialogue
//! with a person: any first word is a file.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::time::Duration;

const RECHECK_INTERVAL_DEFAULT: Duration = Duration::from_secs(5);

/// What to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Args {
    /// The lock file.
    pub file: PathBuf,
    /// How often it is looked at; none: never.
    pub recheck_interval: Option<Duration>,
    /// How long looking at it may take; none: for ever.
    pub ping_timeout: Option<Duration>,
}

impl Args {
    /// Reads the words after the program's name; none if they make no sense.
    pub fn parse(mut words: impl Iterator<Item = OsString>) -> Option<Args> {
        let file = PathBuf::from(words.next()?);
        let recheck_interval = match words.next() {
            Some(word) => seconds(&word)?,
            None => Some(RECHECK_INTERVAL_DEFAULT),
        };
        let ping_timeout = match words.next() {
            Some(word) => seconds(&word)?,
            None => None,
        };
        words.next().is_none().then_some(Args { file, recheck_interval, ping_timeout })
    }
}

/// Decimal seconds; 0 switches off.
fn seconds(word: &OsStr) -> Option<Option<Duration>> {
    let seconds: u32 = word.to_str()?.parse().ok()?;
    Some((seconds > 0).then(|| Duration::from_secs(seconds.into())))
}

/// How messages name us.
pub fn program_name(word: Option<&OsStr>) -> String {
    word.and_then(|w| Path::new(w).file_name())
        .map_or("ctdb_mutex_fcntl_helper".into(), |n| n.to_string_lossy().into_owned())
}

/// The usage text.
pub fn usage(program: &str) -> String {
    format!("Usage: {program} <file> [recheck_interval [ping_timeout]]")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(words: &[&str]) -> Option<Args> {
        Args::parse(words.iter().map(OsString::from))
    }

    #[test]
    fn words() {
        let seconds = |s| Some(Duration::from_secs(s));
        let args = |recheck_interval, ping_timeout| {
            Some(Args { file: "f".into(), recheck_interval, ping_timeout })
        };
        assert_eq!(parse(&["f"]), args(seconds(5), None));
        assert_eq!(parse(&["f", "7"]), args(seconds(7), None));
        assert_eq!(parse(&["f", "0", "3"]), args(None, seconds(3)));
        assert_eq!(parse(&["f", "1", "0"]), args(seconds(1), None));
        for bad in [&[][..], &["f", "5x"], &["f", "-1"], &["f", ""], &["f", "1", "2", "3"]] {
            assert_eq!(parse(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn names() {
        assert_eq!(program_name(Some(OsStr::new("/usr/libexec/ctdb/x"))), "x");
        assert_eq!(program_name(None), "ctdb_mutex_fcntl_helper");
    }
}
