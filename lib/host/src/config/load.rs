// SPDX-License-Identifier: GPL-3.0-or-later
//! Reading ctdb.conf: all faults of the file are reported, and if there is one no option takes effect
//! (`spec/events-config.md 4`).
//!
//! Where the existing daemon is silent we are not: unknown sections and options are warnings with file and line,
//! and a syntax error is an error (there it means that every option silently falls back to its default).

use super::options::{Opt, OptionDef, Values, OPTIONS};
use super::Config;
use crate::bounded_file;
use crate::conf_syntax::{items, ItemKind};
use crate::diagnostic::{keep, Diagnostic};
use crate::paths::Paths;
use std::fmt;
use std::path::{Path, PathBuf};

/// What to make of names that are not known, and of a missing file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Strictness {
    /// Warn; a missing file is an empty one: daemons.
    Lenient,
    /// Refuse: `ctdb-config validate`.
    Strict,
}

/// A file that was read.
#[derive(Debug)]
pub struct Loaded {
    /// The typed configuration.
    pub config: Config,
    /// The values, for listings.
    pub values: Values,
    /// What the administrator should know.
    pub warnings: Vec<Diagnostic>,
}

/// A file that was refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoadError {
    /// The file.
    pub path: PathBuf,
    /// Every reason.
    pub faults: Vec<Diagnostic>,
}

impl fmt::Display for LoadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for fault in &self.faults {
            writeln!(f, "{fault}")?;
        }
        write!(f, "Failed to load configuration file {}", self.path.display())
    }
}

impl std::error::Error for LoadError {}

/// Reads `file`.
pub fn load(file: &Path, paths: &Paths, strictness: Strictness) -> Result<Loaded, LoadError> {
    let content = match (bounded_file::read_optional(file), strictness) {
        (Ok(Some(content)), _) => content,
        (Ok(None), Strictness::Lenient) => Vec::new(),
        (Ok(None), Strictness::Strict) => {
            return Err(unreadable(file, "No such file or directory"))
        }
        (Err(e), _) => return Err(unreadable(file, &e.to_string())),
    };
    let mut reader = Reader {
        file,
        paths,
        strictness,
        section: Section::None,
        values: Values::new(paths),
        faults: Vec::new(),
        warnings: Vec::new(),
    };
    for item in items(&content) {
        reader.take(item.line, item.kind);
    }
    if !reader.faults.is_empty() {
        return Err(LoadError { path: file.to_path_buf(), faults: reader.faults });
    }
    let config = Config::from_values(&reader.values, paths);
    Ok(Loaded { config, values: reader.values, warnings: reader.warnings })
}

fn unreadable(file: &Path, why: &str) -> LoadError {
    LoadError { path: file.to_path_buf(), faults: vec![Diagnostic::whole(file, why)] }
}

/// The section that the line being read belongs to.
enum Section {
    None,
    Known(&'static str),
    Unknown,
}

struct Reader<'a> {
    file: &'a Path,
    paths: &'a Paths,
    strictness: Strictness,
    section: Section,
    values: Values,
    faults: Vec<Diagnostic>,
    warnings: Vec<Diagnostic>,
}

impl Reader<'_> {
    fn take(&mut self, line: usize, kind: ItemKind) {
        match kind {
            ItemKind::Section(name) => self.enter(line, &name),
            ItemKind::Assignment { name, value } => self.assign(line, &name, &value),
            ItemKind::Bare(_) => {}
            ItemKind::Fault(fault) => self.fault(line, fault.to_string()),
        }
    }

    fn enter(&mut self, line: usize, name: &str) {
        let known = OPTIONS.iter().map(|o| o.section).find(|s| s.eq_ignore_ascii_case(name));
        self.section = match known {
            Some(section) => Section::Known(section),
            None => {
                self.unknown(line, format!("conf: unknown section [{name}]"));
                Section::Unknown
            }
        };
    }

    fn assign(&mut self, line: usize, name: &str, text: &str) {
        let Section::Known(section) = self.section else {
            self.unknown(line, format!("conf: unknown section for option \"{name}\""));
            return;
        };
        let Some(option) = OPTIONS.iter().find(|o| o.section == section && o.name == name) else {
            self.unknown(line, format!("conf: unknown option [{section}] -> \"{name}\""));
            return;
        };
        self.assign_known(line, option, text);
    }

    fn assign_known(&mut self, line: usize, option: &OptionDef, text: &str) {
        let (section, name) = (option.section, option.name);
        if text.is_empty() {
            self.fault(line, format!("conf: empty value [{section}] -> \"{name}\""));
            return;
        }
        let Some(value) = option.parse(text) else {
            self.fault(line, format!("conf: invalid value [{section}] -> \"{name}\" = \"{text}\""));
            return;
        };
        if let Err(reason) = option.check(&value, self.paths) {
            if let Some(reason) = reason {
                self.fault(line, reason);
            }
            self.fault(line, format!("conf: validation for option \"{name}\" failed"));
            return;
        }
        if option.id == Opt::RecoveryLock {
            self.warn(line, "Configuration option [cluster] -> recovery lock is deprecated".into());
        }
        self.values.set(option.id, value);
    }

    /// A name that is not ours: older or newer releases may know it.
    fn unknown(&mut self, line: usize, text: String) {
        match self.strictness {
            Strictness::Lenient => self.warn(line, text),
            Strictness::Strict => self.fault(line, text),
        }
    }

    fn warn(&mut self, line: usize, text: String) {
        keep(&mut self.warnings, Diagnostic::at(self.file, line, text));
    }

    fn fault(&mut self, line: usize, text: String) {
        keep(&mut self.faults, Diagnostic::at(self.file, line, text));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    struct Node {
        dir: tempfile::TempDir,
        paths: Paths,
    }

    impl Node {
        fn new() -> Node {
            let dir = tempfile::tempdir().unwrap();
            let paths = Paths::below(dir.path());
            Node { dir, paths }
        }

        fn load_as(&self, text: &[u8], strictness: Strictness) -> Result<Loaded, LoadError> {
            std::fs::write(self.paths.config_file(), text).unwrap();
            load(&self.paths.config_file(), &self.paths, strictness)
        }

        fn load(&self, text: &str) -> Result<Loaded, LoadError> {
            self.load_as(text.as_bytes(), Strictness::Lenient)
        }

        /// Texts with the directory taken out.
        fn plain(&self, text: impl fmt::Display) -> String {
            text.to_string().replace(&format!("{}/", self.dir.path().display()), "")
        }

        fn fault(&self, text: &str) -> String {
            self.plain(self.load(text).unwrap_err())
        }

        fn warnings(&self, text: &str) -> Vec<String> {
            self.load(text).unwrap().warnings.iter().map(|w| self.plain(w)).collect()
        }
    }

    const FAILED: &str = "\nFailed to load configuration file ctdb.conf";

    #[test]
    fn every_option_is_accepted() {
        let node = Node::new();
        for name in ["v", "p", "s"] {
            std::fs::create_dir(node.dir.path().join(name)).unwrap();
        }
        let script = node.dir.path().join("debug.sh");
        std::fs::write(&script, "").unwrap();
        let executable = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        std::fs::set_permissions(&script, executable).unwrap();
        let dir = node.dir.path().display().to_string();
        let loaded = node
            .load(&format!(
                "[Logging]\n location = file:{dir}/log\n log level = debug\n\
                 [cluster]\ntransport = tcp\nnode address = fd00::1\ncluster lock = !/x  a\n\
                 recovery lock = /old\nnodes list = !/bin/nodes\nleader timeout = 7\n\
                 leader capability = no\n\
                 [database]\nvolatile database directory = {dir}/v\n\
                 persistent database directory = {dir}/p\nstate database directory = {dir}/s\n\
                 lock debug script = debug.sh\ntdb mutexes = false\n\
                 [event]\ndebug script = debug.sh\n\
                 [failover]\ndisabled = true\nshutdown extra timeout = 1\n\
                 shutdown failover timeout = 0\n\
                 [legacy]\nrealtime scheduling = false\nlmaster capability = false\n\
                 start as stopped = yes\nstart as disabled = yes\nscript log level = info\n"
            ))
            .unwrap();
        let c = &loaded.config;
        assert_eq!(c.log_location_text, format!("file:{dir}/log"));
        assert_eq!(c.log_level.0, 10);
        assert_eq!(c.node_address, Some("fd00::1".parse().unwrap()));
        assert_eq!(c.cluster_lock.as_deref(), Some("!/x a"));
        assert_eq!(c.leader_timeout, Duration::from_secs(7));
        assert_eq!(c.volatile_dir, node.dir.path().join("v"));
        assert_eq!(c.state_dir, node.dir.path().join("s"));
        assert_eq!(c.lock_debug_script.as_deref(), Some(&*script));
        assert_eq!(c.event_debug_script.as_deref(), Some(&*script));
        assert_eq!(c.shutdown_failover_timeout, Duration::ZERO);
        assert_eq!(c.script_log_level.0, 5);
        assert!(c.start_as_stopped && c.start_as_disabled && c.failover_disabled);
        assert!(!c.leader_capability && !c.lmaster_capability && !c.tdb_mutexes);
        assert!(!c.realtime_scheduling);
        assert_eq!(
            loaded.warnings.iter().map(|w| node.plain(w)).collect::<Vec<_>>(),
            ["ctdb.conf:8: Configuration option [cluster] -> recovery lock is deprecated"]
        );
    }

    #[test]
    fn recovery_lock_counts_when_alone() {
        let loaded = Node::new().load("[cluster]\nrecovery lock = /old\n").unwrap();
        assert_eq!(loaded.config.cluster_lock.as_deref(), Some("/old"));
    }

    #[test]
    fn the_last_of_repeated_options_wins_even_if_it_is_the_default() {
        let loaded = Node::new()
            .load("[cluster]\nleader timeout = 6\n[x]\n[CLUSTER] y\nleader timeout = 5\n")
            .unwrap();
        assert_eq!(loaded.config.leader_timeout, Duration::from_secs(5));
    }

    #[test]
    fn unknown_names_warn_with_file_and_line() {
        let node = Node::new();
        assert_eq!(
            node.warnings("leader timeout = 7\n[foo]\nx=y\n\n[cluster]\nbar=1\nLeader timeout=9\n"),
            [
                "ctdb.conf:1: conf: unknown section for option \"leader timeout\"",
                "ctdb.conf:2: conf: unknown section [foo]",
                "ctdb.conf:3: conf: unknown section for option \"x\"",
                "ctdb.conf:6: conf: unknown option [cluster] -> \"bar\"",
                "ctdb.conf:7: conf: unknown option [cluster] -> \"Leader timeout\"",
            ]
        );
        let error = node.load_as(b"[foo]\n[cluster]\nbar=1\n", Strictness::Strict).unwrap_err();
        assert_eq!(
            node.plain(error),
            "ctdb.conf:1: conf: unknown section [foo]\n\
             ctdb.conf:3: conf: unknown option [cluster] -> \"bar\""
                .to_owned()
                + FAILED
        );
    }

    #[test]
    fn syntax_errors_stop_with_file_and_line() {
        let node = Node::new();
        assert_eq!(
            node.fault("# x\n[cluster\nleader timeout = 7\n"),
            "ctdb.conf:2: Syntax error: \"[\" without \"]\"".to_owned() + FAILED
        );
        assert_eq!(
            node.fault("[cluster]\n\n = x\n"),
            "ctdb.conf:3: Syntax error: no option name before \"=\"".to_owned() + FAILED
        );
    }

    #[test]
    fn all_faults_are_reported() {
        let node = Node::new();
        assert_eq!(
            node.fault(
                "[cluster]\nleader timeout =\nleader timeout = x\nleader timeout = 0\n\
                 node address = 1.2.3.4:55\ntransport = ib\nleader capability = 1\n\
                 [legacy]\nscript log level = loud\n\
                 [logging]\nlocation = syslog:foo\nlocation = file:/nonexistent/log\n\
                 log level = 11\n"
            ),
            "ctdb.conf:2: conf: empty value [cluster] -> \"leader timeout\"\n\
             ctdb.conf:3: conf: invalid value [cluster] -> \"leader timeout\" = \"x\"\n\
             ctdb.conf:4: Invalid value for [cluster] -> leader timeout = 0\n\
             ctdb.conf:4: conf: validation for option \"leader timeout\" failed\n\
             ctdb.conf:5: Invalid value for [cluster] -> node address = 1.2.3.4:55\n\
             ctdb.conf:5: conf: validation for option \"node address\" failed\n\
             ctdb.conf:6: Invalid value for [cluster] -> transport = ib\n\
             ctdb.conf:6: conf: validation for option \"transport\" failed\n\
             ctdb.conf:7: conf: invalid value [cluster] -> \"leader capability\" = \"1\"\n\
             ctdb.conf:9: Invalid value for [legacy] -> script log level = loud\n\
             ctdb.conf:9: conf: validation for option \"script log level\" failed\n\
             ctdb.conf:11: conf: validation for option \"location\" failed\n\
             ctdb.conf:12: conf: validation for option \"location\" failed\n\
             ctdb.conf:13: conf: validation for option \"log level\" failed"
                .to_owned()
                + FAILED
        );
    }

    #[test]
    fn directories_and_scripts_must_exist() {
        let node = Node::new();
        std::fs::write(node.dir.path().join("plain"), "").unwrap();
        std::fs::create_dir(node.dir.path().join("dir")).unwrap();
        assert_eq!(
            node.fault(
                "[database]\nvolatile database directory = /nope\n\
                 lock debug script = none\n[event]\ndebug script = plain\n\
                 debug script = /elsewhere/dir\n"
            ),
            "ctdb.conf:2: volatile database directory \"/nope\" does not exist\n\
             ctdb.conf:2: conf: validation for option \"volatile database directory\" failed\n\
             ctdb.conf:3: lock debug script none does not exist\n\
             ctdb.conf:3: conf: validation for option \"lock debug script\" failed\n\
             ctdb.conf:5: debug script plain is not executable\n\
             ctdb.conf:5: conf: validation for option \"debug script\" failed\n\
             ctdb.conf:6: debug script dir is not a file\n\
             ctdb.conf:6: conf: validation for option \"debug script\" failed"
                .to_owned()
                + FAILED
        );
    }

    #[test]
    fn missing_file_unreadable_file_and_huge_file() {
        let node = Node::new();
        let file = node.paths.config_file();
        assert!(load(&file, &node.paths, Strictness::Lenient).is_ok());
        let error = load(&file, &node.paths, Strictness::Strict).unwrap_err();
        assert_eq!(node.plain(error), "ctdb.conf: No such file or directory".to_owned() + FAILED);
        let error = node.load_as(&vec![b'#'; 2 << 20], Strictness::Lenient).unwrap_err();
        assert_eq!(node.plain(error), "ctdb.conf: larger than 1048576 bytes".to_owned() + FAILED);
        let faults = node.load_as("[\n".repeat(1000).as_bytes(), Strictness::Lenient).unwrap_err();
        assert_eq!(faults.faults.len(), 100);
    }
}
