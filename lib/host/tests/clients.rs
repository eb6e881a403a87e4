// SPDX-License-Identifier: GPL-3.0-or-later
//! The client socket: bad input ends at most that connection, and the daemon and other clients go on
//! (`spec/wire.md 11.1`).

use bytes::Bytes;
use ctdb_engine::packet::{Body, Control, ControlReply};
use ctdb_engine::ports::ClientPacket;
use ctdb_host::hot::clients::{ClientEvent, Clients};
use ctdb_host::hot::Ready;
use ctdb_wire::legacy::{self, Rounding, Route};
use mio::{Events, Poll};
use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::time::{Duration, Instant};

struct Server {
    poll: Poll,
    clients: Clients,
    malformed: usize,
    gone: usize,
    controls: Vec<(u32, Control)>,
    path: std::path::PathBuf,
    _dir: tempfile::TempDir,
}

impl Server {
    fn new() -> Server {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("socket");
        let poll = Poll::new().unwrap();
        let registry = poll.registry().try_clone().unwrap();
        let mut clients = Clients::new(registry, UnixListener::bind(&path).unwrap(), 3).unwrap();
        clients.start().unwrap();
        Server { poll, clients, malformed: 0, gone: 0, controls: Vec::new(), path, _dir: dir }
    }

    fn connect(&self) -> UnixStream {
        let stream = UnixStream::connect(&self.path).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        stream
    }

    /// Answers every control with its opcode as status.
    fn turn(&mut self) {
        let mut events = Events::with_capacity(16);
        let mut scratch = vec![0; 4096];
        let mut out = Vec::new();
        self.poll.poll(&mut events, Some(Duration::from_millis(1))).unwrap();
        for token in self.clients.take_unread() {
            self.clients.ready(token, Ready::to_read(), &mut scratch, &mut out);
        }
        for e in &events {
            self.clients.ready(e.token(), Ready::of(e), &mut scratch, &mut out);
        }
        for event in std::mem::take(&mut out) {
            match event {
                ClientEvent::Connected(_, pid) => assert_eq!(pid, std::process::id()),
                ClientEvent::Malformed => self.malformed += 1,
                ClientEvent::Gone(_) => self.gone += 1,
                ClientEvent::Packet(client, packet) => {
                    if let Body::Control(c) = packet.body {
                        let reply = ControlReply {
                            status: c.opcode as i32,
                            data: c.data.clone(),
                            ..Default::default()
                        };
                        let body = Body::ControlReply(reply);
                        self.clients.send(
                            client,
                            1,
                            &ClientPacket { destnode: 0, reqid: packet.reqid, body },
                        );
                        self.controls.push((packet.reqid, c));
                    }
                }
            }
        }
        self.clients.flush(&mut out);
    }

    fn until(&mut self, what: &str, condition: impl Fn(&Server) -> bool) {
        let deadline = Instant::now() + Duration::from_secs(10);
        while !condition(self) {
            assert!(Instant::now() < deadline, "{what}");
            self.turn();
        }
    }
}

fn control(reqid: u32, opcode: u32, data: &[u8], rounding: Rounding) -> Vec<u8> {
    let route = Route { generation: 0, destnode: 0xF000_0001, srcnode: 0, reqid };
    let body = legacy::ReqControl { opcode, srvid: 0, client_id: 0, flags: 0, data };
    legacy::encode_to_vec(&route, &body, rounding).unwrap()
}

/// The reqid and status of the next reply.
fn reply(stream: &mut UnixStream) -> (u32, i32, Vec<u8>) {
    let mut length = [0; 4];
    stream.read_exact(&mut length).unwrap();
    let mut packet = length.to_vec();
    packet.resize(u32::from_le_bytes(length) as usize, 0);
    stream.read_exact(&mut packet[4..]).unwrap();
    let bytes = Bytes::from(packet);
    match legacy::Packet::decode(&bytes).unwrap() {
        (h, legacy::Packet::ReplyControl(r)) => (h.route.reqid, r.status, r.data.to_vec()),
        other => panic!("{other:?}"),
    }
}

#[test]
fn bad_packets_do_not_disturb_others() {
    let mut server = Server::new();
    let mut good = server.connect();
    good.write_all(&control(1, 3, b"", Rounding::Exact)).unwrap();
    server.until("first control", |s| s.controls.len() == 1);
    assert_eq!(reply(&mut good).0, 1);

    // These lengths end the connection: 0, below the header, above the limit.
    let (gone, malformed) = (server.gone, server.malformed);
    for length in [0u32, 16, u32::MAX] {
        let mut bad = server.connect();
        bad.write_all(&length.to_le_bytes()).unwrap();
        let n = server.gone + 1;
        server.until("closed", |s| s.gone == n);
        assert_eq!(bad.read(&mut [0; 1]).unwrap(), 0);
    }
    assert_eq!((server.gone, server.malformed), (gone + 3, malformed + 3));

    // A foreign magic ends it too.
    let mut odd = server.connect();
    let mut foreign = control(5, 3, b"", Rounding::Exact);
    foreign[4] = b'X';
    odd.write_all(&foreign).unwrap();
    let n = server.gone + 1;
    server.until("closed", |s| s.gone == n);
    // Inner lengths beyond the packet: a control is answered with -1 before the connection ends.
    let mut lying = server.connect();
    let mut packet = control(6, 3, b"abc", Rounding::Exact);
    packet[56] = 200;
    lying.write_all(&packet).unwrap();
    let n = server.gone + 1;
    server.until("closed", |s| s.gone == n);
    assert_eq!(reply(&mut lying), (6, -1, vec![]));
    assert_eq!(lying.read(&mut [0; 1]).unwrap(), 0);
    // An operation that is not for daemons is ignored: a later release may have more of them.
    let mut later = server.connect();
    let mut unknown = control(8, 3, b"", Rounding::Exact);
    unknown[16] = 99;
    later.write_all(&unknown).unwrap();
    later.write_all(&control(7, 9, b"abc", Rounding::Exact)).unwrap();
    server.until("the good one", |s| s.controls.len() == 2);
    assert_eq!(reply(&mut later), (7, 9, b"abc".to_vec()));

    // A packet cut off by the end of the connection is forgotten.
    let mut cut = server.connect();
    let packet = control(8, 3, b"abc", Rounding::Exact);
    cut.write_all(&packet[..packet.len() - 2]).unwrap();
    drop(cut);
    let n = server.gone + 1;
    server.until("gone", |s| s.gone == n);

    good.write_all(&control(2, 3, b"", Rounding::Exact)).unwrap();
    server.until("last control", |s| s.controls.len() == 3);
    assert_eq!(reply(&mut good).0, 2);
}

#[test]
fn packets_may_come_in_any_pieces_and_sizes() {
    let mut server = Server::new();
    let mut stream = server.connect();
    let big = vec![7u8; 300_000];
    let mut bytes = Vec::new();
    for reqid in 0..20 {
        let data = if reqid % 7 == 3 { &big[..] } else { &big[..reqid as usize] };
        bytes.extend_from_slice(&control(reqid, 100, data, Rounding::Exact));
    }
    let sender = std::thread::spawn({
        let mut stream = stream.try_clone().unwrap();
        move || {
            for piece in bytes.chunks(777) {
                stream.write_all(piece).unwrap();
            }
        }
    });
    let receiver =
        std::thread::spawn(move || (0..20).map(|_| reply(&mut stream)).collect::<Vec<_>>());
    while !receiver.is_finished() {
        server.turn();
    }
    sender.join().unwrap();
    for (i, (reqid, status, data)) in receiver.join().unwrap().into_iter().enumerate() {
        assert_eq!((reqid, status), (i as u32, 100));
        assert_eq!(data.len(), if i % 7 == 3 { big.len() } else { i });
    }
}
