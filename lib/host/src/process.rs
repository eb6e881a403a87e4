// SPDX-License-Identifier: GPL-3.0-or-later
//! Becoming a daemon, and what children inherit (`spec/events-config.md 10`). All of it happens before the process
//! has threads.

use crate::level::Level;
use crate::paths::Paths;
use crate::sys;
use std::fs::OpenOptions;
use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;

/// The process that started us, still waiting to hear how the start went.
#[derive(Debug)]
#[must_use = "the caller waits until it is told"]
pub struct Caller {
    /// None when we never left it.
    channel: Option<UnixStream>,
}

impl Caller {
    /// There is nobody to tell: interactive.
    pub fn none() -> Caller {
        Caller { channel: None }
    }

    /// Lets the caller exit with this code. If we die before, it exits with 1.
    pub fn release(self, code: u8) {
        if let Some(mut channel) = self.channel {
            // If it was killed meanwhile there is nobody to tell.
            let _ = channel.write_all(&[code]);
        }
    }
}

/// Leaves the caller: continues in a child of its own session with standard input and output closed (in test mode
/// a plain child that keeps them). Working directory and umask stay. The caller exits when [`Caller::release`] says.
pub fn daemonise(test_mode: bool) -> io::Result<Caller> {
    let (ours, callers) = UnixStream::pair()?;
    if !sys::fork::fork()? {
        drop(ours);
        sys::fork::exit_now(wait_for_release(callers));
    }
    drop(callers);
    if !test_mode {
        sys::fork::new_session()?;
        // Not the session's leader: no terminal that is opened becomes a controlling one.
        if !sys::fork::fork()? {
            sys::fork::exit_now(0);
        }
        let null = OpenOptions::new().read(true).write(true).open("/dev/null")?;
        sys::fork::redirect(null.as_fd(), io::stdin().as_fd())?;
        sys::fork::redirect(null.as_fd(), io::stdout().as_fd())?;
    }
    Ok(Caller { channel: Some(ours) })
}

fn wait_for_release(mut channel: UnixStream) -> u8 {
    let mut code = [1];
    match channel.read_exact(&mut code) {
        Ok(()) => code[0],
        Err(_) => 1,
    }
}

/// Sets what every descendant sees: CTDB_BASE if unset, CTDB_LOGGING, CTDB_DEBUGLEVEL, CTDB_INTERACTIVE.
pub fn export_environment(paths: &Paths, location: &str, level: Level, interactive: bool) {
    if std::env::var_os("CTDB_BASE").is_none() {
        std::env::set_var("CTDB_BASE", &paths.etc_dir);
    }
    std::env::set_var("CTDB_LOGGING", if interactive { "file:" } else { location });
    std::env::set_var("CTDB_DEBUGLEVEL", level.name());
    if interactive {
        std::env::set_var("CTDB_INTERACTIVE", "true");
    }
}

/// Real-time priority for the calling thread. What it starts later does not inherit it.
pub fn set_realtime() -> Result<(), String> {
    crate::hot::os::set_realtime()
        .map_err(|e| format!("Unable to set scheduler to SCHED_FIFO ({e})"))?;
    log::info!("Set real-time scheduler priority");
    Ok(())
}

/// Keeps what is in memory now there, if we are root.
pub fn lock_memory() {
    if !sys::memory::is_root() {
        return;
    }
    if let Err(e) = sys::memory::lock_current_memory() {
        log::warn!("Failed to lockdown memory: {e}");
    }
}

/// Test mode: calls `ended` when standard input is a pipe and its writer is gone, so that daemons do not outlive the
/// test that started them. Starts a thread; false if there is nothing to watch.
pub fn watch_stdin(ended: impl FnOnce() + Send + 'static) -> io::Result<bool> {
    let stdin = io::stdin();
    if !sys::fork::is_pipe(stdin.as_fd()) {
        return Ok(false);
    }
    std::thread::Builder::new().name("ctdb-stdin".into()).spawn(move || {
        let mut buffer = [0; 256];
        loop {
            match stdin.lock().read(&mut buffer) {
                Ok(0) => break,
                Ok(_) => {}
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => break,
            }
        }
        ended();
    })?;
    Ok(true)
}
