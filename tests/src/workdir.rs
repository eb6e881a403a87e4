// SPDX-License-Identifier: GPL-3.0-or-later
//! The private directory of a cluster, which a later run removes when its owner was killed.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

const PREFIX: &str = "ctdb-test-";

/// A directory under the system's temporary directory, removed with the value unless `KEEP=1` is
/// in the environment.
#[derive(Debug)]
pub struct Workdir {
    path: PathBuf,
}

impl Workdir {
    /// Creates one, after removing those whose owner no longer lives.
    pub fn new() -> Result<Workdir> {
        let parent = std::env::temp_dir();
        remove_orphans(&parent);
        let owner = owner_name(std::process::id()).context("own process in /proc")?;
        let dir =
            tempfile::Builder::new().prefix(&format!("{PREFIX}{owner}-")).tempdir_in(parent)?;
        let path = dir.keep();
        // smbd serves the share below it to other users
        fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o755))?;
        Ok(Workdir { path })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Workdir {
    fn drop(&mut self) {
        if std::env::var_os("KEEP").is_some() {
            eprintln!("kept: {}", self.path.display());
        } else {
            let _ = fs::remove_dir_all(&self.path);
        }
    }
}

/// A process as `PID.STARTTIME`: a pid alone may by now be somebody else.
fn owner_name(pid: u32) -> Option<String> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let start = stat.rsplit(')').next()?.split_whitespace().nth(19)?;
    Some(format!("{pid}.{start}"))
}

fn remove_orphans(parent: &Path) {
    let Ok(entries) = fs::read_dir(parent) else { return };
    for entry in entries.flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let Some(owner) = name.strip_prefix(PREFIX).and_then(|n| n.split('-').next()) else {
            continue;
        };
        let Some(pid) = owner.split('.').next().and_then(|p| p.parse().ok()) else { continue };
        if owner_name(pid).as_deref() != Some(owner) {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn removes_only_what_a_dead_process_left() {
        let parent = tempfile::tempdir().unwrap();
        let mine =
            parent.path().join(format!("{PREFIX}{}-a", owner_name(std::process::id()).unwrap()));
        let dead = parent.path().join(format!("{PREFIX}{}.1-b", std::process::id()));
        let other = parent.path().join("something-else");
        for dir in [&mine, &dead, &other] {
            fs::create_dir(dir).unwrap();
        }
        remove_orphans(parent.path());
        assert!(mine.exists() && other.exists() && !dead.exists());
    }
}
