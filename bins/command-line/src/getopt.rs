// SPDX-License-Identifier: GPL-3.0-or-later
//! What getopt(3) would have said: for programs that clap parses and whose complaints are known.

use clap::error::{ContextKind, ContextValue, ErrorKind};

/// What getopt complains about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// An option that there is not.
    Unknown(char),
    /// An option without its argument.
    NoArgument(char),
}

/// The fault that getopt would have found where clap found one; none if it would have had nothing to say.
pub fn fault(error: &clap::Error) -> Option<Fault> {
    let Some(ContextValue::String(arg)) = error.get(ContextKind::InvalidArg) else {
        return None;
    };
    // A long option is the unknown letter "-" to getopt.
    let letter = arg.strip_prefix('-')?.chars().next()?;
    match error.kind() {
        ErrorKind::UnknownArgument => Some(Fault::Unknown(letter)),
        ErrorKind::InvalidValue | ErrorKind::TooFewValues if is_empty(error) => {
            Some(Fault::NoArgument(letter))
        }
        _ => None,
    }
}

/// The fault in the words of getopt.
pub fn complaint(program: &str, error: &clap::Error) -> Option<String> {
    Some(match fault(error)? {
        Fault::Unknown(letter) => format!("{program}: invalid option -- '{letter}'\n"),
        Fault::NoArgument(letter) => {
            format!("{program}: option requires an argument -- '{letter}'\n")
        }
    })
}

fn is_empty(error: &clap::Error) -> bool {
    match error.get(ContextKind::InvalidValue) {
        Some(ContextValue::String(value)) => value.is_empty(),
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::{Arg, ArgAction, Command};

    fn say(words: &[&str]) -> Option<String> {
        let command = Command::new("p")
            .arg(Arg::new("s").short('s').value_parser(["0", "32"]))
            .arg(Arg::new("e").short('e').action(ArgAction::SetTrue))
            .arg(Arg::new("word").num_args(0..));
        let words = ["p"].iter().chain(words);
        complaint("p", &command.try_get_matches_from(words).unwrap_err())
    }

    #[test]
    fn words_of_getopt() {
        assert_eq!(say(&["-x"]).as_deref(), Some("p: invalid option -- 'x'\n"));
        assert_eq!(say(&["a", "-ex"]).as_deref(), Some("p: invalid option -- 'x'\n"));
        assert_eq!(say(&["--long"]).as_deref(), Some("p: invalid option -- '-'\n"));
        assert_eq!(say(&["-s"]).as_deref(), Some("p: option requires an argument -- 's'\n"));
        assert_eq!(say(&["-s3"]), None);
    }
}
