// SPDX-License-Identifier: GPL-3.0-or-later
//! Numbers, keys, values and log levels on the command line (spec/tool.md 1.8).

use crate::exit::{Exit, INVALID};

/// A C unsigned number: leading blanks, any base, trailing characters ignored. 22 if it is none or
/// negative, 34 if it does not fit 64 bits.
pub(crate) fn number(text: &str) -> Result<u64, Exit> {
    let text = text.trim_start_matches([' ', '\t', '\n', '\x0b', '\x0c', '\r']);
    let text = text.strip_prefix('+').unwrap_or(text);
    let (radix, digits) = match text.as_bytes() {
        [b'0', b'x' | b'X', d, ..] if d.is_ascii_hexdigit() => (16, &text[2..]),
        [b'0', ..] => (8, text),
        _ => (10, text),
    };
    let end = digits.find(|c: char| !c.is_digit(radix)).unwrap_or(digits.len());
    match &digits[..end] {
        "" => Err(INVALID),
        digits => u64::from_str_radix(digits, radix).map_err(|_| Exit::Code(34)),
    }
}

/// A number cut to 32 bits.
pub(crate) fn number32(text: &str) -> Result<u32, Exit> {
    number(text).map(|value| value as u32)
}

/// C's `atoi`: 0 if it is no number.
pub(crate) fn atoi(text: &str) -> i32 {
    let text = text.trim_start();
    let (sign, digits) = match text.as_bytes() {
        [b'-', ..] => (-1, &text[1..]),
        [b'+', ..] => (1, &text[1..]),
        _ => (1, text),
    };
    let end = digits.find(|c: char| !c.is_ascii_digit()).unwrap_or(digits.len());
    let value = digits[..end].bytes().fold(0i64, |value, digit| {
        value.saturating_mul(10).saturating_add(i64::from(digit - b'0'))
    });
    (sign * value) as i32
}

/// A key: literal bytes, or hexadecimal behind `0x`.
pub(crate) fn key(text: &[u8]) -> Result<Vec<u8>, Exit> {
    bytes(text, "key")
}

/// A value, in the same notation as a key.
pub(crate) fn value(text: &[u8]) -> Result<Vec<u8>, Exit> {
    bytes(text, "value")
}

fn bytes(text: &[u8], what: &str) -> Result<Vec<u8>, Exit> {
    literal(text).map_err(|complaint| {
        errln!("{complaint}");
        errln!("Failed to parse {what} {}", String::from_utf8_lossy(text));
        INVALID
    })
}

/// Bytes as they are, or hexadecimal behind `0x`; or what is wrong with that.
pub(crate) fn literal(text: &[u8]) -> Result<Vec<u8>, String> {
    text.strip_prefix(b"0x").map_or_else(|| Ok(text.to_vec()), hex)
}

fn hex(digits: &[u8]) -> Result<Vec<u8>, String> {
    if digits.len() % 2 != 0 {
        let text = String::from_utf8_lossy(digits);
        return Err(format!("Key ({text}) contains odd number of hex digits"));
    }
    let digit = |b: u8| char::from(b).to_digit(16);
    let mut out = Vec::with_capacity(digits.len() / 2);
    for at in (0..digits.len()).step_by(2) {
        match (digit(digits[at]), digit(digits[at + 1])) {
            (Some(high), Some(low)) => out.push((high << 4 | low) as u8),
            _ => return Err(format!("Invalid hex: {}", String::from_utf8_lossy(&digits[at..]))),
        }
    }
    Ok(out)
}

/// Log levels in the order in which prefixes are tried.
const LEVELS: [(&str, i32); 5] =
    [("ERROR", 0), ("WARNING", 1), ("NOTICE", 3), ("INFO", 5), ("DEBUG", 10)];

/// A log level: a number 0 to 10, or a prefix of a name in any case.
pub(crate) fn level(text: &str) -> Option<i32> {
    if text.as_bytes().first().is_some_and(u8::is_ascii_digit) {
        let value = atoi(text);
        return (0..=10).contains(&value).then_some(value);
    }
    let upper = text.to_ascii_uppercase();
    LEVELS.iter().find(|(name, _)| name.starts_with(&upper)).map(|(_, value)| *value)
}

/// The name of a log level.
pub(crate) fn level_name(level: i32) -> &'static str {
    match level {
        0 => "ERROR",
        1 | 2 => "WARNING",
        3 | 4 => "NOTICE",
        5..=9 => "INFO",
        10 => "DEBUG",
        _ => "UNKNOWN",
    }
}

/// A whole decimal number without a sign.
pub(crate) fn decimal<T: std::str::FromStr>(text: &str) -> Option<T> {
    text.bytes().all(|b| b.is_ascii_digit()).then(|| text.parse().ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_follow_strtoul() {
        for (text, want) in [
            ("20x", Ok(20)),
            (" 0x1F", Ok(31)),
            ("010", Ok(8)),
            ("0", Ok(0)),
            ("0xg", Ok(0)),
            ("-1", Err(INVALID)),
            ("x", Err(INVALID)),
            ("", Err(INVALID)),
            ("99999999999999999999", Err(Exit::Code(34))),
        ] {
            assert_eq!(number(text), want, "{text}");
        }
        assert_eq!(number32("4294967296"), Ok(0));
        assert_eq!((atoi("12ab"), atoi("ab"), atoi("-3")), (12, 0, -3));
    }

    #[test]
    fn keys_are_literal_or_hexadecimal() {
        assert_eq!(key(b"abc"), Ok(b"abc".to_vec()));
        assert_eq!(key(b"0x6b3200fF"), Ok(vec![0x6b, 0x32, 0, 0xff]));
        assert_eq!(key(b"0x"), Ok(vec![]));
        assert_eq!(key(b"0x6b3"), Err(INVALID));
        assert_eq!(hex(b"6bzz").unwrap_err(), "Invalid hex: zz");
    }

    #[test]
    fn levels_are_prefixes() {
        assert_eq!(level("warn"), Some(1));
        assert_eq!(level("n"), Some(3));
        assert_eq!(level(""), Some(0));
        assert_eq!(level("10"), Some(10));
        assert_eq!(level("11"), None);
        assert_eq!(level("FOO"), None);
    }
}
