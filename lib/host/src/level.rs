// SPDX-License-Identifier: GPL-3.0-or-later
//! Log levels, 0 (errors only) to 10 (everything), and their names (`spec/events-config.md 12.2`).
//!
//! The five levels of the `log` crate stand for the five names, one to one, so that ordinary log macros say
//! what existing log watchers expect: `error!` is ERROR, `warn!` WARNING, `info!` **NOTICE** (shown by
//! default), `debug!` INFO, `trace!` DEBUG.

use std::fmt;

/// A log level as controls and configuration carry it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Level(pub i32);

/// Names with the least number that carries each.
const NAMES: [(&str, i32); 5] =
    [("ERROR", 0), ("WARNING", 1), ("NOTICE", 3), ("INFO", 5), ("DEBUG", 10)];

impl Level {
    /// Errors only.
    pub const ERROR: Level = Level(0);
    /// Also what may become a fault.
    pub const WARNING: Level = Level(1);
    /// The default.
    pub const NOTICE: Level = Level(3);
    /// Also what is only of interest.
    pub const INFO: Level = Level(5);
    /// Everything.
    pub const DEBUG: Level = Level(10);

    /// A number 0 to 10, or a prefix of a name in any case.
    pub fn parse(text: &str) -> Option<Level> {
        if text.starts_with(|c: char| c.is_ascii_digit()) {
            return text.parse().ok().filter(|n| (0..=10).contains(n)).map(Level);
        }
        if text.is_empty() {
            return None;
        }
        NAMES
            .iter()
            .find(|(name, _)| {
                name.get(..text.len()).is_some_and(|start| start.eq_ignore_ascii_case(text))
            })
            .map(|&(_, number)| Level(number))
    }

    /// The name that tools print.
    pub fn name(self) -> &'static str {
        match self.0 {
            0 => "ERROR",
            1 | 2 => "WARNING",
            3 | 4 => "NOTICE",
            5..=9 => "INFO",
            10 => "DEBUG",
            _ => "UNKNOWN",
        }
    }

    /// What the `log` crate lets through at this level.
    pub fn filter(self) -> log::LevelFilter {
        match self.0 {
            i32::MIN..=-1 => log::LevelFilter::Off,
            0 => log::LevelFilter::Error,
            1 | 2 => log::LevelFilter::Warn,
            3 | 4 => log::LevelFilter::Info,
            5..=9 => log::LevelFilter::Debug,
            _ => log::LevelFilter::Trace,
        }
    }

    /// The level to log at, for texts whose level is configured (`script log level`).
    pub fn to_log(self) -> log::Level {
        self.filter().to_level().unwrap_or(log::Level::Error)
    }
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_numbers() {
        for (text, number) in
            [("n", 3), ("warn", 1), ("DEBUG", 10), ("e", 0), ("info", 5), ("0", 0), ("10", 10)]
        {
            assert_eq!(Level::parse(text), Some(Level(number)), "{text}");
        }
        for bad in ["", "11", "1x", "-1", "NOTICES", "x", "\u{e9}"] {
            assert_eq!(Level::parse(bad), None, "{bad}");
        }
        let names: Vec<_> = (-1..=11).map(|n| Level(n).name()).collect();
        assert_eq!(names[0], "UNKNOWN");
        assert_eq!(names[3], "WARNING");
        assert_eq!(names[12], "UNKNOWN");
    }

    #[test]
    fn each_name_is_one_level_of_the_log_crate() {
        for (name, log_level) in [
            ("ERROR", log::Level::Error),
            ("WARNING", log::Level::Warn),
            ("NOTICE", log::Level::Info),
            ("INFO", log::Level::Debug),
            ("DEBUG", log::Level::Trace),
        ] {
            assert_eq!(Level::parse(name).unwrap().to_log(), log_level);
        }
        assert_eq!(Level(-5).filter(), log::LevelFilter::Off);
        assert_eq!(Level(99).filter(), log::LevelFilter::Trace);
    }
}
