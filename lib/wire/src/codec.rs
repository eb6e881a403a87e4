// SPDX-License-Identifier: GPL-3.0-or-later
//! The two traits behind every layout, and the primitive encodings (spec/wire.md 1.1, 9.3).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};

use crate::error::{Error, Expected};
use crate::output::Output;
use crate::reader::Reader;

/// A value that can be written.
pub trait Encode {
    /// Exact number of bytes that [`Encode::encode`] appends.
    fn size(&self) -> usize;
    /// Appends the encoding.
    fn encode<O: Output>(&self, out: &mut O);

    /// The encoding as an owned buffer.
    fn to_vec(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.size());
        self.encode(&mut out);
        out
    }
}

/// A value that can be read. `'a` is the lifetime of the packet that it may borrow from.
pub trait Decode<'a>: Sized {
    /// Smallest size of an encoding in bytes; bounds the allocation for arrays of this type.
    const MIN_SIZE: usize;
    /// Reads one value at the cursor.
    fn decode(r: &mut Reader<'a>) -> Result<Self, Error>;

    /// Reads one value from the start of `buf`; trailing bytes are ignored.
    fn from_prefix(buf: &'a [u8]) -> Result<Self, Error> {
        Self::decode(&mut Reader::new(buf))
    }

    /// Reads one value that fills `buf` exactly.
    fn from_exact(buf: &'a [u8]) -> Result<Self, Error> {
        let mut r = Reader::new(buf);
        let value = Self::decode(&mut r)?;
        r.finish()?;
        Ok(value)
    }
}

macro_rules! integers {
    ($($ty:ty),*) => {$(
        impl Encode for $ty {
            fn size(&self) -> usize {
                size_of::<$ty>()
            }
            fn encode<O: Output>(&self, out: &mut O) {
                out.put_bytes(&self.to_le_bytes());
            }
        }
        impl<'a> Decode<'a> for $ty {
            const MIN_SIZE: usize = size_of::<$ty>();
            fn decode(r: &mut Reader<'a>) -> Result<Self, Error> {
                r.take_array().map(<$ty>::from_le_bytes)
            }
        }
    )*};
}

integers!(u8, u16, u32, u64, i32, i64, f64);

impl Encode for () {
    fn size(&self) -> usize {
        0
    }
    fn encode<O: Output>(&self, _out: &mut O) {}
}

impl<'a> Decode<'a> for () {
    const MIN_SIZE: usize = 0;
    fn decode(_r: &mut Reader<'a>) -> Result<Self, Error> {
        Ok(())
    }
}

impl Encode for bool {
    fn size(&self) -> usize {
        1
    }
    fn encode<O: Output>(&self, out: &mut O) {
        out.put_bytes(&[u8::from(*self)]);
    }
}

impl<'a> Decode<'a> for bool {
    const MIN_SIZE: usize = 1;
    fn decode(r: &mut Reader<'a>) -> Result<Self, Error> {
        match r.clone().take_array::<1>()? {
            [0] => r.skip(1).map(|()| false),
            [1] => r.skip(1).map(|()| true),
            [other] => {
                Err(r.error(Expected::Words { wanted: "a boolean, 0 or 1,", found: other.into() }))
            }
        }
    }
}

/// `datan`: a length word and that many bytes.
impl Encode for &[u8] {
    fn size(&self) -> usize {
        4 + self.len()
    }
    fn encode<O: Output>(&self, out: &mut O) {
        encode_len(self.len(), out);
        out.put_bytes(self);
    }
}

impl<'a> Decode<'a> for &'a [u8] {
    const MIN_SIZE: usize = 4;
    fn decode(r: &mut Reader<'a>) -> Result<Self, Error> {
        let len = u32::decode(r)?;
        r.take(len as usize)
    }
}

/// Raw bytes up to the end of the payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Rest<'a>(
    /// The bytes.
    pub &'a [u8],
);

impl Encode for Rest<'_> {
    fn size(&self) -> usize {
        self.0.len()
    }
    fn encode<O: Output>(&self, out: &mut O) {
        out.put_bytes(self.0);
    }
}

impl<'a> Decode<'a> for Rest<'a> {
    const MIN_SIZE: usize = 0;
    fn decode(r: &mut Reader<'a>) -> Result<Self, Error> {
        Ok(Rest(r.take_rest()))
    }
}

impl<T: Encode, const N: usize> Encode for [T; N] {
    fn size(&self) -> usize {
        self.iter().map(Encode::size).sum()
    }
    fn encode<O: Output>(&self, out: &mut O) {
        for element in self {
            element.encode(out);
        }
    }
}

impl<'a, T: Decode<'a> + Copy + Default, const N: usize> Decode<'a> for [T; N] {
    const MIN_SIZE: usize = N * T::MIN_SIZE;
    fn decode(r: &mut Reader<'a>) -> Result<Self, Error> {
        let mut array = [T::default(); N];
        for element in &mut array {
            *element = T::decode(r)?;
        }
        Ok(array)
    }
}

/// A count word, then that many elements back to back.
impl<T: Encode> Encode for Vec<T> {
    fn size(&self) -> usize {
        4 + self.iter().map(Encode::size).sum::<usize>()
    }
    fn encode<O: Output>(&self, out: &mut O) {
        encode_len(self.len(), out);
        for element in self {
            element.encode(out);
        }
    }
}

impl<'a, T: Decode<'a>> Decode<'a> for Vec<T> {
    const MIN_SIZE: usize = 4;
    fn decode(r: &mut Reader<'a>) -> Result<Self, Error> {
        let at_count = r.clone();
        let count = u32::decode(r)?;
        decode_elements(r, count).map_err(|e| match e.expected {
            Expected::Elements { .. } => Error { offset: at_count.offset(), ..e },
            _ => e,
        })
    }
}

/// Reads `count` elements, after checking the count against the bytes that are left. So the memory
/// it allocates is at most twice the size of the packet.
pub(crate) fn decode_elements<'a, T: Decode<'a>>(
    r: &mut Reader<'a>,
    count: u32,
) -> Result<Vec<T>, Error> {
    const { assert!(T::MIN_SIZE > 0 && size_of::<T>() <= 2 * T::MIN_SIZE) };
    let count = r.check_count(count, T::MIN_SIZE)?;
    let mut elements = Vec::with_capacity(count);
    for _ in 0..count {
        elements.push(T::decode(r)?);
    }
    Ok(elements)
}

/// Writes a length word. Packet encoders refuse packets of 4 GiB and more, so nothing that is sent
/// has a length that was saturated here.
pub(crate) fn encode_len<O: Output>(len: usize, out: &mut O) {
    u32::try_from(len).unwrap_or(u32::MAX).encode(out);
}

const AF_INET: u16 = 2;
const AF_INET6: u16 = 10;
const SOCK_ADDR_SIZE: usize = 28;

/// `sock_addr`: a C `sockaddr_in` or `sockaddr_in6` in 28 bytes. Bytes without a meaning are
/// written as zero, because Samba compares all of them; the IPv6 flow label is one of these.
impl Encode for SocketAddr {
    fn size(&self) -> usize {
        SOCK_ADDR_SIZE
    }
    fn encode<O: Output>(&self, out: &mut O) {
        match self {
            SocketAddr::V4(v4) => {
                AF_INET.encode(out);
                out.put_bytes(&v4.port().to_be_bytes());
                out.put_bytes(&v4.ip().octets());
                out.put_zeros(20);
            }
            SocketAddr::V6(v6) => {
                AF_INET6.encode(out);
                out.put_bytes(&v6.port().to_be_bytes());
                out.put_zeros(4);
                out.put_bytes(&v6.ip().octets());
                v6.scope_id().encode(out);
            }
        }
    }
}

impl<'a> Decode<'a> for SocketAddr {
    const MIN_SIZE: usize = SOCK_ADDR_SIZE;
    fn decode(r: &mut Reader<'a>) -> Result<Self, Error> {
        let start = r.clone();
        let mut area = Reader::with_base(r.take(SOCK_ADDR_SIZE)?, start.offset());
        let family = u16::decode(&mut area)?;
        let port = u16::from_be_bytes(area.take_array()?);
        match family {
            AF_INET => {
                let ip = Ipv4Addr::from(area.take_array::<4>()?);
                Ok(SocketAddr::new(IpAddr::V4(ip), port))
            }
            AF_INET6 => {
                area.skip(4)?;
                let ip = Ipv6Addr::from(area.take_array::<16>()?);
                let scope_id = u32::decode(&mut area)?;
                Ok(SocketAddr::V6(SocketAddrV6::new(ip, port, 0, scope_id)))
            }
            other => Err(start.error(Expected::Words {
                wanted: "an address family, 2 (IPv4) or 10 (IPv6),",
                found: other.into(),
            })),
        }
    }
}

/// The canonical form of an address (spec/wire.md 9.3): an IPv4-mapped IPv6 address becomes IPv4.
pub fn canonical_addr(addr: SocketAddr) -> SocketAddr {
    match addr {
        SocketAddr::V6(v6) => match v6.ip().to_ipv4_mapped() {
            Some(v4) => SocketAddr::new(IpAddr::V4(v4), v6.port()),
            None => addr,
        },
        SocketAddr::V4(_) => addr,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn booleans_are_zero_or_one() {
        assert_eq!(bool::from_exact(&[1]), Ok(true));
        let e = bool::from_exact(&[2]).unwrap_err();
        assert_eq!(e.offset, 0);
    }

    #[test]
    fn counts_beyond_the_payload_are_refused_at_the_count() {
        let e = Vec::<u64>::from_exact(&[255, 255, 255, 255, 1, 2]).unwrap_err();
        assert_eq!(e.offset, 0);
        assert!(matches!(e.expected, Expected::Elements { count: 0xFFFF_FFFF, .. }));
    }

    #[test]
    fn addresses_ignore_meaningless_bytes_and_write_them_zero() {
        let mut bytes = [0xAA; 28];
        bytes[..8].copy_from_slice(&[2, 0, 1, 0xBD, 10, 1, 2, 3]);
        let addr = SocketAddr::from_exact(&bytes).unwrap();
        assert_eq!(addr, "10.1.2.3:445".parse().unwrap());
        assert_eq!(addr.to_vec()[8..], [0; 20]);
        let e = SocketAddr::from_exact(&[7; 28]).unwrap_err();
        assert!(e.to_string().contains("address family"), "{e}");
    }

    #[test]
    fn mapped_addresses_become_ipv4() {
        let mapped = "[::ffff:10.0.0.1]:445".parse().unwrap();
        assert_eq!(canonical_addr(mapped), "10.0.0.1:445".parse().unwrap());
        let v6 = "[fd00::1]:445".parse().unwrap();
        assert_eq!(canonical_addr(v6), v6);
    }
}
