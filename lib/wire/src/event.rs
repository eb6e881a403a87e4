// SPDX-License-Identifier: GPL-3.0-or-later
//! The protocol of the event daemon's socket (spec/events-config.md 15): one stream, requests and replies matched
//! by their id, in any order.
//!
//! ```
//! use ctdb_wire::event::{Request, Run};
//! use ctdb_wire::StringN;
//!
//! let run = Run {
//!     component: StringN::new("cc"),
//!     event: StringN::new("ex"),
//!     args: StringN::new("0"),
//!     timeout: 5,
//!     flags: 0,
//! };
//! let packet = Request::Run(run).to_packet(7).unwrap();
//! assert_eq!(packet.len(), 44);
//! ```

use crate::codec::{Decode, Encode};
use crate::error::{Error, Expected};
use crate::reader::Reader;
use crate::text::StringN;
use crate::types::Timeval;

/// Size of [`Header`] in bytes: the smallest packet that can be framed.
pub const HEADER_SIZE: usize = Header::SIZE;

/// Flag of [`Run`]: further scripts run after one that failed.
pub const RUN_ALL: u32 = 1;

const RUN: u32 = 1;
const STATUS: u32 = 2;
const SCRIPT: u32 = 3;

layout! {
    /// What each packet begins with.
    #[derive(Copy, Eq)]
    pub struct Header, size 12 {
        /// Length of the packet in bytes, with this header.
        length: u32,
        /// Sent as 0 and never looked at.
        version: u32,
        /// Chosen by the client, repeated in the reply.
        reqid: u32,
    }
}

layout! {
    /// Run an event.
    #[derive(Eq)]
    pub struct Run {
        /// The component whose scripts run.
        component: StringN,
        /// The event.
        event: StringN,
        /// Its arguments, separated by blanks.
        args: StringN,
        /// Seconds until the run is given up.
        timeout: u32,
        /// [`RUN_ALL`].
        flags: u32,
    }
}

layout! {
    /// What became of the last run of an event.
    #[derive(Eq)]
    pub struct Status {
        /// The component.
        component: StringN,
        /// The event.
        event: StringN,
    }
}

layout! {
    /// Enable (1) or disable (0) a script.
    #[derive(Eq)]
    pub struct Script {
        /// The component.
        component: StringN,
        /// The script, with or without its suffix.
        script: StringN,
        /// Which.
        action: u32,
    }
}

layout! {
    /// One script of a run.
    #[derive(Eq)]
    pub struct ScriptResult {
        /// Its name, without suffix.
        name: StringN,
        /// When it was started.
        begin: Timeval,
        /// When it ended.
        end: Timeval,
        /// Its exit code, or a negative errno.
        result: i32,
        /// What it printed.
        output: StringN,
    }
}

layout! {
    /// The last run of an event.
    #[derive(Eq)]
    pub struct EventStatus {
        /// The result of the event: that of the script that failed, or a negative errno.
        summary: i32,
        /// Its scripts.
        scripts: Vec<ScriptResult>,
    }
}

/// What a client asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Request {
    /// Run an event.
    Run(Run),
    /// Tell its status.
    Status(Status),
    /// Enable or disable a script.
    Script(Script),
}

/// What the daemon answers: the errno of the request, and a status when there is one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply {
    /// The event has run, or has not.
    Run(i32),
    /// The status, or why there is none.
    Status(Result<EventStatus, i32>),
    /// The script has been changed, or has not.
    Script(i32),
}

impl Request {
    /// The packet.
    pub fn to_packet(&self, reqid: u32) -> Result<Vec<u8>, Error> {
        let (command, body) = match self {
            Request::Run(run) => (RUN, run.to_vec()),
            Request::Status(status) => (STATUS, status.to_vec()),
            Request::Script(script) => (SCRIPT, script.to_vec()),
        };
        packet(reqid, &[&command.to_vec(), &body])
    }

    /// Reads a packet.
    pub fn from_packet(packet: &[u8]) -> Result<(Header, Request), Error> {
        let mut r = Reader::new(packet);
        let header = Header::decode(&mut r)?;
        let request = match u32::decode(&mut r)? {
            RUN => Request::Run(Run::decode(&mut r)?),
            STATUS => Request::Status(Status::decode(&mut r)?),
            SCRIPT => Request::Script(Script::decode(&mut r)?),
            other => return Err(unknown_command(&r, other)),
        };
        Ok((header, request))
    }
}

impl Reply {
    /// The packet.
    pub fn to_packet(&self, reqid: u32) -> Result<Vec<u8>, Error> {
        let (command, result, body) = match self {
            Reply::Run(result) => (RUN, *result, Vec::new()),
            Reply::Status(Ok(status)) => (STATUS, 0, status.to_vec()),
            Reply::Status(Err(result)) => (STATUS, *result, Vec::new()),
            Reply::Script(result) => (SCRIPT, *result, Vec::new()),
        };
        packet(reqid, &[&command.to_vec(), &result.to_vec(), &body])
    }

    /// Reads a packet.
    pub fn from_packet(packet: &[u8]) -> Result<(Header, Reply), Error> {
        let mut r = Reader::new(packet);
        let header = Header::decode(&mut r)?;
        let command = u32::decode(&mut r)?;
        let result = i32::decode(&mut r)?;
        let reply = match (command, result) {
            (RUN, _) => Reply::Run(result),
            (STATUS, 0) => Reply::Status(Ok(EventStatus::decode(&mut r)?)),
            (STATUS, _) => Reply::Status(Err(result)),
            (SCRIPT, _) => Reply::Script(result),
            (other, _) => return Err(unknown_command(&r, other)),
        };
        Ok((header, reply))
    }
}

fn unknown_command(r: &Reader<'_>, found: u32) -> Error {
    let wanted = "a command of the event daemon, 1 to 3,";
    r.error(Expected::Words { wanted, found: found.into() }).named("event command")
}

fn packet(reqid: u32, parts: &[&[u8]]) -> Result<Vec<u8>, Error> {
    let size = Header::SIZE + parts.iter().map(|part| part.len()).sum::<usize>();
    let length = u32::try_from(size)
        .map_err(|_| Error::new("event packet", 0, Expected::Encodable { size }))?;
    let mut packet = Header { length, version: 0, reqid }.to_vec();
    parts.iter().for_each(|part| packet.extend_from_slice(part));
    Ok(packet)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run() -> Request {
        Request::Run(Run {
            component: StringN::new("cc"),
            event: StringN::new("ex"),
            args: StringN::new("0"),
            timeout: 5,
            flags: 0,
        })
    }

    #[test]
    fn a_run_that_was_recorded() {
        let packet = run().to_packet(7).unwrap();
        let recorded = b"\x2c\0\0\0\0\0\0\0\x07\0\0\0\x01\0\0\0\
            \x03\0\0\0cc\0\x03\0\0\0ex\0\x02\0\0\x000\0\x05\0\0\0\0\0\0\0";
        assert_eq!(packet, recorded);
        let (header, request) = Request::from_packet(recorded).unwrap();
        assert_eq!((header.length, header.reqid), (44, 7));
        assert_eq!(request, run());
    }

    #[test]
    fn replies_that_were_recorded() {
        let ran = b"\x14\0\0\0\0\0\0\0\x07\0\0\0\x01\0\0\0\0\0\0\0";
        assert_eq!(Reply::from_packet(ran).unwrap().1, Reply::Run(0));
        let never = b"\x14\0\0\0\0\0\0\0\x07\0\0\0\x02\0\0\0\x16\0\0\0";
        assert_eq!(Reply::from_packet(never).unwrap().1, Reply::Status(Err(22)));
        assert_eq!(Reply::Status(Err(22)).to_packet(7).unwrap(), never);
    }

    #[test]
    fn a_status_comes_back_and_every_cut_of_it_is_refused() {
        let script = ScriptResult {
            name: StringN::new("05.noshebang"),
            begin: Timeval { sec: 1, usec: 2 },
            end: Timeval { sec: 3, usec: 4 },
            result: -8,
            output: StringN(None),
        };
        let reply =
            Reply::Status(Ok(EventStatus { summary: 1, scripts: vec![script.clone(), script] }));
        let packet = reply.to_packet(9).unwrap();
        assert_eq!(Reply::from_packet(&packet).unwrap().1, reply);
        for end in 0..packet.len() {
            assert!(Reply::from_packet(&packet[..end]).is_err(), "{end}");
        }
        let mut many = packet;
        many[24..28].copy_from_slice(&u32::MAX.to_le_bytes());
        assert!(Reply::from_packet(&many).is_err());
    }

    #[test]
    fn unknown_commands_are_refused() {
        let mut packet = run().to_packet(7).unwrap();
        packet[12] = 4;
        assert!(Request::from_packet(&packet).is_err());
        assert!(Reply::from_packet(&packet).is_err());
    }
}
