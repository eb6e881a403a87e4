// SPDX-License-Identifier: GPL-3.0-or-later
//! Options, with the parsing rules scripts rely on (spec/tool.md 1.1, 1.2): anywhere on the command
//! line, short ones in clusters with their value attached or not, no abbreviations, integers in
//! any C notation.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

/// Everything the command line said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Options {
    /// Log level of the tool itself.
    pub debug: String,
    /// Seconds for each control.
    pub timelimit: i32,
    /// The node that is addressed, if one was named.
    pub node: Option<u32>,
    /// Machine-readable output.
    pub machine: bool,
    /// JSON output.
    pub json: bool,
    /// Separator of machine-readable output.
    pub separator: String,
    /// More output.
    pub verbose: bool,
    /// Seconds for the whole run; 0 is not given.
    pub max_runtime: i32,
    /// `--help` or `--usage`.
    pub help: Option<Help>,
    /// The command and its arguments.
    pub words: Vec<OsString>,
}

/// Which help is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Help {
    /// All options with their description.
    Long,
    /// All options.
    Short,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            debug: "ERROR".into(),
            timelimit: 10,
            node: None,
            machine: false,
            json: false,
            separator: "|".into(),
            verbose: false,
            max_runtime: 0,
            help: None,
            words: Vec::new(),
        }
    }
}

/// An option that was not understood: the word, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct BadOption {
    pub word: String,
    pub why: &'static str,
}

/// The options, by what they set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Opt {
    Debug,
    Timelimit,
    Node,
    Machine,
    Json,
    Separator,
    Parsable,
    Verbose,
    MaxRuntime,
    Help,
    Usage,
}

pub(crate) const TABLE: &[(Opt, Option<u8>, Option<&str>)] = &[
    (Opt::Debug, Some(b'd'), Some("debug")),
    (Opt::Timelimit, Some(b't'), Some("timelimit")),
    (Opt::Node, Some(b'n'), Some("node")),
    (Opt::Machine, Some(b'Y'), None),
    (Opt::Json, Some(b'j'), Some("json")),
    (Opt::Json, Some(b'J'), None),
    (Opt::Separator, Some(b'x'), Some("separator")),
    (Opt::Parsable, Some(b'X'), None),
    (Opt::Verbose, Some(b'v'), Some("verbose")),
    (Opt::MaxRuntime, Some(b'T'), Some("maxruntime")),
    (Opt::Help, Some(b'?'), Some("help")),
    (Opt::Usage, None, Some("usage")),
];

impl Opt {
    fn takes_value(self) -> bool {
        self.describe().0.is_some()
    }

    /// What its value is called, if it has one, and what it is for.
    pub(crate) fn describe(self) -> (Option<&'static str>, &'static str) {
        match self {
            Opt::Debug => (Some("LEVEL"), "log level of the tool itself (ERROR)"),
            Opt::Timelimit => {
                (Some("SECONDS"), "how long to wait for each answer, and for the leader (10)")
            }
            Opt::Node => (Some("PNN"), "the node that the command is about (the local one)"),
            Opt::Machine => (None, "machine-readable output"),
            Opt::Parsable => (None, "machine-readable output, as -Y"),
            Opt::Json => (None, "JSON output; its schema is ctdb-json.schema.json"),
            Opt::Separator => {
                (Some("STRING"), "what separates the fields of machine-readable output (|)")
            }
            Opt::Verbose => (None, "more output; of the command ip"),
            Opt::MaxRuntime => {
                (Some("SECONDS"), "end the program after this time (CTDB_TIMEOUT, or 120)")
            }
            Opt::Help => (None, "show the options"),
            Opt::Usage => (None, "show the options in short"),
        }
    }
}

impl Options {
    /// Parses the words behind the program's name. `posix`: options end at the first other word.
    pub(crate) fn parse(words: &[OsString], posix: bool) -> Result<Options, BadOption> {
        let mut options = Options::default();
        let mut rest = words.iter();
        while let Some(word) = rest.next() {
            match word.as_bytes() {
                b"--" => {
                    options.words.extend(rest.cloned());
                    break;
                }
                [b'-', b'-', long @ ..] => options.long(word, long, &mut rest)?,
                [b'-', cluster @ ..] if !cluster.is_empty() => {
                    options.cluster(word, cluster, &mut rest)?;
                }
                _ => {
                    options.words.push(word.clone());
                    if posix {
                        options.words.extend(rest.cloned());
                        break;
                    }
                }
            }
            if options.help.is_some() {
                break;
            }
        }
        Ok(options)
    }

    fn long<'a>(
        &mut self,
        word: &OsStr,
        long: &[u8],
        rest: &mut impl Iterator<Item = &'a OsString>,
    ) -> Result<(), BadOption> {
        let (name, value) = match long.iter().position(|b| *b == b'=') {
            Some(at) => (&long[..at], Some(&long[at + 1..])),
            None => (long, None),
        };
        let found = TABLE.iter().find(|(.., l)| l.is_some_and(|l| l.as_bytes() == name));
        let (opt, ..) = found.ok_or_else(|| bad(word, "unknown option"))?;
        if !opt.takes_value() {
            if value.is_some() {
                return Err(bad(word, "option does not take an argument"));
            }
            return self.set(*opt, OsStr::new(""), word);
        }
        match value {
            Some(value) => self.set(*opt, OsStr::from_bytes(value), word),
            None => {
                let value = rest.next().ok_or_else(|| bad(word, "missing argument"))?;
                self.set(*opt, value, value)
            }
        }
    }

    fn cluster<'a>(
        &mut self,
        word: &OsStr,
        mut cluster: &[u8],
        rest: &mut impl Iterator<Item = &'a OsString>,
    ) -> Result<(), BadOption> {
        while let [letter, tail @ ..] = cluster {
            let found = TABLE.iter().find(|(_, s, _)| *s == Some(*letter));
            let (opt, ..) = found.ok_or_else(|| bad(word, "unknown option"))?;
            if !opt.takes_value() {
                self.set(*opt, OsStr::new(""), word)?;
                cluster = tail;
                continue;
            }
            if tail.is_empty() {
                let value = rest.next().ok_or_else(|| bad(word, "missing argument"))?;
                return self.set(*opt, value, value);
            }
            let tail = tail.strip_prefix(b"=").unwrap_or(tail);
            return self.set(*opt, OsStr::from_bytes(tail), word);
        }
        Ok(())
    }

    /// `token` is what a complaint about the value names.
    fn set(&mut self, opt: Opt, value: &OsStr, token: &OsStr) -> Result<(), BadOption> {
        let number = || integer(value.as_bytes()).map_err(|why| bad(token, why));
        match opt {
            Opt::Debug => self.debug = value.to_string_lossy().into_owned(),
            Opt::Timelimit => self.timelimit = number()?,
            Opt::Node => {
                let node = number()?;
                self.node = (node != -1).then_some(node as u32);
            }
            Opt::Machine | Opt::Parsable => self.machine = true,
            Opt::Json => self.json = true,
            Opt::Separator => self.separator = value.to_string_lossy().into_owned(),
            Opt::Verbose => self.verbose = true,
            Opt::MaxRuntime => self.max_runtime = number()?,
            Opt::Help => self.help = Some(Help::Long),
            Opt::Usage => self.help = Some(Help::Short),
        }
        Ok(())
    }
}

fn bad(word: &OsStr, why: &'static str) -> BadOption {
    BadOption { word: word.to_string_lossy().into_owned(), why }
}

/// A whole C integer of 32 bits; the empty string is 0.
fn integer(text: &[u8]) -> Result<i32, &'static str> {
    const NOT_NUMERIC: &str = "invalid numeric value";
    const OUT_OF_RANGE: &str = "number too large or too small";
    let text = String::from_utf8(OsString::from_vec(text.to_vec()).into_vec());
    let text = text.map_err(|_| NOT_NUMERIC)?;
    if text.is_empty() {
        return Ok(0);
    }
    let trimmed = text.trim_start_matches([' ', '\t', '\n', '\x0b', '\x0c', '\r']);
    let (negative, digits) = match trimmed.as_bytes() {
        [b'-', ..] => (true, &trimmed[1..]),
        [b'+', ..] => (false, &trimmed[1..]),
        _ => (false, trimmed),
    };
    let (radix, digits) = match digits.as_bytes() {
        [b'0', b'x' | b'X', _, ..] => (16, &digits[2..]),
        [b'0', _, ..] => (8, &digits[1..]),
        _ => (10, digits),
    };
    if digits.is_empty() || !digits.chars().all(|c| c.is_digit(radix)) {
        return Err(NOT_NUMERIC);
    }
    let value = i64::from_str_radix(digits, radix).map_err(|_| OUT_OF_RANGE)?;
    let value = if negative { -value } else { value };
    i32::try_from(value).map_err(|_| OUT_OF_RANGE)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Options, BadOption> {
        let words: Vec<OsString> = line.split_whitespace().map(OsString::from).collect();
        Options::parse(&words, false)
    }

    fn complaint(line: &str) -> String {
        let bad = parse(line).unwrap_err();
        format!("Invalid option {}: {}", bad.word, bad.why)
    }

    #[test]
    fn options_may_be_anywhere() {
        let o = parse("ip -Xv all -n1").unwrap();
        assert!(o.machine && o.verbose);
        assert_eq!((o.node, o.words), (Some(1), vec!["ip".into(), "all".into()]));
        let o = parse("ping -v -- -X").unwrap();
        assert_eq!((o.machine, o.words), (false, vec!["ping".into(), "-X".into()]));
        let words: Vec<OsString> = ["ping", "-X"].map(OsString::from).to_vec();
        let o = Options::parse(&words, true).unwrap();
        assert_eq!((o.machine, o.words.len()), (false, 2));
    }

    #[test]
    fn values_are_c_integers() {
        assert_eq!(parse("-n 0x1 ping").unwrap().node, Some(1));
        assert_eq!(parse("-n 010 ping").unwrap().node, Some(8));
        assert_eq!(parse("--node= ping").unwrap().node, Some(0));
        assert_eq!(parse("-n -5 ping").unwrap().node, Some(4294967291));
        assert_eq!(parse("-n -1 ping").unwrap().node, None);
        assert_eq!(parse("-x ping").unwrap().separator, "ping");
        assert_eq!(parse("--separator : ping").unwrap().separator, ":");
    }

    #[test]
    fn complaints_name_what_the_original_names() {
        // recorded from the C tool
        for (line, said) in [
            ("-Xq ping", "Invalid option -Xq: unknown option"),
            ("-n", "Invalid option -n: missing argument"),
            ("-n all ping", "Invalid option all: invalid numeric value"),
            ("-nall ping", "Invalid option -nall: invalid numeric value"),
            ("--node", "Invalid option --node: missing argument"),
            ("-n 99999999999 ping", "Invalid option 99999999999: number too large or too small"),
            ("--nod 1 ping", "Invalid option --nod: unknown option"),
            ("--verbose=3 p", "Invalid option --verbose=3: option does not take an argument"),
            ("-t 1x ping", "Invalid option 1x: invalid numeric value"),
            ("-n 2147483648 p", "Invalid option 2147483648: number too large or too small"),
        ] {
            assert_eq!(complaint(line), said);
        }
    }
}
