// SPDX-License-Identifier: GPL-3.0-or-later
//! The PID file (`spec/events-config.md 10.5`): locked for the daemon's life, so that a second one refuses to
//! start, and read by init systems.
//!
//! The lock belongs to the open file description: it can be taken before the daemon leaves its caller by fork, so
//! that the caller still hears of a refusal, and excludes the fcntl locks of existing daemons.

use crate::sys;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// Times that the file may vanish between our opening and locking it.
const ATTEMPTS_MAX: usize = 10;

/// The daemon cannot have its PID file.
#[derive(Debug, thiserror::Error)]
pub enum PidFileError {
    /// Another process holds it.
    #[error("Failed to create PID file {}: already running{}", path.display(), by(*.pid))]
    AlreadyRunning {
        /// The file.
        path: PathBuf,
        /// The PID it names.
        pid: Option<u32>,
    },
    /// It could not be created.
    #[error("Failed to create PID file {}: {error}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
}

fn by(pid: Option<u32>) -> String {
    pid.map_or(String::new(), |pid| format!(" with PID {pid}"))
}

/// A locked PID file. Dropping it removes the file, in the process that recorded itself only.
#[derive(Debug)]
pub struct PidFile {
    path: PathBuf,
    file: File,
    recorded: Option<u32>,
}

impl PidFile {
    /// Creates and locks the file, without a PID in it yet. A file that nobody locks is a leftover.
    pub fn lock(path: &Path) -> Result<PidFile, PidFileError> {
        let failed = |error| PidFileError::Io { path: path.to_path_buf(), error };
        for _ in 0..ATTEMPTS_MAX {
            let file = OpenOptions::new()
                .read(true)
                .write(true)
                .create(true)
                .truncate(false)
                .mode(0o644)
                .open(path)
                .map_err(failed)?;
            if !sys::lock::try_lock(&file).map_err(failed)? {
                let pid = read_pid(file);
                return Err(PidFileError::AlreadyRunning { path: path.to_path_buf(), pid });
            }
            // The holder before us may have removed the file after we opened it.
            if is_still_at(&file, path) {
                file.set_len(0).map_err(failed)?;
                return Ok(PidFile { path: path.to_path_buf(), file, recorded: None });
            }
        }
        Err(failed(io::Error::other("the file keeps vanishing")))
    }

    /// Writes this process's PID.
    pub fn record(&mut self) -> Result<(), PidFileError> {
        let pid = std::process::id();
        self.file
            .rewind()
            .and_then(|()| self.file.set_len(0))
            .and_then(|()| self.file.write_all(format!("{pid}\n").as_bytes()))
            .map_err(|error| PidFileError::Io { path: self.path.clone(), error })?;
        self.recorded = Some(pid);
        log::info!("Created PID file {}", self.path.display());
        Ok(())
    }
}

impl Drop for PidFile {
    fn drop(&mut self) {
        if self.recorded == Some(std::process::id()) && is_still_at(&self.file, &self.path) {
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

fn read_pid(file: File) -> Option<u32> {
    let mut text = String::new();
    file.take(32).read_to_string(&mut text).ok()?;
    text.trim().parse().ok()
}

fn is_still_at(file: &File, path: &Path) -> bool {
    match (file.metadata(), std::fs::metadata(path)) {
        (Ok(ours), Ok(there)) => (ours.dev(), ours.ino()) == (there.dev(), there.ino()),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn locks_records_and_removes() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("ctdbd.pid");
        std::fs::write(&path, "99999999 leftover of a crash\n").unwrap();
        let mut pid_file = PidFile::lock(&path).unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "");
        pid_file.record().unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), format!("{}\n", std::process::id()));
        drop(pid_file);
        assert!(!path.exists());
    }

    #[test]
    fn refuses_a_second_daemon() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("ctdbd.pid");
        let mut first = PidFile::lock(&path).unwrap();
        let refusal = |path: &Path| {
            let error = PidFile::lock(path).unwrap_err().to_string();
            error.replace(&path.display().to_string(), "F")
        };
        assert_eq!(refusal(&path), "Failed to create PID file F: already running");
        first.record().unwrap();
        assert_eq!(
            refusal(&path),
            format!("Failed to create PID file F: already running with PID {}", std::process::id())
        );
        drop(first);
        PidFile::lock(&path).unwrap();
        assert!(path.exists(), "nothing was recorded, so nothing is removed");
        assert_eq!(
            refusal(Path::new("/nonexistent/x")),
            "Failed to create PID file F: No such file or directory (os error 2)"
        );
    }

    #[test]
    fn does_not_remove_the_file_of_a_successor() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("ctdbd.pid");
        let mut first = PidFile::lock(&path).unwrap();
        first.record().unwrap();
        std::fs::remove_file(&path).unwrap();
        let _second = PidFile::lock(&path).unwrap();
        drop(first);
        assert!(path.exists());
    }
}
