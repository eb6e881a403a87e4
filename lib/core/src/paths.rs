// SPDX-License-Identifier: GPL-3.0-or-later
//! Where the daemon's socket and files are (spec/events-config.md 1).

use std::ffi::OsString;
use std::path::PathBuf;

use crate::error::{Error, Result};

/// Run directory of an installed system.
const RUN_DIR: &str = "/run/ctdb";
/// Configuration directory of an installed system.
const ETC_DIR: &str = "/etc/ctdb";

/// The environment variables that decide, read once.
#[derive(Debug, Clone, Default)]
pub struct Environment {
    /// `CTDB_TEST_MODE` is there, with any value.
    pub test_mode: bool,
    /// `CTDB_BASE`.
    pub base: Option<PathBuf>,
    /// `CTDB_SOCKET`.
    pub socket: Option<PathBuf>,
}

impl Environment {
    /// The environment of this process.
    pub fn from_process() -> Environment {
        Environment::from_lookup(|name| std::env::var_os(name))
    }

    fn from_lookup(lookup: impl Fn(&str) -> Option<OsString>) -> Environment {
        Environment {
            test_mode: lookup("CTDB_TEST_MODE").is_some(),
            base: lookup("CTDB_BASE").map(PathBuf::from),
            socket: lookup("CTDB_SOCKET").map(PathBuf::from),
        }
    }

    fn test_base(&self) -> Result<&PathBuf> {
        self.base
            .as_ref()
            .ok_or(Error::Environment("Broken CTDB setup, CTDB_BASE not set in test mode"))
    }

    /// The client socket. `CTDB_SOCKET` wins in and outside test mode, as in 4.17.
    pub fn socket_path(&self) -> Result<PathBuf> {
        if self.test_mode {
            self.test_base()?;
        }
        if let Some(socket) = &self.socket {
            return Ok(socket.clone());
        }
        if self.test_mode {
            return Ok(self.test_base()?.join("run/ctdbd.socket"));
        }
        Ok(PathBuf::from(RUN_DIR).join("ctdbd.socket"))
    }

    /// The directory of `ctdb.conf`, `nodes` and the like.
    pub fn config_dir(&self) -> Result<PathBuf> {
        if self.test_mode {
            return self.test_base().cloned();
        }
        Ok(PathBuf::from(ETC_DIR))
    }

    /// The nodes file. `CTDB_BASE` counts outside test mode too, as in 4.17.
    pub fn nodes_path(&self) -> Result<PathBuf> {
        match &self.base {
            Some(base) if !self.test_mode => Ok(base.join("nodes")),
            _ => Ok(self.config_dir()?.join("nodes")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn environment(pairs: &[(&str, &str)]) -> Environment {
        Environment::from_lookup(|name| {
            pairs.iter().find(|(n, _)| *n == name).map(|(_, value)| value.into())
        })
    }

    #[test]
    fn an_installed_system_uses_run_and_etc() {
        let e = environment(&[]);
        assert_eq!(e.socket_path().unwrap(), PathBuf::from("/run/ctdb/ctdbd.socket"));
        assert_eq!(e.nodes_path().unwrap(), PathBuf::from("/etc/ctdb/nodes"));
        let e = environment(&[("CTDB_SOCKET", "/x/s"), ("CTDB_BASE", "/b")]);
        assert_eq!(e.socket_path().unwrap(), PathBuf::from("/x/s"));
        assert_eq!(e.nodes_path().unwrap(), PathBuf::from("/b/nodes"));
        assert_eq!(e.config_dir().unwrap(), PathBuf::from("/etc/ctdb"));
    }

    #[test]
    fn test_mode_moves_everything_below_its_base() {
        let e = environment(&[("CTDB_TEST_MODE", ""), ("CTDB_BASE", "/b")]);
        assert_eq!(e.socket_path().unwrap(), PathBuf::from("/b/run/ctdbd.socket"));
        assert_eq!(e.nodes_path().unwrap(), PathBuf::from("/b/nodes"));
        let e = environment(&[("CTDB_TEST_MODE", "1"), ("CTDB_SOCKET", "/x/s")]);
        let error = e.socket_path().unwrap_err().to_string();
        assert_eq!(error, "Broken CTDB setup, CTDB_BASE not set in test mode");
    }
}
