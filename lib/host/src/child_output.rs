// SPDX-License-Identifier: GPL-3.0-or-later
//! What a daemon's descendants print goes to its log, a line at a time (`spec/events-config.md 12.5`). So does what
//! our own process prints, such as the message of a panic.

use crate::level::Level;
use crate::sys;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::AsFd;

/// Longer lines are split.
const LINE_MAX_BYTES: usize = 1024;

/// Points standard output and error of this process, and so of its children, to a pipe whose lines a thread logs at
/// `level`. Not for a daemon that logs to standard error.
pub fn redirect_to_log(level: Level) -> io::Result<()> {
    let (reader, writer) = sys::fork::pipe()?;
    sys::fork::redirect(writer.as_fd(), io::stdout().as_fd())?;
    sys::fork::redirect(writer.as_fd(), io::stderr().as_fd())?;
    let level = level.to_log();
    std::thread::Builder::new().name("ctdb-output".into()).spawn(move || {
        let mut lines = Lines::default();
        let mut reader = File::from(reader);
        let mut buffer = [0; 4096];
        loop {
            match reader.read(&mut buffer) {
                Ok(0) => break,
                Ok(length) => lines.feed(buffer.get(..length).unwrap_or_default(), |line| {
                    log::log!(level, "{}", String::from_utf8_lossy(line));
                }),
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => break,
            }
        }
    })?;
    Ok(())
}

/// Cuts a stream of bytes into lines.
#[derive(Debug, Default)]
struct Lines {
    line: Vec<u8>,
}

impl Lines {
    fn feed(&mut self, bytes: &[u8], mut each: impl FnMut(&[u8])) {
        for &byte in bytes {
            if byte == b'\n' {
                let line = self.line.strip_suffix(b"\r").unwrap_or(&self.line);
                each(line);
                self.line.clear();
                continue;
            }
            if self.line.len() == LINE_MAX_BYTES {
                each(&self.line);
                self.line.clear();
            }
            self.line.push(byte);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_joined_split_and_trimmed() {
        let mut lines = Lines::default();
        let mut got = Vec::new();
        let mut feed = |bytes: &[u8]| {
            lines.feed(bytes, |line| got.push(String::from_utf8_lossy(line).into_owned()));
        };
        feed(b"one\r\ntw");
        feed(b"o\n\nlast");
        feed(&[b'x'; 2000]);
        feed(b"\n");
        assert_eq!(&got[..3], ["one", "two", ""]);
        assert_eq!(got[3].len(), 1024);
        assert_eq!(got[3].len() + got[4].len(), 2004);
        assert_eq!(got.len(), 5);
    }
}
