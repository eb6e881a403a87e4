// SPDX-License-Identifier: GPL-3.0-or-later
//! Our `ctdb` on databases and their records, beside Debian's: each reads what the other wrote, and what
//! fails leaves everything as it was.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{ensure, Context, Result};
use ctdb_tests::{run, skip, wait_for, Cluster, Needs, Node, Outcome, Side};

use super::cluster;

const LIMIT: Duration = Duration::from_secs(60);
const DEBIAN: &str = "/usr/bin/ctdb";
const HEADER: usize = 104;

/// Both tools on one node.
struct Tools<'n> {
    node: &'n Node,
    ours: PathBuf,
}

impl<'n> Tools<'n> {
    fn on(node: &'n Node) -> Result<Tools<'n>> {
        Ok(Tools { node, ours: Side::our_tool()? })
    }

    fn run(&self, program: &Path, args: &[&str]) -> Result<Outcome> {
        run(self.node.command(program).args(args), LIMIT)
    }

    /// Our tool, whatever it returns.
    fn tried(&self, args: &[&str]) -> Result<Outcome> {
        self.run(&self.ours, args)
    }

    /// Our tool, which has to succeed; what it printed.
    fn ours(&self, args: &[&str]) -> Result<String> {
        Ok(self.tried(args)?.ok()?.stdout)
    }

    fn debians(&self, args: &[&str]) -> Result<String> {
        Ok(self.run(DEBIAN.as_ref(), args)?.ok()?.stdout)
    }

    /// All records of a database, sorted.
    fn records(&self, db: &str) -> Result<Vec<String>> {
        let text = self.ours(&["catdb", db])?;
        let mut records: Vec<String> = text.split("\n\n").map(String::from).collect();
        records.pop();
        records.sort();
        Ok(records)
    }

    fn generation(&self) -> Result<String> {
        let status = self.ours(&["status"])?;
        let line = status.lines().find(|line| line.starts_with("Generation:"));
        Ok(line.context("a generation")?.to_string())
    }
}

/// A backup without its time and without what buffers say of their database, which the C tool makes up.
fn comparable(file: &Path) -> Result<Vec<u8>> {
    let mut bytes = fs::read(file)?;
    let word = |bytes: &[u8], at: usize| -> Result<u64> {
        Ok(u64::from_le_bytes(bytes[at..at + 8].try_into()?))
    };
    bytes[8..16].fill(0);
    let mut at = HEADER;
    for _ in 0..word(&bytes, 24)? {
        bytes[at..at + 4].fill(0);
        at += 16 + word(&bytes, at + 8)? as usize;
    }
    Ok(bytes)
}

/// Databases of each kind with records, some of them deleted, more than one buffer full.
fn fill(tools: &Tools<'_>, dir: &Path) -> Result<()> {
    for args in [
        &["attach", "p.tdb", "persistent"][..],
        &["attach", "r.tdb", "replicated"],
        &["attach", "v.tdb"],
        &["pstore", "p.tdb", "gone", "value"],
        &["pdelete", "p.tdb", "gone"],
        &["pstore", "r.tdb", "0x006b22ff", "0x0001"],
        &["writekey", "v.tdb", "key", "value"],
        &["writekey", "v.tdb", "gone", "value"],
        &["deletekey", "v.tdb", "gone"],
    ] {
        tools.ours(args)?;
    }
    let lines: String =
        (0..60).map(|i| format!("\"key{i}\" \"{}\"\n", "v".repeat(i * 100))).collect();
    fs::write(dir.join("lines"), lines)?;
    let lines = dir.join("lines");
    tools.ours(&["ptrans", "p.tdb", &lines.to_string_lossy()])?;
    Ok(())
}

#[test]
fn backups_are_exchanged() -> Result<()> {
    if skip(Needs::DebianCtdb) {
        return Ok(());
    }
    let cluster = cluster(2)?;
    let [first, second] = [Tools::on(&cluster.nodes[0])?, Tools::on(&cluster.nodes[1])?];
    let dir = cluster.path();
    fill(&first, dir)?;
    for db in ["p.tdb", "r.tdb", "v.tdb"] {
        let [ours, theirs] = ["ours", "debians"].map(|who| dir.join(format!("{db}.{who}")));
        let [our_text, their_text] = [&ours, &theirs].map(|path| path.to_string_lossy());
        let said = first.ours(&["backupdb", db, &our_text])?;
        ensure!(said == format!("Database backed up to {our_text}\n"));
        first.debians(&["backupdb", db, &their_text])?;
        ensure!(comparable(&ours)? == comparable(&theirs)?, "the backups of {db} differ");
        for backup in [&our_text, &their_text] {
            let dumps =
                [first.ours(&["dumpdbbackup", backup])?, first.debians(&["dumpdbbackup", backup])?];
            ensure!(dumps[0] == dumps[1], "{}", dumps.join("\n"));
        }
        // ours with their tool, theirs with ours; the volatile one has a record that the C daemon refuses
        let before = first.records(db)?;
        let restored = first.ours(&["restoredb", &their_text])?;
        ensure!(restored.ends_with(&format!("\nDatabase {db} restored\n")), "{restored}");
        same_records(&before, &second.records(db)?)?;
        if db != "v.tdb" {
            let copy = format!("copy-of-{db}");
            first.debians(&["restoredb", &our_text, &copy])?;
            same_records(&before, &second.records(&copy)?)?;
        }
    }
    ensure!(first.ours(&["getdbseqnum", "p.tdb"])? == "0x3\n");
    ensure!(second.ours(&["readkey", "v.tdb", "key"])? == "Data: size:5 ptr:[value]\n");
    ensure!(second.ours(&["pfetch", "p.tdb", "key3"])?.trim() == "v".repeat(300));

    // An older and longer file becomes exactly this backup.
    let file = dir.join("long");
    fs::write(&file, vec![7; 1 << 20])?;
    first.ours(&["backupdb", "r.tdb", &file.to_string_lossy()])?;
    ensure!(comparable(&file)? == comparable(&dir.join("r.tdb.ours"))?);
    Ok(())
}

/// The same keys and values. Owners and sequence numbers of volatile records may be others.
fn same_records(want: &[String], got: &[String]) -> Result<()> {
    let content = |records: &[String]| -> Vec<Vec<String>> {
        let wanted = |line: &&str| line.starts_with("key(") || line.starts_with("data(");
        let content =
            |record: &String| record.lines().filter(wanted).map(String::from).collect::<Vec<_>>();
        records.iter().map(content).filter(|c| !c.iter().any(|l| l == "data(0) = \"\"")).collect()
    };
    ensure!(content(want) == content(got), "wanted {want:#?}\ngot {got:#?}");
    Ok(())
}

#[test]
fn damaged_backups_change_nothing() -> Result<()> {
    if skip(Needs::DebianCtdb) {
        return Ok(());
    }
    let cluster = cluster(2)?;
    let tools = Tools::on(&cluster.nodes[0])?;
    let dir = cluster.path();
    fill(&tools, dir)?;
    let good = dir.join("good");
    tools.ours(&["backupdb", "p.tdb", &good.to_string_lossy()])?;
    let bytes = fs::read(&good)?;
    let (records, generation) = (tools.records("p.tdb")?, tools.generation()?);
    let with = |at: usize, value: u8| {
        let mut damaged = bytes.clone();
        damaged[at] = value;
        damaged
    };
    let header = "Failed to read db header from file BAD\nBAD: ";
    let content = "Failed to read records\nBAD: ";
    let version = "Wrong version of backup file, expected 3, got ";
    let cases: [(Vec<u8>, i32, String); 8] = [
        (vec![], 22, format!("{version}0\n")),
        (b"not a backup at all".to_vec(), 22, format!("{version}7017206770925072238\n")),
        (with(0, 4), 22, format!("{version}4\n")),
        (bytes[..HEADER - 1].to_vec(), 5, format!("{header}offset 103: the file ends here\n")),
        (bytes[..HEADER].to_vec(), 5, format!("{content}offset 104: the file ends here\n")),
        (
            bytes[..bytes.len() - 1].to_vec(),
            5,
            format!("{content}offset {}: the file ends here\n", bytes.len() - 1),
        ),
        (
            with(32, bytes[32] ^ 1),
            90,
            format!("{content}offset 32: not the number of records that there are\n"),
        ),
        (with(123, 0x7F), 90, format!("{content}offset 120: RecData.length\n")),
    ];
    let bad = dir.join("bad");
    let bad_text = bad.to_string_lossy();
    for (bytes, code, complaint) in cases {
        fs::write(&bad, bytes)?;
        let got = tools.tried(&["restoredb", &bad_text])?;
        ensure!(got.code == Some(code), "want {code} and {complaint}: {got}");
        ensure!(got.stderr == complaint.replace("BAD", &bad_text), "want {complaint}: {got}");
        ensure!(!got.stdout.contains("restored"), "{got}");
    }
    let pipe = format!("cat '{}' | '{}' restoredb /dev/stdin", bad_text, tools.ours.display());
    let got = tools.run("/bin/sh".as_ref(), &["-c", &pipe])?;
    ensure!(got.code == Some(90), "a pipe is checked too: {got}");
    ensure!(tools.records("p.tdb")? == records, "the content changed");
    ensure!(tools.generation()? == generation, "there was a recovery");
    let pipe =
        format!("cat '{}' | '{}' restoredb /dev/stdin", good.display(), tools.ours.display());
    tools.run("/bin/sh".as_ref(), &["-c", &pipe])?.ok()?;
    ensure!(tools.records("p.tdb")? == records);
    Ok(())
}

#[test]
fn a_wipe_is_whole_or_undone() -> Result<()> {
    if skip(Needs::DebianCtdb) {
        return Ok(());
    }
    let mut cluster = cluster(2)?;
    fill(&Tools::on(&cluster.nodes[0])?, cluster.path())?;
    let whole = Tools::on(&cluster.nodes[0])?.records("p.tdb")?;
    for node in &cluster.nodes {
        // recoveries one after the other
        Tools::on(node)?.ours(&["setvar", "RerecoveryTimeout", "0"])?;
    }
    for (how, code, said) in [
        (How::ControlTimeout, 110, ""),
        (How::RunTimeout, 1, "Maximum runtime exceeded - exiting\n"),
        (How::Interrupt, 130, ""),
    ] {
        let got = with_a_silent_node(&mut cluster, how)?;
        ensure!(got.code == Some(code) && got.stderr == said && got.stdout.is_empty(), "{got}");
        cluster.settled(&[0, 1])?;
        for node in &cluster.nodes {
            same_records(&whole, &Tools::on(node)?.records("p.tdb")?)?;
        }
    }
    let [first, second] = [Tools::on(&cluster.nodes[0])?, Tools::on(&cluster.nodes[1])?];
    second.ours(&["pstore", "p.tdb", "after", "it"])?;

    for db in ["p.tdb", "v.tdb"] {
        ensure!(first.ours(&["wipedb", db])? == format!("Database {db} wiped\n"));
        for tools in [&first, &second] {
            ensure!(tools.ours(&["catdb", db])? == "Dumped 0 records\n");
            ensure!(tools.ours(&["cattdb", db])? == "Dumped 0 record(s)\n");
        }
    }
    second.ours(&["writekey", "v.tdb", "key", "new"])?;
    ensure!(first.ours(&["readkey", "v.tdb", "key"])? == "Data: size:3 ptr:[new]\n");
    second.ours(&["pstore", "p.tdb", "key", "new"])?;
    ensure!(first.ours(&["pfetch", "p.tdb", "key"])? == "new\n");
    ensure!(first.ours(&["getdbseqnum", "p.tdb"])? == "0x1\n");
    Ok(())
}

/// What ends a wipe that cannot be completed.
#[derive(Clone, Copy)]
enum How {
    ControlTimeout,
    RunTimeout,
    Interrupt,
}

/// A wipe by our tool on the leader while the other node does not answer.
fn with_a_silent_node(cluster: &mut Cluster, how: How) -> Result<Outcome> {
    let leader: usize = cluster.settled(&[0, 1])?.leader.parse()?;
    let tools = Tools::on(&cluster.nodes[leader])?;
    let silent = cluster.nodes[1 - leader].ctdbd.as_ref().context("the other daemon")?.pid();
    let signal = |name: &str| {
        run(std::process::Command::new("kill").args([name, &silent.to_string()]), LIMIT)
    };
    let ours = tools.ours.to_string_lossy();
    let (program, args): (&Path, Vec<&str>) = match how {
        How::ControlTimeout => (&tools.ours, vec!["-t", "1", "wipedb", "p.tdb"]),
        How::RunTimeout => (&tools.ours, vec!["-T", "1", "wipedb", "p.tdb"]),
        How::Interrupt => (
            "/usr/bin/timeout".as_ref(),
            vec!["--preserve-status", "-s", "INT", "0.5", &ours, "wipedb", "p.tdb"],
        ),
    };
    signal("-STOP")?.ok()?;
    let got = tools.run(program, &args);
    signal("-CONT")?.ok()?;
    got
}

#[test]
fn transactions_of_both_tools_exclude_each_other() -> Result<()> {
    if skip(Needs::DebianCtdb) {
        return Ok(());
    }
    const EACH: usize = 8;
    let cluster = cluster(2)?;
    let first = Tools::on(&cluster.nodes[0])?;
    first.ours(&["attach", "p.tdb", "persistent"])?;
    // four writers at once, two on each node, two of each tool
    std::thread::scope(|scope| -> Result<()> {
        let writers = [(0, true), (0, false), (1, true), (1, false)].map(|(pnn, is_ours)| {
            let cluster = &cluster;
            scope.spawn(move || -> Result<()> {
                cluster.netns().enter()?;
                let tools = Tools::on(&cluster.nodes[pnn])?;
                for round in 0..EACH {
                    let key = format!("{pnn} {is_ours} {round}");
                    let args = ["pstore", "p.tdb", &key, "value"];
                    match is_ours {
                        true => tools.ours(&args)?,
                        false => tools.debians(&args)?,
                    };
                }
                Ok(())
            })
        });
        writers.into_iter().try_for_each(|writer| writer.join().expect("no panic"))
    })?;
    for node in &cluster.nodes {
        let tools = Tools::on(node)?;
        let seqnum = tools.ours(&["getdbseqnum", "p.tdb"])?;
        ensure!(seqnum == format!("0x{:x}\n", 4 * EACH), "sequence number {seqnum}");
        let records = tools.ours(&["cattdb", "p.tdb"])?;
        ensure!(records.ends_with(&format!("Dumped {} record(s)\n", 4 * EACH + 1)), "{records}");
    }
    let input = format!(
        "printf '\"a\" \"b\"\\n\"0 true 0\" \"\"\\nnonsense\\n' | '{}' ptrans p.tdb",
        first.ours.display()
    );
    let got = first.run("/bin/sh".as_ref(), &["-c", &input])?.ok()?;
    ensure!(got.stderr == "Unsupported input format in nonsense\n\n", "{got}");
    ensure!(first.ours(&["pfetch", "p.tdb", "a"])? == "b\n");
    ensure!(first.ours(&["pfetch", "p.tdb", "0 true 0"])? == "\n");
    ensure!(first.ours(&["getdbseqnum", "p.tdb"])? == format!("0x{:x}\n", 4 * EACH + 1));
    Ok(())
}

#[test]
fn files_and_pushed_records() -> Result<()> {
    if skip(Needs::DebianCtdb) {
        return Ok(());
    }
    let cluster = cluster(2)?;
    let [first, second] = [Tools::on(&cluster.nodes[0])?, Tools::on(&cluster.nodes[1])?];
    first.ours(&["attach", "p.tdb", "persistent"])?;
    first.ours(&["attach", "v.tdb"])?;
    first.ours(&["pstore", "p.tdb", "key", "value"])?;
    let file = cluster.path().join("copy.tdb");
    fs::copy(cluster.nodes[0].persistent().join("p.tdb.0"), &file)?;
    let file = file.to_string_lossy();
    first.ours(&["tstore", &file, "key", "0x6e6577", "7", "1", "0x10000"])?;
    let shown = "dmaster: 1\nrsn: 7\nflags: 0x00010000 MIGRATED_WITH_DATA\ndata(3) = \"new\"\n";
    let out = cluster.path().join("out");
    ensure!(first.ours(&["tfetch", &file, "key", &out.to_string_lossy()])? == shown);
    ensure!(first.debians(&["tfetch", &file, "key"])? == shown);
    ensure!(fs::read(&out)?.ends_with(b"new") && fs::read(&out)?.len() == 27);
    first.debians(&["tstore", &file, "key", "theirs"])?;
    ensure!(first.ours(&["tfetch", &file, "key"])?.ends_with("data(6) = \"theirs\"\n"));

    first.ours(&["pushrecord", "v.tdb", "pushed", "value"])?;
    let data = "data(5) = \"value\"";
    ensure!(first.ours(&["cattdb", "v.tdb"])?.contains(data));
    if !cluster.options.side.is_debian() {
        // a control of 4.25
        let copy = wait_for("the copy on the other node", LIMIT, || {
            let text = second.ours(&["cattdb", "v.tdb"])?;
            Ok(text.contains(data).then_some(text))
        })?;
        ensure!(copy.contains("dmaster: 0\n") && copy.contains("MIGRATED_WITH_DATA"), "{copy}");
    }
    ensure!(second.ours(&["readkey", "v.tdb", "pushed"])? == "Data: size:5 ptr:[value]\n");
    Ok(())
}

/// Detaching a database with read-only copies ends C daemons on every node (spec/tool.md 10.5): ours go on.
#[test]
fn a_database_with_read_only_copies_is_detached() -> Result<()> {
    if skip(Needs::DebianCtdb) || Side::from_env()?.is_debian() {
        return Ok(());
    }
    let mut cluster = cluster(2)?;
    {
        let [first, second] = [Tools::on(&cluster.nodes[0])?, Tools::on(&cluster.nodes[1])?];
        first.ours(&["attach", "copies.tdb", "readonly"])?;
        first.ours(&["writekey", "copies.tdb", "key", "value"])?;
        let read = second.ours(&["readkey", "copies.tdb", "key", "readonly"])?;
        ensure!(read == "Data: size:5 ptr:[value]\n", "{read}");
        let active = first.tried(&["detach", "copies.tdb"])?;
        ensure!(active.code == Some(1), "{active}");
        for tools in [&first, &second] {
            tools.ours(&["setvar", "AllowClientDBAttach", "0"])?;
        }
        first.ours(&["detach", "copies.tdb"])?;
        for tools in [&first, &second] {
            wait_for("the database is gone", LIMIT, || {
                let map = tools.ours(&["getdbmap"])?;
                Ok((!map.contains("copies.tdb")).then_some(()))
            })?;
        }
    }
    cluster.settled(&[0, 1])?;
    Ok(())
}

/// The cluster stays as it is when a database is named that there is not.
#[test]
fn unknown_databases_and_bad_arguments() -> Result<()> {
    if skip(Needs::DebianCtdb) {
        return Ok(());
    }
    let cluster = cluster(1)?;
    let tools = Tools::on(&cluster.nodes[0])?;
    tools.ours(&["attach", "p.tdb", "persistent"])?;
    tools.ours(&["attach", "v.tdb"])?;
    let lines = [
        "backupdb none x",
        "backupdb p.tdb /none/x",
        "backupdb p.tdb /dev/full",
        "backupdb p.tdb /",
        "backupdb v.tdb /dev/null",
        "wipedb none",
        "wipedb 0x1",
        "restoredb /none",
        "restoredb /",
        "dumpdbbackup /none",
        "dumpdbbackup /dev/null",
        "-n 0 dumpdbbackup x",
        "-n 1 wipedb p.tdb",
        "ptrans none /none",
        "ptrans v.tdb /none",
        "ptrans p.tdb /none",
        "ptrans p.tdb /dev/null",
        "tfetch /none k",
        "tfetch /etc/passwd k",
        "tfetch / k",
        "tstore /none k v",
        "pfetch none 0x1",
        "pfetch v.tdb 0x1",
        "pfetch p.tdb 0x1",
        "pfetch p.tdb 0xyy",
        "pstore p.tdb k 0x1",
        "pdelete p.tdb 0x1",
        "readkey p.tdb 0x1",
        "readkey v.tdb 0x1",
        "deletekey v.tdb 0x1",
        "writekey v.tdb 0x1 0x1",
        "writekey v.tdb k 0x1",
        "attach p.tdb replicated",
        "getdbseqnum none",
        "setdbreadonly none",
        "setdbsticky p.tdb",
        "detach v.tdb",
        "detach none",
        "-t 0 catdb v.tdb",
        "-t 0 getdbmap",
        "-t 0 backupdb p.tdb x",
        "-n 5 getdbmap",
    ];
    let mut differences = Vec::new();
    for line in lines {
        let args: Vec<&str> = line.split(' ').collect();
        let want = tools.run(DEBIAN.as_ref(), &args)?;
        let got = tools.tried(&args)?;
        if (&want.stdout, &want.stderr, want.code) != (&got.stdout, &got.stderr, got.code) {
            differences.push(format!("ctdb {line}\nDebian's: {want}\nours: {got}"));
        }
    }
    ensure!(differences.is_empty(), "{}", differences.join("\n\n"));
    Ok(())
}
