// SPDX-License-Identifier: GPL-3.0-or-later
//! The last steps of a simulation, kept as values and written out only when something failed.

use crate::daemon::Input;
use crate::packet::{ClientId, Packet, Pnn};
use crate::ports::ClientPacket;
use crate::service::News;
use crate::time::Time;
use std::collections::VecDeque;
use std::fmt;

/// What happened.
pub(super) enum Note {
    Text(String),
    Packet(Packet),
    Client(ClientId, ClientPacket),
}

impl Note {
    pub fn of(input: &Input) -> Note {
        match input {
            Input::Packet(packet) => Note::Packet(packet.clone()),
            Input::News(News::ClientPacket { client, packet }) => {
                Note::Client(*client, packet.clone())
            }
            other => Note::Text(format!("{other:?}")),
        }
    }
}

/// A bounded list of notes.
pub(super) struct Trace {
    limit: usize,
    notes: VecDeque<(Time, Option<Pnn>, Note)>,
}

impl Trace {
    pub fn new(limit: usize) -> Trace {
        Trace { limit, notes: VecDeque::new() }
    }

    pub fn add(&mut self, now: Time, node: Option<Pnn>, note: Note) {
        if self.limit == 0 {
            return;
        }
        if self.notes.len() >= self.limit {
            self.notes.pop_front();
        }
        self.notes.push_back((now, node, note));
    }
}

impl fmt::Display for Trace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (time, node, note) in &self.notes {
            write!(f, "{:>12.6} ", time.0 as f64 / 1e9)?;
            match node {
                Some(node) => write!(f, "node {node}: ")?,
                None => f.write_str("        ")?,
            }
            match note {
                Note::Text(text) => f.write_str(text)?,
                Note::Packet(p) => write!(
                    f,
                    "{}.{:x} -> {:x} reqid {} gen {:x} {:?}",
                    p.src.node, p.src.id, p.dst.id, p.reqid, p.generation, p.body
                )?,
                Note::Client(c, p) => {
                    write!(f, "client {c:x} -> {:x} reqid {} {:?}", p.destnode, p.reqid, p.body)?
                }
            }
            writeln!(f)?;
        }
        Ok(())
    }
}
