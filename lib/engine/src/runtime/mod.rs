// SPDX-License-Identifier: GPL-3.0-or-later
//! The runtime service: tunables, statistics, log level, process id, shutdown; and the answer to commands that
//! nobody knows (`spec/wire.md 8.4-8.6`, `spec/cluster.md 11`).

mod statistics;
#[cfg(test)]
mod tests;

use crate::env::{Env, ReplyTo};
use crate::packet::{endpoint, Body, Control, ControlReply, Local, Packet};
use crate::service::{Command, Event, Service};
use crate::tunables::{self, Status};
use ctdb_wire::control::obsolete_name;
use ctdb_wire::types::VarList;
use ctdb_wire::{ControlRequest, Encode, Opcode, StringN};
use statistics::History;
use std::time::Duration;

/// SHUTDOWN.
pub const CONTROL_SHUTDOWN: u32 = 36;

/// The controls of this service.
pub const CONTROLS: &[u32] = &[1, 7, 8, 17, 29, 30, 36, 48, 49, 50, 53, 127];

const TIMER_HISTORY: u64 = 1;
const EINVAL: i32 = 22;
/// SET_TUNABLE of one that has no effect.
const OBSOLETE: i32 = 1;
/// The least that a valid name needs, NUL included (`spec/wire.md 8.5`).
const SET_TUNABLE_MIN: usize = 12;
const GET_TUNABLE_MIN: usize = 8;

/// The runtime service.
#[derive(Debug, Default)]
pub struct Runtime {
    history: History,
    stopping: bool,
}

impl Service for Runtime {
    fn name(&self) -> &'static str {
        "runtime"
    }

    fn endpoint(&self) -> u32 {
        endpoint::RUNTIME
    }

    fn matches(&self, command: Command) -> bool {
        matches!(command, Command::Control(opcode) if CONTROLS.contains(&opcode))
    }

    fn activate(&mut self, env: &mut Env<'_>) {
        let wall = env.wall;
        self.history.start(env.stats(), wall);
        self.schedule_history(env);
    }

    fn deactivate(&mut self, _env: &mut Env<'_>) {
        self.stopping = true;
    }

    fn handle(&mut self, event: Event, env: &mut Env<'_>) {
        match event {
            Event::Packet(packet) => self.packet(env, packet),
            Event::Timer(TIMER_HISTORY) => {
                let wall = env.wall;
                self.history.tick(env.stats(), wall);
                self.schedule_history(env);
            }
            _ => {}
        }
    }

    fn as_any(&self) -> &dyn std::any::Any {
        self
    }
}

impl Runtime {
    fn schedule_history(&self, env: &mut Env<'_>) {
        let interval = env.tunables().stat_history_interval.max(1);
        env.set_timer(TIMER_HISTORY, Duration::from_secs(interval.into()));
    }

    fn packet(&mut self, env: &mut Env<'_>, packet: Packet) {
        let to = ReplyTo::of(&packet);
        match packet.body {
            Body::Control(control) => {
                if let Some(reply) = self.control(env, &control) {
                    env.reply(&to, reply);
                }
            }
            Body::Local(Local::Shutdown { code, reason }) => {
                log::error!("{reason}");
                self.shut_down(env, code);
            }
            _ => {}
        }
    }

    /// Begins the end; false if it has begun already.
    fn shut_down(&mut self, env: &mut Env<'_>, code: i32) -> bool {
        if std::mem::replace(&mut self.stopping, true) {
            log::error!("Already shutting down so will not proceed.");
            return false;
        }
        log::error!("Shutdown sequence commencing.");
        env.exit(code);
        true
    }

    /// The answer; none to SHUTDOWN, which is answered by the connection's end.
    fn control(&mut self, env: &mut Env<'_>, control: &Control) -> Option<ControlReply> {
        use ControlRequest as R;
        let failed = Some(ControlReply::status(-1));
        if !CONTROLS.contains(&control.opcode) {
            match obsolete_name(control.opcode) {
                Some(name) => log::warn!("Control {name} is not implemented any more"),
                None => log::warn!("Unknown CTDB control opcode {}", control.opcode),
            }
            return failed;
        }
        let request = Opcode::from_u32(control.opcode)
            .and_then(|op| ControlRequest::decode(op, &control.data).ok());
        let Some(request) = request else { return failed };
        Some(match request {
            R::Statistics => ControlReply::data(self.history.statistics(env).to_vec()),
            R::StatisticsReset => {
                let wall = env.wall;
                self.history.reset(env.stats(), wall);
                ControlReply::status(0)
            }
            R::GetStatHistory => ControlReply::data(self.history.list().to_vec()),
            R::GetDebug => ControlReply::data(env.ports.log_level().to_vec()),
            R::SetDebug(level) => {
                env.ports.set_log_level(level);
                ControlReply::status(0)
            }
            R::DumpMemory => ControlReply::data(memory_report(env).into_bytes()),
            R::GetPid => {
                ControlReply::status(i32::try_from(env.ports.daemon_pid()).unwrap_or(i32::MAX))
            }
            R::Shutdown => {
                log::error!("Received SHUTDOWN command.");
                if self.shut_down(env, 0) {
                    return None;
                }
                ControlReply::status(0)
            }
            R::SetTunable(t) if control.data.len() >= SET_TUNABLE_MIN => {
                set_tunable(env, &t.name, t.value)
            }
            R::GetTunable(name) if control.data.len() >= GET_TUNABLE_MIN => get_tunable(env, &name),
            R::ListTunables => ControlReply::data(list_tunables().to_vec()),
            R::GetAllTunables => {
                let values = env.tunables().by_index();
                ControlReply::data(values.iter().flat_map(|v| v.to_le_bytes()).collect::<Vec<_>>())
            }
            _ => ControlReply::status(-1),
        })
    }
}

fn named(name: &StringN) -> Option<&'static tunables::Tunable> {
    let bytes = name.as_bytes();
    let end = bytes.iter().position(|b| *b == 0).unwrap_or(bytes.len());
    tunables::find(std::str::from_utf8(bytes.get(..end)?).ok()?)
}

fn set_tunable(env: &mut Env<'_>, name: &StringN, value: u32) -> ControlReply {
    let Some(tunable) = named(name) else { return ControlReply::status(-1) };
    env.tunables_mut().set(tunable, value);
    if tunable.status == Status::Obsolete {
        log::warn!("Setting obsolete tunable \"{}\"", tunable.name);
        return ControlReply::status(OBSOLETE);
    }
    ControlReply::status(0)
}

fn get_tunable(env: &Env<'_>, name: &StringN) -> ControlReply {
    match named(name) {
        Some(tunable) => ControlReply::data(env.tunables().get(tunable).to_vec()),
        None => ControlReply::status(-EINVAL),
    }
}

/// The names with the leading colon that clients are used to.
fn list_tunables() -> VarList {
    let live = tunables::TABLE.iter().filter(|t| t.status == Status::Live);
    VarList(StringN::new(live.map(|t| format!(":{}", t.name)).collect::<String>().as_str()))
}

/// What DUMP_MEMORY shows: free-form text.
fn memory_report(env: &Env<'_>) -> String {
    let view = env.view();
    format!(
        "ctdbd of node {}: {} bytes in use, {} nodes\n",
        view.pnn,
        env.ports.memory_used(),
        view.nodes.len()
    )
}
