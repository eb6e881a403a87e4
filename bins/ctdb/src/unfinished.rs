// SPDX-License-Identifier: GPL-3.0-or-later
//! Work that must not be left half done: databases that are frozen while their content is replaced.
//! Whatever ends the program in the middle of it, a signal or its time limit, a recovery is asked for
//! first, which thaws them with their old content.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use ctdb_wire::control::call;
use ctdb_wire::flags::recmode;
use ctdbcore::{Client, Deadline, Environment};
use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM};
use signal_hook::iterator::Signals;
use signal_hook::low_level::emulate_default_handler;

/// How long the way out may take.
const LIMIT: Duration = Duration::from_secs(5);

/// The socket of the daemon that has to be told.
static DAEMON: Mutex<Option<PathBuf>> = Mutex::new(None);

fn daemon() -> MutexGuard<'static, Option<PathBuf>> {
    DAEMON.lock().unwrap_or_else(PoisonError::into_inner)
}

/// While it lives, the program does not end without undoing.
pub(crate) struct Unfinished(());

impl Unfinished {
    pub(crate) fn begin() -> Unfinished {
        *daemon() = Environment::from_process().socket_path().ok();
        if let Ok(mut signals) = Signals::new([SIGHUP, SIGINT, SIGQUIT, SIGTERM]) {
            std::thread::spawn(move || {
                for signal in signals.forever() {
                    undo();
                    // it ends the program
                    let _ = emulate_default_handler(signal);
                }
            });
        }
        Unfinished(())
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        *daemon() = None;
    }
}

/// Asks for a recovery if something is unfinished.
pub(crate) fn undo() {
    let socket = daemon().take();
    if let Some(socket) = socket {
        if let Err(e) = ask_for_recovery(&socket) {
            errln!("ctdb: cannot force a recovery: {e}");
        }
    }
}

fn ask_for_recovery(socket: &Path) -> ctdbcore::Result<()> {
    let limit = Deadline::after(LIMIT);
    let mut client = Client::connect(socket, limit)?;
    let own = client.pnn();
    client.control::<call::SetRecmode, ()>(own, limit, &recmode::ACTIVE)
}
