// SPDX-License-Identifier: GPL-3.0-or-later
//! Splitting a byte stream into packets (spec/wire.md 2.1, 2.3, 11; docs/protocol.md).
//!
//! The framer looks only at length, magic and version. It never allocates: the caller reads into a
//! buffer, the framer splits packets off its front without copying.

use bytes::{Buf, Bytes, BytesMut};

use crate::{legacy, native};

/// Largest packet that is accepted unless configured otherwise: 1 GiB (spec/wire.md 2.4).
pub const DEFAULT_MAX_PACKET: usize = 1 << 30;

/// Most bytes that [`Framer::want`] asks for at once: memory follows the bytes that arrive, never
/// the length that a header claims.
const MAX_WANT: usize = 1 << 20;

/// Which rules a stream follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dialect {
    /// The existing protocol on the client socket: any length from 32.
    LegacyClient,
    /// The existing protocol between nodes: lengths are multiples of 8.
    LegacyNode,
    /// The native protocol.
    Native,
}

impl Dialect {
    fn header_size(self) -> usize {
        match self {
            Dialect::LegacyClient | Dialect::LegacyNode => legacy::HEADER_SIZE,
            Dialect::Native => native::HEADER_SIZE,
        }
    }
}

/// What is wrong with a packet's header.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FrameFault {
    /// Shorter than its header.
    #[error("length {length} is less than the header's {minimum}")]
    TooSmall {
        /// The length field.
        length: u32,
        /// Size of the header.
        minimum: usize,
    },
    /// Longer than the limit.
    #[error("length {length} exceeds the limit of {limit}")]
    TooLarge {
        /// The length field.
        length: u32,
        /// The configured limit.
        limit: usize,
    },
    /// Length is not a multiple of 8.
    #[error("length {length} is not a multiple of 8")]
    Misaligned {
        /// The length field.
        length: u32,
    },
    /// Not a packet of this dialect.
    #[error("magic {found:#010x} where {wanted:#010x} was expected")]
    BadMagic {
        /// The magic of the dialect.
        wanted: u32,
        /// The magic field.
        found: u32,
    },
    /// A version this end does not speak.
    #[error("protocol version {found} where {wanted} was expected")]
    BadVersion {
        /// Our version.
        wanted: u32,
        /// The version field.
        found: u32,
    },
}

/// A broken packet in a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("stream offset {offset}: {fault}")]
pub struct FrameError {
    /// Offset of the offending field, in bytes since the stream began.
    pub offset: u64,
    /// What is wrong.
    pub fault: FrameFault,
}

impl FrameError {
    /// True if the stream is still in step: the packet was skipped and reading can go on. Only a
    /// client's packet with a foreign magic or version is treated like that (spec/wire.md 11.1).
    pub fn is_skipped(&self, dialect: Dialect) -> bool {
        dialect == Dialect::LegacyClient
            && matches!(self.fault, FrameFault::BadMagic { .. } | FrameFault::BadVersion { .. })
    }
}

/// Looks at the front of `buf`: the length of the packet there, or `None` while its first 4 bytes
/// are incomplete. Fields are checked as soon as they have arrived.
/// The error's number is the offset of the field in the packet.
pub fn peek(
    dialect: Dialect,
    max_packet: usize,
    buf: &[u8],
) -> Result<Option<usize>, (usize, FrameFault)> {
    let Some(length) = word(buf, 0) else {
        return Ok(None);
    };
    check_length(dialect, max_packet, length).map_err(|fault| (0, fault))?;
    if dialect != Dialect::LegacyClient {
        check_identity(dialect, buf)?;
    }
    Ok(Some(length as usize))
}

fn check_length(dialect: Dialect, limit: usize, length: u32) -> Result<(), FrameFault> {
    let minimum = dialect.header_size();
    if (length as usize) < minimum {
        return Err(FrameFault::TooSmall { length, minimum });
    }
    if length as usize > limit {
        return Err(FrameFault::TooLarge { length, limit });
    }
    if length % 8 != 0 && dialect != Dialect::LegacyClient {
        return Err(FrameFault::Misaligned { length });
    }
    Ok(())
}

/// Checks magic and version, as far as they have arrived.
fn check_identity(dialect: Dialect, buf: &[u8]) -> Result<(), (usize, FrameFault)> {
    let magic = word(buf, 4);
    let (wanted_magic, wanted_version, version) = match dialect {
        Dialect::LegacyClient | Dialect::LegacyNode => {
            (legacy::MAGIC, legacy::VERSION, word(buf, 8))
        }
        Dialect::Native => {
            let version = word(buf, 8).map(|word| word & 0xFFFF);
            (native::MAGIC, native::PROTOCOL_VERSION.into(), version)
        }
    };
    match magic {
        Some(found) if found != wanted_magic => {
            return Err((4, FrameFault::BadMagic { wanted: wanted_magic, found }))
        }
        _ => (),
    }
    match version {
        Some(found) if found != wanted_version => {
            Err((8, FrameFault::BadVersion { wanted: wanted_version, found }))
        }
        _ => Ok(()),
    }
}

/// The little-endian word at `offset`.
fn word(buf: &[u8], offset: usize) -> Option<u32> {
    buf.get(offset..)?.first_chunk::<4>().map(|bytes| u32::from_le_bytes(*bytes))
}

/// Splits one stream.
#[derive(Debug, Clone)]
pub struct Framer {
    dialect: Dialect,
    max_packet: usize,
    /// Bytes of the stream that have been split off.
    consumed: u64,
}

impl Framer {
    /// A framer for a new stream, with the default size limit.
    pub fn new(dialect: Dialect) -> Self {
        Framer::with_max_packet(dialect, DEFAULT_MAX_PACKET)
    }

    /// A framer that treats packets above `max_packet` bytes as a broken stream.
    pub fn with_max_packet(dialect: Dialect, max_packet: usize) -> Self {
        Framer { dialect, max_packet, consumed: 0 }
    }

    /// The rules this stream follows.
    pub fn dialect(&self) -> Dialect {
        self.dialect
    }

    /// Splits the next whole packet off the front of `buf`, or returns `None` when more bytes are
    /// needed. After an error for which [`FrameError::is_skipped`] holds the stream can be read on;
    /// after any other error it is broken for good.
    pub fn next_packet(&mut self, buf: &mut BytesMut) -> Result<Option<Bytes>, FrameError> {
        let length = match peek(self.dialect, self.max_packet, buf) {
            Ok(Some(length)) if length <= buf.len() => length,
            Ok(_) => return Ok(None),
            Err((offset, fault)) => {
                return Err(FrameError { offset: self.consumed + offset as u64, fault })
            }
        };
        let start = self.consumed;
        self.consumed += length as u64;
        if self.dialect == Dialect::LegacyClient {
            if let Err((offset, fault)) = check_identity(self.dialect, buf) {
                buf.advance(length);
                return Err(FrameError { offset: start + offset as u64, fault });
            }
        }
        Ok(Some(buf.split_to(length).freeze()))
    }

    /// How many more bytes the packet at the front of `buf` needs, at most 1 MiB at a time; what to
    /// reserve before the next read. At least 1.
    pub fn want(&self, buf: &[u8]) -> usize {
        let target = match peek(self.dialect, self.max_packet, buf) {
            Ok(Some(length)) => length,
            Ok(None) | Err(_) => self.dialect.header_size(),
        };
        target.saturating_sub(buf.len()).clamp(1, MAX_WANT)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::Rest;
    use crate::legacy::{ReqMessage, Rounding, Route};
    use crate::native::{Checksum, Header};
    use proptest::prelude::*;

    const DIALECTS: [Dialect; 3] = [Dialect::LegacyClient, Dialect::LegacyNode, Dialect::Native];

    fn packet(dialect: Dialect, payload: &[u8]) -> Vec<u8> {
        let message = ReqMessage { srvid: 9, data: payload };
        let rounding = match dialect {
            Dialect::LegacyClient => Rounding::Exact,
            Dialect::LegacyNode => Rounding::Daemon,
            Dialect::Native => {
                let header = Header::default();
                return native::encode_to_vec(&header, &Rest(payload), Checksum::On).unwrap();
            }
        };
        legacy::encode_to_vec(&Route::default(), &message, rounding).unwrap()
    }

    /// Everything the framer yields when the stream arrives in the given pieces.
    fn drain(framer: &mut Framer, chunks: &[&[u8]]) -> Vec<Result<Vec<u8>, FrameError>> {
        let mut buf = BytesMut::new();
        let mut yielded = Vec::new();
        for chunk in chunks {
            buf.extend_from_slice(chunk);
            loop {
                match framer.next_packet(&mut buf) {
                    Ok(None) => break,
                    Ok(Some(packet)) => yielded.push(Ok(packet.to_vec())),
                    Err(e) => {
                        yielded.push(Err(e));
                        if !e.is_skipped(framer.dialect()) {
                            return yielded;
                        }
                    }
                }
            }
        }
        yielded
    }

    fn chunked<'s>(stream: &'s [u8], sizes: &[usize]) -> Vec<&'s [u8]> {
        let mut rest = stream;
        let mut chunks = Vec::new();
        for size in sizes.iter().copied().cycle() {
            let (chunk, tail) = rest.split_at(size.min(rest.len()));
            chunks.push(chunk);
            rest = tail;
            if rest.is_empty() {
                break;
            }
        }
        chunks
    }

    proptest! {
        #[test]
        fn any_chunking_gives_the_same_packets(
            payloads in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..60), 0..12),
            sizes in prop::collection::vec(1usize..90, 1..20),
        ) {
            for dialect in DIALECTS {
                let packets: Vec<_> = payloads.iter().map(|p| packet(dialect, p)).collect();
                let stream = packets.concat();
                let mut framer = Framer::new(dialect);
                let yielded = drain(&mut framer, &chunked(&stream, &sizes));
                prop_assert_eq!(yielded, packets.into_iter().map(Ok).collect::<Vec<_>>());
            }
        }

        #[test]
        fn a_broken_stream_fails_at_the_same_offset_however_it_arrives(
            payloads in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..30), 1..6),
            at in any::<prop::sample::Index>(),
            byte in any::<u8>(),
            sizes in prop::collection::vec(1usize..50, 1..20),
        ) {
            for dialect in DIALECTS {
                let mut stream: Vec<u8> =
                    payloads.iter().flat_map(|p| packet(dialect, p)).collect();
                let at = at.index(stream.len());
                stream[at] = byte;
                let whole = drain(&mut Framer::new(dialect), &[&stream]);
                let pieces = drain(&mut Framer::new(dialect), &chunked(&stream, &sizes));
                prop_assert_eq!(whole, pieces);
            }
        }

        #[test]
        fn arbitrary_streams_never_panic(
            stream in prop::collection::vec(any::<u8>(), 0..300),
            sizes in prop::collection::vec(1usize..50, 1..20),
        ) {
            for dialect in DIALECTS {
                let mut framer = Framer::with_max_packet(dialect, 1 << 16);
                let chunks = chunked(&stream, &sizes);
                drain(&mut framer, &chunks);
                prop_assert!(framer.want(&stream) >= 1);
            }
        }
    }

    fn fault_of(dialect: Dialect, change: impl FnOnce(&mut Vec<u8>)) -> FrameError {
        let mut stream = packet(dialect, b"first");
        let first_len = stream.len() as u64;
        let mut bad = packet(dialect, b"second");
        change(&mut bad);
        stream.append(&mut bad);
        let error = drain(&mut Framer::with_max_packet(dialect, 4096), &[&stream])
            .into_iter()
            .find_map(Result::err)
            .expect("an error");
        assert!(error.offset >= first_len);
        FrameError { offset: error.offset - first_len, ..error }
    }

    #[test]
    fn each_fault_has_its_name_and_place() {
        let set = |at: usize, word: u32| {
            move |p: &mut Vec<u8>| p[at..at + 4].copy_from_slice(&word.to_le_bytes())
        };
        for dialect in DIALECTS {
            let minimum = dialect.header_size();
            let e = fault_of(dialect, set(0, 0));
            assert_eq!(
                e,
                FrameError { offset: 0, fault: FrameFault::TooSmall { length: 0, minimum } }
            );
            let e = fault_of(dialect, set(0, 5000));
            assert_eq!(e.fault, FrameFault::TooLarge { length: 5000, limit: 4096 });
            let e = fault_of(dialect, set(4, 0x4244_5443));
            assert_eq!(e.offset, 4);
            assert!(matches!(e.fault, FrameFault::BadMagic { found: 0x4244_5443, .. }));
            let e = fault_of(dialect, set(8, 7));
            assert_eq!((e.offset, e.fault), (8, FrameFault::BadVersion { wanted: 1, found: 7 }));
        }
        for dialect in [Dialect::LegacyNode, Dialect::Native] {
            let e = fault_of(dialect, set(0, 61));
            assert_eq!(e, FrameError { offset: 0, fault: FrameFault::Misaligned { length: 61 } });
        }
    }

    #[test]
    fn a_clients_foreign_packet_is_skipped() {
        let mut bad = packet(Dialect::LegacyClient, b"bad");
        bad[4] ^= 0xFF;
        let good = packet(Dialect::LegacyClient, b"good");
        let mut framer = Framer::new(Dialect::LegacyClient);
        let yielded = drain(&mut framer, &[&bad, &good]);
        assert!(yielded[0].is_err());
        assert_eq!(yielded[1], Ok(good));
    }

    #[test]
    fn memory_follows_the_bytes_that_arrive() {
        let framer = Framer::new(Dialect::LegacyNode);
        assert_eq!(framer.want(&[]), 32);
        let header = legacy::Header { length: 1 << 29, ..legacy::Header::default() };
        assert_eq!(framer.want(&crate::Encode::to_vec(&header)), MAX_WANT);
    }

    #[test]
    fn packets_are_split_off_without_copying() {
        let stream = [packet(Dialect::Native, b"one"), packet(Dialect::Native, b"two")].concat();
        let mut buf = BytesMut::from(&stream[..]);
        let start = buf.as_ptr() as usize;
        let mut framer = Framer::new(Dialect::Native);
        let first = framer.next_packet(&mut buf).unwrap().unwrap();
        let second = framer.next_packet(&mut buf).unwrap().unwrap();
        assert_eq!(first.as_ptr() as usize, start);
        assert_eq!(second.as_ptr() as usize, start + first.len());
    }
}
