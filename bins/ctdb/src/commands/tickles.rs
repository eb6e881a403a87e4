// SPDX-License-Identifier: GPL-3.0-or-later
//! TCP connections of clients: tracking and tickling them (spec/tool.md 8).

use std::io::Read;
use std::net::SocketAddr;

use ctdb_wire::control::call;
use ctdb_wire::tcp::{packet, TcpFlags};
use ctdb_wire::types::Connection;
use ctdb_wire::Control;
use ctdbcore::Deadline;
use nix::errno::Errno;
use socket2::{Domain, Protocol, Socket, Type};

use crate::address;
use crate::args::Args;
use crate::commands::status::print_row;
use crate::exit::{control_failed, result_of, Done, Exit, FAILED, INVALID};
use crate::json;
use crate::number::decimal;
use crate::options::Options;
use crate::tool::Tool;

/// Longest list on standard input, in bytes.
const MAX_INPUT: u64 = 64 << 20;
/// Most controls of a list that are under way at once.
const BATCH: usize = 4096;

/// The protocol of raw sockets whose packets bring their own IP header.
const IPPROTO_RAW: i32 = 255;

/// Connections that a command is about.
enum Wanted {
    One(Connection),
    List(Vec<Connection>),
}

impl Wanted {
    /// The two ends as arguments, or a list on standard input.
    fn from_args(args: Args<'_>) -> Result<Wanted, Exit> {
        if args.len() == 0 {
            let mut text = Vec::new();
            let read = std::io::stdin().take(MAX_INPUT + 1).read_to_end(&mut text);
            read.map_err(|e| Exit::Code(e.raw_os_error().unwrap_or(1)))?;
            let text = String::from_utf8(text).map_err(|_| INVALID)?;
            if text.len() as u64 > MAX_INPUT {
                errln!("More than {} MiB of connections", MAX_INPUT >> 20);
                return Err(INVALID);
            }
            return address::connections(&text).map(Wanted::List).ok_or(INVALID);
        }
        args.exactly(2)?;
        let src = address::endpoint(&args.text(0))?;
        let dst = address::endpoint(&args.text(1))?;
        Ok(Wanted::One(Connection { src, dst }))
    }
}

/// `tickle [SRC DST]`: sent by the tool itself, to the client as if from the server.
pub(crate) fn tickle(_options: &Options, args: Args<'_>) -> Done {
    let sent = |connection: &Connection| {
        send_tickle(connection).inspect_err(|complaint| errln!("{complaint}")).is_ok()
    };
    match Wanted::from_args(args)? {
        Wanted::One(connection) if sent(&connection) => return Ok(()),
        Wanted::One(_) => errln!("Failed to send tickle ack"),
        Wanted::List(list) => match list.iter().filter(|connection| !sent(connection)).count() {
            0 => return Ok(()),
            failed => errln!("Failed to send {failed} tickles"),
        },
    }
    Err(FAILED)
}

fn send_tickle(connection: &Connection) -> Result<(), String> {
    let failed = |what: &str, e: std::io::Error| {
        let reason = e.raw_os_error().map(|errno| Errno::from_raw(errno).desc().to_string());
        format!("{what} ({})", reason.unwrap_or_else(|| e.to_string()))
    };
    let Connection { src: client, dst: server } = *connection;
    let packet = packet(server, client, TcpFlags::Ack, 0, 0)
        .ok_or("Addresses of a connection have to be of one family")?;
    let domain = if client.is_ipv4() { Domain::IPV4 } else { Domain::IPV6 };
    // with this protocol packets always bring their own header
    let raw = Socket::new(domain, Type::RAW, Some(Protocol::from(IPPROTO_RAW)));
    let socket = raw.map_err(|e| failed("Failed to open raw socket", e))?;
    // a raw socket has no port
    let to = SocketAddr::new(client.ip(), 0);
    let sent = socket.send_to(&packet, &to.into()).map_err(|e| failed("Failed sendto", e))?;
    match sent == packet.len() {
        true => Ok(()),
        false => Err("Failed sendto - didn't send full packet".into()),
    }
}

/// Adds or removes one connection, or those of a list at once.
fn change<C>(tool: &mut Tool<'_>, args: Args<'_>, verb: &str, register: &str) -> Done
where
    C: for<'a> Control<Request<'a> = Connection, Reply<'a> = ()>,
{
    let target = tool.target;
    let list = match Wanted::from_args(args)? {
        Wanted::One(connection) => {
            return tool
                .control::<C, ()>(target, &connection)
                .inspect_err(|_| errln!("Failed to {register} connection"));
        }
        Wanted::List(list) => list,
    };
    let mut failed = 0;
    for batch in list.chunks(BATCH) {
        failed += change_batch::<C>(tool, batch)?;
    }
    if failed == 0 {
        return Ok(());
    }
    errln!("Failed to {verb} {failed} tickles");
    Err(FAILED)
}

/// How many of these have failed.
fn change_batch<C>(tool: &mut Tool<'_>, batch: &[Connection]) -> Result<usize, Exit>
where
    C: for<'a> Control<Request<'a> = Connection, Reply<'a> = ()>,
{
    let (target, deadline) = (tool.target, Deadline::after(tool.limit()));
    let mut tickets = Vec::with_capacity(batch.len());
    for connection in batch {
        let asked = tool.client.start_control::<C>(target, connection);
        tickets.push(asked.map_err(|e| control_failed(&e))?);
    }
    let mut failed = 0;
    for ticket in tickets {
        let answer = tool.client.finish_control(ticket, deadline);
        match answer.and_then(|outcome| outcome.success()) {
            Ok(()) => (),
            Err(e) if tool.client.is_closed() => return Err(result_of(&e)),
            Err(_) => failed += 1,
        }
    }
    Ok(failed)
}

/// `addtickle [SRC DST]`
pub(crate) fn addtickle(tool: &mut Tool<'_>, args: Args<'_>) -> Done {
    change::<call::TcpAddDelayedUpdate>(tool, args, "add", "register")
}

/// `deltickle [SRC DST]`
pub(crate) fn deltickle(tool: &mut Tool<'_>, args: Args<'_>) -> Done {
    change::<call::TcpRemove>(tool, args, "remove", "unregister")
}

/// `gettickles IP [PORT]`
pub(crate) fn gettickles(tool: &mut Tool<'_>, args: Args<'_>) -> Done {
    args.between(1, 2)?;
    let mut addr = address::ip(&args.text(0))?;
    if let Some(port) = args.get(1) {
        addr.set_port(decimal(&port).ok_or(INVALID)?);
    }
    let target = tool.target;
    let list = tool.control::<call::GetTcpTickleList, _>(target, &addr).inspect_err(|_| {
        errln!("Failed to get list of connections");
    })?;
    if tool.options.json {
        let connections = list
            .conn
            .iter()
            .map(|conn| json::Connection { source: conn.src.into(), destination: conn.dst.into() });
        return json::print(&json::Connections {
            node: target,
            address: addr.ip().to_string(),
            connections: connections.collect(),
        });
    }
    if tool.options.machine {
        print_row(tool.sep(), &["Source IP", "Port", "Destination IP", "Port"]);
        for conn in list.conn {
            let parts = |addr: SocketAddr| (addr.ip().to_string(), addr.port().to_string());
            let ((src, src_port), (dst, dst_port)) = (parts(conn.src), parts(conn.dst));
            print_row(tool.sep(), &[&src, &src_port, &dst, &dst_port]);
        }
        return Ok(());
    }
    outln!("Connections for IP: {}", addr.ip());
    outln!("Num connections: {}", list.conn.len());
    for conn in list.conn {
        outln!("SRC: {}   DST: {}", conn.src, conn.dst);
    }
    Ok(())
}
