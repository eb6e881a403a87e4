// SPDX-License-Identifier: GPL-3.0-or-later
//! The client against a peer that misbehaves: late, foreign, cut, absurd and missing replies.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::thread::JoinHandle;
use std::time::Duration;

use ctdb_wire::control::call;
use ctdb_wire::legacy::{self, Packet, ReplyControl, ReqMessage, Rounding, Route};
use ctdbcore::{Client, Error};

const LIMIT: Duration = Duration::from_secs(10);
const SOON: Duration = Duration::from_millis(50);
const OWN_PNN: i32 = 3;

/// The other end of a client's socket.
struct Peer(UnixStream);

impl Peer {
    /// Receives one control: its reqid.
    fn control(&mut self) -> u32 {
        let mut length = [0; 4];
        self.0.read_exact(&mut length).unwrap();
        let mut packet = length.to_vec();
        packet.resize(u32::from_le_bytes(length) as usize, 0);
        self.0.read_exact(&mut packet[4..]).unwrap();
        match Packet::decode(&packet).unwrap() {
            (header, Packet::ReqControl(_)) => header.route.reqid,
            other => panic!("no control: {other:?}"),
        }
    }

    fn reply(&mut self, reqid: u32, status: i32, data: &[u8], errormsg: &[u8]) {
        let body = ReplyControl { status, data, errormsg };
        let packet = legacy::encode_to_vec(&route(reqid), &body, Rounding::Daemon).unwrap();
        self.0.write_all(&packet).unwrap();
    }

    fn send(&mut self, bytes: &[u8]) {
        self.0.write_all(bytes).unwrap();
    }
}

fn route(reqid: u32) -> Route {
    Route { reqid, ..Route::default() }
}

fn message(srvid: u64, data: &[u8]) -> Vec<u8> {
    legacy::encode_to_vec(&route(0), &ReqMessage { srvid, data }, Rounding::Daemon).unwrap()
}

/// A connected client, and `script` at the other end.
fn client(script: impl FnOnce(&mut Peer) + Send + 'static) -> (Client, JoinHandle<()>) {
    let (ours, theirs) = UnixStream::pair().unwrap();
    let peer = std::thread::spawn(move || {
        let mut peer = Peer(theirs);
        let reqid = peer.control();
        peer.reply(reqid, OWN_PNN, &[], &[]);
        script(&mut peer);
    });
    let client = Client::from_socket(ours, LIMIT).unwrap();
    assert_eq!(client.pnn(), OWN_PNN as u32);
    (client, peer)
}

#[test]
fn replies_find_their_requests_in_any_order() {
    let (mut client, peer) = client(|peer| {
        let ids: Vec<u32> = (0..3).map(|_| peer.control()).collect();
        peer.reply(12345, 0, &[], &[]); // nobody's
        for (n, id) in ids.iter().enumerate().rev() {
            peer.reply(*id, 0, &(n as u32).to_le_bytes(), &[]);
        }
    });
    let answers = client.control_many::<call::GetRunstate>(&[7, 8, 9], LIMIT, &());
    let got: Vec<(u32, u32)> = answers
        .into_iter()
        .map(|(node, answer)| (node, answer.unwrap().reply::<call::GetRunstate>().unwrap()))
        .collect();
    assert_eq!(got, [(9, 2), (8, 1), (7, 0)], "in the order of the replies");
    peer.join().unwrap();
}

#[test]
fn a_late_reply_belongs_to_nobody() {
    let (mut client, peer) = client(|peer| {
        let first = peer.control();
        let second = peer.control();
        peer.reply(first, 0, &1u32.to_le_bytes(), &[]);
        peer.reply(second, 0, &2u32.to_le_bytes(), &[]);
    });
    let late = client.control::<call::GetRunstate, u32>(0, SOON, &()).unwrap_err();
    assert!(late.is_timeout(), "{late}");
    assert_eq!(late.to_string(), "control GET_RUNSTATE to node 0: reply: timed out");
    assert_eq!(client.control::<call::GetRunstate, u32>(0, LIMIT, &()).unwrap(), 2);
    peer.join().unwrap();
}

#[test]
fn a_refusal_carries_the_daemons_words() {
    let (mut client, peer) = client(|peer| {
        let id = peer.control();
        peer.reply(id, -1, &[], b"ctdb_control to disconnected node");
        let id = peer.control();
        peer.reply(id, 0, &[1, 2], &[]); // half a number
    });
    let refused = client.control::<call::GetRunstate, u32>(9, LIMIT, &()).unwrap_err();
    assert_eq!(
        refused.to_string(),
        "control GET_RUNSTATE to node 9: status -1 (ctdb_control to disconnected node)"
    );
    let short = client.control::<call::GetRunstate, u32>(9, LIMIT, &()).unwrap_err();
    let Error::NoReply { source, .. } = &short else { panic!("{short}") };
    assert!(matches!(**source, Error::Malformed { .. }), "{short}");
    assert!(!client.is_closed());
    peer.join().unwrap();
}

#[test]
fn a_reply_that_contradicts_itself_fails_its_request_only() {
    let (mut client, peer) = client(|peer| {
        let id = peer.control();
        let body = ReplyControl { status: 0, data: &[0; 8], errormsg: &[] };
        let mut packet = legacy::encode_to_vec(&route(id), &body, Rounding::Daemon).unwrap();
        packet[36..40].copy_from_slice(&u32::MAX.to_le_bytes()); // datalen
        peer.send(&packet);
        let mut foreign = message(1, b"x");
        foreign[4] ^= 1; // magic
        peer.send(&foreign);
        let id = peer.control();
        peer.reply(id, 0, &5u32.to_le_bytes(), &[]);
    });
    let error = client.control::<call::GetRunstate, u32>(0, LIMIT, &()).unwrap_err();
    assert!(error.to_string().contains("at byte"), "{error}");
    assert_eq!(client.control::<call::GetRunstate, u32>(0, LIMIT, &()).unwrap(), 5);
    peer.join().unwrap();
}

#[test]
fn an_absurd_length_ends_the_connection() {
    for length in [0u32, 31, u32::MAX] {
        let (mut client, peer) = client(move |peer| {
            peer.control();
            peer.send(&length.to_le_bytes());
        });
        let error = client.control::<call::GetRunstate, u32>(0, LIMIT, &()).unwrap_err();
        assert!(error.to_string().contains(&format!("length {length}")), "{error}");
        assert!(client.is_closed());
        peer.join().unwrap();
    }
}

#[test]
fn the_end_of_the_stream_fails_what_waits_and_what_comes() {
    let (mut client, peer) = client(|peer| {
        peer.control();
        peer.send(&message(1, b"cut")[..20]);
    });
    let error = client.control::<call::GetRunstate, u32>(0, LIMIT, &()).unwrap_err();
    assert!(error.is_closed(), "{error}");
    assert!(matches!(client.dispatch(), Err(Error::Closed)));
    assert!(client.send_message(0, 1, b"x").unwrap_err().is_closed());
    peer.join().unwrap();
}

#[test]
fn messages_wait_for_whoever_asked_for_them() {
    let (mut client, peer) = client(|peer| {
        for _ in 0..2 {
            let id = peer.control();
            peer.reply(id, 0, &[], &[]);
        }
        peer.send(&message(99, b"never asked for"));
        peer.send(&message(1, b"one"));
        peer.send(&message(2, b"two"));
        peer.send(&message(1, b"three"));
        let id = peer.control();
        peer.reply(id, 0, &[], &[]);
    });
    client.register(1, LIMIT).unwrap();
    client.register(2, LIMIT).unwrap();
    assert_eq!(client.wait_message(2, LIMIT).unwrap().data, b"two");
    assert_eq!(client.wait_message(1, LIMIT).unwrap().data, b"one");
    client.deregister(2, LIMIT).unwrap();
    let last = client.take_message().unwrap();
    assert_eq!((last.srvid, last.data.as_slice()), (1, b"three".as_slice()));
    assert_eq!(client.take_message(), None);
    peer.join().unwrap();
}

#[test]
fn nothing_waits_in_dispatch() {
    let (go, wait) = std::sync::mpsc::channel();
    let (mut client, peer) = client(move |peer| {
        let id = peer.control();
        wait.recv().unwrap();
        peer.reply(id, 0, &8u32.to_le_bytes(), &[]);
    });
    let ticket = client.start_control::<call::GetRunstate>(0, &()).unwrap();
    assert_eq!(client.dispatch().unwrap(), 0);
    assert!(client.take_outcome(ticket).is_none());
    go.send(()).unwrap();
    client.turn(LIMIT, "reply").unwrap();
    let outcome = client.take_outcome(ticket).unwrap().unwrap();
    assert_eq!(outcome.reply::<call::GetRunstate>().unwrap(), 8);
    peer.join().unwrap();
}

/// A generator that gives the same numbers in each run.
struct Numbers(u64);

impl Numbers {
    fn next(&mut self, below: usize) -> usize {
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (self.0 >> 33) as usize % below.max(1)
    }
}

#[test]
fn damaged_packets_never_panic_and_never_hang() {
    for seed in 0..200 {
        let (mut client, peer) = client(move |peer| {
            let mut numbers = Numbers(seed);
            let id = peer.control();
            let body = ReplyControl { status: 0, data: &[7; 40], errormsg: b"words" };
            let reply = legacy::encode_to_vec(&route(id), &body, Rounding::Daemon).unwrap();
            for _ in 0..20 {
                let mut packet =
                    if numbers.next(2) == 0 { reply.clone() } else { message(1, b"m") };
                for _ in 0..numbers.next(4) {
                    let at = numbers.next(packet.len());
                    packet[at] = numbers.next(256) as u8;
                }
                packet.truncate(packet.len() - numbers.next(3));
                // The client may have given up already.
                let _ = peer.0.write_all(&packet);
            }
        });
        let first = client.control_outcome::<call::GetNodemap>(0, LIMIT, &());
        if let Ok(outcome) = &first {
            let _ = outcome.reply::<call::GetNodemap>();
            let _ = outcome.any_reply();
        }
        peer.join().unwrap();
        // The peer is gone: the rest ends with the end of the stream, or with its damage.
        while client.turn(LIMIT, "anything").is_ok() {}
        assert!(client.is_closed(), "seed {seed}");
    }
}
