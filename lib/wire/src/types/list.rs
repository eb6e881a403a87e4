// SPDX-License-Identifier: GPL-3.0-or-later
//! Two ways to encode an array besides the usual count and elements.

use crate::codec::{decode_elements, encode_len, Decode, Encode};
use crate::error::Error;
use crate::inspect::{Inspect, Value};
use crate::output::Output;
use crate::reader::Reader;

/// A count, 4 bytes of padding, the elements.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PaddedList<T>(
    /// The elements.
    pub Vec<T>,
);

impl<T: Encode> Encode for PaddedList<T> {
    fn size(&self) -> usize {
        8 + self.0.iter().map(Encode::size).sum::<usize>()
    }
    fn encode<O: Output>(&self, out: &mut O) {
        encode_len(self.0.len(), out);
        out.put_zeros(4);
        self.0.iter().for_each(|element| element.encode(out));
    }
}

impl<'a, T: Decode<'a>> Decode<'a> for PaddedList<T> {
    const MIN_SIZE: usize = 8;
    fn decode(r: &mut Reader<'a>) -> Result<Self, Error> {
        let count = u32::decode(r)?;
        r.skip(4)?;
        decode_elements(r, count).map(PaddedList)
    }
}

impl<T: Inspect> Inspect for PaddedList<T> {
    fn inspect(&self) -> Value {
        self.0.inspect()
    }
}

/// Elements up to the end of the payload, without a count. A last element that is cut short is
/// ignored.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RestList<T>(
    /// The elements.
    pub Vec<T>,
);

impl<T: Encode> Encode for RestList<T> {
    fn size(&self) -> usize {
        self.0.iter().map(Encode::size).sum()
    }
    fn encode<O: Output>(&self, out: &mut O) {
        self.0.iter().for_each(|element| element.encode(out));
    }
}

impl<'a, T: Decode<'a>> Decode<'a> for RestList<T> {
    const MIN_SIZE: usize = 0;
    fn decode(r: &mut Reader<'a>) -> Result<Self, Error> {
        let count = r.remaining() / T::MIN_SIZE;
        decode_elements(r, u32::try_from(count).unwrap_or(u32::MAX)).map(|elements| {
            r.take_rest();
            RestList(elements)
        })
    }
}

impl<T: Inspect> Inspect for RestList<T> {
    fn inspect(&self) -> Value {
        self.0.inspect()
    }
}

#[cfg(test)]
mod sample {
    use super::{PaddedList, RestList};
    use crate::sample::{Entropy, Sample};

    impl<'a, T: Sample<'a>> Sample<'a> for PaddedList<T> {
        fn sample(u: &mut Entropy<'a>) -> Self {
            PaddedList(Sample::sample(u))
        }
    }

    impl<'a, T: Sample<'a>> Sample<'a> for RestList<T> {
        fn sample(u: &mut Entropy<'a>) -> Self {
            RestList(Sample::sample(u))
        }
    }
}
