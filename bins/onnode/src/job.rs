// SPDX-License-Identifier: GPL-3.0-or-later
//! What is run for one node.

use crate::options::Options;
use crate::settings::Settings;
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

/// The commands for one node.
#[derive(Debug)]
pub(crate) struct Job {
    /// The node.
    pub address: String,
    /// What is run, in order.
    pub steps: Vec<Step>,
}

/// One command.
#[derive(Debug)]
pub(crate) struct Step {
    /// What is said before, when addresses are.
    pub announcement: Option<String>,
    /// Program and arguments.
    pub words: Vec<OsString>,
    /// RSYNC_RSH of its environment.
    pub rsync_rsh: Option<OsString>,
}

impl Job {
    /// What the command line wants.
    pub fn new(options: &Options, settings: &Settings, address: String) -> Job {
        if options.push {
            let steps = options.command_words().iter().map(|file| push(settings, file, &address));
            return Job { steps: steps.collect(), address };
        }
        let mut text = OsString::new();
        if options.current_dir {
            text.push("cd ");
            text.push(working_dir());
            text.push(" && ");
        }
        text.push(options.command_words().join(OsStr::new(" ")));
        let with_input = options.input && !options.parallel;
        Job { steps: vec![remote(settings, with_input, &address, text)], address }
    }
}

fn remote(settings: &Settings, with_input: bool, address: &str, command: OsString) -> Step {
    let mut words = settings.ssh_words();
    if !with_input {
        words.push("-n".into());
    }
    words.extend([address.into(), command]);
    Step { announcement: None, words, rsync_rsh: None }
}

fn push(settings: &Settings, file: &OsStr, address: &str) -> Step {
    let path = working_dir().join(file);
    let mut target = OsString::from(format!("[{address}]:"));
    target.push(&path);
    Step {
        announcement: Some(format!("Pushing {}", file.to_string_lossy())),
        words: vec!["rsync".into(), path.into(), target],
        rsync_rsh: settings.ssh.clone(),
    }
}

/// As the user sees it: with symbolic links, if the shell says so.
fn working_dir() -> PathBuf {
    let same = |a: &Path, b: &Path| match (std::fs::canonicalize(a), std::fs::canonicalize(b)) {
        (Ok(a), Ok(b)) => a == b,
        _ => false,
    };
    let actual = std::env::current_dir().unwrap_or_else(|_| PathBuf::from("."));
    match std::env::var_os("PWD").map(PathBuf::from) {
        Some(named) if named.is_absolute() && same(&named, &actual) => named,
        _ => actual,
    }
}
