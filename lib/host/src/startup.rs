// SPDX-License-Identifier: GPL-3.0-or-later
//! What must hold before a daemon starts: the database directories exist (`spec/events-config.md 3.3`), can be
//! written and have room. Nothing here creates a directory: packages and administrators do.

use crate::config::Config;
use std::path::Path;

/// Below this much free space a warning is due; a database that cannot grow stops its clients.
const FREE_SPACE_LOW_BYTES: u64 = 16 << 20;

/// Checks the database directories; the answer is what is worth a warning.
pub fn check_database_dirs(config: &Config) -> Result<Vec<String>, String> {
    let mut warnings = Vec::new();
    for (kind, dir) in [
        ("Volatile", &config.volatile_dir),
        ("Persistent", &config.persistent_dir),
        ("State", &config.state_dir),
    ] {
        if !dir.is_dir() {
            return Err(format!("{kind} database directory {} does not exist", dir.display()));
        }
        check_writable(dir)
            .map_err(|e| format!("{kind} database directory {}: {e}", dir.display()))?;
        match free_space(dir) {
            Ok(free) if free < FREE_SPACE_LOW_BYTES => warnings.push(format!(
                "{kind} database directory {} has only {free} bytes free",
                dir.display()
            )),
            Ok(_) => {}
            Err(e) => warnings.push(format!(
                "{kind} database directory {}: free space unknown: {e}",
                dir.display()
            )),
        }
    }
    Ok(warnings)
}

/// Bytes that an ordinary process can still write to the file system of `dir`.
pub fn free_space(dir: &Path) -> std::io::Result<u64> {
    fs2::available_space(dir)
}

/// Creates and removes a file: permissions alone do not tell (read-only mounts, full disks without inodes).
fn check_writable(dir: &Path) -> std::io::Result<()> {
    let probe = dir.join(format!(".ctdbd.{}.probe", std::process::id()));
    std::fs::File::create(&probe)?;
    std::fs::remove_file(&probe)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Values;
    use crate::paths::Paths;

    #[test]
    fn all_three_must_exist() {
        let base = tempfile::tempdir().unwrap();
        let paths = Paths::below(base.path());
        let mut config = Config::from_values(&Values::new(&paths), &paths);
        config.volatile_dir = base.path().join("v");
        config.persistent_dir = base.path().join("p");
        config.state_dir = base.path().join("s");
        for kind in ["Volatile v", "Persistent p", "State s"] {
            let (kind, name) = kind.split_once(' ').unwrap();
            let dir = base.path().join(name);
            assert_eq!(
                check_database_dirs(&config).unwrap_err(),
                format!("{kind} database directory {} does not exist", dir.display())
            );
            std::fs::create_dir(&dir).unwrap();
        }
        assert_eq!(check_database_dirs(&config).unwrap(), [""; 0]);
        assert_eq!(std::fs::read_dir(base.path().join("v")).unwrap().count(), 0);
        assert!(free_space(base.path()).unwrap() > 0);
        assert!(free_space(Path::new("/nonexistent")).is_err());
    }

    #[test]
    fn a_directory_that_cannot_be_written_is_refused() {
        let base = tempfile::tempdir().unwrap();
        let paths = Paths::below(base.path());
        let mut config = Config::from_values(&Values::new(&paths), &paths);
        config.volatile_dir = "/proc/self".into();
        let error = check_database_dirs(&config).unwrap_err();
        assert!(error.starts_with("Volatile database directory /proc/self: "), "{error}");
    }
}
