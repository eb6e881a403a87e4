// SPDX-License-Identifier: GPL-3.0-or-later
//! Every option of ctdb.conf, declared once: section, name, type, default and what it must satisfy
//! (`spec/events-config.md 3`). The order is that of listings.

use crate::level::Level;
use crate::logging::Location;
use crate::paths::Paths;
use std::net::IpAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

/// Names of the options.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Opt {
    Location,
    LogLevel,
    Transport,
    NodeAddress,
    ClusterLock,
    RecoveryLock,
    NodesList,
    LeaderTimeout,
    LeaderCapability,
    VolatileDir,
    PersistentDir,
    StateDir,
    LockDebugScript,
    TdbMutexes,
    EventDebugScript,
    FailoverDisabled,
    ShutdownExtraTimeout,
    ShutdownFailoverTimeout,
    RealtimeScheduling,
    LmasterCapability,
    StartAsStopped,
    StartAsDisabled,
    ScriptLogLevel,
}

/// Type of an option with its default.
#[derive(Debug, Clone, Copy)]
pub enum Kind {
    /// Any non-empty text.
    Text(fn(&Paths) -> Option<String>),
    /// 0 to 2147483647.
    Integer(u32),
    /// true, yes, false or no.
    Flag(bool),
}

/// An option's value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    /// A text, or none when unset.
    Text(Option<String>),
    /// A number.
    Integer(u32),
    /// A boolean.
    Flag(bool),
}

/// A refusal: the reason in the existing words, or nothing where there are none.
type Refusal = Option<String>;

/// One option.
#[derive(Debug)]
pub struct OptionDef {
    /// Which.
    pub id: Opt,
    /// Its section, in lower case.
    pub section: &'static str,
    /// Its name; case matters.
    pub name: &'static str,
    /// Type and default.
    pub kind: Kind,
    check: fn(&Value, &Paths) -> Result<(), Refusal>,
}

const fn option(
    id: Opt,
    section: &'static str,
    name: &'static str,
    kind: Kind,
    check: fn(&Value, &Paths) -> Result<(), Refusal>,
) -> OptionDef {
    OptionDef { id, section, name, kind, check }
}

const UNSET: Kind = Kind::Text(|_| None);

/// All options.
#[rustfmt::skip]
pub static OPTIONS: [OptionDef; 23] = [
    option(Opt::Location, "logging", "location", Kind::Text(default_location), check_location),
    option(Opt::LogLevel, "logging", "log level", Kind::Text(|_| Some("ERROR".into())), check_log_level),
    option(Opt::Transport, "cluster", "transport", Kind::Text(|_| Some("tcp".into())), check_transport),
    option(Opt::NodeAddress, "cluster", "node address", UNSET, check_node_address),
    option(Opt::ClusterLock, "cluster", "cluster lock", UNSET, accept),
    option(Opt::RecoveryLock, "cluster", "recovery lock", UNSET, accept),
    option(Opt::NodesList, "cluster", "nodes list", UNSET, accept),
    option(Opt::LeaderTimeout, "cluster", "leader timeout", Kind::Integer(5), check_leader_timeout),
    option(Opt::LeaderCapability, "cluster", "leader capability", Kind::Flag(true), accept),
    option(Opt::VolatileDir, "database", "volatile database directory", Kind::Text(|p| default_dir(p, "volatile")), |v, _| check_dir(v, "volatile")),
    option(Opt::PersistentDir, "database", "persistent database directory", Kind::Text(|p| default_dir(p, "persistent")), |v, _| check_dir(v, "persistent")),
    option(Opt::StateDir, "database", "state database directory", Kind::Text(|p| default_dir(p, "state")), |v, _| check_dir(v, "state")),
    option(Opt::LockDebugScript, "database", "lock debug script", UNSET, |v, p| check_script(v, p, "lock debug script")),
    option(Opt::TdbMutexes, "database", "tdb mutexes", Kind::Flag(true), accept),
    option(Opt::EventDebugScript, "event", "debug script", UNSET, |v, p| check_script(v, p, "debug script")),
    option(Opt::FailoverDisabled, "failover", "disabled", Kind::Flag(false), accept),
    option(Opt::ShutdownExtraTimeout, "failover", "shutdown extra timeout", Kind::Integer(0), accept),
    option(Opt::ShutdownFailoverTimeout, "failover", "shutdown failover timeout", Kind::Integer(10), accept),
    option(Opt::RealtimeScheduling, "legacy", "realtime scheduling", Kind::Flag(true), accept),
    option(Opt::LmasterCapability, "legacy", "lmaster capability", Kind::Flag(true), accept),
    option(Opt::StartAsStopped, "legacy", "start as stopped", Kind::Flag(false), accept),
    option(Opt::StartAsDisabled, "legacy", "start as disabled", Kind::Flag(false), accept),
    option(Opt::ScriptLogLevel, "legacy", "script log level", Kind::Text(|_| Some("ERROR".into())), check_script_log_level),
];

impl OptionDef {
    /// The value when the file does not name the option.
    pub fn default_value(&self, paths: &Paths) -> Value {
        match self.kind {
            Kind::Text(default) => Value::Text(default(paths)),
            Kind::Integer(default) => Value::Integer(default),
            Kind::Flag(default) => Value::Flag(default),
        }
    }

    /// The value that `text` stands for; none if it does not fit the type.
    pub fn parse(&self, text: &str) -> Option<Value> {
        match self.kind {
            Kind::Text(_) => Some(Value::Text(Some(text.to_owned()))),
            Kind::Integer(_) => crate::conf_syntax::parse_number(text)
                .filter(|&n| n <= i32::MAX as u64)
                .map(|n| Value::Integer(n as u32)),
            Kind::Flag(_) => match text.to_ascii_lowercase().as_str() {
                "true" | "yes" => Some(Value::Flag(true)),
                "false" | "no" => Some(Value::Flag(false)),
                _ => None,
            },
        }
    }

    /// Whether the value makes sense here.
    pub fn check(&self, value: &Value, paths: &Paths) -> Result<(), Option<String>> {
        (self.check)(value, paths)
    }
}

/// One value for each option.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Values {
    list: Vec<Value>,
}

impl Values {
    /// All defaults.
    pub fn new(paths: &Paths) -> Values {
        Values { list: OPTIONS.iter().map(|o| o.default_value(paths)).collect() }
    }

    /// The value of an option.
    pub fn get(&self, id: Opt) -> Option<&Value> {
        self.list.get(id as usize)
    }

    /// Changes it.
    pub fn set(&mut self, id: Opt, value: Value) {
        if let Some(slot) = self.list.get_mut(id as usize) {
            *slot = value;
        }
    }

    /// A text; none when unset.
    pub fn text(&self, id: Opt) -> Option<&str> {
        match self.get(id) {
            Some(Value::Text(text)) => text.as_deref(),
            _ => None,
        }
    }

    /// A number.
    pub fn integer(&self, id: Opt) -> u32 {
        match self.get(id) {
            Some(Value::Integer(number)) => *number,
            _ => 0,
        }
    }

    /// A boolean.
    pub fn flag(&self, id: Opt) -> bool {
        matches!(self.get(id), Some(Value::Flag(true)))
    }

    /// A log level.
    pub fn level(&self, id: Opt) -> Option<Level> {
        self.text(id).and_then(Level::parse)
    }
}

fn default_location(paths: &Paths) -> Option<String> {
    Some(format!("file:{}", paths.log_file().display()))
}

fn default_dir(paths: &Paths, kind: &str) -> Option<String> {
    Some(paths.default_database_dir(kind).display().to_string())
}

/// The text of a value that is one.
fn text(value: &Value) -> &str {
    match value {
        Value::Text(Some(text)) => text,
        _ => "",
    }
}

fn require(condition: bool, refusal: impl FnOnce() -> String) -> Result<(), Refusal> {
    if condition {
        Ok(())
    } else {
        Err(Some(refusal()))
    }
}

fn accept(_: &Value, _: &Paths) -> Result<(), Refusal> {
    Ok(())
}

fn check_location(value: &Value, _: &Paths) -> Result<(), Refusal> {
    match Location::parse(text(value)) {
        Some(Location::File(file)) => match file.parent() {
            // A bare name is a file of the working directory.
            Some(dir) if dir.as_os_str().is_empty() || dir.is_dir() => Ok(()),
            _ => Err(None),
        },
        Some(_) => Ok(()),
        None => Err(None),
    }
}

fn check_log_level(value: &Value, _: &Paths) -> Result<(), Refusal> {
    Level::parse(text(value)).map(|_| ()).ok_or(None)
}

fn check_transport(value: &Value, _: &Paths) -> Result<(), Refusal> {
    require(text(value) == "tcp", || {
        format!("Invalid value for [cluster] -> transport = {}", text(value))
    })
}

fn check_node_address(value: &Value, _: &Paths) -> Result<(), Refusal> {
    require(text(value).parse::<IpAddr>().is_ok(), || {
        format!("Invalid value for [cluster] -> node address = {}", text(value))
    })
}

fn check_leader_timeout(value: &Value, _: &Paths) -> Result<(), Refusal> {
    require(*value != Value::Integer(0), || {
        "Invalid value for [cluster] -> leader timeout = 0".to_owned()
    })
}

fn check_dir(value: &Value, kind: &str) -> Result<(), Refusal> {
    require(Path::new(text(value)).is_dir(), || {
        format!("{kind} database directory \"{}\" does not exist", text(value))
    })
}

fn check_script(value: &Value, paths: &Paths, what: &str) -> Result<(), Refusal> {
    let script = paths.debug_script(text(value));
    let refuse = |why: &str| Err(Some(format!("{what} {} {why}", script.display())));
    match std::fs::metadata(&script) {
        Err(_) => refuse("does not exist"),
        Ok(data) if !data.is_file() => refuse("is not a file"),
        Ok(data) if data.permissions().mode() & 0o100 == 0 => refuse("is not executable"),
        Ok(_) => Ok(()),
    }
}

fn check_script_log_level(value: &Value, _: &Paths) -> Result<(), Refusal> {
    require(Level::parse(text(value)).is_some(), || {
        format!("Invalid value for [legacy] -> script log level = {}", text(value))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_in_the_order_of_its_names() {
        for (n, option) in OPTIONS.iter().enumerate() {
            assert_eq!(option.id as usize, n, "{}", option.name);
        }
    }

    #[test]
    fn types() {
        let number = &OPTIONS[Opt::LeaderTimeout as usize];
        assert_eq!(number.parse("0x7"), Some(Value::Integer(7)));
        assert_eq!(number.parse("2147483647"), Some(Value::Integer(2147483647)));
        for bad in ["2147483648", "-1", "7xyz", "abc", "5 # x"] {
            assert_eq!(number.parse(bad), None, "{bad}");
        }
        let flag = &OPTIONS[Opt::TdbMutexes as usize];
        assert_eq!(flag.parse("YES"), Some(Value::Flag(true)));
        assert_eq!(flag.parse("False"), Some(Value::Flag(false)));
        for bad in ["1", "on", "truee"] {
            assert_eq!(flag.parse(bad), None, "{bad}");
        }
    }
}
