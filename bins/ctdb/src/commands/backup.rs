// SPDX-License-Identifier: GPL-3.0-or-later
//! Backups, and what replaces the whole content of a database (spec/tool.md 10.9-10.12, 14).

use std::ffi::OsStr;
use std::fs::{File, OpenOptions};
use std::io::{self, Seek, SeekFrom};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::OpenOptionsExt;
use std::time::{SystemTime, UNIX_EPOCH};

use ctdb_wire::flags::node;
use ctdb_wire::types::{LtdbHeader, RecBuffer};
use ctdbcore::{DatabaseKind, Error, Replacement};

use crate::args::Args;
use crate::backup::{Fault, Header, Reader, Writer, VERSION};
use crate::commands::dump::Dump;
use crate::exit::{result_of, Done, Exit, FAILED};
use crate::options::Options;
use crate::progress::Progress;
use crate::tool::{FoundDb, Tool};
use crate::unfinished::Unfinished;
use crate::usage;

/// ENOMEM: what the C tool reports when it has no node to work on.
const NO_MEMORY: Exit = Exit::Code(12);

fn errno(error: &io::Error) -> Exit {
    Exit::Code(error.raw_os_error().unwrap_or(5))
}

/// `backupdb DB FILE`: the content of the local file.
pub(crate) fn backupdb(tool: &mut Tool<'_>, args: Args<'_>) -> Done {
    args.exactly(2)?;
    let found = tool.find_db(&args.text(0))?;
    let mut db = tool.attach(&found)?;
    let path = args.text(1);
    let opened = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(OsStr::from_bytes(args.bytes(1)));
    let file = opened.map_err(|e| {
        errln!("Failed to open file {path} for writing");
        errno(&e)
    })?;
    let header_failed = |e: io::Error| {
        errln!("Failed to write header to file {path}");
        errno(&e)
    };
    let records_failed = |e: io::Error| {
        errln!("Failed to write records to backup file");
        errno(&e)
    };
    let mut writer = Writer::begin(file, found.id, header_of(&found)).map_err(header_failed)?;
    let progress = Progress::records("backing up");
    let mut written = Ok(());
    let visit = |key: &[u8], header: LtdbHeader, value: &[u8]| {
        written = writer.push(key, &header, value);
        progress.at(writer.records());
        written.is_ok()
    };
    let visited = match found.is_volatile() {
        // Its records change one by one anyway, and its users should not have to wait.
        true => db.traverse_local(visit),
        false => db.snapshot_local(visit),
    };
    drop(progress);
    visited.map_err(|e| {
        errln!("{e}");
        errln!("Failed to collect records from DB {}", found.name);
        result_of(&e)
    })?;
    written.and_then(|()| writer.end_records()).map_err(records_failed)?;
    writer.finish().map_err(header_failed)?;
    outln!("Database backed up to {path}");
    Ok(())
}

fn header_of(found: &FoundDb) -> Header {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Header {
        time: i64::try_from(now.as_secs()).unwrap_or_default(),
        flags: found.flags.into(),
        name: found.name.clone(),
        ..Header::default()
    }
}

/// Opens a backup and reads its header.
fn open(args: Args<'_>) -> Result<(File, Header), Exit> {
    let path = args.text(0);
    let file = File::open(OsStr::from_bytes(args.bytes(0))).map_err(|e| {
        errln!("Failed to open file {path} for reading");
        errno(&e)
    })?;
    let read = seekable(file).map_err(Fault::Io).and_then(|file| {
        let header = Reader::new(&file)?.header;
        Ok((file, header))
    });
    read.map_err(|fault| {
        match &fault {
            Fault::Version(found) => {
                errln!("Wrong version of backup file, expected {VERSION}, got {found}");
            }
            Fault::Io(_) => errln!("Failed to read db header from file {path}"),
            fault => errln!("Failed to read db header from file {path}\n{path}: {fault}"),
        }
        Exit::Code(fault.errno())
    })
}

/// A pipe is read twice too: from a copy.
fn seekable(file: File) -> io::Result<File> {
    if file.metadata()?.is_file() {
        return Ok(file);
    }
    let (mut from, mut copy) = (file, tempfile::tempfile()?);
    io::copy(&mut from, &mut copy)?;
    copy.seek(SeekFrom::Start(0))?;
    Ok(copy)
}

/// A reader from the start of the file.
fn reader(mut file: &File) -> Result<Reader<&File>, Fault> {
    file.seek(SeekFrom::Start(0)).map_err(Fault::Io)?;
    Reader::new(file)
}

/// When a backup was made, as it is printed.
fn local_time(seconds: i64) -> String {
    let time = chrono::DateTime::from_timestamp(seconds, 0).unwrap_or_default();
    time.with_timezone(&chrono::Local).format("%Y/%m/%d %H:%M:%S").to_string()
}

fn records_unreadable(path: &str, fault: &Fault) -> Exit {
    errln!("Failed to read records");
    errln!("{path}: {fault}");
    Exit::Code(fault.errno())
}

/// `restoredb FILE [NAME]`
pub(crate) fn restoredb(tool: &mut Tool<'_>, args: Args<'_>) -> Done {
    args.between(1, 2)?;
    let (file, header) = open(args)?;
    let path = args.text(0);
    let name = args.get(1).map_or(header.name, |name| name.into_owned());
    outln!("Restoring database {name} from backup @ {}", local_time(header.time));
    // Everything that can be wrong with the file is found before anything is changed.
    let owners = check(&file).map_err(|fault| records_unreadable(&path, &fault))?;

    let flags = (header.flags & 0xFF) as u8;
    let db = tool.attach_with(&name, flags).inspect_err(|_| {
        errln!("Failed to attach to DB {name}");
    })?;
    let (nodes, generation) = ready(tool)?;
    let volatile = DatabaseKind::from_flags(flags) == DatabaseKind::Volatile;
    let filter = volatile.then(|| Filter {
        lost: owners.into_iter().filter(|owner| !nodes.contains(owner)).collect(),
        heir: tool.pnn(),
    });
    let limit = tool.limit();
    let _unfinished = Unfinished::begin();
    let begun = Replacement::begin(&mut tool.client, db.id(), generation, &nodes, limit);
    let restored = begun.and_then(|mut replacement| {
        replacement.fill()?;
        Ok(replacement)
    });
    let mut replacement = restored.map_err(|e| replacement_failed(&e))?;
    push_all(&file, &path, filter.as_ref(), &mut replacement)?;
    let committed = {
        let _progress = Progress::waiting("committing on all nodes");
        replacement.commit()
    };
    committed.map_err(|e| replacement_failed(&e))?;
    outln!("Database {name} restored");
    Ok(())
}

/// Checks a whole backup; gives the data masters of its records.
fn check(file: &File) -> Result<Vec<u32>, Fault> {
    let progress = Progress::bytes("checking ", file.metadata().map_or(0, |m| m.len()));
    let mut owners: Vec<u32> = Vec::new();
    reader(file)?.verify(|header, offset| {
        progress.at(offset);
        if !owners.contains(&header.dmaster) {
            owners.push(header.dmaster);
        }
    })?;
    Ok(owners)
}

/// `wipedb DB`
pub(crate) fn wipedb(tool: &mut Tool<'_>, args: Args<'_>) -> Done {
    args.exactly(1)?;
    let found = tool.find_db(&args.text(0))?;
    let db = tool.attach(&found)?;
    let (nodes, generation) = ready(tool)?;
    let limit = tool.limit();
    let _unfinished = Unfinished::begin();
    let wiped = Replacement::begin(&mut tool.client, db.id(), generation, &nodes, limit);
    wiped.and_then(Replacement::commit).map_err(|e| replacement_failed(&e))?;
    outln!("Database {} wiped", found.name);
    Ok(())
}

/// The active nodes, and the generation in which their databases can be replaced.
fn ready(tool: &mut Tool<'_>) -> Result<(Vec<u32>, u32), Exit> {
    let nodes = tool.nodes_without(node::INACTIVE).map_err(|_| {
        errln!("Failed to get nodemap");
        NO_MEMORY
    })?;
    if nodes.is_empty() {
        errln!("Memory allocation error");
        return Err(NO_MEMORY);
    }
    let generation = tool.generation().inspect_err(|_| {
        errln!("Failed to get current generation");
    })?;
    Ok((nodes, generation))
}

/// Pushes all records of a backup.
fn push_all(
    file: &File,
    path: &str,
    filter: Option<&Filter>,
    replacement: &mut Replacement<'_>,
) -> Done {
    let unreadable = |fault: Fault| records_unreadable(path, &fault);
    let progress = Progress::bytes("restoring", file.metadata().map_or(0, |m| m.len()));
    let mut reader = reader(file).map_err(unreadable)?;
    loop {
        progress.at(reader.offset());
        let Some(buffer) = reader.next_buffer().map_err(unreadable)? else { return Ok(()) };
        let pushed = match filter {
            None => replacement.push(&buffer),
            Some(filter) => replacement.push(&filter.apply(&buffer)),
        };
        pushed.map_err(|e| replacement_failed(&e))?;
    }
}

/// What becomes of the records of a volatile database. Those without a value are not restored: in an
/// empty database nothing needs to know that they were deleted, and C daemons fail at them. A record
/// of a node that is not there could be reached by nobody until the next recovery: another one gets it.
struct Filter {
    lost: Vec<u32>,
    heir: u32,
}

impl Filter {
    fn apply(&self, buffer: &RecBuffer<'_>) -> RecBuffer<'static> {
        let mut out = RecBuffer::new(buffer.db_id());
        for record in buffer.iter() {
            let Some((mut header, value)) = record.split_header() else { continue };
            if value.is_empty() {
                continue;
            }
            if self.lost.contains(&header.dmaster) {
                header.dmaster = self.heir;
            }
            out.push_with_header(0, record.key, &header, value);
        }
        out
    }
}

/// Says what little there is to say.
fn replacement_failed(error: &Error) -> Exit {
    match error {
        Error::PushIncomplete { node, received, sent } => {
            errln!("Node {node} received {received} of {sent} records");
            return FAILED;
        }
        Error::NoReply { node, source, .. } if matches!(**source, Error::Malformed { .. }) => {
            errln!("Invalid response from node {node}");
        }
        _ => (),
    }
    result_of(error)
}

/// `dumpdbbackup FILE`: without a daemon.
pub(crate) fn dumpdbbackup(options: &Options, args: Args<'_>) -> Done {
    if args.len() != 1 {
        // All of it, as it always was.
        usage::full();
        return Err(FAILED);
    }
    let (file, header) = open(args)?;
    let path = args.text(0);
    if !options.json {
        outln!("Dumping database {} from backup @ {}", header.name, local_time(header.time));
    }
    let mut reader = reader(&file).map_err(|fault| records_unreadable(&path, &fault))?;
    let mut dump = Dump::begin(options.json, &header.name, Some(header.time));
    loop {
        let buffer = match reader.next_buffer() {
            Ok(Some(buffer)) => buffer,
            Ok(None) => break,
            Err(fault @ Fault::Malformed(..)) => return Err(undumpable(&path, &fault)),
            Err(fault) => return Err(records_unreadable(&path, &fault)),
        };
        for record in buffer.iter() {
            let Some((header, value)) = record.split_header() else {
                return Err(undumpable(&path, &Fault::Malformed(0, "a record without a header")));
            };
            dump.record(record.key, &header, value);
        }
    }
    dump.end("record(s)");
    Ok(())
}

fn undumpable(path: &str, fault: &Fault) -> Exit {
    errln!("Failed to dump records");
    errln!("{path}: {fault}");
    Exit::Code(fault.errno())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn volatile_records_get_an_owner_and_have_a_value() {
        let mut buffer = RecBuffer::new(1);
        for (dmaster, value) in [(0, b"a".as_slice()), (7, b"b"), (0, b""), (2, b"c")] {
            let header = LtdbHeader { rsn: 3, dmaster, ..LtdbHeader::default() };
            buffer.push_with_header(0, b"key", &header, value);
        }
        let restored = Filter { lost: vec![7, 8], heir: 1 }.apply(&buffer);
        let got: Vec<(u32, Vec<u8>)> = restored
            .iter()
            .map(|record| record.split_header().map(|(h, v)| (h.dmaster, v.to_vec())).unwrap())
            .collect();
        assert_eq!(got, [(0, b"a".to_vec()), (1, b"b".to_vec()), (2, b"c".to_vec())]);
        assert_eq!(restored.count(), 3);
    }
}
