// SPDX-License-Identifier: GPL-3.0-or-later
//! Strings of the protocol: bytes without NUL, in the three encodings of spec/wire.md 1.1.

use std::fmt;

use crate::codec::{encode_len, Decode, Encode};
use crate::error::{Error, Expected};
use crate::inspect::{Inspect, Value};
use crate::output::Output;
use crate::reader::Reader;

/// The bytes before the first NUL.
fn before_nul(bytes: &[u8]) -> &[u8] {
    bytes.split(|b| *b == 0).next().unwrap_or_default()
}

/// A string as C sees it: any bytes but NUL. Usually UTF-8, never guaranteed to be (paths).
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Text(Vec<u8>);

impl Text {
    /// Takes the bytes up to the first NUL.
    pub fn new(bytes: impl AsRef<[u8]>) -> Self {
        Text(before_nul(bytes.as_ref()).to_vec())
    }

    /// The bytes, without NUL.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The text, if it is UTF-8.
    pub fn as_str(&self) -> Option<&str> {
        std::str::from_utf8(&self.0).ok()
    }

    /// Number of bytes, without NUL.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// True if there are no bytes.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl From<&str> for Text {
    fn from(s: &str) -> Self {
        Text::new(s)
    }
}

impl From<String> for Text {
    fn from(s: String) -> Self {
        Text::new(s)
    }
}

impl PartialEq<str> for Text {
    fn eq(&self, other: &str) -> bool {
        self.0 == other.as_bytes()
    }
}

impl fmt::Display for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&String::from_utf8_lossy(&self.0))
    }
}

impl fmt::Debug for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", String::from_utf8_lossy(&self.0))
    }
}

impl Inspect for Text {
    fn inspect(&self) -> Value {
        Value::Text(self.to_string())
    }
}

/// `string`: the bytes and a NUL, filling the payload; an empty payload is "no string". A missing
/// NUL is tolerated.
impl Encode for Option<Text> {
    fn size(&self) -> usize {
        self.as_ref().map_or(0, |text| text.len() + 1)
    }
    fn encode<O: Output>(&self, out: &mut O) {
        if let Some(text) = self {
            out.put_bytes(&text.0);
            out.put_zeros(1);
        }
    }
}

impl<'a> Decode<'a> for Option<Text> {
    const MIN_SIZE: usize = 0;
    fn decode(r: &mut Reader<'a>) -> Result<Self, Error> {
        match r.take_rest() {
            [] => Ok(None),
            bytes => Ok(Some(Text::new(bytes))),
        }
    }
}

/// A `string` that must be there and must have its NUL: database names (spec/wire.md 8.5).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct StringZ(
    /// The text.
    pub Text,
);

impl Encode for StringZ {
    fn size(&self) -> usize {
        self.0.len() + 1
    }
    fn encode<O: Output>(&self, out: &mut O) {
        out.put_bytes(&self.0 .0);
        out.put_zeros(1);
    }
}

impl<'a> Decode<'a> for StringZ {
    const MIN_SIZE: usize = 1;
    fn decode(r: &mut Reader<'a>) -> Result<Self, Error> {
        let rest = r.rest();
        if !rest.contains(&0) {
            let found = rest.len() as u64;
            return Err(r.error(Expected::Words { wanted: "a string that ends with NUL", found }));
        }
        Ok(StringZ(Text::new(r.take_rest())))
    }
}

impl Inspect for StringZ {
    fn inspect(&self) -> Value {
        self.0.inspect()
    }
}

/// `stringn`: a length word that counts the NUL, the bytes, the NUL. Length 0 is "no string".
/// Exactly `length` bytes are consumed; a length that does not count a NUL is understood.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct StringN(
    /// The text, if there is one.
    pub Option<Text>,
);

impl StringN {
    /// A string that is there.
    pub fn new(text: impl Into<Text>) -> Self {
        StringN(Some(text.into()))
    }

    /// The text, empty if there is none.
    pub fn as_bytes(&self) -> &[u8] {
        self.0.as_ref().map_or(&[], Text::as_bytes)
    }
}

impl Encode for StringN {
    fn size(&self) -> usize {
        4 + self.0.size()
    }
    fn encode<O: Output>(&self, out: &mut O) {
        encode_len(self.0.size(), out);
        self.0.encode(out);
    }
}

impl<'a> Decode<'a> for StringN {
    const MIN_SIZE: usize = 4;
    fn decode(r: &mut Reader<'a>) -> Result<Self, Error> {
        let len = u32::decode(r)?;
        match r.take(len as usize)? {
            [] => Ok(StringN(None)),
            bytes => Ok(StringN(Some(Text::new(bytes)))),
        }
    }
}

impl Inspect for StringN {
    fn inspect(&self) -> Value {
        Inspect::inspect(&self.0)
    }
}

/// `char[N]`: a NUL-terminated string in a fixed area, the rest zero.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct CharArray<const N: usize>([u8; N]);

impl<const N: usize> CharArray<N> {
    /// Takes the bytes up to the first NUL, cut to the `N - 1` that fit.
    pub fn new(bytes: impl AsRef<[u8]>) -> Self {
        let mut area = [0; N];
        let kept = before_nul(bytes.as_ref());
        for (to, from) in area.iter_mut().take(N.saturating_sub(1)).zip(kept) {
            *to = *from;
        }
        CharArray(area)
    }

    /// The bytes before the NUL.
    pub fn as_bytes(&self) -> &[u8] {
        before_nul(&self.0)
    }

    /// The text, if it is UTF-8.
    pub fn as_str(&self) -> Option<&str> {
        std::str::from_utf8(self.as_bytes()).ok()
    }
}

impl<const N: usize> Default for CharArray<N> {
    fn default() -> Self {
        CharArray([0; N])
    }
}

impl<const N: usize> fmt::Display for CharArray<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&String::from_utf8_lossy(self.as_bytes()))
    }
}

impl<const N: usize> fmt::Debug for CharArray<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", String::from_utf8_lossy(self.as_bytes()))
    }
}

impl<const N: usize> Encode for CharArray<N> {
    fn size(&self) -> usize {
        N
    }
    fn encode<O: Output>(&self, out: &mut O) {
        out.put_bytes(&self.0);
    }
}

impl<'a, const N: usize> Decode<'a> for CharArray<N> {
    const MIN_SIZE: usize = N;
    fn decode(r: &mut Reader<'a>) -> Result<Self, Error> {
        r.take(N).map(CharArray::new)
    }
}

impl<const N: usize> Inspect for CharArray<N> {
    fn inspect(&self) -> Value {
        Value::Text(self.to_string())
    }
}

/// Bytes of a key or value as the tools print them between quotation marks: what is no plain ASCII character as `\XX`
/// (spec/tool.md 10.7, 18).
pub fn escaped(bytes: &[u8]) -> String {
    let one = |byte: &u8| match byte {
        b'"' | b'\\' => format!("\\{byte:02X}"),
        b' '..=b'~' => char::from(*byte).to_string(),
        _ => format!("\\{byte:02X}"),
    };
    bytes.iter().map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stringn_counts_the_nul_and_tolerates_its_absence() {
        let with = [3, 0, 0, 0, b'a', b'b', 0];
        assert_eq!(StringN::from_exact(&with), Ok(StringN::new("ab")));
        assert_eq!(StringN::new("ab").to_vec(), with);
        assert_eq!(StringN::from_exact(&[2, 0, 0, 0, b'a', b'b']), Ok(StringN::new("ab")));
        // the stated length is consumed whatever NULs occur inside
        assert_eq!(StringN::from_exact(&[3, 0, 0, 0, b'a', 0, b'b']), Ok(StringN::new("a")));
        assert_eq!(StringN::from_exact(&[0; 4]), Ok(StringN(None)));
    }

    #[test]
    fn database_names_need_their_nul() {
        assert!(StringZ::from_exact(b"x.tdb").is_err());
        assert!(StringZ::from_exact(b"").is_err());
        assert_eq!(StringZ::from_exact(b"x.tdb\0").map(|s| s.0.to_string()), Ok("x.tdb".into()));
    }

    #[test]
    fn char_arrays_force_the_last_byte_to_nul() {
        let full = CharArray::<4>::from_exact(b"abcd").unwrap();
        assert_eq!(full.as_bytes(), b"abc");
        assert_eq!(CharArray::<4>::from_exact(b"a\0xy").unwrap().to_vec(), b"a\0\0\0");
    }
}
