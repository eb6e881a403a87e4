// SPDX-License-Identifier: GPL-3.0-or-later
//! Malformed, truncated and oversized packets (spec/wire.md 2): the connection that sends them is
//! closed, the daemon and its other clients go on.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use anyhow::{ensure, Context, Result};

use super::{c_daemon_fails, cluster, prepared, serves};

const MAGIC: u32 = 0x4354_4442;
const CLOSED_WITHIN: Duration = Duration::from_secs(10);
const PORT: u16 = 4379;

const REQ_CALL: u32 = 0;
const REQ_DMASTER: u32 = 2;
const REQ_MESSAGE: u32 = 5;
const REQ_CONTROL: u32 = 7;

const CURRENT_NODE: u32 = 0xf000_0001;
const GET_PNN: u32 = 35;
const LAST_REQID: u32 = 4711;

/// A packet of the existing protocol whose length field may lie.
fn packet(length: u32, magic: u32, version: u32, operation: u32, body: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for field in [length, magic, version, 0, operation, 0, 0, 1] {
        bytes.extend_from_slice(&field.to_le_bytes());
    }
    bytes.extend_from_slice(body);
    bytes
}

fn words(fields: &[u32]) -> Vec<u8> {
    fields.iter().flat_map(|f| f.to_le_bytes()).collect()
}

/// What breaks the stream whatever the dialect: nothing after it can be read.
fn broken_streams() -> Vec<(&'static str, Vec<u8>)> {
    vec![
        ("no length", packet(0, MAGIC, 1, REQ_CONTROL, &[])),
        ("a length inside the header", packet(12, MAGIC, 1, REQ_CONTROL, &[0; 32])),
        ("a length of four gigabytes", packet(u32::MAX, MAGIC, 1, REQ_CONTROL, &[0; 64])),
        ("a wrong magic", packet(64, 0x6464_6464, 1, REQ_CONTROL, &[0; 32])),
        ("a wrong version", packet(64, MAGIC, 77, REQ_CONTROL, &[0; 32])),
        ("text", b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nAccept: */*\r\n\r\n\r\n".repeat(3)),
        ("all ones", vec![0xff; 256]),
    ]
}

/// Packets with a good header and a bad body.
fn broken_bodies() -> Vec<(&'static str, Vec<u8>)> {
    let whole =
        |operation, body: Vec<u8>| packet(32 + body.len() as u32, MAGIC, 1, operation, &body);
    vec![
        ("a control without a body", whole(REQ_CONTROL, vec![])),
        ("a control cut short", whole(REQ_CONTROL, words(&[0, 0, 0, 0]))),
        (
            "a control with more data than there is",
            whole(REQ_CONTROL, words(&[0, 0, 0, 0, 0, 0, 0xffff_fff0, 0])),
        ),
        ("a call without a body", whole(REQ_CALL, vec![])),
        (
            "a call with a key longer than the packet",
            whole(REQ_CALL, words(&[0, 1, 0, 0, 0xffff_ff00, 0x100, 0, 0])),
        ),
        (
            "a message with more data than there is",
            whole(REQ_MESSAGE, words(&[0, 0, 0x7fff_ffff, 0])),
        ),
        ("what only nodes may send", whole(REQ_DMASTER, vec![0; 64])),
        ("an unknown operation", whole(4711, vec![0; 64])),
    ]
}

fn closed(stream: &mut impl Read) -> Result<()> {
    let mut rest = [0; 4096];
    loop {
        match stream.read(&mut rest) {
            Ok(0) => return Ok(()),
            Ok(_) => continue,
            Err(e) if matches!(e.kind(), ErrorKind::ConnectionReset | ErrorKind::BrokenPipe) => {
                return Ok(())
            }
            Err(e) => return Err(e).context("the connection was not closed"),
        }
    }
}

/// What comes after a packet that is only wrong inside is answered, or the connection is closed
/// (spec/wire.md 11.1); it is never left hanging.
fn closed_or_answered(stream: &mut impl Read) -> Result<()> {
    loop {
        let mut header = [0; 32];
        match stream.read_exact(&mut header) {
            Ok(()) => {}
            Err(e) if e.kind() == ErrorKind::WouldBlock => return Err(e).context("no answer"),
            Err(_) => return Ok(()),
        }
        let field = |at: usize| u32::from_le_bytes([0, 1, 2, 3].map(|i| header[at + i]));
        let mut body = vec![0; (field(0) as usize).saturating_sub(header.len())];
        stream.read_exact(&mut body)?;
        if field(28) == LAST_REQID {
            return Ok(());
        }
    }
}

/// A good request.
fn get_pnn() -> Vec<u8> {
    let mut bytes = packet(64, MAGIC, 1, REQ_CONTROL, &[0; 32]);
    bytes[20..24].copy_from_slice(&CURRENT_NODE.to_le_bytes());
    bytes[28..32].copy_from_slice(&LAST_REQID.to_le_bytes());
    bytes[32..36].copy_from_slice(&GET_PNN.to_le_bytes());
    bytes
}

/// Sends bytes; the peer may close before all are written.
fn send(stream: &mut impl Write, bytes: &[u8]) -> Result<()> {
    match stream.write_all(bytes) {
        Err(e) if matches!(e.kind(), ErrorKind::ConnectionReset | ErrorKind::BrokenPipe) => Ok(()),
        other => Ok(other?),
    }
}

#[test]
fn bad_packets_on_the_client_socket_hurt_only_their_sender() -> Result<()> {
    if c_daemon_fails("it waits for the rest of four gigabytes and keeps other bad connections")? {
        return Ok(());
    }
    let Some(mut cluster) = cluster(1)? else { return Ok(()) };
    let socket = cluster.nodes[0].socket();
    let bystander = UnixStream::connect(&socket)?;
    for (what, bytes) in broken_streams() {
        let mut stream = UnixStream::connect(&socket)?;
        stream.set_read_timeout(Some(CLOSED_WITHIN))?;
        send(&mut stream, &bytes)?;
        closed(&mut stream).with_context(|| what)?;
        serves(&cluster.nodes[0]).with_context(|| format!("after {what}"))?;
    }
    for (what, bytes) in broken_bodies() {
        let mut stream = UnixStream::connect(&socket)?;
        stream.set_read_timeout(Some(CLOSED_WITHIN))?;
        send(&mut stream, &bytes)?;
        send(&mut stream, &get_pnn())?;
        closed_or_answered(&mut stream).with_context(|| what)?;
        serves(&cluster.nodes[0]).with_context(|| format!("after {what}"))?;
    }
    // cut off in the middle, at every length of a packet
    let good = packet(64, MAGIC, 1, REQ_CONTROL, &[0; 32]);
    for length in 0..good.len() {
        let mut stream = UnixStream::connect(&socket)?;
        stream.set_read_timeout(Some(CLOSED_WITHIN))?;
        send(&mut stream, &good[..length])?;
        let _ = stream.shutdown(Shutdown::Write);
        closed(&mut stream).with_context(|| format!("cut after {length} bytes"))?;
    }
    serves(&cluster.nodes[0])?;
    bystander.set_nonblocking(true)?;
    let still = (&bystander).read(&mut [0; 1]);
    ensure!(
        still.is_err_and(|e| e.kind() == ErrorKind::WouldBlock),
        "the connection of another client was closed too"
    );
    if let Some(ctdbd) = &mut cluster.nodes[0].ctdbd {
        ctdbd.check()?;
    }
    Ok(())
}

#[test]
fn bad_packets_on_the_node_port_close_that_connection() -> Result<()> {
    if c_daemon_fails("it waits for the rest of four gigabytes")? {
        return Ok(());
    }
    // node 0 is in the list and never runs: what connects from 127.0.0.1 is taken for it
    let Some(mut cluster) = prepared(2)? else { return Ok(()) };
    cluster.nodes[1].start()?;
    cluster.settled(&[1])?;
    for (what, bytes) in broken_streams() {
        let mut stream = TcpStream::connect((cluster.nodes[1].address().as_str(), PORT))?;
        stream.set_read_timeout(Some(CLOSED_WITHIN))?;
        send(&mut stream, &bytes)?;
        closed(&mut stream).with_context(|| what)?;
        serves(&cluster.nodes[1]).with_context(|| format!("after {what}"))?;
    }
    // one that connects and says nothing holds nobody up
    let _silent = TcpStream::connect((cluster.nodes[1].address().as_str(), PORT))?;
    serves(&cluster.nodes[1])?;
    drop(_silent);
    // and the real node 0 can still join
    cluster.nodes[0].start()?;
    cluster.settled(&[0, 1])?;
    Ok(())
}

#[test]
fn a_stranger_cannot_break_a_link_between_nodes_for_good() -> Result<()> {
    let Some(mut cluster) = cluster(2)? else { return Ok(()) };
    for (what, bytes) in broken_streams() {
        let mut stream = TcpStream::connect((cluster.nodes[1].address().as_str(), PORT))?;
        stream.set_read_timeout(Some(CLOSED_WITHIN))?;
        send(&mut stream, &bytes)?;
        let _ = stream.shutdown(Shutdown::Write); // it may be closed by now
        closed(&mut stream).with_context(|| what)?;
    }
    cluster.settled(&[0, 1])?;
    for node in &cluster.nodes {
        serves(node)?;
    }
    Ok(())
}
