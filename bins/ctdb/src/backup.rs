// SPDX-License-Identifier: GPL-3.0-or-later
//! The file of a database backup (spec/tool.md 14), little-endian:
//!
//! ```text
//!   0    8  version: 3
//!   8    8  time of the backup
//!  16    8  flags of the database
//!  24    8  number of buffers
//!  32    8  number of records
//!  40   64  name of the database
//! 104       buffers: id of the database 4 (not to be trusted), number of records 4, their size 8, records
//! ```
//!
//! What is behind the last buffer does not belong to the backup.

use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Seek, SeekFrom, Write};

use ctdb_wire::frame::DEFAULT_MAX_PACKET;
use ctdb_wire::types::{LtdbHeader, RecBuffer};
use ctdb_wire::{Decode, Encode};

/// The one version there is.
pub(crate) const VERSION: u64 = 3;
const HEADER_SIZE: usize = 104;
const NAME_AT: usize = 40;
/// In front of the records of a buffer, where a message has only the first two fields.
const BUFFER_HEAD: usize = 16;
const MESSAGE_HEAD: usize = 8;
/// A buffer of this size, as a message, is written out.
const FULL: usize = 100_000;

/// What is known of a backup.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Header {
    /// Seconds since 1970.
    pub time: i64,
    /// Flags of the database.
    pub flags: u64,
    /// Number of buffers.
    pub buffers: u64,
    /// Number of records.
    pub records: u64,
    /// Name of the database.
    pub name: String,
}

/// A file that is no backup, or a piece of one.
#[derive(Debug)]
pub(crate) enum Fault {
    /// The system's.
    Io(io::Error),
    /// Another version, or another kind of file.
    Version(u64),
    /// It ends before this offset.
    Short(u64),
    /// At this offset is something impossible.
    Malformed(u64, &'static str),
}

impl Fault {
    /// The errno of it.
    pub(crate) fn errno(&self) -> i32 {
        match self {
            Fault::Io(e) => e.raw_os_error().unwrap_or(EIO),
            Fault::Version(_) => EINVAL,
            Fault::Short(_) => EIO,
            Fault::Malformed(..) => EMSGSIZE,
        }
    }
}

const EIO: i32 = 5;
const EINVAL: i32 = 22;
const EMSGSIZE: i32 = 90;

impl std::fmt::Display for Fault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Fault::Io(e) => write!(f, "{e}"),
            Fault::Version(version) => write!(f, "version {version}"),
            Fault::Short(offset) => write!(f, "offset {offset}: the file ends here"),
            Fault::Malformed(offset, what) => write!(f, "offset {offset}: {what}"),
        }
    }
}

impl Header {
    fn decode(bytes: &[u8; HEADER_SIZE]) -> Result<Header, Fault> {
        let word = |at: usize| -> u64 {
            let field = bytes.get(at..).and_then(|rest| rest.first_chunk());
            u64::from_le_bytes(field.copied().unwrap_or_default())
        };
        let field = bytes.get(NAME_AT..).unwrap_or_default();
        let name = field.split(|byte| *byte == 0).next().unwrap_or_default();
        let name =
            std::str::from_utf8(name).ok().filter(|n| !n.is_empty() && n.len() < field.len());
        Ok(Header {
            time: word(8) as i64,
            flags: word(16),
            buffers: word(24),
            records: word(32),
            name: name
                .ok_or(Fault::Malformed(NAME_AT as u64, "no name of a database"))?
                .to_string(),
        })
    }

    fn encode(&self) -> [u8; HEADER_SIZE] {
        let words = [VERSION, self.time as u64, self.flags, self.buffers, self.records];
        let words = words.into_iter().flat_map(u64::to_le_bytes);
        // the last byte stays zero
        let name = self.name.bytes().take(HEADER_SIZE - NAME_AT - 1);
        let mut bytes = [0; HEADER_SIZE];
        bytes.iter_mut().zip(words.chain(name)).for_each(|(to, from)| *to = from);
        bytes
    }
}

/// A backup that is read.
pub(crate) struct Reader<R> {
    input: BufReader<R>,
    /// What the file says of itself.
    pub header: Header,
    left: u64,
    offset: u64,
    /// The present buffer, as a message.
    message: Vec<u8>,
}

impl<R: Read> Reader<R> {
    /// Reads and checks the header.
    pub(crate) fn new(input: R) -> Result<Reader<R>, Fault> {
        let mut input = BufReader::with_capacity(1 << 16, input);
        let mut bytes = [0; HEADER_SIZE];
        let found = read_some(&mut input, &mut bytes)?;
        let version = bytes.first_chunk().copied().map_or(0, u64::from_le_bytes);
        if version != VERSION {
            return Err(Fault::Version(version));
        }
        if found < HEADER_SIZE {
            return Err(Fault::Short(found as u64));
        }
        let header = Header::decode(&bytes)?;
        let left = header.buffers;
        Ok(Reader { input, header, left, offset: HEADER_SIZE as u64, message: Vec::new() })
    }

    /// How much has been read.
    pub(crate) fn offset(&self) -> u64 {
        self.offset
    }

    /// The next buffer.
    pub(crate) fn next_buffer(&mut self) -> Result<Option<RecBuffer<'_>>, Fault> {
        if self.left == 0 {
            return Ok(None);
        }
        self.left -= 1;
        let at = self.offset;
        let mut head = [0; BUFFER_HEAD];
        let found = read_some(&mut self.input, &mut head)?;
        if found < BUFFER_HEAD {
            return Err(Fault::Short(at + found as u64));
        }
        let (start, size) = head.split_at(MESSAGE_HEAD);
        let size = size.first_chunk().copied().map_or(0, u64::from_le_bytes);
        if size > DEFAULT_MAX_PACKET as u64 {
            return Err(Fault::Malformed(at + MESSAGE_HEAD as u64, "absurd size of a buffer"));
        }
        self.message.clear();
        self.message.extend_from_slice(start);
        // grows with what is there, not with what is claimed
        let read =
            (&mut self.input).take(size).read_to_end(&mut self.message).map_err(Fault::Io)?;
        self.offset += (BUFFER_HEAD + read) as u64;
        if (read as u64) < size {
            return Err(Fault::Short(self.offset));
        }
        RecBuffer::from_prefix(&self.message).map(Some).map_err(|e| {
            Fault::Malformed(at + (BUFFER_HEAD - MESSAGE_HEAD + e.offset) as u64, e.what)
        })
    }

    /// Reads everything and checks it: what a restore must know before it wipes a database. `see` gets
    /// every record's header.
    pub(crate) fn verify(&mut self, mut see: impl FnMut(&LtdbHeader, u64)) -> Result<(), Fault> {
        let mut records = 0u64;
        loop {
            let at = self.offset;
            let Some(buffer) = self.next_buffer()? else { break };
            for record in buffer.iter() {
                let (header, _) = record
                    .split_header()
                    .ok_or(Fault::Malformed(at, "a record without a header"))?;
                see(&header, at);
            }
            records += u64::from(buffer.count());
            let used = buffer.size();
            if used != self.message.len() {
                return Err(Fault::Malformed(at, "more in a buffer than its records"));
            }
        }
        if records != self.header.records {
            return Err(Fault::Malformed(32, "not the number of records that there are"));
        }
        Ok(())
    }
}

/// Fills `bytes` as far as there is something.
fn read_some(input: &mut impl Read, bytes: &mut [u8]) -> Result<usize, Fault> {
    let mut found = 0;
    while let Some(rest) = bytes.get_mut(found..).filter(|rest| !rest.is_empty()) {
        match input.read(rest) {
            Ok(0) => break,
            Ok(n) => found += n,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => (),
            Err(e) => return Err(Fault::Io(e)),
        }
    }
    Ok(found)
}

/// A backup that is written.
pub(crate) struct Writer {
    file: BufWriter<File>,
    header: Header,
    buffer: RecBuffer<'static>,
}

impl Writer {
    /// Begins with a header that no reader takes for a backup.
    pub(crate) fn begin(mut file: File, db_id: u32, header: Header) -> io::Result<Writer> {
        file.write_all(&[0; HEADER_SIZE])?;
        let file = BufWriter::with_capacity(1 << 16, file);
        Ok(Writer { file, header, buffer: RecBuffer::new(db_id) })
    }

    /// Adds a record.
    pub(crate) fn push(&mut self, key: &[u8], header: &LtdbHeader, value: &[u8]) -> io::Result<()> {
        self.buffer.push_with_header(0, key, header, value);
        self.header.records += 1;
        if self.buffer.size() >= FULL {
            self.write_buffer()?;
        }
        Ok(())
    }

    /// Number of records so far.
    pub(crate) fn records(&self) -> u64 {
        self.header.records
    }

    fn write_buffer(&mut self) -> io::Result<()> {
        let bytes = self.buffer.to_vec();
        let (start, records) = bytes.split_at(MESSAGE_HEAD.min(bytes.len()));
        self.file.write_all(start)?;
        self.file.write_all(&(records.len() as u64).to_le_bytes())?;
        self.file.write_all(records)?;
        self.header.buffers += 1;
        self.buffer.clear();
        Ok(())
    }

    /// Writes what is left of the records.
    pub(crate) fn end_records(&mut self) -> io::Result<()> {
        if self.buffer.count() > 0 {
            self.write_buffer()?;
        }
        self.file.flush()
    }

    /// Makes it a backup: cuts off what an older and longer one left, then writes the header. In a file
    /// all of it is on the disk after that.
    pub(crate) fn finish(self) -> io::Result<()> {
        let header = self.header.encode();
        let mut file = self.file.into_inner().map_err(|e| e.into_error())?;
        let is_file = file.metadata()?.is_file();
        if is_file {
            let end = file.stream_position()?;
            file.set_len(end)?;
            file.sync_all()?;
        }
        file.seek(SeekFrom::Start(0))?;
        file.write_all(&header)?;
        if is_file {
            file.sync_all()?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header() -> LtdbHeader {
        LtdbHeader { rsn: 7, dmaster: 1, reserved1: 0, flags: 0x0001_0000 }
    }

    /// A backup of records with values of these sizes.
    fn backup(sizes: &[usize]) -> Vec<u8> {
        let file = tempfile::tempfile().unwrap();
        let mut kept = file.try_clone().unwrap();
        let about = Header { time: 5, flags: 1, name: "p.tdb".into(), ..Header::default() };
        let mut writer = Writer::begin(file, 0x1234, about).unwrap();
        for (i, size) in sizes.iter().enumerate() {
            writer.push(format!("key{i}").as_bytes(), &header(), &vec![b'v'; *size]).unwrap();
        }
        writer.end_records().unwrap();
        writer.finish().unwrap();
        let mut bytes = Vec::new();
        kept.seek(SeekFrom::Start(0)).unwrap();
        kept.read_to_end(&mut bytes).unwrap();
        bytes
    }

    fn fault(bytes: &[u8]) -> Option<Fault> {
        Reader::new(bytes).and_then(|mut r| r.verify(|_, _| ())).err()
    }

    #[test]
    fn layout_is_the_documented_one() {
        let bytes = backup(&[4]);
        let mut want = vec![0; 104];
        for (at, value) in [(0, 3), (8, 5), (16, 1), (24, 1), (32, 1)] {
            want[at] = value;
        }
        want[40..45].copy_from_slice(b"p.tdb");
        want.extend([0x34, 0x12, 0, 0, 1, 0, 0, 0, 48, 0, 0, 0, 0, 0, 0, 0]);
        want.extend([48, 0, 0, 0, 0, 0, 0, 0, 4, 0, 0, 0, 28, 0, 0, 0]);
        want.extend(b"key0");
        want.extend([7, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0]);
        want.extend(b"vvvv");
        assert_eq!(bytes, want);
    }

    #[test]
    fn buffers_end_with_the_record_that_fills_them() {
        // head 8, and 44 in front of each value with a key of four bytes
        for (sizes, buffers) in [
            (&[100_000 - 8 - 44][..], 1),
            (&[100_000 - 9 - 44, 1], 1),
            (&[100_000 - 8 - 44, 1], 2),
            (&[300_000, 300_000], 2),
            (&[], 0),
        ] {
            let bytes = backup(sizes);
            let mut reader = Reader::new(bytes.as_slice()).unwrap();
            assert_eq!(reader.header.buffers, buffers, "{sizes:?}");
            let mut seen = 0;
            reader.verify(|found, _| seen += usize::from(*found == header())).unwrap();
            assert_eq!(seen, sizes.len());
        }
    }

    #[test]
    fn every_truncation_is_found() {
        let bytes = backup(&[4, 0, 100_000, 3]);
        assert!(fault(&bytes).is_none());
        assert!(fault(&[bytes.as_slice(), b"an older and longer backup"].concat()).is_none());
        for len in (0..200).chain(100_000..100_300).chain(bytes.len() - 40..bytes.len()) {
            assert!(fault(&bytes[..len]).is_some(), "{len} of {} bytes", bytes.len());
        }
    }

    #[test]
    fn damage_is_found_and_placed() {
        let bytes = backup(&[4, 4]);
        for (at, value, want) in [
            (0, 4, "version 4"),
            (24, 2, "offset 216: the file ends here"),
            (32, 3, "offset 32: not the number of records that there are"),
            (40, 0, "offset 40: no name of a database"),
            (108, 1, "offset 104: more in a buffer than its records"),
            (119, 1, "offset 112: absurd size of a buffer"),
            (112, 200, "offset 216: the file ends here"),
        ] {
            let mut damaged = bytes.clone();
            damaged[at] = value;
            assert_eq!(fault(&damaged).unwrap().to_string(), want);
        }
        let mut lengths = bytes.clone();
        lengths[128] = 200;
        assert!(
            matches!(fault(&lengths), Some(Fault::Malformed(at, _)) if (120..216).contains(&at))
        );
        let mut headless = bytes;
        (headless[128], headless[132]) = (28, 4);
        assert_eq!(fault(&headless).unwrap().to_string(), "offset 104: a record without a header");
    }

    #[test]
    fn arbitrary_bytes_are_refused_without_panic() {
        let bytes = backup(&[4, 40, 4]);
        for at in 0..bytes.len() {
            for value in [0, 1, 0x7F, 0xFF] {
                let mut damaged = bytes.clone();
                damaged[at] = value;
                let _ = fault(&damaged);
            }
        }
    }
}
