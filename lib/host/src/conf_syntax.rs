// SPDX-License-Identifier: GPL-3.0-or-later
//! The line grammar of ctdb.conf and of the tunables files (`spec/events-config.md 2`).
//!
//! Runs of white space count as their first character, a backslash at a line's end continues it, `#` and `;`
//! start a comment only where a line starts, and nothing is quoted. A continuation line is never a comment.

use std::fmt;

/// One meaningful line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Item {
    /// The line on which it starts, from 1.
    pub line: usize,
    /// What it says.
    pub kind: ItemKind,
}

/// What a line says. Texts are trimmed and have single white space.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ItemKind {
    /// `[name]`; the name is not trimmed.
    Section(String),
    /// `name = value`; the value may be empty.
    Assignment {
        /// Left of the first `=`.
        name: String,
        /// Right of it.
        value: String,
    },
    /// A line without `=`: ctdb.conf ignores it.
    Bare(String),
    /// The line cannot be read.
    Fault(Fault),
}

/// Why a line cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// `[` without `]`.
    UnclosedSection,
    /// Nothing before `=`.
    EmptyName,
    /// A NUL byte.
    Nul,
    /// Not UTF-8 outside a comment.
    NotUtf8,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Fault::UnclosedSection => "Syntax error: \"[\" without \"]\"",
            Fault::EmptyName => "Syntax error: no option name before \"=\"",
            Fault::Nul => "Syntax error: NUL byte",
            Fault::NotUtf8 => "Syntax error: not UTF-8",
        })
    }
}

/// The meaningful lines of `content`, in order.
pub fn items(content: &[u8]) -> Items<'_> {
    Items { rest: content, line: 1 }
}

/// Iterator of [`items`].
#[derive(Debug)]
pub struct Items<'a> {
    rest: &'a [u8],
    line: usize,
}

/// C `isspace` for ASCII.
fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | b'\r' | 0x0b | 0x0c)
}

impl Items<'_> {
    fn take(&mut self) -> Option<u8> {
        let (&byte, rest) = self.rest.split_first()?;
        self.rest = rest;
        if byte == b'\n' {
            self.line += 1;
        }
        Some(byte)
    }

    fn skip_while(&mut self, wanted: impl Fn(u8) -> bool) {
        while self.rest.first().is_some_and(|&b| wanted(b)) {
            self.take();
        }
    }

    /// After a backslash: whether the line continues on the next one, which is then where we stand.
    fn take_continuation(&mut self) -> bool {
        let blank = self.rest.iter().take_while(|&&b| is_space(b) && b != b'\n').count();
        match self.rest.get(blank) {
            Some(b'\n') => {
                self.rest = self.rest.get(blank + 1..).unwrap_or_default();
                self.line += 1;
                true
            }
            Some(_) => false,
            None => {
                self.rest = &[];
                true
            }
        }
    }

    /// The next logical line that is neither blank nor a comment, with its first line's number.
    fn logical_line(&mut self) -> Option<(usize, Vec<u8>)> {
        loop {
            self.skip_while(is_space);
            match self.rest.first()? {
                b'#' | b';' => self.skip_while(|b| b != b'\n'),
                _ => break,
            }
        }
        let start = self.line;
        let mut text = Vec::new();
        while let Some(byte) = self.take() {
            match byte {
                b'\n' => break,
                b'\\' if self.take_continuation() => {}
                byte if is_space(byte) => {
                    if !text.last().is_some_and(|&b| is_space(b)) {
                        text.push(byte);
                    }
                }
                byte => text.push(byte),
            }
        }
        Some((start, text))
    }
}

impl Iterator for Items<'_> {
    type Item = Item;

    fn next(&mut self) -> Option<Item> {
        let (line, text) = self.logical_line()?;
        Some(Item { line, kind: classify(text) })
    }
}

fn classify(text: Vec<u8>) -> ItemKind {
    if text.contains(&0) {
        return ItemKind::Fault(Fault::Nul);
    }
    let Ok(text) = String::from_utf8(text) else {
        return ItemKind::Fault(Fault::NotUtf8);
    };
    if let Some(header) = text.strip_prefix('[') {
        return match header.split_once(']') {
            Some((name, _)) => ItemKind::Section(name.to_owned()),
            None => ItemKind::Fault(Fault::UnclosedSection),
        };
    }
    let trim = |s: &str| s.trim_matches(|c: char| c.is_ascii() && is_space(c as u8)).to_owned();
    match text.split_once('=') {
        Some((name, _)) if trim(name).is_empty() => ItemKind::Fault(Fault::EmptyName),
        Some((name, value)) => ItemKind::Assignment { name: trim(name), value: trim(value) },
        None => ItemKind::Bare(trim(&text)),
    }
}

/// An unsigned number as C writes it: decimal, `0x` hex or `0` octal; nothing else in the text.
pub fn parse_number(text: &str) -> Option<u64> {
    let (digits, radix) = match text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
        Some(hex) => (hex, 16),
        None if text.len() > 1 && text.starts_with('0') => (&text[1..], 8),
        None => (text, 10),
    };
    if !digits.starts_with(|c: char| c.is_digit(radix)) {
        return None;
    }
    u64::from_str_radix(digits, radix).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn assignment(line: usize, name: &str, value: &str) -> Item {
        Item { line, kind: ItemKind::Assignment { name: name.into(), value: value.into() } }
    }

    fn read(text: &str) -> Vec<Item> {
        items(text.as_bytes()).collect()
    }

    // Each expectation was seen with the existing ctdb-config as well.
    #[test]
    fn continuation() {
        assert_eq!(read("x = a \\\n   b\n"), [assignment(1, "x", "a b")]);
        assert_eq!(
            read("x = a  \\  \n b\\\nc\ny=1"),
            [assignment(1, "x", "a bc"), assignment(4, "y", "1")]
        );
        assert_eq!(read("x = a\\ b\n"), [assignment(1, "x", "a\\ b")]);
        assert_eq!(read("x = a\\\n# b\n"), [assignment(1, "x", "a# b")]);
        assert_eq!(read("x = a\\\n\ny = 9\n"), [assignment(1, "x", "a"), assignment(3, "y", "9")]);
        assert_eq!(read("x = a\\"), [assignment(1, "x", "a")]);
        assert_eq!(
            read("location=file:/var/\\\nlog/x"),
            [assignment(1, "location", "file:/var/log/x")]
        );
    }

    #[test]
    fn comments_and_white_space() {
        assert_eq!(read("# c \\\nx = 1\n  ; y = 2\n\n\r\n"), [assignment(2, "x", "1")]);
        assert_eq!(read("x = INFO # x"), [assignment(1, "x", "INFO # x")]);
        assert_eq!(read("node  address\t =  1 \t 2\r\n"), [assignment(1, "node address", "1 2")]);
        assert_eq!(read("x=a=b"), [assignment(1, "x", "a=b")]);
        assert_eq!(read("x=\"y\""), [assignment(1, "x", "\"y\"")]);
        assert_eq!(read("x="), [assignment(1, "x", "")]);
        assert_eq!(read("word"), [Item { line: 1, kind: ItemKind::Bare("word".into()) }]);
    }

    #[test]
    fn sections() {
        assert_eq!(
            read("[a] rest\n[ b ]"),
            [
                Item { line: 1, kind: ItemKind::Section("a".into()) },
                Item { line: 2, kind: ItemKind::Section(" b ".into()) },
            ]
        );
    }

    #[test]
    fn faults_name_the_line_and_reading_goes_on() {
        let fault = |line, fault| Item { line, kind: ItemKind::Fault(fault) };
        assert_eq!(
            items(b"\n[x\n=1\ny=\xff\nz=\0\nok=1").collect::<Vec<_>>(),
            [
                fault(2, Fault::UnclosedSection),
                fault(3, Fault::EmptyName),
                fault(4, Fault::NotUtf8),
                fault(5, Fault::Nul),
                assignment(6, "ok", "1"),
            ]
        );
        assert_eq!(items(b"# \xff\nok=1").collect::<Vec<_>>(), [assignment(2, "ok", "1")]);
    }

    #[test]
    fn numbers() {
        assert_eq!(parse_number("10"), Some(10));
        assert_eq!(parse_number("0x1F"), Some(31));
        assert_eq!(parse_number("010"), Some(8));
        assert_eq!(parse_number("0"), Some(0));
        for bad in ["", "7xyz", "abc", "-1", "+1", "0x", "0x+1", "08", "99999999999999999999"] {
            assert_eq!(parse_number(bad), None, "{bad}");
        }
    }

    proptest! {
        #[test]
        fn never_panics_and_never_invents_lines(content in proptest::collection::vec(any::<u8>(), 0..200)) {
            let lines = content.iter().filter(|&&b| b == b'\n').count() + 1;
            let items: Vec<_> = items(&content).collect();
            prop_assert!(items.windows(2).all(|w| w[0].line < w[1].line));
            prop_assert!(items.iter().all(|i| i.line <= lines));
        }
    }
}
