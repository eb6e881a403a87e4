// SPDX-License-Identifier: GPL-3.0-or-later
//! Arbitrary values for the property tests: a value of any layout is built from a string of entropy
//! bytes that proptest supplies, so shrinking the bytes shrinks the value.

use std::net::{IpAddr, SocketAddr, SocketAddrV6};

use crate::codec::Rest;
use crate::text::{CharArray, StringN, StringZ, Text};

/// Entropy, consumed from the front. When it runs out everything is zero and empty.
pub struct Entropy<'a> {
    bytes: &'a [u8],
}

impl<'a> Entropy<'a> {
    pub fn new(bytes: &'a [u8]) -> Self {
        Entropy { bytes }
    }

    pub fn array<const N: usize>(&mut self) -> [u8; N] {
        let mut array = [0; N];
        let taken = self.slice(N);
        array[..taken.len()].copy_from_slice(taken);
        array
    }

    pub fn slice(&mut self, len: usize) -> &'a [u8] {
        let (taken, rest) = self.bytes.split_at(len.min(self.bytes.len()));
        self.bytes = rest;
        taken
    }

    pub fn below(&mut self, bound: usize) -> usize {
        let [low] = self.array();
        usize::from(low) % bound
    }
}

/// A type that can be built from entropy.
pub trait Sample<'a>: Sized {
    fn sample(u: &mut Entropy<'a>) -> Self;
}

macro_rules! sample_integers {
    ($($ty:ty),*) => {$(
        impl<'a> Sample<'a> for $ty {
            fn sample(u: &mut Entropy<'a>) -> Self {
                <$ty>::from_le_bytes(u.array())
            }
        }
    )*};
}

sample_integers!(u8, u16, u32, u64, i32, i64);

impl<'a> Sample<'a> for f64 {
    // finite and comparable: a NaN does not equal itself
    fn sample(u: &mut Entropy<'a>) -> Self {
        f64::from(i32::sample(u)) / 256.0
    }
}

impl<'a> Sample<'a> for () {
    fn sample(_u: &mut Entropy<'a>) -> Self {}
}

impl<'a> Sample<'a> for bool {
    fn sample(u: &mut Entropy<'a>) -> Self {
        u.below(2) == 1
    }
}

impl<'a> Sample<'a> for &'a [u8] {
    fn sample(u: &mut Entropy<'a>) -> Self {
        let len = u.below(40);
        u.slice(len)
    }
}

impl<'a> Sample<'a> for Rest<'a> {
    fn sample(u: &mut Entropy<'a>) -> Self {
        Rest(Sample::sample(u))
    }
}

impl<'a> Sample<'a> for Text {
    fn sample(u: &mut Entropy<'a>) -> Self {
        Text::new(<&[u8]>::sample(u))
    }
}

impl<'a> Sample<'a> for StringN {
    fn sample(u: &mut Entropy<'a>) -> Self {
        StringN(Sample::sample(u))
    }
}

impl<'a> Sample<'a> for StringZ {
    fn sample(u: &mut Entropy<'a>) -> Self {
        StringZ(Sample::sample(u))
    }
}

impl<'a, const N: usize> Sample<'a> for CharArray<N> {
    fn sample(u: &mut Entropy<'a>) -> Self {
        CharArray::new(<&[u8]>::sample(u))
    }
}

impl<'a> Sample<'a> for SocketAddr {
    fn sample(u: &mut Entropy<'a>) -> Self {
        let port = u16::sample(u);
        if bool::sample(u) {
            let ip = u.array::<16>().into();
            SocketAddr::V6(SocketAddrV6::new(ip, port, 0, u32::sample(u)))
        } else {
            SocketAddr::new(IpAddr::V4(u.array::<4>().into()), port)
        }
    }
}

impl<'a, T: Sample<'a>> Sample<'a> for Option<T> {
    fn sample(u: &mut Entropy<'a>) -> Self {
        bool::sample(u).then(|| T::sample(u))
    }
}

impl<'a, T: Sample<'a>> Sample<'a> for Vec<T> {
    fn sample(u: &mut Entropy<'a>) -> Self {
        (0..u.below(5)).map(|_| T::sample(u)).collect()
    }
}

impl<'a, T: Sample<'a>, const N: usize> Sample<'a> for [T; N] {
    fn sample(u: &mut Entropy<'a>) -> Self {
        std::array::from_fn(|_| T::sample(u))
    }
}
