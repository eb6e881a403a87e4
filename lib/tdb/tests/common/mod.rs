// SPDX-License-Identifier: GPL-3.0-or-later
//! Processes on the C library, and waiting for conditions.
#![allow(dead_code)]

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::sync::OnceLock;
use std::thread;
use std::time::{Duration, Instant};

/// How long anything may take before a test gives up.
pub const PATIENCE: Duration = Duration::from_secs(30);
/// How long a lock request is watched to see that it stays blocked.
pub const BLOCKED: Duration = Duration::from_millis(150);

/// Builds the C program once for each test binary; `None` without compiler or libtdb-dev.
fn peer_binary() -> Option<&'static Path> {
    static BINARY: OnceLock<Option<PathBuf>> = OnceLock::new();
    BINARY
        .get_or_init(|| {
            let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/common/peer.c");
            // Beside the test program: in the directory of what was built.
            let test = std::env::current_exe().expect("our own path");
            let out = test.with_file_name(format!("tdb-peer-{}", std::process::id()));
            let status = Command::new("cc")
                .args(["-O1", "-g", "-o"])
                .arg(&out)
                .arg(&source)
                .arg("-ltdb")
                .status();
            match status {
                Ok(status) if status.success() => Some(out),
                _ => {
                    eprintln!("SKIPPED: needs cc and libtdb-dev");
                    None
                }
            }
        })
        .as_deref()
}

/// A process on the C library.
pub struct CPeer {
    child: Child,
    stdin: ChildStdin,
    lines: Receiver<String>,
}

pub fn hex(bytes: &[u8]) -> String {
    if bytes.is_empty() {
        return "-".into();
    }
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

pub fn unhex(text: &str) -> Vec<u8> {
    if text == "-" {
        return Vec::new();
    }
    (0..text.len()).step_by(2).map(|i| u8::from_str_radix(&text[i..i + 2], 16).unwrap()).collect()
}

impl CPeer {
    /// Starts a peer without a database; `None` where the C library is not to be had.
    pub fn start() -> Option<CPeer> {
        Some(CPeer::spawn(&mut Command::new(peer_binary()?)))
    }

    /// Starts a peer on python3-tdb (peer.py), which knows some of the commands; `None` where the
    /// module is not to be had.
    pub fn python() -> Option<CPeer> {
        // The system's own, not one that comes first in PATH: it has the system's modules.
        let python = "/usr/bin/python3";
        let module = Command::new(python).args(["-c", "import tdb"]).stderr(Stdio::null()).status();
        if !module.is_ok_and(|status| status.success()) {
            eprintln!("SKIPPED: needs python3-tdb");
            return None;
        }
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/common/peer.py");
        Some(CPeer::spawn(Command::new(python).arg(source)))
    }

    fn spawn(program: &mut Command) -> CPeer {
        let mut child =
            program.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("start a peer");
        let stdin = child.stdin.take().unwrap();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        let (send, lines) = mpsc::channel();
        thread::spawn(move || {
            for line in stdout.lines().map_while(Result::ok) {
                if send.send(line).is_err() {
                    break;
                }
            }
        });
        CPeer { child, stdin, lines }
    }

    /// Starts a peer and opens a database.
    pub fn open(path: &Path, hash_size: u32, flags: u32) -> Option<CPeer> {
        let mut peer = CPeer::start()?;
        peer.ok(&format!("open {} {hash_size} {flags}", path.display()));
        Some(peer)
    }

    /// Sends a command without waiting for its answer.
    pub fn send(&mut self, command: &str) {
        writeln!(self.stdin, "{command}").expect("the C peer lives");
    }

    /// The next answer.
    pub fn answer(&mut self) -> String {
        self.lines.recv_timeout(PATIENCE).expect("the C peer answers")
    }

    /// Whether the peer stays without an answer, because it waits for a lock.
    pub fn is_blocked(&mut self) -> bool {
        match self.lines.recv_timeout(BLOCKED) {
            Err(RecvTimeoutError::Timeout) => true,
            Ok(line) => {
                eprintln!("unexpected answer: {line}");
                false
            }
            Err(_) => false,
        }
    }

    pub fn call(&mut self, command: &str) -> String {
        self.send(command);
        self.answer()
    }

    /// A command that must succeed; returns what follows "ok".
    pub fn ok(&mut self, command: &str) -> String {
        let answer = self.call(command);
        assert!(answer.starts_with("ok"), "{command}: {answer}");
        answer[2..].trim().to_string()
    }

    /// A command that must fail; returns the TDB error code.
    pub fn err(&mut self, command: &str) -> i32 {
        let answer = self.call(command);
        let mut words = answer.split(' ');
        assert_eq!(words.next(), Some("err"), "{command}: {answer}");
        words.next().unwrap().parse().unwrap()
    }

    pub fn store(&mut self, key: &[u8], value: &[u8]) {
        self.ok(&format!("store {} {} 1", hex(key), hex(value)));
    }

    pub fn fetch(&mut self, key: &[u8]) -> Option<Vec<u8>> {
        let answer = self.call(&format!("fetch {}", hex(key)));
        answer.strip_prefix("ok ").map(unhex)
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// SIGKILL.
    pub fn kill(&mut self) {
        self.child.kill().expect("kill");
        self.child.wait().expect("wait");
    }

    pub fn wait(&mut self) {
        self.child.wait().expect("wait");
    }
}

impl Drop for CPeer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Polls a condition until it holds.
pub fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < PATIENCE, "gave up waiting: {what}");
        thread::sleep(Duration::from_millis(2));
    }
}

/// The value of key number `key` in version `version`: as in peer.c.
pub fn make_value(key: u32, version: u32) -> Vec<u8> {
    let len = 12 + (version.wrapping_mul(2654435761) >> 16) % 400;
    let mut value = Vec::with_capacity(len as usize);
    for word in [key, version, len] {
        value.extend_from_slice(&word.to_ne_bytes());
    }
    for i in 12..len {
        value.push(key.wrapping_add(version).wrapping_add(i) as u8);
    }
    value
}

/// Whether a value is one that `make_value` made for this key.
pub fn good_value(key: u32, value: &[u8]) -> bool {
    let Some(version) = value.get(4..8) else {
        return false;
    };
    let version = u32::from_ne_bytes(version.try_into().unwrap());
    value == make_value(key, version)
}

/// A number for a record; the sum over all records tells databases apart. As in peer.c.
pub fn record_digest(key: &[u8], data: &[u8]) -> u64 {
    let fnv = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01B3);
    let lengths = (key.len() as u32).to_le_bytes();
    let bytes = lengths.iter().chain(key).chain(data).copied();
    bytes.fold(0xCBF2_9CE4_8422_2325, fnv)
}

/// A small random generator, so that a run can be repeated.
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u32 {
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (self.0 >> 33) as u32
    }

    pub fn below(&mut self, bound: u32) -> u32 {
        self.next() % bound
    }
}
