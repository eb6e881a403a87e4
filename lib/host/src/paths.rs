// SPDX-License-Identifier: GPL-3.0-or-later
//! Where everything lives: the compiled-in directories, moved below `$CTDB_BASE` in test mode
//! (`spec/events-config.md 1`).

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

/// A directory chosen when the program is built.
macro_rules! built_in {
    ($variable:literal, $default:literal) => {
        match option_env!($variable) {
            Some(dir) => dir,
            None => $default,
        }
    };
}

const ETC_DIR: &str = built_in!("CTDB_BUILD_ETCDIR", "/etc/ctdb");
const DATA_DIR: &str = built_in!("CTDB_BUILD_DATADIR", "/usr/share/ctdb");
const VAR_DIR: &str = built_in!("CTDB_BUILD_VARDIR", "/var/lib/ctdb");
const RUN_DIR: &str = built_in!("CTDB_BUILD_RUNDIR", "/run/ctdb");
const LOG_DIR: &str = built_in!("CTDB_BUILD_LOGDIR", "/var/log/ctdb");
const HELPER_DIR: &str = built_in!("CTDB_BUILD_HELPERDIR", "/usr/libexec/ctdb");

/// Names under which the cluster lock helper is installed.
const MUTEX_HELPERS: [&str; 2] = ["ctdb_mutex_fcntl_helper", "ctdb-mutex-fcntl"];

/// The environment contradicts itself.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PathsError {
    /// CTDB_TEST_MODE without CTDB_BASE.
    #[error("Broken CTDB setup, CTDB_BASE not set in test mode")]
    NoBase,
}

/// The directories in force.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Paths {
    /// Configuration.
    pub etc_dir: PathBuf,
    /// What `nodes`, `public_addresses`, `notify.sh` and event scripts are taken from: `$CTDB_BASE` if set.
    pub base_dir: PathBuf,
    /// Installed event scripts.
    pub data_dir: PathBuf,
    /// State.
    pub var_dir: PathBuf,
    /// PID files and sockets.
    pub run_dir: PathBuf,
    /// Helper programs.
    pub helper_dir: PathBuf,
    /// The default log.
    pub log_dir: PathBuf,
    /// Whether CTDB_TEST_MODE is set.
    pub test_mode: bool,
    /// CTDB_SOCKET.
    socket: Option<PathBuf>,
    /// CTDB_CLUSTER_MUTEX_HELPER.
    mutex_helper: Option<PathBuf>,
    /// Directory of the running program.
    program_dir: Option<PathBuf>,
    /// CTDB_TEST_HELPER_BINDIR names the only place of helpers.
    helper_dir_named: bool,
}

impl Paths {
    /// As the process's environment says.
    pub fn from_env() -> Result<Paths, PathsError> {
        let mut paths = Paths::from_lookup(|name| std::env::var_os(name))?;
        if !paths.helper_dir_named {
            let program = std::env::current_exe().ok();
            paths.program_dir = program.and_then(|p| p.parent().map(Path::to_path_buf));
        }
        Ok(paths)
    }

    /// As an environment says that `lookup` reads.
    pub fn from_lookup(lookup: impl Fn(&str) -> Option<OsString>) -> Result<Paths, PathsError> {
        let filled = |name: &str| lookup(name).filter(|v| !v.is_empty()).map(PathBuf::from);
        let base = filled("CTDB_BASE");
        let mut paths = if lookup("CTDB_TEST_MODE").is_some() {
            Paths::below(base.as_deref().ok_or(PathsError::NoBase)?)
        } else {
            Paths::installed(base.as_deref())
        };
        if let Some(dir) = filled("CTDB_TEST_HELPER_BINDIR").filter(|_| paths.test_mode) {
            paths.helper_dir = dir;
            paths.helper_dir_named = true;
        }
        paths.socket = filled("CTDB_SOCKET");
        paths.mutex_helper = filled("CTDB_CLUSTER_MUTEX_HELPER");
        Ok(paths)
    }

    fn installed(base: Option<&Path>) -> Paths {
        Paths {
            etc_dir: ETC_DIR.into(),
            base_dir: base.unwrap_or(Path::new(ETC_DIR)).into(),
            data_dir: DATA_DIR.into(),
            var_dir: VAR_DIR.into(),
            run_dir: RUN_DIR.into(),
            helper_dir: HELPER_DIR.into(),
            log_dir: LOG_DIR.into(),
            test_mode: false,
            socket: None,
            mutex_helper: None,
            program_dir: None,
            helper_dir_named: false,
        }
    }

    /// Test mode: all but programs and the default log below `base`.
    pub fn below(base: &Path) -> Paths {
        Paths {
            etc_dir: base.into(),
            data_dir: base.join("share"),
            var_dir: base.join("var"),
            run_dir: base.join("run"),
            test_mode: true,
            ..Paths::installed(Some(base))
        }
    }

    /// ctdb.conf.
    pub fn config_file(&self) -> PathBuf {
        self.etc_dir.join("ctdb.conf")
    }

    /// The nodes file, unless `[cluster] nodes list` names another source.
    pub fn nodes_file(&self) -> PathBuf {
        self.base_dir.join("nodes")
    }

    /// The public addresses file.
    pub fn public_addresses_file(&self) -> PathBuf {
        self.base_dir.join("public_addresses")
    }

    /// ctdb.tunables.
    pub fn tunables_file(&self) -> PathBuf {
        self.etc_dir.join("ctdb.tunables")
    }

    /// The directory of further tunables files.
    pub fn tunables_dir(&self) -> PathBuf {
        self.etc_dir.join("tunables.d")
    }

    /// The notification script.
    pub fn notify_script(&self) -> PathBuf {
        self.base_dir.join("notify.sh")
    }

    /// The default log file.
    pub fn log_file(&self) -> PathBuf {
        self.log_dir.join("log.ctdb")
    }

    /// PID file of a daemon, such as `ctdbd`.
    pub fn pid_file(&self, daemon: &str) -> PathBuf {
        self.run_dir.join(format!("{daemon}.pid"))
    }

    /// Socket of a daemon. CTDB_SOCKET moves that of `ctdbd` only.
    pub fn socket(&self, daemon: &str) -> PathBuf {
        match &self.socket {
            Some(path) if daemon == "ctdbd" => path.clone(),
            _ => self.run_dir.join(format!("{daemon}.socket")),
        }
    }

    /// Lock file that serialises the choice of a node address between daemons of one machine.
    pub fn address_lock_file(&self) -> PathBuf {
        self.run_dir.join(".socket_lock")
    }

    /// Parent of the default database directories: not moved by test mode, so that a test node that forgets to
    /// name its own fails instead of sharing them.
    pub fn default_database_dir(&self, kind: &str) -> PathBuf {
        Path::new(VAR_DIR).join(kind)
    }

    /// The built-in cluster lock helper: CTDB_CLUSTER_MUTEX_HELPER, else beside the running program, else in the
    /// helper directory. The path may not exist.
    pub fn mutex_helper(&self) -> PathBuf {
        if let Some(path) = &self.mutex_helper {
            return path.clone();
        }
        self.helper(MUTEX_HELPERS)
    }

    /// A helper program under one of its names, the existing one first: beside the running program, else in the
    /// helper directory. The path may not exist.
    pub fn helper(&self, names: [&str; 2]) -> PathBuf {
        let beside = self.program_dir.iter().flat_map(|dir| names.map(|n| dir.join(n)));
        let in_helper_dir = names.map(|n| self.helper_dir.join(n));
        beside
            .chain(in_helper_dir)
            .find(|path| path.is_file())
            .unwrap_or_else(|| self.helper_dir.join(names[0]))
    }

    /// What a debug script option means: its last component, below the configuration directory.
    pub fn debug_script(&self, value: &str) -> PathBuf {
        self.etc_dir.join(Path::new(value).file_name().unwrap_or(OsStr::new("")))
    }

    /// The host name of log lines in test mode: the node's directory.
    pub fn test_host_name(&self) -> Option<String> {
        if !self.test_mode {
            return None;
        }
        let base = self.etc_dir.to_string_lossy();
        let last = base.rsplit('/').next().unwrap_or_default();
        Some(if last.is_empty() { "unknown".to_owned() } else { last.to_owned() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn paths(environment: &[(&str, &str)]) -> Result<Paths, PathsError> {
        Paths::from_lookup(|name| {
            environment.iter().find(|(n, _)| *n == name).map(|(_, v)| OsString::from(v))
        })
    }

    #[test]
    fn installed() {
        let p = paths(&[]).unwrap();
        assert_eq!(p.config_file(), Path::new("/etc/ctdb/ctdb.conf"));
        assert_eq!(p.nodes_file(), Path::new("/etc/ctdb/nodes"));
        assert_eq!(p.socket("ctdbd"), Path::new("/run/ctdb/ctdbd.socket"));
        assert_eq!(p.pid_file("ctdbd"), Path::new("/run/ctdb/ctdbd.pid"));
        assert_eq!(p.log_file(), Path::new("/var/log/ctdb/log.ctdb"));
        assert_eq!(p.default_database_dir("state"), Path::new("/var/lib/ctdb/state"));
        assert_eq!(p.test_host_name(), None);
    }

    #[test]
    fn test_mode_moves_all_but_log_and_database_defaults() {
        let p = paths(&[("CTDB_TEST_MODE", ""), ("CTDB_BASE", "/t/node.1")]).unwrap();
        assert!(p.test_mode);
        assert_eq!(p.config_file(), Path::new("/t/node.1/ctdb.conf"));
        assert_eq!(p.nodes_file(), Path::new("/t/node.1/nodes"));
        assert_eq!(p.socket("eventd"), Path::new("/t/node.1/run/eventd.socket"));
        assert_eq!(p.tunables_dir(), Path::new("/t/node.1/tunables.d"));
        assert_eq!(p.log_file(), Path::new("/var/log/ctdb/log.ctdb"));
        assert_eq!(p.default_database_dir("volatile"), Path::new("/var/lib/ctdb/volatile"));
        assert_eq!(p.test_host_name().as_deref(), Some("node.1"));
        assert_eq!(
            paths(&[("CTDB_TEST_MODE", "1")]).unwrap_err().to_string(),
            "Broken CTDB setup, CTDB_BASE not set in test mode"
        );
    }

    #[test]
    fn base_without_test_mode_moves_nodes_but_not_the_configuration() {
        let p = paths(&[("CTDB_BASE", "/b")]).unwrap();
        assert_eq!(p.nodes_file(), Path::new("/b/nodes"));
        assert_eq!(p.public_addresses_file(), Path::new("/b/public_addresses"));
        assert_eq!(p.config_file(), Path::new("/etc/ctdb/ctdb.conf"));
        assert_eq!(p.socket("ctdbd"), Path::new("/run/ctdb/ctdbd.socket"));
    }

    #[test]
    fn socket_variable_is_for_ctdbd_only() {
        let p = paths(&[("CTDB_SOCKET", "/s")]).unwrap();
        assert_eq!(p.socket("ctdbd"), Path::new("/s"));
        assert_eq!(p.socket("eventd"), Path::new("/run/ctdb/eventd.socket"));
    }

    #[test]
    fn mutex_helper_is_sought_beside_the_program_first() {
        let beside = tempfile::tempdir().unwrap();
        let helpers = tempfile::tempdir().unwrap();
        let mut p = paths(&[]).unwrap();
        p.program_dir = Some(beside.path().to_path_buf());
        p.helper_dir = helpers.path().to_path_buf();
        assert_eq!(p.mutex_helper(), helpers.path().join("ctdb_mutex_fcntl_helper"));
        std::fs::write(helpers.path().join("ctdb-mutex-fcntl"), "").unwrap();
        assert_eq!(p.mutex_helper(), helpers.path().join("ctdb-mutex-fcntl"));
        std::fs::write(beside.path().join("ctdb-mutex-fcntl"), "").unwrap();
        assert_eq!(p.mutex_helper(), beside.path().join("ctdb-mutex-fcntl"));
        p.mutex_helper = Some("/h".into());
        assert_eq!(p.mutex_helper(), Path::new("/h"));
    }

    #[test]
    fn debug_scripts_are_bare_names() {
        let p = paths(&[]).unwrap();
        assert_eq!(p.debug_script("/a/b.sh"), Path::new("/etc/ctdb/b.sh"));
        assert_eq!(p.debug_script("b.sh"), Path::new("/etc/ctdb/b.sh"));
    }
}
