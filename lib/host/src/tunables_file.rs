// SPDX-License-Identifier: GPL-3.0-or-later
//! Tunables at start (`spec/events-config.md 8.3`): ctdb.tunables, then tunables.d/*.tunables in byte order. A faulty
//! line is reported and skipped; the start goes on.

use crate::bounded_file;
use crate::conf_syntax::{items, parse_number, ItemKind};
use crate::diagnostic::{keep, Diagnostic};
use crate::paths::Paths;
use ctdb_engine::tunables::{find, Status, Tunables};
use std::ffi::OsStr;
use std::io;
use std::path::{Path, PathBuf};

/// Files of tunables.d that are read.
const FILES_MAX: usize = 1000;

/// What was read.
#[derive(Debug, Default)]
pub struct Report {
    /// Files that were there.
    pub loaded: Vec<PathBuf>,
    /// Lines that were skipped, and obsolete ones that were not.
    pub faults: Vec<Diagnostic>,
}

impl Report {
    /// Tells the log.
    pub fn log(&self) {
        for file in &self.loaded {
            log::info!("Loading tunables from {}", file.display());
        }
        for fault in &self.faults {
            log::error!("{fault}");
        }
    }
}

/// Applies the files of `paths` to `tunables`.
pub fn load(paths: &Paths, tunables: &mut Tunables) -> Report {
    let mut report = Report::default();
    load_file(&paths.tunables_file(), tunables, &mut report);
    let dir = paths.tunables_dir();
    match files_of(&dir) {
        Ok(files) => files.iter().for_each(|file| load_file(file, tunables, &mut report)),
        Err(e) => keep(&mut report.faults, Diagnostic::whole(&dir, e.to_string())),
    }
    report
}

/// `*.tunables` of a directory, which may be absent, sorted.
fn files_of(dir: &Path) -> io::Result<Vec<PathBuf>> {
    let entries = match std::fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(e),
    };
    let mut files = Vec::new();
    for entry in entries {
        let path = entry?.path();
        if path.extension() == Some(OsStr::new("tunables")) {
            files.push(path);
        }
    }
    files.sort();
    files.truncate(FILES_MAX);
    Ok(files)
}

fn load_file(file: &Path, tunables: &mut Tunables, report: &mut Report) {
    let content = match bounded_file::read_optional(file) {
        Ok(Some(content)) => content,
        Ok(None) => return,
        Err(e) => {
            keep(&mut report.faults, Diagnostic::whole(file, e.to_string()));
            return;
        }
    };
    report.loaded.push(file.to_path_buf());
    for item in items(&content) {
        if let Err(text) = apply(&item.kind, tunables) {
            keep(&mut report.faults, Diagnostic::at(file, item.line, text));
        }
    }
}

fn apply(line: &ItemKind, tunables: &mut Tunables) -> Result<(), String> {
    let (name, text) = match line {
        ItemKind::Assignment { name, value } if !value.is_empty() => (name, value),
        ItemKind::Assignment { name, .. } | ItemKind::Bare(name) => {
            return Err(format!("Invalid tunables line containing \"{name}\""));
        }
        ItemKind::Section(name) => {
            return Err(format!(
                "Invalid line for section [{name}] - tunables sections not supported"
            ));
        }
        ItemKind::Fault(fault) => return Err(fault.to_string()),
    };
    // Larger values are reduced modulo 2^32, as ever.
    let value = parse_number(text)
        .map(|n| n as u32)
        .ok_or_else(|| format!("Invalid value \"{text}\" for tunable \"{name}\""))?;
    let tunable = find(name).ok_or_else(|| format!("Unknown tunable \"{name}\""))?;
    tunables.set(tunable, value);
    match tunable.status {
        Status::Live => Ok(()),
        Status::Obsolete => Err(format!("Obsolete tunable \"{name}\"")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Node {
        dir: tempfile::TempDir,
        tunables: Tunables,
    }

    impl Node {
        fn new() -> Node {
            Node { dir: tempfile::tempdir().unwrap(), tunables: Tunables::default() }
        }

        fn write(&self, name: &str, text: &str) {
            let path = self.dir.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }

        fn load(&mut self) -> (usize, Vec<String>) {
            let report = load(&Paths::below(self.dir.path()), &mut self.tunables);
            let prefix = format!("{}/", self.dir.path().display());
            let faults = report.faults.iter().map(|f| f.to_string().replace(&prefix, ""));
            (report.loaded.len(), faults.collect())
        }
    }

    #[test]
    fn absent_files_change_nothing() {
        let mut node = Node::new();
        assert_eq!(node.load(), (0, vec![]));
        assert_eq!(node.tunables, Tunables::default());
    }

    #[test]
    fn files_apply_in_order() {
        let mut node = Node::new();
        node.write("ctdb.tunables", "# x\nmonitorinterval = 0x10\nKeepaliveLimit=3\n");
        node.write("tunables.d/10.tunables", "KeepaliveLimit = 4\n");
        node.write("tunables.d/20.tunables", "KeepaliveLimit \\\n = 010\n");
        node.write("tunables.d/30.tunables.bak", "KeepaliveLimit = 9\n");
        assert_eq!(node.load(), (3, vec![]));
        assert_eq!(node.tunables.monitor_interval, 16);
        assert_eq!(node.tunables.keepalive_limit, 8);
    }

    #[test]
    fn faulty_lines_are_named_and_skipped() {
        let mut node = Node::new();
        node.write(
            "ctdb.tunables",
            "[x]\nKeepaliveLimit\nKeepaliveLimit =\nKeepaliveLimit = 5s\nNoSuch = 1\n\
             VerifyRecoveryLock = 0\n= 1\nKeepaliveLimit = -1\nStickyPindown = 4294967297\n",
        );
        assert_eq!(
            node.load(),
            (
                1,
                [
                    "ctdb.tunables:1: Invalid line for section [x] - tunables sections not supported",
                    "ctdb.tunables:2: Invalid tunables line containing \"KeepaliveLimit\"",
                    "ctdb.tunables:3: Invalid tunables line containing \"KeepaliveLimit\"",
                    "ctdb.tunables:4: Invalid value \"5s\" for tunable \"KeepaliveLimit\"",
                    "ctdb.tunables:5: Unknown tunable \"NoSuch\"",
                    "ctdb.tunables:6: Obsolete tunable \"VerifyRecoveryLock\"",
                    "ctdb.tunables:7: Syntax error: no option name before \"=\"",
                    "ctdb.tunables:8: Invalid value \"-1\" for tunable \"KeepaliveLimit\"",
                ]
                .map(String::from)
                .to_vec()
            )
        );
        assert_eq!(node.tunables.verify_recovery_lock, 0);
        assert_eq!(node.tunables.sticky_pindown, 1);
    }

    #[test]
    fn an_unreadable_file_is_reported() {
        let mut node = Node::new();
        std::fs::create_dir(node.dir.path().join("ctdb.tunables")).unwrap();
        let (loaded, faults) = node.load();
        assert_eq!((loaded, faults.len()), (0, 1));
        assert!(faults[0].starts_with("ctdb.tunables: Is a directory"));
    }
}
