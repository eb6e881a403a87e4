// SPDX-License-Identifier: GPL-3.0-or-later
//! Logging through the `log` crate in the existing places, levels and line formats
//! (`spec/events-config.md 12`).
//!
//! [`crate::level`] says which `log` level stands for which existing one. A log target of the form
//! `ctdb-NAME` speaks as that program.

mod format;
mod location;
mod sink;

pub use format::Identity;
pub use location::Location;

use crate::level::Level;
use crate::paths::Paths;
use crate::sys;
use sink::Sink;
use std::io::{self, Write};
use std::sync::atomic::{AtomicI32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock};
use std::time::SystemTime;

/// Libraries whose chatter is not the administrator's business, at any level.
const QUIET: [&str; 3] = ["mio", "tokio", "rustls"];

static LOGGER: OnceLock<Logger> = OnceLock::new();

impl Identity {
    /// This program on this machine; in test mode the host is the node's directory.
    pub fn new(app: &str, paths: &Paths) -> Identity {
        let host = paths.test_host_name().or_else(sys::host_name);
        Identity { app: app.to_owned(), host: host.unwrap_or_else(|| "localhost".into()) }
    }
}

/// A destination of log records.
pub struct Logger {
    output: Output,
    filter: env_logger::Logger,
    level: AtomicI32,
}

/// The sink, shared with the formatter in front of it.
#[derive(Clone)]
struct Output(Arc<Mutex<Sink>>);

impl Output {
    fn lock(&self) -> MutexGuard<'_, Sink> {
        // A panic while a record was being written leaves the sink usable.
        self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

impl Write for Output {
    fn write(&mut self, record: &[u8]) -> io::Result<usize> {
        self.lock().put(record);
        Ok(record.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Logger {
    /// Opens `location`.
    pub fn new(location: &Location, level: Level, identity: Identity) -> io::Result<Logger> {
        let sink = Sink::open(location, &identity.app)?;
        let shape = sink.shape();
        let output = Output(Arc::new(Mutex::new(sink)));
        let mut builder = env_logger::Builder::new();
        builder.filter_level(log::LevelFilter::Trace);
        for library in QUIET {
            builder.filter_module(library, log::LevelFilter::Warn);
        }
        builder.format(move |buffer, record| {
            let mut line = String::with_capacity(160);
            format::render(&mut line, shape, &identity, SystemTime::now(), record);
            buffer.write_all(line.as_bytes())
        });
        builder.target(env_logger::Target::Pipe(Box::new(output.clone())));
        Ok(Logger { output, filter: builder.build(), level: AtomicI32::new(level.0) })
    }

    /// The level in force, exactly as it was set.
    pub fn level(&self) -> Level {
        Level(self.level.load(Ordering::Relaxed))
    }

    /// Opens a log file anew.
    pub fn reopen(&self) -> io::Result<()> {
        self.output.lock().reopen()
    }
}

impl log::Log for Logger {
    fn enabled(&self, metadata: &log::Metadata<'_>) -> bool {
        metadata.level() <= self.level().filter() && self.filter.enabled(metadata)
    }

    fn log(&self, record: &log::Record<'_>) {
        if record.level() <= self.level().filter() {
            self.filter.log(record);
        }
    }

    fn flush(&self) {}
}

/// Makes the process log to `location`. To be called once.
pub fn init(location: &Location, level: Level, identity: Identity) -> io::Result<()> {
    let logger = Logger::new(location, level, identity)?;
    let logger = LOGGER.get_or_init(|| logger);
    log::set_logger(logger).map_err(io::Error::other)?;
    log::set_max_level(level.filter());
    Ok(())
}

/// Changes the level at once (`ctdb setdebug`).
pub fn set_level(level: Level) {
    if let Some(logger) = LOGGER.get() {
        logger.level.store(level.0, Ordering::Relaxed);
        log::set_max_level(level.filter());
    }
}

/// The level in force.
pub fn level() -> Level {
    LOGGER.get().map_or(Level::NOTICE, Logger::level)
}

/// Opens the log file anew (SIGHUP) and says so.
pub fn reopen() {
    match LOGGER.get().map(Logger::reopen) {
        Some(Err(e)) => log::warn!("Failed to reopen logs: {e}"),
        _ => log::info!("Reopened logs"),
    }
}

/// Tells the system log where to look, unless the messages go there anyway.
pub fn announce(app: &str, location: &str, paths: &Paths) {
    if location != "syslog" && !paths.test_mode {
        sys::syslog::open(app);
        let severity = format::severity(log::Level::Info);
        sys::syslog::send(severity, &format!("CTDB logging to location {location}"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use log::Log;

    fn put(logger: &Logger, level: log::Level, target: &str, text: &str) {
        let args = format_args!("{text}");
        logger.log(&log::Record::builder().level(level).target(target).args(args).build());
    }

    #[test]
    fn levels_filter_and_can_change() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        let identity = Identity { app: "ctdbd".into(), host: "vm".into() };
        let logger = Logger::new(&Location::File(path.clone()), Level(3), identity).unwrap();
        put(&logger, log::Level::Debug, "x", "hidden");
        put(&logger, log::Level::Info, "x", "shown");
        logger.level.store(10, Ordering::Relaxed);
        put(&logger, log::Level::Trace, "x", "now too");
        put(&logger, log::Level::Trace, "mio::poll", "never");
        logger.level.store(-1, Ordering::Relaxed);
        put(&logger, log::Level::Error, "x", "silence");
        let text = std::fs::read_to_string(&path).unwrap();
        let messages: Vec<_> = text.lines().map(|l| l.split_once("]: ").unwrap().1).collect();
        assert_eq!(messages, ["shown", "now too"]);
        assert!(text.contains(&format!(" vm ctdbd[{}]: shown\n", std::process::id())));
    }

    #[test]
    fn a_file_that_cannot_be_opened_is_an_error() {
        let identity = Identity { app: "ctdbd".into(), host: "vm".into() };
        assert!(
            Logger::new(&Location::File("/nonexistent/log".into()), Level(3), identity).is_err()
        );
    }

    #[test]
    fn the_host_is_the_node_directory_in_test_mode() {
        let paths = Paths::below(std::path::Path::new("/t/node.2"));
        assert_eq!(Identity::new("ctdbd", &paths).host, "node.2");
    }
}
