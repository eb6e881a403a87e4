// SPDX-License-Identifier: GPL-3.0-or-later
//! `ctdb-config`: lists, queries and checks ctdb.conf (spec/events-config.md 5), with the code by which the daemon
//! reads it.
//!
//! Complaints are those of the existing program, which scripts may know; from `-d INFO` on, file and line stand
//! before them. A syntax error is an error here, and not the silent end of the file.
#![forbid(unsafe_code)]

use ctdb_command_line::{Command, Ending, Tool};
use ctdb_host::config::{load, Loaded, OptionDef, Strictness, Value, OPTIONS};
use ctdb_host::{Diagnostic, Level, Paths};
use std::ffi::OsString;
use std::io::ErrorKind;

/// Exit codes.
const ENOENT: i32 = 2;
const EINVAL: i32 = 22;

/// The commands.
#[derive(Debug, Clone, Copy)]
enum Task {
    Dump,
    Get,
    Validate,
}

const fn entry(
    words: &'static str,
    args: &'static [&'static str],
    about: &'static str,
    does: Task,
) -> Command<Task> {
    Command { words, args, open_ended: false, about, does }
}

static TOOL: Tool<Task> = Tool {
    name: "ctdb-config",
    about: "Show and check the configuration of CTDB",
    debug: true,
    long_help: true,
    misuse: EINVAL,
    commands: &[
        entry("dump", &[], "Dump configuration", Task::Dump),
        entry("get", &["<section>", "<key>"], "Get a config value", Task::Get),
        entry("validate", &[], "Validate configuration file", Task::Validate),
    ],
};

/// The definition of the command line.
pub fn command() -> clap::Command {
    TOOL.command()
}

/// Runs the program with the words behind its name.
pub fn run(words: &[OsString]) -> Ending {
    answer(words).unwrap_or_else(|ending| ending)
}

fn answer(words: &[OsString]) -> Result<Ending, Ending> {
    let call = TOOL.parse(words)?;
    let level = call.debug.and_then(|text| Level::parse(text.to_str()?)).unwrap_or(Level::ERROR);
    let paths = Paths::from_env().map_err(|e| Ending::aborted(&e))?;
    let reader = Reader { paths, level };
    match (call.command.does, call.args.as_slice()) {
        (Task::Get, [section, key]) => {
            let (section, key) = (section.to_string_lossy(), key.to_string_lossy());
            reader.get(&section, &key)
        }
        (Task::Validate, _) => reader.validate(),
        _ => reader.dump(),
    }
}

struct Reader {
    paths: Paths,
    level: Level,
}

impl Reader {
    fn get(&self, section: &str, key: &str) -> Result<Ending, Ending> {
        let same = |o: &&OptionDef| o.section.eq_ignore_ascii_case(section) && o.name == key;
        let option = OPTIONS.iter().find(same).ok_or_else(|| {
            let text = format!("Configuration option [{section}] -> \"{key}\" not defined\n");
            Ending::complaint(text, ENOENT)
        })?;
        let (loaded, complaint) = self.load(Strictness::Lenient)?;
        let output = format!("{}\n", loaded.values.get(option.id).map_or(String::new(), shown));
        Ok(Ending { output: output.into(), complaint, code: 0 })
    }

    fn dump(&self) -> Result<Ending, Ending> {
        let (loaded, complaint) = self.load(Strictness::Lenient)?;
        let mut output = String::new();
        let mut section = "";
        for option in &OPTIONS {
            if option.section != section {
                section = option.section;
                output += &format!("[{section}]\n");
            }
            let default = option.default_value(&self.paths);
            let value = loaded.values.get(option.id).unwrap_or(&default);
            let mark = if *value == default { "# " } else { "" };
            output += &format!("\t{mark}{} = {}\n", option.name, shown(value));
        }
        Ok(Ending { output: output.into(), complaint, code: 0 })
    }

    fn validate(&self) -> Result<Ending, Ending> {
        let (_, complaint) = self.load(Strictness::Strict)?;
        Ok(Ending { complaint, ..Ending::default() })
    }

    /// The configuration, and what is to be said about it.
    fn load(&self, strictness: Strictness) -> Result<(Loaded, String), Ending> {
        let file = self.paths.config_file();
        let shown = file.display();
        let failed = format!("Failed to load config file {shown}\n");
        let reading = match self.level >= Level::NOTICE {
            true => format!("Reading config file {shown}\n"),
            false => String::new(),
        };
        let missing = std::fs::metadata(&file).is_err_and(|e| e.kind() == ErrorKind::NotFound);
        if strictness == Strictness::Strict && missing {
            return Err(Ending::complaint(reading + &failed, ENOENT));
        }
        match load(&file, &self.paths, strictness) {
            Ok(loaded) => {
                let said: String = loaded.warnings.iter().map(|w| self.warning(w)).collect();
                Ok((loaded, reading + &said))
            }
            Err(error) => {
                let said: String = error.faults.iter().map(|f| self.line(f)).collect();
                Err(Ending::complaint(reading + &said + &failed, EINVAL))
            }
        }
    }

    /// Names that are not known are for those who ask for everything; what is deprecated is a warning.
    fn warning(&self, warning: &Diagnostic) -> String {
        let unknown = warning.text.starts_with("conf: unknown");
        let wanted = if unknown { Level::DEBUG } else { Level::WARNING };
        if self.level >= wanted {
            self.line(warning)
        } else {
            String::new()
        }
    }

    fn line(&self, diagnostic: &Diagnostic) -> String {
        // The existing program has no words for these: nothing forbids to say where.
        let is_new = diagnostic.line.is_none() || diagnostic.text.starts_with("Syntax error");
        if is_new || self.level >= Level::INFO {
            format!("{diagnostic}\n")
        } else {
            format!("{}\n", diagnostic.text)
        }
    }
}

fn shown(value: &Value) -> String {
    match value {
        Value::Text(text) => text.clone().unwrap_or_default(),
        Value::Integer(number) => number.to_string(),
        Value::Flag(flag) => flag.to_string(),
    }
}
