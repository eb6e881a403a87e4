// SPDX-License-Identifier: GPL-3.0-or-later
//! The client against real daemons: Debian's, or those that `CTDBD` names (see ctdb-tests).

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{ensure, Context, Result};
use ctdb_tests::{skip, Cluster, Needs, Options, Side};
use ctdb_wire::control::call;
use ctdb_wire::flags::{db, node, pnn, record};
use ctdb_wire::types::{LtdbHeader, RecBuffer, ServerId};
use ctdbcore::{
    AttachOptions, Client, Database, DatabaseKind, Deadline, Error, LockKind, LockTable,
    Replacement, Transaction,
};

/// Longer than a traverse that the daemon ends itself (TraverseTimeout, 20 s).
const LIMIT: Duration = Duration::from_secs(60);

/// Two nodes of the side under test, or `None` if this machine cannot have them.
fn cluster() -> Result<Option<Cluster>> {
    if skip(Needs::DebianCtdb) {
        return Ok(None);
    }
    let side = match std::env::var_os("CTDBD") {
        Some(_) => Side::from_env()?,
        None => Side::debian(),
    };
    Ok(Some(Cluster::start(Options::new(side, 2))?))
}

fn connect(cluster: &Cluster, pnn: usize) -> Result<Client> {
    let client = Client::connect(cluster.nodes[pnn].socket(), LIMIT)?;
    ensure!(client.pnn() == pnn as u32, "connected to node {}", client.pnn());
    Ok(client)
}

#[test]
fn controls_and_messages() -> Result<()> {
    let Some(cluster) = cluster()? else { return Ok(()) };
    let (mut a, mut b) = (connect(&cluster, 0)?, connect(&cluster, 1)?);

    let map = a.control::<call::GetNodemap, _>(0, LIMIT, &())?;
    ensure!(map.node.len() == 2 && map.node.iter().all(|n| n.flags & node::INACTIVE == 0));
    ensure!(a.control_status::<call::GetPnn>(1, LIMIT, &())? == 1);
    let answers = a.control_many::<call::GetPnn>(&[0, 1, 7], LIMIT, &());
    let mut statuses = Vec::new();
    for (node, answer) in answers {
        let answer = answer?;
        if node == 7 {
            ensure!(answer.message.as_deref() == Some("ctdb_control to disconnected node"));
        }
        statuses.push((node, answer.status));
    }
    statuses.sort_unstable();
    ensure!(statuses == [(0, 0), (1, 1), (7, -1)], "{statuses:?}");
    // the same, step by step, as an event loop does it
    let fan = a.start_many::<call::GetPnn>(&[0, 1], &());
    let limit = Deadline::after(LIMIT);
    while !a.all_answered(&fan) {
        a.turn(limit, "answers")?;
    }
    let nodes: Vec<u32> = a.gather(fan, limit).iter().map(|(node, _)| *node).collect();
    ensure!(nodes.len() == 2 && nodes.contains(&1), "{nodes:?}");
    let ticket = a.start_control::<call::GetPnn>(1, &())?;
    ensure!(a.finish_control(ticket, LIMIT)?.status == 1);
    ensure!(matches!(a.finish_control(ticket, LIMIT), Err(Error::Usage(_))), "taken twice");
    a.control_all::<call::GetNodemap>(&[0, 1], LIMIT, &())?;
    let refused = a.control_all::<call::GetNodemap>(&[0, 7, 1], LIMIT, &());
    ensure!(matches!(refused, Err(Error::Refused { node: 7, status: -1, .. })), "{refused:?}");
    let none = a.control::<call::GetRunstate, u32>(0, Duration::ZERO, &());
    ensure!(none.is_err_and(|e| e.is_timeout()), "a passed deadline is a timeout");

    let (to_a, to_both) = (0xAE00_0000_0000_1001, 0xAE00_0000_0000_1002);
    a.register(to_a, LIMIT)?;
    a.register(to_both, LIMIT)?;
    b.register(to_both, LIMIT)?;
    b.send_message(0, to_a, b"hello")?;
    ensure!(a.wait_message(to_a, LIMIT)?.data == b"hello");
    a.send_message(pnn::BROADCAST_CONNECTED, to_both, &[7; 100_000])?;
    for client in [&mut a, &mut b] {
        ensure!(client.wait_message(to_both, LIMIT)?.data == [7; 100_000]);
    }
    a.deregister(to_a, LIMIT)?;
    let again = a.deregister(to_a, LIMIT);
    ensure!(matches!(again, Err(Error::Refused { status: 2, .. })), "{again:?}");
    Ok(())
}

#[test]
fn records_move_to_whoever_locks_them() -> Result<()> {
    let Some(cluster) = cluster()? else { return Ok(()) };
    let (mut a, mut b) = (connect(&cluster, 0)?, connect(&cluster, 1)?);
    let mut on_a = Database::attach(&mut a, "moving.tdb", DatabaseKind::Volatile, LIMIT)?;
    let mut on_b = Database::attach(&mut b, "moving.tdb", DatabaseKind::Volatile, LIMIT)?;
    ensure!(on_a.id() == on_b.id() && on_a.path() != on_b.path());

    ensure!(on_a.try_local_lock(b"key")?.is_none(), "a missing record is nobody's");
    let mut held = on_a.fetch_lock(&mut a, b"key", LIMIT)?;
    ensure!(held.value()?.is_empty());
    held.store(b"from a")?;
    drop(held);
    ensure!(on_a.try_local_lock(b"key")?.is_some());
    on_a.enable_change_counter(&mut a, LIMIT)?;
    let before = on_a.change_counter()?;
    on_a.fetch_lock(&mut a, b"key", LIMIT)?.store(b"from a")?;
    ensure!(on_a.change_counter()? != before);
    let me = std::process::id();
    ensure!(b.process_exists(0, me, None, LIMIT)? && !b.process_exists(0, 1, None, LIMIT)?);
    ensure!(!b.process_exists(0, me, Some(0xAE00_0000_0000_2001), LIMIT)?);
    a.register(0xAE00_0000_0000_2001, LIMIT)?;
    ensure!(b.process_exists(0, me, Some(0xAE00_0000_0000_2001), LIMIT)?);

    let mut held = on_b.fetch_lock(&mut b, b"key", LIMIT)?;
    ensure!(held.value()? == b"from a");
    ensure!(held.header().dmaster == 1);
    // The other node cannot have it while it is locked here.
    let refused = on_a.fetch_lock(&mut a, b"key", Duration::from_millis(200));
    ensure!(refused.is_err_and(|e| e.is_timeout()), "a locked record went away");
    held.store(b"from b")?;
    drop(held);
    let mut held = on_a.fetch_lock(&mut a, b"key", LIMIT)?;
    ensure!(held.value()? == b"from b");
    held.delete(&mut a, LIMIT)?;
    ensure!(on_b.fetch_lock(&mut b, b"key", LIMIT)?.value()?.is_empty());

    let refused = on_a.fetch_lock(&mut a, b"", LIMIT);
    ensure!(matches!(refused, Err(Error::Usage(_))));
    Ok(())
}

#[test]
fn increments_from_two_nodes_are_all_there() -> Result<()> {
    const ROUNDS: u64 = 400;
    let Some(cluster) = cluster()? else { return Ok(()) };
    let count = |pnn: usize| -> Result<()> {
        cluster.netns().enter()?;
        let mut client = connect(&cluster, pnn)?;
        let mut db = Database::attach(&mut client, "count.tdb", DatabaseKind::Volatile, LIMIT)?;
        for _ in 0..ROUNDS {
            let mut record = db.fetch_lock(&mut client, b"counter", LIMIT)?;
            let old = record.value()?.try_into().map_or(0, u64::from_le_bytes);
            record.store(&(old + 1).to_le_bytes())?;
        }
        Ok(())
    };
    std::thread::scope(|scope| -> Result<()> {
        let others = [0, 1].map(|pnn| scope.spawn(move || count(pnn)));
        for other in others {
            other.join().expect("no panic")?;
        }
        Ok(())
    })?;
    let mut client = connect(&cluster, 0)?;
    let mut db = Database::attach(&mut client, "count.tdb", DatabaseKind::Volatile, LIMIT)?;
    let mut record = db.fetch_lock(&mut client, b"counter", LIMIT)?;
    let total = u64::from_le_bytes(record.value()?.try_into().context("a counter")?);
    ensure!(total == 2 * ROUNDS, "{total} of {} increments", 2 * ROUNDS);
    Ok(())
}

#[test]
fn traverse_and_read_only_copies() -> Result<()> {
    let Some(cluster) = cluster()? else { return Ok(()) };
    let (mut a, mut b) = (connect(&cluster, 0)?, connect(&cluster, 1)?);
    let mut on_a = Database::attach(&mut a, "many.tdb", DatabaseKind::Volatile, LIMIT)?;
    let mut on_b = Database::attach(&mut b, "many.tdb", DatabaseKind::Volatile, LIMIT)?;
    let mut want = Vec::new();
    for i in 0..500u32 {
        let key = format!("key {i}").into_bytes();
        let value = vec![b'x'; i as usize * 10 + 1];
        let (db, client) = if i % 2 == 0 { (&mut on_a, &mut a) } else { (&mut on_b, &mut b) };
        db.fetch_lock(client, &key, LIMIT)?.store(&value)?;
        want.push((key, i % 2, value.len()));
    }
    drop(on_a.fetch_lock(&mut a, b"without a value", LIMIT)?);
    let mut got = Vec::new();
    let visited = a.traverse(on_a.id(), false, LIMIT, LIMIT, |key, header, value| {
        got.push((key.to_vec(), header.dmaster, value.len()));
        true
    })?;
    ensure!(visited == 500, "{visited} records visited");
    got.sort();
    want.sort();
    ensure!(got == want, "the records differ");
    // the same for an event loop
    let mut traverse = a.start_traverse(on_a.id(), true, LIMIT)?;
    let (mut with_value, mut empty) = (0, 0);
    while !traverse.is_finished() {
        match traverse.try_next(&mut a)? {
            Some(record) if record.value().is_empty() => empty += 1,
            Some(record) => with_value += usize::from(record.key().starts_with(b"key ")),
            None if traverse.is_finished() => (),
            None => a.turn(LIMIT, "records")?,
        }
    }
    traverse.end(&mut a, LIMIT)?;
    ensure!((with_value, empty) == (500, 1), "{with_value} records, {empty} empty ones");
    let some = a.traverse(on_a.id(), false, LIMIT, LIMIT, |_, _, _| false)?;
    ensure!(some == 1, "a visitor that had enough got {some} records");

    drop((on_a, on_b));
    let options = AttachOptions { readonly: true, sticky: true, ..AttachOptions::default() };
    let mut on_a = Database::attach(&mut a, "many.tdb", options, LIMIT)?;
    let mut on_b = Database::attach(&mut b, "many.tdb", options, LIMIT)?;
    let map = b.control::<call::GetDbMap, _>(1, LIMIT, &())?;
    let flags = map.dbs.iter().find(|entry| entry.db_id == on_b.id()).map(|entry| entry.flags);
    ensure!(flags == Some(db::READONLY | db::STICKY), "{flags:?}");
    on_a.fetch_lock(&mut a, b"read me", LIMIT)?.store(b"value")?;
    ensure!(on_b.fetch_readonly(&mut b, b"read me", LIMIT)? == Some(b"value".to_vec()));
    let (header, _) = on_b.read_local(b"read me")?.context("a local copy")?;
    ensure!(header.dmaster == 0, "the record moved");
    ensure!(header.flags & record::RO_HAVE_READONLY != 0, "no delegation: {header:?}");
    ensure!(on_b.try_readonly(b"read me")? == Some(Some(b"value".to_vec())));
    on_a.fetch_lock(&mut a, b"read me", LIMIT)?.store(b"newer")?;
    let asked = on_b.start_fetch(&mut b, b"read me", true)?;
    while !b.is_answered(asked) {
        b.turn(LIMIT, "copy")?;
    }
    ensure!(b.take_call(asked).context("the answer")??.status == 0);
    ensure!(on_b.try_readonly(b"read me")? == Some(Some(b"newer".to_vec())));
    ensure!(on_b.fetch_readonly(&mut b, b"read me", LIMIT)? == Some(b"newer".to_vec()));
    Ok(())
}

#[test]
fn transactions_exclude_each_other() -> Result<()> {
    const ROUNDS: u64 = 15;
    let Some(cluster) = cluster()? else { return Ok(()) };
    let add = |pnn: usize| -> Result<()> {
        cluster.netns().enter()?;
        let mut client = connect(&cluster, pnn)?;
        let mut locks = LockTable::attach(&mut client, LIMIT)?;
        let mut db = Database::attach(&mut client, "sum.tdb", DatabaseKind::Persistent, LIMIT)?;
        for round in 0..ROUNDS {
            let kind = LockKind::Write;
            let mut t = Transaction::start(&mut client, &mut locks, &mut db, kind, LIMIT)?;
            let old = t.fetch(b"sum")?.as_slice().try_into().map_or(0, u64::from_le_bytes);
            t.store(b"sum", &(old + 1).to_le_bytes())?;
            t.store(format!("node {pnn}").as_bytes(), &round.to_le_bytes())?;
            t.commit(&mut client, LIMIT)?;
        }
        Ok(())
    };
    // more than could be written if each write looked at all before it; the last of a key counts
    {
        let mut client = connect(&cluster, 0)?;
        let mut locks = LockTable::attach(&mut client, LIMIT)?;
        let kind = DatabaseKind::Replicated;
        let mut db = Database::attach(&mut client, "big.tdb", kind, LIMIT)?;
        let mut t = Transaction::start(&mut client, &mut locks, &mut db, LockKind::Write, LIMIT)?;
        for key in 0..30_000u32 {
            t.store(&key.to_le_bytes(), b"first")?;
            t.store(&key.to_le_bytes(), b"last")?;
        }
        ensure!(t.fetch(&7u32.to_le_bytes())? == b"last");
        t.commit(&mut client, LIMIT)?;
        let (header, value) = db.read_local(&7u32.to_le_bytes())?.context("a record")?;
        ensure!(value == b"last" && header.rsn == 2, "{header:?}");
    }
    // One process has one handle for a file and one pid: the threads stand for two processes only
    // because they are on different nodes.
    std::thread::scope(|scope| -> Result<()> {
        let others = [0, 1].map(|pnn| scope.spawn(move || add(pnn)));
        for other in others {
            other.join().expect("no panic")?;
        }
        Ok(())
    })?;
    for pnn in [0, 1] {
        let mut client = connect(&cluster, pnn)?;
        let mut db = Database::attach(&mut client, "sum.tdb", DatabaseKind::Persistent, LIMIT)?;
        let (_, value) = db.read_local(b"sum")?.context("the sum")?;
        ensure!(value == (2 * ROUNDS).to_le_bytes(), "node {pnn} has {value:?}");
        let refused = db.fetch_lock(&mut client, b"sum", LIMIT).err();
        ensure!(matches!(refused, Some(Error::Usage(_))));
        let seqnum = db.seqnum(&mut client, LIMIT)?;
        ensure!(seqnum == 2 * ROUNDS, "sequence number {seqnum}");
    }
    Ok(())
}

/// A writer that takes the lock again as soon as it has let it go leaves others their turn.
#[test]
fn a_busy_writer_does_not_starve_others() -> Result<()> {
    const TURNS: u64 = 10;
    let Some(cluster) = cluster()? else { return Ok(()) };
    let kind = DatabaseKind::Replicated;
    let (started, done) = (AtomicBool::new(false), AtomicBool::new(false));
    let write = |pnn: usize, again: &dyn Fn(u64) -> bool| -> Result<u64> {
        cluster.netns().enter()?;
        let mut client = connect(&cluster, pnn)?;
        let mut locks = LockTable::attach(&mut client, LIMIT)?;
        let mut db = Database::attach(&mut client, "busy.tdb", kind, LIMIT)?;
        let mut round = 0;
        while again(round) {
            let write = LockKind::Write;
            let mut t = Transaction::start(&mut client, &mut locks, &mut db, write, LIMIT)?;
            t.store(format!("node {pnn}").as_bytes(), &round.to_le_bytes())?;
            t.commit(&mut client, LIMIT)?;
            round += 1;
        }
        Ok(round)
    };
    let taken = std::thread::scope(|scope| -> Result<u64> {
        let hog = scope.spawn(|| {
            let going_on = |round| {
                started.store(round > 0, Ordering::Relaxed);
                !done.load(Ordering::Relaxed)
            };
            write(0, &going_on)
        });
        while !started.load(Ordering::Relaxed) && !hog.is_finished() {
            std::thread::yield_now();
        }
        let turns = scope.spawn(|| write(1, &|round| round < TURNS)).join().expect("no panic");
        done.store(true, Ordering::Relaxed);
        let taken = hog.join().expect("no panic")?;
        turns.map(|_| taken)
    })?;
    ensure!(taken <= 30 * TURNS, "{taken} turns of the busy one for {TURNS} of the other");
    Ok(())
}

#[test]
fn locks_of_the_dead_are_free() -> Result<()> {
    let Some(cluster) = cluster()? else { return Ok(()) };
    let mut client = connect(&cluster, 0)?;
    let mut locks = LockTable::attach(&mut client, LIMIT)?;
    let me = ServerId { pid: std::process::id().into(), vnn: 0, ..ServerId::default() };
    let reader = ServerId { task_id: 1, ..me };
    let dead = ServerId { pid: 1, ..me };
    locks.lock(&mut client, b"lock", LockKind::Write, dead, LIMIT)?;
    locks.lock(&mut client, b"lock", LockKind::Read, me, LIMIT)?;
    locks.lock(&mut client, b"lock", LockKind::Read, reader, LIMIT)?;
    let again = locks.lock(&mut client, b"lock", LockKind::Read, me, LIMIT);
    ensure!(matches!(again, Err(Error::HeldAlready(_))), "{again:?}");
    let writer = ServerId { task_id: 2, ..me };
    let short = Deadline::after(Duration::from_millis(100));
    let busy = locks.lock(&mut client, b"lock", LockKind::Write, writer, short);
    ensure!(busy.is_err_and(|e| e.is_timeout()), "readers and a writer together");
    ensure!(locks.holders(&mut client, b"lock", LIMIT)?.len() == 2);
    locks.unlock(&mut client, b"lock", me, LIMIT)?;
    locks.unlock(&mut client, b"lock", reader, LIMIT)?;
    locks.lock(&mut client, b"lock", LockKind::Write, writer, LIMIT)?;
    locks.unlock(&mut client, b"lock", writer, LIMIT)?;
    ensure!(locks.holders(&mut client, b"lock", LIMIT)?.is_empty());
    Ok(())
}

#[test]
fn content_is_replaced_on_all_nodes_or_on_none() -> Result<()> {
    let Some(mut cluster) = cluster()? else { return Ok(()) };
    let (mut a, mut b) = (connect(&cluster, 0)?, connect(&cluster, 1)?);
    let kind = DatabaseKind::Persistent;
    let mut on_a = Database::attach(&mut a, "whole.tdb", kind, LIMIT)?;
    let mut on_b = Database::attach(&mut b, "whole.tdb", kind, LIMIT)?;
    let generation = a.control::<call::GetVnnMap, _>(0, LIMIT, &())?.generation;
    // more than may be under way without asking
    let value = vec![b'v'; 30_000];
    let mut buffer = RecBuffer::new(0);
    let mut replacement = Replacement::begin(&mut a, on_a.id(), generation, &[0, 1], LIMIT)?;
    ensure!(
        matches!(replacement.push(&buffer), Err(Error::Usage(_))),
        "pushed before it was begun"
    );
    replacement.fill()?;
    for i in 0..400u32 {
        let header = LtdbHeader { rsn: i.into(), ..LtdbHeader::default() };
        buffer.push_with_header(0, &i.to_le_bytes(), &header, &value);
        if buffer.count() == 20 {
            replacement.push(&buffer)?;
            buffer.clear();
        }
    }
    replacement.commit()?;
    let content = |db: &mut Database| -> Result<(u64, u64)> {
        let mut rsns = 0;
        let count = db.snapshot_local(|_, header, found| {
            rsns += header.rsn * u64::from(found == value);
            true
        })?;
        Ok((count, rsns))
    };
    let whole = (400, (0..400).sum());
    ensure!(content(&mut on_a)? == whole && content(&mut on_b)? == whole);

    // Given up half-way: a recovery brings the old content back and thaws.
    let id = on_a.id();
    let mut abandoned = Replacement::begin(&mut a, id, generation, &[0, 1], LIMIT)?;
    abandoned.fill()?;
    let mut other = RecBuffer::new(0);
    other.push_with_header(0, b"new", &LtdbHeader::default(), b"new");
    abandoned.push(&other)?;
    drop(abandoned);
    ensure!(content(&mut on_a)? == whole && content(&mut on_b)? == whole, "after giving up");
    cluster.settled(&[0, 1])?;
    let now = a.control::<call::GetVnnMap, _>(0, LIMIT, &())?.generation;
    ensure!(now != generation, "no recovery");

    // A node that does not take part has to be left out.
    let refused = Replacement::begin(&mut a, id, now, &[0, 1, 7], LIMIT).err();
    ensure!(matches!(refused, Some(Error::Refused { node: 7, .. })), "{refused:?}");
    ensure!(content(&mut on_b)? == whole);
    cluster.settled(&[0, 1])?;
    Ok(())
}

#[test]
fn a_child_process_cannot_use_what_it_inherits() -> Result<()> {
    let Some(cluster) = cluster()? else { return Ok(()) };
    let mut client = connect(&cluster, 0)?;
    let mut db = Database::attach(&mut client, "fork.tdb", DatabaseKind::Volatile, LIMIT)?;
    let mut held = db.fetch_lock(&mut client, b"key", LIMIT)?;
    held.store(b"parent")?;
    // SAFETY: the child only calls functions that notice that it is one, and leaves with _exit.
    let child = unsafe { libc::fork() };
    if child == 0 {
        let refused = matches!(client.dispatch(), Err(Error::Forked));
        drop(held);
        let refused = refused && matches!(db.try_local_lock(b"key"), Err(Error::Forked));
        drop(client);
        // SAFETY: ends the child without running anything of the parent's.
        unsafe { libc::_exit(i32::from(!refused)) };
    }
    let mut status = 0;
    // SAFETY: waits for the child started above.
    let waited = unsafe { libc::waitpid(child, &mut status, 0) };
    ensure!(waited == child && status == 0, "the child used the parent's handles");
    ensure!(held.value()? == b"parent");
    drop(held);
    ensure!(client.control_status::<call::GetPnn>(0, LIMIT, &())? == 0);
    let mut other = connect(&cluster, 1)?;
    let mut there = Database::attach(&mut other, "fork.tdb", DatabaseKind::Volatile, LIMIT)?;
    ensure!(there.fetch_lock(&mut other, b"key", LIMIT)?.value()? == b"parent");
    Ok(())
}
