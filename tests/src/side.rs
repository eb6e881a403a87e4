// SPDX-License-Identifier: GPL-3.0-or-later
//! Whose programs run in a cluster: ours or Debian's.

use std::path::{Path, PathBuf};

use anyhow::{bail, Context, Result};

/// A daemon with its tool and the directory of its helper programs.
#[derive(Clone, Debug)]
pub struct Side {
    /// How to call it in tables: `ours` or `debian`.
    pub name: &'static str,
    /// The daemon.
    pub ctdbd: PathBuf,
    /// The tool.
    pub ctdb: PathBuf,
    /// Where the daemon's helper programs are.
    pub helpers: PathBuf,
}

/// Debian's tool, which has to work on our daemons too.
pub(crate) const DEBIAN_CTDB: &str = "/usr/bin/ctdb";
const DEBIAN_CTDBD: &str = "/usr/sbin/ctdbd";
const DEBIAN_HELPERS: &str = "/usr/libexec/ctdb";
const MUTEX_HELPER: &str = "ctdb_mutex_fcntl_helper";

impl Side {
    /// The programs of Debian's package ctdb.
    pub fn debian() -> Side {
        Side {
            name: "debian",
            ctdbd: DEBIAN_CTDBD.into(),
            ctdb: DEBIAN_CTDB.into(),
            helpers: DEBIAN_HELPERS.into(),
        }
    }

    /// The programs of this workspace, from the build that the running program comes from, with
    /// the cluster lock helper also present under its existing name.
    pub fn ours() -> Result<Side> {
        let bin = build_directory()?;
        let side = Side {
            name: "ours",
            ctdbd: bin.join("ctdbd"),
            ctdb: bin.join("ctdb"),
            helpers: bin.clone(),
        };
        for program in [&side.ctdbd, &side.ctdb, &bin.join("ctdb-mutex-fcntl")] {
            if !program.exists() {
                bail!("{}: not built (run `make build`, or cargo build)", program.display());
            }
        }
        let helper = bin.join(MUTEX_HELPER);
        if !helper.exists() {
            // several test threads may get here at once
            match std::os::unix::fs::symlink("ctdb-mutex-fcntl", &helper) {
                Err(e) if e.kind() != std::io::ErrorKind::AlreadyExists => return Err(e.into()),
                _ => {}
            }
        }
        Ok(side)
    }

    /// Our tool, whatever daemon runs.
    pub fn our_tool() -> Result<PathBuf> {
        let tool = build_directory()?.join("ctdb");
        if !tool.exists() {
            bail!("{}: not built (run `make build`, or cargo build)", tool.display());
        }
        Ok(tool)
    }

    /// What `CTDBD` and `CTDB` name (`debian` in `CTDBD` stands for Debian's package); ours where
    /// they are not set.
    pub fn from_env() -> Result<Side> {
        let mut side = match std::env::var_os("CTDBD") {
            None => Side::ours()?,
            Some(path) if path == "debian" || Path::new(&path) == Path::new(DEBIAN_CTDBD) => {
                Side::debian()
            }
            Some(path) => {
                let ctdbd = PathBuf::from(path).canonicalize().context("CTDBD")?;
                let bin = ctdbd.parent().map(Path::to_path_buf).unwrap_or_default();
                Side { name: "given", ctdb: bin.join("ctdb"), helpers: bin, ctdbd }
            }
        };
        if let Some(path) = std::env::var_os("CTDB") {
            side.ctdb = path.into();
        }
        Ok(side)
    }

    /// Whether this is the C implementation, for the few tests of what only ours can do.
    pub fn is_debian(&self) -> bool {
        self.name == "debian"
    }
}

/// `target/PROFILE`, found from the running program: `PROFILE/demo` or `PROFILE/deps/interop-...`.
fn build_directory() -> Result<PathBuf> {
    let exe = std::env::current_exe()?;
    let mut dir = exe.parent().context("directory of the running program")?;
    if dir.ends_with("deps") {
        dir = dir.parent().context("target directory")?;
    }
    Ok(dir.to_path_buf())
}
