// SPDX-License-Identifier: GPL-3.0-or-later
//! `ctdb-path`: prints where everything lives (spec/events-config.md 6).
//!
//! It knows the directories of both generations: `rundir` of the older, and `lockdir`, `piddir` and `socketdir`
//! that the newer split it into. Here all four are one.
#![forbid(unsafe_code)]

use ctdb_command_line::{Command, Ending, Tool};
use ctdb_host::Paths;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

/// An exit code.
const EINVAL: i32 = 22;

/// What is printed, given the directories and the arguments.
type Answer = fn(&Paths, &[OsString]) -> Option<PathBuf>;

const fn entry(
    words: &'static str,
    args: &'static [&'static str],
    about: &'static str,
    does: Answer,
) -> Command<Answer> {
    Command { words, args, open_ended: false, about, does }
}

#[rustfmt::skip]
static COMMANDS: &[Command<Answer>] = &[
    entry("config", &[], "Get path of CTDB config file", |p, _| Some(p.config_file())),
    entry("pidfile", &["<daemon>"], "Get path of CTDB daemon pidfile", |p, a| Some(p.pid_file(a.first()?.to_str()?))),
    entry("socket", &["<daemon>"], "Get path of CTDB daemon socket", |p, a| Some(p.socket(a.first()?.to_str()?))),
    entry("datadir append", &["<path>"], "Get path relative to CTDB DATADIR", |p, a| below(&p.data_dir, a)),
    entry("datadir", &[], "Get path of CTDB DATADIR", |p, _| Some(p.data_dir.clone())),
    entry("etcdir append", &["<path>"], "Get path relative to CTDB ETCDIR", |p, a| below(&p.etc_dir, a)),
    entry("etcdir", &[], "Get path of CTDB ETCDIR", |p, _| Some(p.etc_dir.clone())),
    entry("rundir append", &["<path>"], "Get path relative to CTDB RUNDIR", |p, a| below(&p.run_dir, a)),
    entry("rundir", &[], "Get path of CTDB RUNDIR", |p, _| Some(p.run_dir.clone())),
    entry("lockdir append", &["<path>"], "Get path relative to CTDB LOCKDIR", |p, a| below(&p.run_dir, a)),
    entry("lockdir", &[], "Get path of CTDB LOCKDIR", |p, _| Some(p.run_dir.clone())),
    entry("piddir append", &["<path>"], "Get path relative to CTDB PIDDIR", |p, a| below(&p.run_dir, a)),
    entry("piddir", &[], "Get path of CTDB PIDDIR", |p, _| Some(p.run_dir.clone())),
    entry("socketdir append", &["<path>"], "Get path relative to CTDB SOCKETDIR", |p, a| below(&p.run_dir, a)),
    entry("socketdir", &[], "Get path of CTDB SOCKETDIR", |p, _| Some(p.run_dir.clone())),
    entry("vardir append", &["<path>"], "Get path relative to CTDB VARDIR", |p, a| below(&p.var_dir, a)),
    entry("vardir", &[], "Get path of CTDB VARDIR", |p, _| Some(p.var_dir.clone())),
];

static TOOL: Tool<Answer> = Tool {
    name: "ctdb-path",
    about: "Print where files and directories of CTDB are",
    debug: false,
    long_help: false,
    misuse: EINVAL,
    commands: COMMANDS,
};

/// The words are kept as they are: an absolute one does not replace the directory.
fn below(dir: &Path, args: &[OsString]) -> Option<PathBuf> {
    let mut path = dir.as_os_str().to_os_string();
    path.push("/");
    path.push(args.first()?);
    Some(path.into())
}

/// The definition of the command line.
pub fn command() -> clap::Command {
    TOOL.command()
}

/// Runs the program with the words behind its name.
pub fn run(words: &[OsString]) -> Ending {
    answer(words).unwrap_or_else(|ending| ending)
}

fn answer(words: &[OsString]) -> Result<Ending, Ending> {
    let call = TOOL.parse(words)?;
    let paths = Paths::from_env().map_err(|e| Ending::aborted(&e))?;
    let path = (call.command.does)(&paths, &call.args)
        .ok_or_else(|| Ending::complaint("ctdb-path: the name is not UTF-8\n", EINVAL))?;
    Ok(Ending::output(format!("{}\n", path.display()), 0))
}
