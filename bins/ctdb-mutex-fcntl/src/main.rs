// SPDX-License-Identifier: GPL-3.0-or-later
//! The built-in cluster lock helper (`spec/cluster.md 15.2, 15.7`): takes an fcntl lock on byte 0 of a file of the
//! cluster file system, says so with one character on standard output, and holds it until it is told to end, its
//! daemon is gone, or the lock file is.
//!
//! `0` taken and held, `1` somebody else has it, `3` any other error.
//!
//! - [`args`]: the command line; [`lock`]: the lock; [`parent`]: noticing the daemon's end at once
//! - [`recheck`]: the child process that looks whether the file is still what we have locked
//! - [`holder`]: waiting for whatever comes first; [`sys`]: system calls

mod args;
mod holder;
mod lock;
mod parent;
mod recheck;
mod sys;

use args::Args;
use lock::Taken;
use parent::Parent;
use std::io::Write;
use std::process::ExitCode;

fn main() -> ExitCode {
    let mut words = std::env::args_os();
    let program = args::program_name(words.next().as_deref());
    let Some(args) = Args::parse(words) else {
        eprintln!("{}", args::usage(&program));
        return ExitCode::from(1);
    };
    // The lock ends with the process, so the default action of SIGTERM is a release.
    sys::default_sigterm();
    let parent = Parent::watch();
    match lock::take(&args.file) {
        Ok(Taken::Held(file)) => {
            if answer(b'0').is_ok() {
                holder::hold(&program, &args, file, parent);
            }
        }
        Ok(Taken::Contended) => drop(answer(b'1')),
        Err(e) => {
            eprintln!("{program}: {e}");
            drop(answer(b'3'));
        }
    }
    // The answer is what counts: the caller ignores the exit code.
    ExitCode::SUCCESS
}

fn answer(character: u8) -> std::io::Result<()> {
    let mut output = std::io::stdout();
    output.write_all(&[character])?;
    output.flush()
}
