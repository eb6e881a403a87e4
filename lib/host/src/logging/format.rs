// SPDX-License-Identifier: GPL-3.0-or-later
//! The shapes of log lines (`spec/events-config.md 12.3-12.4`), which log collectors parse: one line a message.

use crate::sys::time::local_time;
use std::fmt::{self, Write as _};
use std::time::{SystemTime, UNIX_EPOCH};

/// Which shape.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// Time, host, program and process: files.
    Full,
    /// The message alone: standard error.
    Bare,
    /// `<PRI>` and the message: what syslog(3) is given; it adds the rest.
    Priority,
    /// `<PRI>APP[PID]: message`.
    Rfc3164,
    /// `<PRI>1 TIME HOST APP PID - - message`.
    Rfc5424,
}

/// LOG_DAEMON.
const FACILITY: u8 = 24;

/// Who logs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// The program's name in log lines.
    pub app: String,
    /// The machine's name.
    pub host: String,
}

/// Appends one record in `shape` to `out`; files and standard error get a newline.
pub fn render(
    out: &mut String,
    shape: Shape,
    identity: &Identity,
    now: SystemTime,
    record: &log::Record<'_>,
) {
    let app = app_of(record.target()).unwrap_or(&identity.app);
    let pid = std::process::id();
    let priority = FACILITY + severity(record.level());
    let host = &identity.host;
    // Writing to a String cannot fail.
    let _ = match shape {
        Shape::Full => write!(out, "{} {host} {app}[{pid}]: ", Timestamp(now)),
        Shape::Bare => Ok(()),
        Shape::Priority => write!(out, "<{priority}>"),
        Shape::Rfc3164 => write!(out, "<{priority}>{app}[{pid}]: "),
        Shape::Rfc5424 => {
            write!(out, "<{priority}>1 {} {host} {app} {pid} - - ", Timestamp(now))
        }
    };
    let _ = write!(OneLine(out), "{}", record.args());
    if matches!(shape, Shape::Full | Shape::Bare) {
        out.push('\n');
    }
}

/// A log target of the form `ctdb-NAME` speaks as that program, such as `ctdb-recoverd`.
fn app_of(target: &str) -> Option<&str> {
    target.starts_with("ctdb-").then_some(target)
}

/// The syslog severity; `debug!` is our INFO, which existing daemons send as notice.
pub fn severity(level: log::Level) -> u8 {
    match level {
        log::Level::Error => 3,
        log::Level::Warn => 4,
        log::Level::Info | log::Level::Debug => 5,
        log::Level::Trace => 7,
    }
}

/// Takes care that no message makes a second line or moves the cursor, whatever names it quotes.
struct OneLine<'a>(&'a mut String);

impl fmt::Write for OneLine<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for c in text.chars() {
            match c {
                '\n' => self.0.push_str("\\n"),
                '\t' => self.0.push(c),
                c if c.is_control() => write!(self.0, "\\x{:02x}", c as u32)?,
                c => self.0.push(c),
            }
        }
        Ok(())
    }
}

/// `2026-11-22T07:00:23.747127+00:00`
struct Timestamp(SystemTime);

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let since = self.0.duration_since(UNIX_EPOCH).unwrap_or_default();
        let t = local_time(i64::try_from(since.as_secs()).unwrap_or(0));
        let sign = if t.offset_seconds < 0 { '-' } else { '+' };
        let offset_minutes = t.offset_seconds.abs() / 60;
        write!(
            f,
            "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}.{:06}{sign}{:02}:{:02}",
            t.year,
            t.month,
            t.day,
            t.hour,
            t.minute,
            t.second,
            since.subsec_micros(),
            offset_minutes / 60,
            offset_minutes % 60
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use log::Level::{Debug, Error, Info, Trace, Warn};
    use std::time::Duration;

    fn line(shape: Shape, target: &str, level: log::Level, text: &str) -> String {
        let identity = Identity { app: "ctdbd".into(), host: "vm".into() };
        let now = UNIX_EPOCH + Duration::new(1_709_210_096, 7_127_999);
        let mut out = String::new();
        let args = format_args!("{text}");
        let record = log::Record::builder().target(target).level(level).args(args).build();
        render(&mut out, shape, &identity, now, &record);
        out.replace(&std::process::id().to_string(), "PID")
    }

    #[test]
    fn shapes() {
        let full = line(Shape::Full, "ctdb_host::x", Info, "CTDB starting on node");
        let (time, rest) = full.split_at(32);
        assert_eq!(rest, " vm ctdbd[PID]: CTDB starting on node\n");
        assert_eq!((&time[..5], &time[16..26]), ("2024-", ":56.007127"), "{time}");
        assert_eq!(time.as_bytes()[29], b':');
        assert_eq!(line(Shape::Bare, "x", Info, "a"), "a\n");
        assert_eq!(
            line(Shape::Rfc3164, "x", Info, "CTDB starting on node"),
            "<29>ctdbd[PID]: CTDB starting on node"
        );
        let new = line(Shape::Rfc5424, "x", Info, "a");
        assert!(new.starts_with("<29>1 2024-") && new.ends_with(" vm ctdbd PID - - a"), "{new}");
    }

    #[test]
    fn severities() {
        for (level, priority) in [(Error, 27), (Warn, 28), (Info, 29), (Debug, 29), (Trace, 31)] {
            assert_eq!(line(Shape::Priority, "x", level, "a"), format!("<{priority}>a"));
        }
    }

    #[test]
    fn a_message_is_one_line() {
        assert_eq!(line(Shape::Bare, "x", Info, "a\nb\tc\x1b[m\u{85}é"), "a\\nb\tc\\x1b[m\\x85é\n");
    }

    #[test]
    fn targets_can_speak_as_another_program() {
        assert!(line(Shape::Full, "ctdb-recoverd", Info, "a").contains(" ctdb-recoverd[PID]: a"));
    }
}
