// SPDX-License-Identifier: GPL-3.0-or-later
//! TCP packets that are made by hand: tickles, which make a client notice that its server has
//! moved, and kills (spec/failover.md 16.6).
//!
//! ```text
//! IPv4  0 version 4, length 5   1 service 0   2 total length 40   4 id 0   6 fragment 0
//!       8 time to live 255   9 protocol 6   10 checksum (by the kernel)   12 source   16 destination
//! IPv6  0 version 6, class 0, flow 0   4 payload length 20   6 next header 6   7 hop limit 64
//!       8 source   24 destination
//! TCP   0 source port   2 destination port   4 sequence   8 acknowledgement
//!       12 offset 5   13 flags   14 window 1234   16 checksum   18 urgent 0
//! ```

use std::net::{IpAddr, SocketAddr};

/// Bytes of the TCP header: there are neither options nor data.
const TCP_LENGTH: u16 = 20;
/// Bytes of an IPv4 header without options.
const IPV4_LENGTH: u16 = 20;
const PROTOCOL_TCP: u8 = 6;
/// The window that marks our own packets.
const WINDOW: u16 = 1234;

/// Flags of a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TcpFlags {
    /// A tickle.
    Ack,
    /// A kill.
    RstAck,
}

/// An IP packet with a TCP header and nothing else, for a raw socket with the header included.
/// `None` if the addresses are not of one family.
pub fn packet(
    src: SocketAddr,
    dst: SocketAddr,
    flags: TcpFlags,
    sequence: u32,
    acknowledgement: u32,
) -> Option<Vec<u8>> {
    let mut addresses = Vec::with_capacity(32);
    let mut packet = match (src.ip(), dst.ip()) {
        (IpAddr::V4(src), IpAddr::V4(dst)) => {
            addresses.extend([src.octets(), dst.octets()].concat());
            ipv4_header()
        }
        (IpAddr::V6(src), IpAddr::V6(dst)) => {
            addresses.extend([src.octets(), dst.octets()].concat());
            ipv6_header()
        }
        _ => return None,
    };
    let flags: u8 = match flags {
        TcpFlags::Ack => 0x10,
        TcpFlags::RstAck => 0x14,
    };
    let mut before = Vec::with_capacity(usize::from(TCP_LENGTH));
    before.extend(src.port().to_be_bytes());
    before.extend(dst.port().to_be_bytes());
    before.extend(sequence.to_be_bytes());
    before.extend(acknowledgement.to_be_bytes());
    before.extend([5 << 4, flags]);
    before.extend(WINDOW.to_be_bytes());
    let urgent = [0; 2];
    let checksum = checksum(&addresses, &before);
    packet.extend(addresses);
    packet.extend(before);
    packet.extend(checksum.to_be_bytes());
    packet.extend(urgent);
    Some(packet)
}

/// Up to the addresses.
fn ipv4_header() -> Vec<u8> {
    let [high, low] = (IPV4_LENGTH + TCP_LENGTH).to_be_bytes();
    vec![0x45, 0, high, low, 0, 0, 0, 0, 255, PROTOCOL_TCP, 0, 0]
}

/// Up to the addresses.
fn ipv6_header() -> Vec<u8> {
    let [high, low] = TCP_LENGTH.to_be_bytes();
    vec![0x60, 0, 0, 0, high, low, PROTOCOL_TCP, 64]
}

/// Over the pseudo header (addresses, protocol, length) and the TCP header, whose checksum and
/// urgent pointer are 0. A checksum of 0 is sent as its equal 0xffff.
fn checksum(addresses: &[u8], header: &[u8]) -> u16 {
    let words = |bytes: &[u8]| -> u32 {
        bytes.chunks(2).map(|pair| pair.iter().fold(0, |word, b| word << 8 | u32::from(*b))).sum()
    };
    let mut sum =
        words(addresses) + words(header) + u32::from(PROTOCOL_TCP) + u32::from(TCP_LENGTH);
    while sum > 0xFFFF {
        sum = (sum & 0xFFFF) + (sum >> 16);
    }
    match !(sum as u16) {
        0 => 0xFFFF,
        checksum => checksum,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tickle(src: &str, dst: &str) -> Option<Vec<u8>> {
        packet(src.parse().unwrap(), dst.parse().unwrap(), TcpFlags::Ack, 0, 0)
    }

    fn hex(packet: Option<Vec<u8>>) -> String {
        packet.unwrap_or_default().iter().map(|b| format!("{b:02x}")).collect()
    }

    /// As the C tool's on the wire, but for what the kernel fills in.
    #[test]
    fn tickles_have_the_layout_above() {
        let ipv4 = "45000028 00000000 ff060000 0a000001 0a000002 \
                    01bdc350 00000000 00000000 501004d2 d1f20000";
        assert_eq!(hex(tickle("10.0.0.1:445", "10.0.0.2:50000")), ipv4.replace(' ', ""));
        let ipv6 =
            "60000000 00140640 fd000000000000000000000000000001 fd000000000000000000000000000002 \
                    01bdc350 00000000 00000000 501004d2 ebf00000";
        assert_eq!(hex(tickle("[fd00::1]:445", "[fd00::2]:50000")), ipv6.replace(' ', ""));
        assert_eq!(tickle("10.0.0.1:1", "[fd00::2]:2"), None);
    }

    #[test]
    fn checksums_add_up() {
        for (src, dst) in [("1.2.3.4:5", "255.255.255.255:6"), ("[fd00::1]:445", "[fd00::2]:5")] {
            let whole = tickle(src, dst).unwrap();
            let (ip, tcp) = whole.split_at(whole.len() - 20);
            let addresses = &ip[if ip.len() == 20 { 12 } else { 8 }..];
            let pairs = addresses.chunks(2).chain(tcp.chunks(2));
            let sum: u32 = pairs.map(|p| u32::from(p[0]) << 8 | u32::from(p[1])).sum();
            assert_eq!((sum + 6 + 20) % 0xFFFF, 0, "{src} {dst}");
        }
    }
}
