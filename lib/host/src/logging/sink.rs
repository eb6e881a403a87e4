// SPDX-License-Identifier: GPL-3.0-or-later
//! What takes rendered log records. Each write is one whole record. Nothing here can fail a caller: a log that
//! cannot be written must not stop a daemon.

use super::format::Shape;
use super::Location;
use crate::sys::syslog;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};

/// Datagrams are cut here.
const DATAGRAM_MAX_BYTES: usize = 1023;
const SYSLOG_SOCKET: &str = "/dev/log";
const SYSLOG_UDP: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 514);

/// An open location.
#[derive(Debug)]
pub enum Sink {
    /// Standard error.
    Stderr,
    /// A file, opened for appending so that it may be truncated by log rotation.
    File {
        /// To open it anew.
        path: PathBuf,
        /// The open file.
        file: File,
    },
    /// syslog(3).
    Syslog,
    /// A datagram socket.
    Datagrams(Datagrams),
}

impl Sink {
    /// Opens a location.
    pub fn open(location: &Location, app: &str) -> io::Result<Sink> {
        Ok(match location {
            Location::Stderr => Sink::Stderr,
            Location::File(path) => Sink::File { file: open_file(path)?, path: path.clone() },
            Location::Syslog => {
                syslog::open(app);
                Sink::Syslog
            }
            Location::SyslogNonblocking => {
                let socket = UnixDatagram::unbound()?;
                socket.set_nonblocking(true)?;
                Sink::Datagrams(Datagrams::new(
                    Socket::Unix(socket, SYSLOG_SOCKET.into()),
                    Shape::Rfc3164,
                ))
            }
            Location::SyslogUdp => {
                Sink::Datagrams(Datagrams::new(udp_socket(SYSLOG_UDP)?, Shape::Rfc3164))
            }
            Location::SyslogUdp5424 => {
                Sink::Datagrams(Datagrams::new(udp_socket(SYSLOG_UDP)?, Shape::Rfc5424))
            }
        })
    }

    /// How records are to be rendered.
    pub fn shape(&self) -> Shape {
        match self {
            Sink::Stderr => Shape::Bare,
            Sink::File { .. } => Shape::Full,
            Sink::Syslog => Shape::Priority,
            Sink::Datagrams(datagrams) => datagrams.shape,
        }
    }

    /// Opens a file anew, after it was renamed. The old one stays in use if that fails.
    pub fn reopen(&mut self) -> io::Result<()> {
        if let Sink::File { path, file } = self {
            *file = open_file(path)?;
        }
        Ok(())
    }

    /// Writes one rendered record.
    pub fn put(&mut self, record: &[u8]) {
        match self {
            Sink::Stderr => drop(io::stderr().write_all(record)),
            Sink::File { file, .. } => drop(file.write_all(record)),
            Sink::Syslog => put_syslog(record),
            Sink::Datagrams(datagrams) => datagrams.put(record),
        }
    }
}

fn open_file(path: &Path) -> io::Result<File> {
    OpenOptions::new().append(true).create(true).mode(0o644).open(path)
}

fn udp_socket(to: SocketAddr) -> io::Result<Socket> {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
    socket.set_nonblocking(true)?;
    Ok(Socket::Udp(socket, to))
}

/// Takes `<PRI>` off again for syslog(3).
fn put_syslog(record: &[u8]) {
    let text = String::from_utf8_lossy(record);
    let parsed = text.strip_prefix('<').and_then(|t| t.split_once('>'));
    if let Some((Ok(priority), message)) = parsed.map(|(p, m)| (p.parse::<u8>(), m)) {
        syslog::send(priority & 7, message);
    }
}

#[derive(Debug)]
enum Socket {
    Unix(UnixDatagram, PathBuf),
    Udp(UdpSocket, SocketAddr),
}

/// Datagrams to a syslog daemon; those it has no room for are counted and confessed later.
#[derive(Debug)]
pub struct Datagrams {
    socket: Socket,
    shape: Shape,
    dropped: u64,
}

impl Datagrams {
    fn new(socket: Socket, shape: Shape) -> Datagrams {
        Datagrams { socket, shape, dropped: 0 }
    }

    fn put(&mut self, record: &[u8]) {
        let record = cut(record);
        if self.dropped > 0 {
            let confession = self.confession(record);
            if self.send(&confession).is_err() {
                self.dropped += 1;
                return;
            }
            self.dropped = 0;
        }
        // Errors other than lack of room are silent: there is nobody to tell.
        if self.send(record).is_err_and(|e| e.kind() == io::ErrorKind::WouldBlock) {
            self.dropped += 1;
        }
    }

    /// `[Dropped N log messages]` under the header of `record`.
    fn confession(&self, record: &[u8]) -> Vec<u8> {
        let separator: &[u8] = if self.shape == Shape::Rfc5424 { b" - - " } else { b"]: " };
        let header = record
            .windows(separator.len())
            .position(|w| w == separator)
            .and_then(|at| record.get(..at + separator.len()))
            .unwrap_or_default();
        let mut confession = header.to_vec();
        confession.extend_from_slice(format!("[Dropped {} log messages]", self.dropped).as_bytes());
        confession
    }

    fn send(&self, datagram: &[u8]) -> io::Result<usize> {
        match &self.socket {
            Socket::Unix(socket, path) => socket.send_to(datagram, path),
            Socket::Udp(socket, to) => socket.send_to(datagram, to),
        }
    }
}

fn cut(record: &[u8]) -> &[u8] {
    record.get(..DATAGRAM_MAX_BYTES).unwrap_or(record)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_append_and_reopen() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        std::fs::write(&path, "old\n").unwrap();
        let mut sink = Sink::open(&Location::File(path.clone()), "ctdbd").unwrap();
        sink.put(b"one\n");
        // copytruncate of log rotation
        std::fs::write(&path, "").unwrap();
        sink.put(b"two\n");
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "two\n");
        std::fs::rename(&path, dir.path().join("log.1")).unwrap();
        sink.put(b"three\n");
        sink.reopen().unwrap();
        sink.put(b"four\n");
        assert_eq!(std::fs::read_to_string(dir.path().join("log.1")).unwrap(), "two\nthree\n");
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "four\n");
    }

    #[test]
    fn a_failed_reopen_keeps_the_old_file() {
        let dir = tempfile::tempdir().unwrap();
        let sub = dir.path().join("sub");
        std::fs::create_dir(&sub).unwrap();
        let mut sink = Sink::open(&Location::File(sub.join("log")), "ctdbd").unwrap();
        std::fs::rename(&sub, dir.path().join("moved")).unwrap();
        assert!(sink.reopen().is_err());
        sink.put(b"still\n");
        assert_eq!(std::fs::read_to_string(dir.path().join("moved/log")).unwrap(), "still\n");
        assert!(Sink::open(&Location::File(sub.join("log")), "ctdbd").is_err());
    }

    #[test]
    fn datagrams_are_cut_counted_and_confessed() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        let receiver = UnixDatagram::bind(&path).unwrap();
        receiver.set_nonblocking(true).unwrap();
        let socket = UnixDatagram::unbound().unwrap();
        socket.set_nonblocking(true).unwrap();
        let mut sink = Sink::Datagrams(Datagrams::new(Socket::Unix(socket, path), Shape::Rfc3164));
        let long = [b"<29>ctdbd[1]: ".as_slice(), &[b'x'; 2000]].concat();
        for _ in 0..10_000 {
            sink.put(&long);
        }
        let mut received = 0;
        let mut buffer = [0; 4096];
        while let Ok(length) = receiver.recv(&mut buffer) {
            assert_eq!(length, 1023);
            received += 1;
        }
        assert!(received > 0 && received < 10_000);
        sink.put(b"<29>ctdbd[1]: again");
        let mut next = || {
            let length = receiver.recv(&mut buffer).unwrap();
            String::from_utf8_lossy(&buffer[..length]).into_owned()
        };
        let dropped = 10_000 - received;
        assert_eq!(next(), format!("<29>ctdbd[1]: [Dropped {dropped} log messages]"));
        assert_eq!(next(), "<29>ctdbd[1]: again");
    }

    #[test]
    fn udp_datagrams_arrive() {
        let receiver = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        receiver.set_read_timeout(Some(std::time::Duration::from_secs(5))).unwrap();
        let socket = udp_socket(receiver.local_addr().unwrap()).unwrap();
        let mut sink = Sink::Datagrams(Datagrams::new(socket, Shape::Rfc5424));
        sink.put(b"<29>1 x vm ctdbd 1 - - hello");
        let mut buffer = [0; 64];
        let length = receiver.recv(&mut buffer).unwrap();
        assert_eq!(&buffer[..length], b"<29>1 x vm ctdbd 1 - - hello");
    }
}
