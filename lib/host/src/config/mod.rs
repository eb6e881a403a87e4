// SPDX-License-Identifier: GPL-3.0-or-later
//! ctdb.conf (`spec/events-config.md 2-4`): read once at start, never again.
//!
//! [`options`] declares every option once; [`load`] reads the file into [`Values`]; [`Config`] is the typed
//! form that the daemon works with.

mod load;
mod options;

pub use load::{load, LoadError, Loaded, Strictness};
pub use options::{Kind, Opt, OptionDef, Value, Values, OPTIONS};

use crate::level::Level;
use crate::logging::Location;
use crate::nodes_file::NodesSource;
use crate::paths::Paths;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

/// The effective configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// `[logging] location`, as written: it is handed to children.
    pub log_location_text: String,
    /// `[logging] location`.
    pub log_location: Location,
    /// `[logging] log level`.
    pub log_level: Level,
    /// `[cluster] node address`.
    pub node_address: Option<IpAddr>,
    /// `[cluster] cluster lock`, else the deprecated `recovery lock`.
    pub cluster_lock: Option<String>,
    /// `[cluster] nodes list`, else the nodes file.
    pub nodes_source: NodesSource,
    /// `[cluster] leader timeout`.
    pub leader_timeout: Duration,
    /// `[cluster] leader capability`.
    pub leader_capability: bool,
    /// `[database] volatile database directory`.
    pub volatile_dir: PathBuf,
    /// `[database] persistent database directory`.
    pub persistent_dir: PathBuf,
    /// `[database] state database directory`.
    pub state_dir: PathBuf,
    /// `[database] lock debug script`: the full path.
    pub lock_debug_script: Option<PathBuf>,
    /// `[database] tdb mutexes`.
    pub tdb_mutexes: bool,
    /// `[event] debug script`: the full path.
    pub event_debug_script: Option<PathBuf>,
    /// `[failover] disabled`.
    pub failover_disabled: bool,
    /// `[failover] shutdown extra timeout`.
    pub shutdown_extra_timeout: Duration,
    /// `[failover] shutdown failover timeout`.
    pub shutdown_failover_timeout: Duration,
    /// `[legacy] realtime scheduling`.
    pub realtime_scheduling: bool,
    /// `[legacy] lmaster capability`.
    pub lmaster_capability: bool,
    /// `[legacy] start as stopped`.
    pub start_as_stopped: bool,
    /// `[legacy] start as disabled`.
    pub start_as_disabled: bool,
    /// `[legacy] script log level`.
    pub script_log_level: Level,
}

impl Config {
    /// The typed form. Values that validation would refuse count as unset: they cannot come from [`load`].
    pub fn from_values(values: &Values, paths: &Paths) -> Config {
        let seconds = |opt| Duration::from_secs(values.integer(opt).into());
        let script = |opt| values.text(opt).map(|name| paths.debug_script(name));
        let dir = |opt, kind: &str| match values.text(opt) {
            Some(path) => PathBuf::from(path),
            None => paths.default_database_dir(kind),
        };
        let location = values.text(Opt::Location).unwrap_or("file:");
        let lock = values.text(Opt::ClusterLock).or_else(|| values.text(Opt::RecoveryLock));
        Config {
            log_location_text: location.to_owned(),
            log_location: Location::parse(location).unwrap_or(Location::Stderr),
            log_level: values.level(Opt::LogLevel).unwrap_or(Level::ERROR),
            node_address: values.text(Opt::NodeAddress).and_then(|a| a.parse().ok()),
            cluster_lock: lock.map(str::to_owned),
            nodes_source: match values.text(Opt::NodesList) {
                Some(text) => NodesSource::parse(text),
                None => NodesSource::File(paths.nodes_file()),
            },
            leader_timeout: seconds(Opt::LeaderTimeout),
            leader_capability: values.flag(Opt::LeaderCapability),
            volatile_dir: dir(Opt::VolatileDir, "volatile"),
            persistent_dir: dir(Opt::PersistentDir, "persistent"),
            state_dir: dir(Opt::StateDir, "state"),
            lock_debug_script: script(Opt::LockDebugScript),
            tdb_mutexes: values.flag(Opt::TdbMutexes),
            event_debug_script: script(Opt::EventDebugScript),
            failover_disabled: values.flag(Opt::FailoverDisabled),
            shutdown_extra_timeout: seconds(Opt::ShutdownExtraTimeout),
            shutdown_failover_timeout: seconds(Opt::ShutdownFailoverTimeout),
            realtime_scheduling: values.flag(Opt::RealtimeScheduling),
            lmaster_capability: values.flag(Opt::LmasterCapability),
            start_as_stopped: values.flag(Opt::StartAsStopped),
            start_as_disabled: values.flag(Opt::StartAsDisabled),
            script_log_level: values.level(Opt::ScriptLogLevel).unwrap_or(Level::ERROR),
        }
    }

    /// What an administrator should hear about this configuration once logging is up.
    pub fn log_remarks(&self) {
        if self.cluster_lock.is_none() {
            log::warn!("Cluster lock not set");
        }
        if self.start_as_stopped {
            log::error!("This node is configured to start in STOPPED state");
        }
        if self.start_as_disabled {
            log::error!("This node is configured to start in DISABLED state");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    #[test]
    fn defaults() {
        let paths = Paths::below(Path::new("/t"));
        let config = Config::from_values(&Values::new(&paths), &paths);
        assert_eq!(config.log_location_text, "file:/var/log/ctdb/log.ctdb");
        assert_eq!(config.log_location, Location::File("/var/log/ctdb/log.ctdb".into()));
        assert_eq!(config.log_level, Level::ERROR);
        assert_eq!(config.leader_timeout, Duration::from_secs(5));
        assert_eq!(config.nodes_source, NodesSource::File("/t/nodes".into()));
        assert_eq!(config.volatile_dir, Path::new("/var/lib/ctdb/volatile"));
        assert_eq!(config.shutdown_failover_timeout, Duration::from_secs(10));
        assert_eq!(config.script_log_level, Level::ERROR);
        assert!(config.leader_capability && config.lmaster_capability && config.tdb_mutexes);
        assert!(config.realtime_scheduling && !config.failover_disabled);
        assert!(config.cluster_lock.is_none() && config.node_address.is_none());
    }
}
