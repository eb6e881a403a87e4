// SPDX-License-Identifier: GPL-3.0-or-later
//! What a scripted daemon does wrong, and when.

use anyhow::{bail, Context, Result};
use ctdb_wire::legacy::{ReplyControl, Rounding, Route};
use ctdb_wire::Opcode;

use crate::history::Random;

/// Something that goes wrong at one control.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The control, by its name; of any name if `None`.
    pub control: Option<Opcode>,
    /// The node that it is sent to; any if `None`.
    pub node: Option<u32>,
    /// How many of these controls are answered well before.
    pub after: u32,
    /// What happens.
    pub action: Action,
}

/// What happens instead of an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Nothing, for ever.
    Silent,
    /// The connection is closed.
    Close,
    /// The control fails with this status and message.
    Status(i32, String),
    /// Bytes that are no packet, and no more.
    Garbage,
    /// A packet that is cut before its end, and then the connection is closed.
    Truncated,
    /// A packet that claims to be almost 4 GiB long, and no more.
    Huge,
    /// A packet that claims to be shorter than its header.
    Tiny,
    /// A reply to a request that was never made, and no more.
    WrongReqid,
    /// A whole packet whose data claims to be longer than the packet.
    Overlong,
    /// A success whose data is cut.
    Cut,
    /// A success without data.
    Empty,
    /// A success with data that counts 4 billion elements.
    Counted,
    /// A success with some bytes of its data changed; the number chooses which.
    Flipped(u64),
}

impl Fault {
    /// Reads `CONTROL [node=N] [after=N] ACTION`, where `*` is any control and an action is
    /// `silent`, `close`, `status=N[:MESSAGE]`, `garbage`, `truncated`, `huge`, `tiny`,
    /// `wrong-reqid`, `overlong`, `cut`, `empty`, `counted` or `flipped=SEED`.
    pub fn parse(text: &str) -> Result<Fault> {
        let mut words = text.split_whitespace();
        let name = words.next().context("no control")?;
        let control = match name {
            "*" => None,
            name => {
                let found = Opcode::ALL.iter().find(|opcode| opcode.name() == name);
                Some(*found.with_context(|| format!("{name}: no such control"))?)
            }
        };
        let mut fault = Fault { control, node: None, after: 0, action: Action::Silent };
        for word in words {
            match word.split_once('=') {
                Some(("node", n)) => fault.node = Some(n.parse()?),
                Some(("after", n)) => fault.after = n.parse()?,
                Some(("status", rest)) => {
                    let (status, message) = rest.split_once(':').unwrap_or((rest, ""));
                    fault.action = Action::Status(status.parse()?, message.replace('_', " "));
                }
                Some(("flipped", seed)) => fault.action = Action::Flipped(seed.parse()?),
                _ => fault.action = plain_action(word)?,
            }
        }
        Ok(fault)
    }
}

fn plain_action(word: &str) -> Result<Action> {
    Ok(match word {
        "silent" => Action::Silent,
        "close" => Action::Close,
        "garbage" => Action::Garbage,
        "truncated" => Action::Truncated,
        "huge" => Action::Huge,
        "tiny" => Action::Tiny,
        "wrong-reqid" => Action::WrongReqid,
        "overlong" => Action::Overlong,
        "cut" => Action::Cut,
        "empty" => Action::Empty,
        "counted" => Action::Counted,
        other => bail!("{other}: no such fault"),
    })
}

/// What goes onto the socket instead of a good answer, and whether the connection is closed after
/// it. `good` is the data of the good answer.
pub(crate) fn spoil(action: &Action, route: &Route, good: &[u8]) -> Result<(Vec<u8>, bool)> {
    let packet = |route: &Route, status: i32, data: &[u8], message: &[u8]| {
        let reply = ReplyControl { status, data, errormsg: message };
        ctdb_wire::legacy::encode_to_vec(route, &reply, Rounding::Daemon)
    };
    let mut whole = packet(route, 0, good, b"")?;
    let claim = |whole: &mut [u8], at: usize, word: u32| {
        if let Some(area) = whole.get_mut(at..at + 4) {
            area.copy_from_slice(&word.to_le_bytes());
        }
    };
    Ok(match action {
        Action::Silent => (Vec::new(), false),
        Action::Close => (Vec::new(), true),
        Action::Status(status, message) => {
            (packet(route, *status, b"", message.as_bytes())?, false)
        }
        Action::Garbage => {
            let noise = (0u32..256).map(|n| (n.wrapping_mul(167) >> 1) as u8 | 0x40);
            (noise.collect(), false)
        }
        Action::Truncated => (whole[..whole.len() - 6].to_vec(), true),
        Action::Huge => {
            claim(&mut whole, 0, 0xFFFF_FFF0);
            (whole, false)
        }
        Action::Tiny => {
            claim(&mut whole, 0, 8);
            (whole, false)
        }
        Action::WrongReqid => {
            let other = Route { reqid: route.reqid.wrapping_add(1000), ..*route };
            (packet(&other, 0, good, b"")?, false)
        }
        Action::Overlong => {
            // the length of the data in the body, behind header and status
            claim(&mut whole, 36, 0x7FFF_FFFF);
            (whole, false)
        }
        Action::Cut => (packet(route, 0, &good[..good.len() / 2], b"")?, false),
        Action::Empty => (packet(route, 0, b"", b"")?, false),
        Action::Flipped(seed) => {
            let mut flipped = good.to_vec();
            let mut random = Random::new(*seed);
            for _ in 0..3.min(flipped.len()) {
                let at = random.below(flipped.len());
                if let Some(byte) = flipped.get_mut(at) {
                    *byte ^= 1 + random.below(255) as u8;
                }
            }
            (packet(route, 0, &flipped, b"")?, false)
        }
        Action::Counted => {
            let mut counted = good.to_vec();
            claim(&mut counted, 0, u32::MAX);
            (packet(route, 0, &counted, b"")?, false)
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_are_read_from_a_line() {
        let fault = Fault::parse("GET_IFACES node=1 after=2 status=-1:no_such_thing").unwrap();
        assert_eq!(fault.control, Some(Opcode::GetIfaces));
        assert_eq!((fault.node, fault.after), (Some(1), 2));
        assert_eq!(fault.action, Action::Status(-1, "no such thing".into()));
        assert_eq!(Fault::parse("* close").unwrap().control, None);
        assert!(Fault::parse("NO_SUCH silent").is_err() && Fault::parse("PING lazy").is_err());
    }
}
