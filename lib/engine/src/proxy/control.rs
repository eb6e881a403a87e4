// SPDX-License-Identifier: GPL-3.0-or-later
//! The controls about clients themselves (`spec/wire.md 7, 8.4`): registrations, existence, ping.

use super::clients::Refused;
use super::Proxy;
use crate::env::{Env, ReplyTo};
use crate::packet::{endpoint, Body, ClientId, Control, ControlReply, Local, Packet};
use ctdb_wire::{srvid, ControlRequest, Encode, Opcode};

const ENOENT: i32 = 2;

impl Proxy {
    pub(super) fn control(&mut self, env: &mut Env<'_>, packet: Packet) {
        let to = ReplyTo::of(&packet);
        let Body::Control(control) = &packet.body else { return };
        // Controls that act on the calling client make sense on its own node only (spec/wire.md 3.4).
        let client = if packet.src.node == env.pnn() { control.client_id } else { 0 };
        let request = Opcode::from_u32(control.opcode)
            .and_then(|op| ControlRequest::decode(op, &control.data).ok());
        let reply = match request {
            Some(request) => self.answer(env, client, control, request),
            None => ControlReply::status(-1),
        };
        let ok = reply.status == 0;
        let registered = ok && control.opcode == Opcode::RegisterSrvid as u32;
        env.reply(&to, reply);
        if registered && control.srvid == srvid::LEADER {
            tell_leader(env);
        }
    }

    fn answer(
        &mut self,
        env: &mut Env<'_>,
        client: ClientId,
        control: &Control,
        request: ControlRequest<'_>,
    ) -> ControlReply {
        use ControlRequest as R;
        let srvid = control.srvid;
        match request {
            R::Ping => ControlReply::status(i32::try_from(self.clients.len()).unwrap_or(i32::MAX)),
            R::ProcessExists(pid) => self.process_exists(env, pid),
            R::CheckPidSrvid(asked) => {
                let pid = u32::try_from(asked.pid).unwrap_or(0);
                yes(self.clients.has_registered(pid, asked.srvid))
            }
            R::RegisterSrvid => done(self.clients.register(client, srvid)),
            R::DeregisterSrvid => match self.clients.deregister(client, srvid) {
                Err(Refused::NotRegistered) => ControlReply::status(ENOENT),
                other => done(other),
            },
            R::RegisterNotify(notify) => {
                let data = control.data.slice_ref(notify.data);
                done(self.clients.add_notification(client, notify.srvid, data))
            }
            R::DeregisterNotify(srvid) => done(self.clients.remove_notification(client, srvid)),
            R::TunnelRegister => done(self.clients.add_tunnel(client, srvid)),
            R::TunnelDeregister => done(self.clients.remove_tunnel(client, srvid)),
            R::EchoData(echo) => ControlReply::data(echo.to_vec()),
            _ => ControlReply::status(-1),
        }
    }

    /// PROCESS_EXISTS: is it a client, and alive? An inactive node's clients must end
    /// (`spec/samba-client.md 15`).
    fn process_exists(&mut self, env: &mut Env<'_>, pid: i32) -> ControlReply {
        let pid = u32::try_from(pid).unwrap_or(0);
        let connections = self.clients.of_pid(pid);
        if connections.is_empty() {
            return ControlReply::status(-1);
        }
        if env.view().is_inactive() {
            log::info!("process {pid} asked about while inactive: disconnecting it");
            for &client in connections {
                env.ports.close_client(client);
            }
            return ControlReply::status(-1);
        }
        yes(env.ports.process_exists(pid))
    }
}

/// Tools learn the leader only from its announcements, once a second. Whoever begins to listen need not wait for the
/// next one.
fn tell_leader(env: &mut Env<'_>) {
    if let Some(leader) = env.view().leader {
        let data = leader.to_vec().into();
        env.local(endpoint::PROXY, Local::Deliver { srvid: srvid::LEADER, data });
    }
}

fn yes(yes: bool) -> ControlReply {
    ControlReply::status(if yes { 0 } else { -1 })
}

fn done(result: Result<(), Refused>) -> ControlReply {
    yes(result.is_ok())
}
