// SPDX-License-Identifier: GPL-3.0-or-later
//! Signals of a daemon (`spec/events-config.md 10.9`), as something a loop can wait for.
//! System calls of any thread may be interrupted by them; children start with default actions.

use crate::sys::signal::{ignore, poll, SignalPipe};
use std::io;
use std::os::fd::{AsFd, BorrowedFd};

/// A signal that concerns us.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signal {
    /// SIGHUP: reopen logs.
    Hangup,
    /// SIGTERM: die at once, without the shutdown sequence.
    Terminate,
    /// SIGINT: the same.
    Interrupt,
}

impl Signal {
    /// The system's number.
    pub fn number(self) -> i32 {
        match self {
            Signal::Hangup => libc::SIGHUP,
            Signal::Terminate => libc::SIGTERM,
            Signal::Interrupt => libc::SIGINT,
        }
    }
}

/// The stream of signals.
#[derive(Debug)]
pub struct Signals {
    pipe: SignalPipe,
}

impl Signals {
    /// Takes SIGHUP, SIGTERM and SIGINT over and ignores SIGPIPE and SIGUSR1. Once in a process,
    /// after it has become a daemon: a fork would share the stream.
    pub fn take_over() -> io::Result<Signals> {
        ignore(libc::SIGPIPE);
        ignore(libc::SIGUSR1);
        let pipe = SignalPipe::new(&[libc::SIGHUP, libc::SIGTERM, libc::SIGINT])?;
        Ok(Signals { pipe })
    }

    /// The next pending signal, if there is one; never waits. The descriptor says when to look.
    pub fn try_next(&mut self) -> io::Result<Option<Signal>> {
        while let Some(number) = self.pipe.next()? {
            match number {
                libc::SIGHUP => return Ok(Some(Signal::Hangup)),
                libc::SIGTERM => return Ok(Some(Signal::Terminate)),
                libc::SIGINT => return Ok(Some(Signal::Interrupt)),
                _ => {}
            }
        }
        Ok(None)
    }

    /// Calls `each` for every signal from a thread of its own, until it returns false.
    pub fn spawn(
        mut self,
        mut each: impl FnMut(Signal) -> bool + Send + 'static,
    ) -> io::Result<()> {
        std::thread::Builder::new().name("ctdb-signals".into()).spawn(move || loop {
            match self.try_next() {
                Ok(Some(signal)) if !each(signal) => return,
                Ok(Some(_)) => {}
                Ok(None) => drop(poll([self.as_fd()], None)),
                Err(e) => {
                    log::error!("Failed to read signals: {e}");
                    return;
                }
            }
        })?;
        Ok(())
    }
}

impl AsFd for Signals {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.pipe.as_fd()
    }
}
