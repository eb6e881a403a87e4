// SPDX-License-Identifier: GPL-3.0-or-later
//! Node links over loopback: a link counts only when both streams are up, and the four connectivity failures
//! of the past (docs/architecture.md) stay away. Each node has a loopback address of its own and a free port.

use bytes::Bytes;
use ctdb_engine::packet::{Body, Endpoint, Packet};
use ctdb_engine::view::NodeView;
use ctdb_host::hot::codec;
use ctdb_host::hot::links::{LinkEvent, Links};
use ctdb_host::hot::Ready;
use mio::{Events, Poll};
use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

struct Node {
    poll: Poll,
    links: Links,
    seen: Vec<String>,
}

fn address(pnn: u32, net: u8) -> IpAddr {
    IpAddr::V4(Ipv4Addr::new(127, 7, net, pnn as u8 + 1))
}

/// Listeners of `n` nodes and the nodes file that names them.
fn listeners(n: u32, net: u8) -> (Vec<TcpListener>, Vec<NodeView>) {
    let listeners: Vec<_> =
        (0..n).map(|p| TcpListener::bind(SocketAddr::new(address(p, net), 0)).unwrap()).collect();
    let nodes = listeners
        .iter()
        .map(|l| {
            let a = l.local_addr().unwrap();
            NodeView { address: a.ip(), port: a.port(), flags: 3, capabilities: 0 }
        })
        .collect();
    (listeners, nodes)
}

impl Node {
    fn new(listener: TcpListener, pnn: u32, nodes: &[NodeView], boot: u64) -> Node {
        let poll = Poll::new().unwrap();
        let registry = poll.registry().try_clone().unwrap();
        let mut links = Links::new(registry, listener, pnn, nodes, boot).unwrap();
        links.start();
        Node { poll, links, seen: Vec::new() }
    }

    fn turn(&mut self) {
        let mut events = Events::with_capacity(64);
        let mut scratch = vec![0; 65536];
        let mut out = Vec::new();
        self.poll.poll(&mut events, Some(Duration::from_millis(1))).unwrap();
        for e in &events {
            self.links.ready(e.token(), Ready::of(e), &mut scratch, &mut out);
        }
        for token in self.links.take_unread() {
            self.links.ready(token, Ready::to_read(), &mut scratch, &mut out);
        }
        self.links.tick(Instant::now());
        self.links.flush(&mut out);
        for e in out {
            self.seen.push(match e {
                LinkEvent::Up(p) => format!("up {p}"),
                LinkEvent::Down(p) => format!("down {p}"),
                LinkEvent::Malformed => "malformed".into(),
                LinkEvent::Packet(p) => match p.body {
                    Body::Message { srvid, .. } => format!("message {srvid}"),
                    other => format!("{other:?}"),
                },
            });
        }
    }

    fn saw(&self, what: &str) -> usize {
        self.seen.iter().filter(|s| *s == what).count()
    }
}

/// Turns all nodes until the condition holds.
fn until(nodes: &mut [&mut Node], what: &str, condition: impl Fn(&[&mut Node]) -> bool) {
    let deadline = Instant::now() + Duration::from_secs(10);
    while !condition(nodes) {
        assert!(
            Instant::now() < deadline,
            "{what}: {:?}",
            nodes.iter().map(|n| &n.seen).collect::<Vec<_>>()
        );
        for n in nodes.iter_mut() {
            n.turn();
        }
    }
}

fn message(to: u32, srvid: u64, size: usize) -> Packet {
    Packet {
        dst: Endpoint { node: to, id: 0 },
        src: Endpoint { node: 0, id: 4 },
        reqid: 0,
        generation: 0,
        body: Body::Message { srvid, data: Bytes::from(vec![0; size]) },
    }
}

#[test]
fn two_nodes_connect_and_talk_in_order() {
    let (mut l, nodes) = listeners(2, 1);
    let mut b = Node::new(l.pop().unwrap(), 1, &nodes, 1);
    let mut a = Node::new(l.pop().unwrap(), 0, &nodes, 1);
    until(&mut [&mut a, &mut b], "both up", |n| n[0].saw("up 1") == 1 && n[1].saw("up 0") == 1);
    for i in 0..200 {
        a.links.send(1, &message(1, i, if i % 50 == 0 { 300_000 } else { 10 }));
    }
    until(&mut [&mut a, &mut b], "messages", |n| n[1].seen.len() >= 201);
    let expected: Vec<_> = (0..200).map(|i| format!("message {i}")).collect();
    assert_eq!(b.seen[1..], expected);
}

#[test]
fn one_direction_is_not_connected() {
    // The peer accepts but never connects back, as a stopped process does: its kernel completes connects.
    let (mut l, nodes) = listeners(2, 2);
    let silent = l.pop().unwrap();
    let mut a = Node::new(l.pop().unwrap(), 0, &nodes, 1);
    let (mut stream, _) = loop {
        a.turn();
        silent.set_nonblocking(true).unwrap();
        if let Ok(accepted) = silent.accept() {
            break accepted;
        }
    };
    stream.set_nonblocking(false).unwrap();
    for _ in 0..20 {
        a.turn();
    }
    assert_eq!(a.seen, Vec::<String>::new());
    // HELLO was sent; packets before the link is up are not kept for later by anyone but this stream.
    let mut hello = [0; 80];
    stream.read_exact(&mut hello).unwrap();
    assert_eq!(codec::decode_hello(&hello).unwrap().unwrap().pnn, 0);
}

fn connect_as(pnn: u32, net: u8, to: &NodeView) -> TcpStream {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    socket.bind(&SocketAddr::new(address(pnn, net), 0).into()).unwrap();
    socket.connect(&SocketAddr::new(to.address, to.port).into()).unwrap();
    socket.into()
}

#[test]
fn received_packets_do_not_make_a_link() {
    // Packets come in, but our own connection is refused: nobody listens there.
    let (mut l, nodes) = listeners(2, 3);
    drop(l.pop());
    let mut a = Node::new(l.pop().unwrap(), 0, &nodes, 1);
    let mut stream = connect_as(1, 3, &nodes[0]);
    let mut bytes = Vec::new();
    codec::encode_hello(&mut bytes, 1, 0, 5);
    codec::encode_native(&mut bytes, &message(0, 9, 10)).unwrap();
    stream.write_all(&bytes).unwrap();
    until(&mut [&mut a], "the message", |n| n[0].saw("message 9") == 1);
    for _ in 0..20 {
        a.turn();
    }
    assert_eq!(a.saw("up 1"), 0);
}

#[test]
fn a_rebooted_peer_is_taken_at_once() {
    // The peer went without a word (no FIN), then a new instance connects while the old stream still stands.
    let (mut l, nodes) = listeners(2, 4);
    let peer = l.pop().unwrap();
    peer.set_nonblocking(true).unwrap();
    let mut a = Node::new(l.pop().unwrap(), 0, &nodes, 1);
    let mut hello = Vec::new();
    codec::encode_hello(&mut hello, 1, 0, 5);
    let mut old = connect_as(1, 4, &nodes[0]);
    old.write_all(&hello).unwrap();
    until(&mut [&mut a], "first instance", |n| n[0].saw("up 1") == 1);
    let mut new = connect_as(1, 4, &nodes[0]);
    hello.clear();
    codec::encode_hello(&mut hello, 1, 0, 6);
    new.write_all(&hello).unwrap();
    until(&mut [&mut a], "second instance", |n| n[0].saw("down 1") == 1 && n[0].saw("up 1") == 2);
    // Nothing of the old incarnation is handled any more; the new one is.
    let mut late = Vec::new();
    codec::encode_native(&mut late, &message(0, 1, 10)).unwrap();
    let _ = old.write_all(&late);
    late.clear();
    codec::encode_native(&mut late, &message(0, 2, 10)).unwrap();
    new.write_all(&late).unwrap();
    until(&mut [&mut a], "message of the new one", |n| n[0].saw("message 2") == 1);
    assert_eq!(a.saw("message 1"), 0);
}

#[test]
fn links_come_back_after_a_reset_by_either_side() {
    let (mut l, nodes) = listeners(2, 5);
    let mut b = Node::new(l.pop().unwrap(), 1, &nodes, 1);
    let mut a = Node::new(l.pop().unwrap(), 0, &nodes, 1);
    until(&mut [&mut a, &mut b], "up", |n| n[0].saw("up 1") == 1 && n[1].saw("up 0") == 1);
    for round in 2..8 {
        let mut out = Vec::new();
        // Sometimes both sides at once.
        if round % 3 != 1 {
            a.links.reset(1, "test", &mut out);
        }
        if round % 3 != 2 {
            b.links.reset(0, "test", &mut out);
        }
        assert!(!out.is_empty());
        let id = 100 + round as u64;
        until(&mut [&mut a, &mut b], "up again", |n| {
            n[0].saw("up 1") >= round && n[1].saw("up 0") >= round
        });
        // A live stream each way: no incoming queue is orphaned.
        let deadline = Instant::now() + Duration::from_secs(5);
        while a.saw(&format!("message {id}")) == 0 || b.saw(&format!("message {id}")) == 0 {
            assert!(Instant::now() < deadline, "{:?} {:?}", a.seen, b.seen);
            a.links.send(1, &message(1, id, 10));
            b.links.send(0, &message(0, id, 10));
            a.turn();
            b.turn();
        }
    }
}

#[test]
fn garbage_closes_that_connection_only() {
    let (mut l, nodes) = listeners(2, 6);
    let mut b = Node::new(l.pop().unwrap(), 1, &nodes, 1);
    let mut a = Node::new(l.pop().unwrap(), 0, &nodes, 1);
    until(&mut [&mut a, &mut b], "up", |n| n[0].saw("up 1") == 1 && n[1].saw("up 0") == 1);
    for garbage in [
        &b"\0\0\0\0\0\0\0\0"[..],
        b"GET / HTTP/1.0\r\n\r\n",
        &[0xFF; 100],
        &[80, 0, 0, 0, 1, 2, 3, 4],
    ] {
        let before = a.saw("malformed");
        let mut stream = connect_as(1, 6, &nodes[0]);
        stream.write_all(garbage).unwrap();
        until(&mut [&mut a, &mut b], "refused", |n| n[0].saw("malformed") > before);
        stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        assert!(matches!(stream.read(&mut [0; 8]), Ok(0) | Err(_)), "closed");
    }
    // A node that greets with a number that is not its own is refused too.
    let before = a.saw("malformed");
    let mut hello = Vec::new();
    codec::encode_hello(&mut hello, 0, 0, 6);
    let mut stream = connect_as(1, 6, &nodes[0]);
    stream.write_all(&hello).unwrap();
    until(&mut [&mut a, &mut b], "refused", |n| n[0].saw("malformed") > before);
    a.links.send(1, &message(1, 7, 10));
    until(&mut [&mut a, &mut b], "the link lives", |n| n[1].saw("message 7") == 1);
    assert_eq!(a.saw("down 1"), 0);
}

#[test]
fn silent_connections_do_not_keep_a_node_out() {
    let (mut l, nodes) = listeners(2, 7);
    let listener = l.pop().unwrap();
    let mut a = Node::new(l.pop().unwrap(), 0, &nodes, 1);
    let silent: Vec<TcpStream> = (0..100)
        .map(|_| {
            let stream = connect_as(1, 7, &nodes[0]);
            a.turn();
            stream
        })
        .collect();
    let mut b = Node::new(listener, 1, &nodes, 1);
    until(&mut [&mut a, &mut b], "up", |n| n[0].saw("up 1") == 1 && n[1].saw("up 0") == 1);
    let mut oldest = &silent[0];
    oldest.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    assert!(matches!(oldest.read(&mut [0; 1]), Ok(0) | Err(_)), "the oldest was closed");
}
