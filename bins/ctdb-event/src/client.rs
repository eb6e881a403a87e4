// SPDX-License-Identifier: GPL-3.0-or-later
//! The event daemon's socket: one request, one reply.

use ctdb_command_line::Ending;
use ctdb_host::Paths;
use ctdb_wire::event::{EventStatus, Header, Reply, Request, HEADER_SIZE};
use ctdb_wire::Decode;
use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::time::Duration;

/// Exit code when there is no daemon: EIO.
const NO_DAEMON: i32 = 5;

/// Exit code when the daemon goes away, or answers what makes no sense.
const NO_ANSWER: i32 = 1;

/// The largest reply accepted. The output of scripts has no limit of its own.
const REPLY_MAX_BYTES: usize = 64 << 20;

/// Requests are numbered; there is only one.
const REQID: u32 = 1;

/// How long a daemon may take for what it knows already. A run is the daemon's to limit: it may have to wait for
/// another.
const STATUS_TIMEOUT: Duration = Duration::from_secs(60);

/// A connection.
#[derive(Debug)]
pub struct Client {
    stream: UnixStream,
}

impl Client {
    /// Connects to the daemon.
    pub fn connect(paths: &Paths) -> Result<Client, Ending> {
        let path = paths.socket("eventd");
        let stream = UnixStream::connect(&path).map_err(|_| {
            let text = format!(
                "socket connect failed - {}\nFailed to initialize event client, ret={NO_DAEMON}\n",
                path.display()
            );
            Ending::complaint(text, NO_DAEMON)
        })?;
        Ok(Client { stream })
    }

    /// Has an event run, and waits for its end.
    pub fn run(&mut self, request: &Request) -> Result<i32, Ending> {
        match self.ask(request, None)? {
            Reply::Run(result) => Ok(result),
            _ => Err(unanswered("the reply belongs to another request")),
        }
    }

    /// Asks for a status; the inner error is why there is none.
    pub fn status(&mut self, request: &Request) -> Result<Result<EventStatus, i32>, Ending> {
        match self.ask(request, Some(STATUS_TIMEOUT))? {
            Reply::Status(status) => Ok(status),
            _ => Err(unanswered("the reply belongs to another request")),
        }
    }

    fn ask(&mut self, request: &Request, timeout: Option<Duration>) -> Result<Reply, Ending> {
        let packet = request.to_packet(REQID).map_err(unanswered)?;
        self.stream.set_read_timeout(timeout).map_err(unanswered)?;
        self.stream.write_all(&packet).map_err(unanswered)?;
        loop {
            let packet = self.receive().map_err(unanswered)?;
            let (header, reply) = Reply::from_packet(&packet).map_err(unanswered)?;
            if header.reqid == REQID {
                return Ok(reply);
            }
        }
    }

    fn receive(&mut self) -> io::Result<Vec<u8>> {
        let mut packet = vec![0; HEADER_SIZE];
        self.stream.read_exact(&mut packet)?;
        let invalid = |text: &str| io::Error::new(io::ErrorKind::InvalidData, text.to_owned());
        let header = Header::from_exact(&packet).map_err(|e| invalid(&e.to_string()))?;
        let length = header.length as usize;
        if !(HEADER_SIZE..=REPLY_MAX_BYTES).contains(&length) {
            return Err(invalid(&format!("a reply of {length} bytes")));
        }
        // Grows as data arrives: the length is only a claim.
        let rest = (length - HEADER_SIZE) as u64;
        if (&mut self.stream).take(rest).read_to_end(&mut packet)? as u64 != rest {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(packet)
    }
}

fn unanswered(why: impl std::fmt::Display) -> Ending {
    Ending::complaint(format!("No answer from the event daemon: {why}\n"), NO_ANSWER)
}
