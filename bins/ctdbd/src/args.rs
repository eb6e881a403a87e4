// SPDX-License-Identifier: GPL-3.0-or-later
//! The command line of ctdbd (`spec/events-config.md 10.1`). Everything but `-i` comes from ctdb.conf. Texts and exit
//! codes are those that init scripts and tests know.

use clap::error::{ContextKind, ErrorKind};
use clap::{ArgAction, Parser};
use std::ffi::OsString;
use std::io::Write;

/// What the command line says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Parser)]
#[command(
    name = "ctdbd",
    version,
    about = "The CTDB cluster daemon",
    disable_help_flag = true,
    override_help = HELP
)]
pub struct Options {
    /// don't fork, log to stderr
    #[arg(short = 'i', long, action = ArgAction::SetTrue, overrides_with = "interactive")]
    pub interactive: bool,
    /// Show this help message
    #[arg(short = '?', long, action = ArgAction::Help)]
    help: Option<bool>,
    /// Display brief usage message
    #[arg(long, action = ArgAction::SetTrue)]
    usage: bool,
}

/// What to print, and how to exit, instead of running.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// For standard output.
    pub stdout: String,
    /// For standard error.
    pub stderr: String,
    /// The exit code.
    pub code: i32,
}

/// The existing text, with one line more.
const HELP: &str = "\
Usage: [OPTION...]
  -i, --interactive     don't fork, log to stderr

Help options:
  -?, --help            Show this help message
      --usage           Display brief usage message
  -V, --version         Display the version
";

const BRIEF_USAGE: &str = "Usage: [-?i] [-?|--help] [--usage] [-V|--version] [-i|--interactive]\n";

/// Reads the command line of this process; ends it if there is nothing to run.
pub fn parse() -> Options {
    parse_from(std::env::args_os()).unwrap_or_else(|refusal| {
        // Nobody may be listening.
        let _ = std::io::stdout().write_all(refusal.stdout.as_bytes());
        let _ = std::io::stderr().write_all(refusal.stderr.as_bytes());
        std::process::exit(refusal.code)
    })
}

/// Reads a command line; the first word is the program's name.
pub fn parse_from(words: impl IntoIterator<Item = OsString>) -> Result<Options, Refusal> {
    match Options::try_parse_from(words) {
        Ok(options) if options.usage => Err(say(BRIEF_USAGE.into(), 0)),
        Ok(options) => Ok(options),
        Err(e) => Err(refuse(&e)),
    }
}

fn say(stdout: String, code: i32) -> Refusal {
    Refusal { stdout, stderr: String::new(), code }
}

fn refuse(error: &clap::Error) -> Refusal {
    let word = match error.get(ContextKind::InvalidArg) {
        Some(word) => word.to_string(),
        None => String::new(),
    };
    match error.kind() {
        ErrorKind::DisplayHelp => say(HELP.into(), 0),
        ErrorKind::DisplayVersion => say(error.to_string(), 0),
        ErrorKind::UnknownArgument if word.starts_with('-') => {
            complain(&format!("{word}: unknown option"))
        }
        // A positional argument: the help text.
        ErrorKind::UnknownArgument => say(HELP.into(), 1),
        ErrorKind::TooManyValues => {
            // clap names every spelling of the option: the long one is last.
            let word = word.rsplit(' ').next().unwrap_or_default();
            let value = error.get(ContextKind::InvalidValue);
            let value = value.map_or(String::new(), |v| format!("={v}"));
            complain(&format!("{word}{value}: option does not take an argument"))
        }
        _ => complain(error.to_string().lines().next().unwrap_or_default()),
    }
}

fn complain(text: &str) -> Refusal {
    Refusal { stdout: String::new(), stderr: format!("Invalid option {text}\n"), code: 1 }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(words: &[&str]) -> Result<Options, Refusal> {
        parse_from(["ctdbd"].iter().chain(words).map(Into::into))
    }

    fn refusal(words: &[&str]) -> (String, String, i32) {
        let r = run(words).unwrap_err();
        (r.stdout, r.stderr, r.code)
    }

    #[test]
    fn interactive() {
        assert!(!run(&[]).unwrap().interactive);
        for words in [&["-i"][..], &["--interactive"], &["-i", "-i"], &["-ii"]] {
            assert!(run(words).unwrap().interactive, "{words:?}");
        }
    }

    #[test]
    fn help_and_usage() {
        for word in ["-?", "--help"] {
            let (stdout, stderr, code) = refusal(&[word]);
            assert_eq!((stderr.as_str(), code), ("", 0));
            assert_eq!(stdout, HELP);
        }
        let (stdout, _, code) = refusal(&["--usage"]);
        assert!(stdout.starts_with("Usage: [-?i]") && code == 0);
        let (stdout, _, code) = refusal(&["--version"]);
        assert!(stdout.starts_with("ctdbd ") && code == 0);
    }

    #[test]
    fn mistakes() {
        let complaint = |words: &[&str]| {
            let (stdout, stderr, code) = refusal(words);
            assert_eq!((stdout.as_str(), code), ("", 1), "{words:?}");
            stderr
        };
        assert_eq!(complaint(&["--foo"]), "Invalid option --foo: unknown option\n");
        assert_eq!(complaint(&["-i", "-x"]), "Invalid option -x: unknown option\n");
        assert_eq!(
            complaint(&["--interactive=3"]),
            "Invalid option --interactive=3: option does not take an argument\n"
        );
        for words in [&["foo"][..], &["-i", "foo"], &["--", "foo"]] {
            let (stdout, stderr, code) = refusal(words);
            assert!(stdout.starts_with("Usage: [OPTION...]"), "{words:?}: {stdout} {stderr}");
            assert_eq!((stderr.as_str(), code), ("", 1));
        }
    }
}
