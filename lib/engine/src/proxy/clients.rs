// SPDX-License-Identifier: GPL-3.0-or-later
//! The table of connected clients: who they are, and what they have registered (`spec/wire.md 7`).

use crate::packet::ClientId;
use bytes::Bytes;
use std::collections::btree_map::Entry;
use std::collections::BTreeMap;

/// Registrations of addresses that one client may hold.
pub const REGISTRATIONS_MAX: usize = 100_000;
/// Notifications that one client may leave behind.
pub const NOTIFICATIONS_MAX: usize = 1_000;

/// One connection.
#[derive(Debug, Default)]
struct Client {
    pid: u32,
    /// Registered addresses and how often.
    srvids: BTreeMap<u64, usize>,
    /// Number of registrations.
    registrations: usize,
    /// Messages to send when it has gone.
    notifications: BTreeMap<u64, Bytes>,
    tunnels: Vec<u64>,
}

/// The clients of this node.
#[derive(Debug, Default)]
pub struct Clients {
    clients: BTreeMap<ClientId, Client>,
    by_pid: BTreeMap<u32, Vec<ClientId>>,
    /// Receivers of each address, once for each registration.
    receivers: BTreeMap<u64, Vec<ClientId>>,
    tunnels: BTreeMap<u64, ClientId>,
}

/// Why a registration was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refused {
    /// No such client.
    NoClient,
    /// Too many, or there is one already.
    NotPossible,
    /// It was not registered.
    NotRegistered,
}

impl Clients {
    /// Number of connections.
    pub fn len(&self) -> usize {
        self.clients.len()
    }

    /// Whether nobody is connected.
    pub fn is_empty(&self) -> bool {
        self.clients.is_empty()
    }

    /// Whether this client is connected.
    pub fn contains(&self, client: ClientId) -> bool {
        self.clients.contains_key(&client)
    }

    /// A client has connected.
    pub fn add(&mut self, client: ClientId, pid: u32) {
        self.clients.insert(client, Client { pid, ..Client::default() });
        self.by_pid.entry(pid).or_default().push(client);
    }

    /// A client has gone. The messages it wanted sent; none: it was not connected.
    pub fn remove(&mut self, client: ClientId) -> Option<BTreeMap<u64, Bytes>> {
        let gone = self.clients.remove(&client)?;
        drop_from(&mut self.by_pid, gone.pid, client);
        for srvid in gone.srvids.into_keys() {
            drop_from(&mut self.receivers, srvid, client);
        }
        for tunnel in gone.tunnels {
            self.tunnels.remove(&tunnel);
        }
        Some(gone.notifications)
    }

    /// Connections of a process.
    pub fn of_pid(&self, pid: u32) -> &[ClientId] {
        self.by_pid.get(&pid).map_or(&[], Vec::as_slice)
    }

    /// Whether a connection of this process has registered `srvid`.
    pub fn has_registered(&self, pid: u32, srvid: u64) -> bool {
        let registered =
            |c: &ClientId| self.clients.get(c).is_some_and(|c| c.srvids.contains_key(&srvid));
        self.of_pid(pid).iter().any(registered)
    }

    /// Who gets messages to `srvid`, once for each registration.
    pub fn receivers(&self, srvid: u64) -> &[ClientId] {
        self.receivers.get(&srvid).map_or(&[], Vec::as_slice)
    }

    /// REGISTER_SRVID.
    pub fn register(&mut self, client: ClientId, srvid: u64) -> Result<(), Refused> {
        let c = self.clients.get_mut(&client).ok_or(Refused::NoClient)?;
        if c.registrations >= REGISTRATIONS_MAX {
            return Err(Refused::NotPossible);
        }
        c.registrations += 1;
        *c.srvids.entry(srvid).or_default() += 1;
        self.receivers.entry(srvid).or_default().push(client);
        Ok(())
    }

    /// DEREGISTER_SRVID: removes one registration.
    pub fn deregister(&mut self, client: ClientId, srvid: u64) -> Result<(), Refused> {
        let c = self.clients.get_mut(&client).ok_or(Refused::NoClient)?;
        let Entry::Occupied(mut count) = c.srvids.entry(srvid) else {
            return Err(Refused::NotRegistered);
        };
        *count.get_mut() -= 1;
        if *count.get() == 0 {
            count.remove();
        }
        c.registrations -= 1;
        if let Entry::Occupied(mut receivers) = self.receivers.entry(srvid) {
            if let Some(at) = receivers.get().iter().rposition(|r| *r == client) {
                receivers.get_mut().remove(at);
            }
            if receivers.get().is_empty() {
                receivers.remove();
            }
        }
        Ok(())
    }

    /// REGISTER_NOTIFY.
    pub fn add_notification(
        &mut self,
        client: ClientId,
        srvid: u64,
        data: Bytes,
    ) -> Result<(), Refused> {
        let c = self.clients.get_mut(&client).ok_or(Refused::NoClient)?;
        if c.notifications.len() >= NOTIFICATIONS_MAX {
            return Err(Refused::NotPossible);
        }
        match c.notifications.entry(srvid) {
            Entry::Occupied(_) => Err(Refused::NotPossible),
            Entry::Vacant(free) => {
                free.insert(data);
                Ok(())
            }
        }
    }

    /// DEREGISTER_NOTIFY.
    pub fn remove_notification(&mut self, client: ClientId, srvid: u64) -> Result<(), Refused> {
        let c = self.clients.get_mut(&client).ok_or(Refused::NoClient)?;
        c.notifications.remove(&srvid).map(|_| ()).ok_or(Refused::NotRegistered)
    }

    /// The client that has registered this tunnel.
    pub fn tunnel(&self, tunnel: u64) -> Option<ClientId> {
        self.tunnels.get(&tunnel).copied()
    }

    /// TUNNEL_REGISTER: one client a node.
    pub fn add_tunnel(&mut self, client: ClientId, tunnel: u64) -> Result<(), Refused> {
        let c = self.clients.get_mut(&client).ok_or(Refused::NoClient)?;
        if c.tunnels.len() >= REGISTRATIONS_MAX || self.tunnels.contains_key(&tunnel) {
            return Err(Refused::NotPossible);
        }
        c.tunnels.push(tunnel);
        self.tunnels.insert(tunnel, client);
        Ok(())
    }

    /// TUNNEL_DEREGISTER.
    pub fn remove_tunnel(&mut self, client: ClientId, tunnel: u64) -> Result<(), Refused> {
        if self.tunnel(tunnel) != Some(client) {
            return Err(Refused::NotRegistered);
        }
        self.tunnels.remove(&tunnel);
        if let Some(c) = self.clients.get_mut(&client) {
            c.tunnels.retain(|t| *t != tunnel);
        }
        Ok(())
    }
}

fn drop_from<K: Ord>(map: &mut BTreeMap<K, Vec<ClientId>>, key: K, client: ClientId) {
    if let Entry::Occupied(mut entry) = map.entry(key) {
        entry.get_mut().retain(|c| *c != client);
        if entry.get().is_empty() {
            entry.remove();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn registrations_are_counted() {
        let mut clients = Clients::default();
        clients.add(1, 10);
        clients.add(2, 10);
        assert_eq!(clients.register(3, 7), Err(Refused::NoClient));
        for client in [1, 2, 1] {
            assert_eq!(clients.register(client, 7), Ok(()));
        }
        assert_eq!(clients.receivers(7), [1, 2, 1]);
        assert_eq!(clients.deregister(1, 7), Ok(()));
        assert_eq!(clients.receivers(7), [1, 2]);
        assert!(clients.has_registered(10, 7));
        assert_eq!(clients.deregister(1, 7), Ok(()));
        assert_eq!(clients.deregister(1, 7), Err(Refused::NotRegistered));
        clients.remove(2);
        assert!(clients.receivers(7).is_empty() && !clients.has_registered(10, 7));
        assert_eq!(clients.of_pid(10), [1]);
        assert!(clients.remove(2).is_none());
    }

    #[test]
    fn a_tunnel_has_one_client_and_ends_with_it() {
        let mut clients = Clients::default();
        clients.add(1, 10);
        clients.add(2, 20);
        assert_eq!(clients.add_tunnel(1, 5), Ok(()));
        assert_eq!(clients.add_tunnel(1, 5), Err(Refused::NotPossible));
        assert_eq!(clients.add_tunnel(2, 5), Err(Refused::NotPossible));
        assert_eq!(clients.remove_tunnel(2, 5), Err(Refused::NotRegistered));
        clients.remove(1);
        assert_eq!(clients.add_tunnel(2, 5), Ok(()));
        assert_eq!(clients.remove_tunnel(2, 5), Ok(()));
        assert_eq!(clients.tunnel(5), None);
    }

    #[test]
    fn a_notification_for_each_address() {
        let mut clients = Clients::default();
        clients.add(1, 10);
        let data = Bytes::from_static(b"x");
        assert_eq!(clients.add_notification(1, 5, data.clone()), Ok(()));
        assert_eq!(clients.add_notification(1, 5, data.clone()), Err(Refused::NotPossible));
        assert_eq!(clients.add_notification(1, 6, data.clone()), Ok(()));
        assert_eq!(clients.remove_notification(1, 5), Ok(()));
        assert_eq!(clients.remove_notification(1, 5), Err(Refused::NotRegistered));
        assert_eq!(clients.remove(1), Some(BTreeMap::from([(6, data)])));
    }
}
