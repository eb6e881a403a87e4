// SPDX-License-Identifier: GPL-3.0-or-later
//! Where log lines go: `backend[:option]` (`spec/events-config.md 12.1`).

use std::path::PathBuf;

/// A log location.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Location {
    /// `file:`, `file`, `file:-`.
    Stderr,
    /// `file:PATH`.
    File(PathBuf),
    /// `syslog`: syslog(3).
    Syslog,
    /// `syslog:nonblocking`: datagrams to /dev/log, dropped when it is busy.
    SyslogNonblocking,
    /// `syslog:udp`: the same to UDP 127.0.0.1:514.
    SyslogUdp,
    /// `syslog:udp-rfc5424`: in the newer form.
    SyslogUdp5424,
}

impl Location {
    /// Reads the configured text. The option ends at the next colon.
    pub fn parse(text: &str) -> Option<Location> {
        let mut parts = text.split(':');
        let backend = parts.next()?;
        let option = parts.next().filter(|o| !o.is_empty());
        match (backend, option) {
            ("file", None | Some("-")) => Some(Location::Stderr),
            ("file", Some(path)) => Some(Location::File(path.into())),
            ("syslog", None) => Some(Location::Syslog),
            ("syslog", Some("nonblocking")) => Some(Location::SyslogNonblocking),
            ("syslog", Some("udp")) => Some(Location::SyslogUdp),
            ("syslog", Some("udp-rfc5424")) => Some(Location::SyslogUdp5424),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts() {
        for (text, location) in [
            ("file", Location::Stderr),
            ("file:", Location::Stderr),
            ("file:-", Location::Stderr),
            ("file:/a/b", Location::File("/a/b".into())),
            ("file:/a:b", Location::File("/a".into())),
            ("syslog", Location::Syslog),
            ("syslog:nonblocking", Location::SyslogNonblocking),
            ("syslog:udp", Location::SyslogUdp),
            ("syslog:udp-rfc5424", Location::SyslogUdp5424),
        ] {
            assert_eq!(Location::parse(text), Some(location), "{text}");
        }
        for bad in ["", "files:/a", "syslog:tcp", "/var/log/x", "FILE:/x"] {
            assert_eq!(Location::parse(bad), None, "{bad}");
        }
    }
}
