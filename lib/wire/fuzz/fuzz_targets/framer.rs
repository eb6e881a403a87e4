// SPDX-License-Identifier: GPL-3.0-or-later
//! A stream yields the same packets and errors however it is cut into pieces.
#![no_main]

use bytes::BytesMut;
use ctdb_wire::frame::{Dialect, Framer};
use libfuzzer_sys::fuzz_target;

fn drain(dialect: Dialect, stream: &[u8], piece: usize) -> Vec<String> {
    let mut framer = Framer::with_max_packet(dialect, 1 << 16);
    let mut buf = BytesMut::new();
    let mut yielded = Vec::new();
    for chunk in stream.chunks(piece) {
        buf.extend_from_slice(chunk);
        loop {
            match framer.next_packet(&mut buf) {
                Ok(None) => break,
                Ok(Some(packet)) => yielded.push(format!("{packet:?}")),
                Err(e) => {
                    yielded.push(e.to_string());
                    if !e.is_skipped(dialect) {
                        return yielded;
                    }
                }
            }
        }
    }
    yielded
}

fuzz_target!(|data: &[u8]| {
    let Some((head, stream)) = data.split_first_chunk::<2>() else { return };
    let dialects = [Dialect::LegacyClient, Dialect::LegacyNode, Dialect::Native];
    let dialect = dialects[usize::from(head[0]) % dialects.len()];
    let piece = usize::from(head[1]) + 1;
    assert_eq!(drain(dialect, stream, piece), drain(dialect, stream, stream.len().max(1)));
});
