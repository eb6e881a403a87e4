// SPDX-License-Identifier: GPL-3.0-or-later
//! Where the group's file and the tool are. Files of script options are shell code, so a shell reads them
//! (spec/events-config.md 9).

use crate::Kind;
use ctdb_command_line::Ending;
use ctdb_host::Paths;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Reads files, whatever they print goes to standard error, and prints the value of the first argument's variable
/// and of CTDB.
const READ: &str = r#"name=$1; shift
for file; do . "$file" >&2; done
eval "printf '%s\0%s' \"\$$name\" \"\$CTDB\"""#;

/// The settings.
#[derive(Debug)]
pub(crate) struct Settings {
    pub group_file: PathBuf,
    /// The tool.
    pub ctdb: OsString,
}

impl Settings {
    /// Reads them.
    pub fn read(kind: &Kind) -> Result<Settings, Ending> {
        let paths = Paths::from_env().map_err(|e| Ending::aborted(&e))?;
        let options = [
            paths.base_dir.join("script.options"),
            paths.base_dir.join(format!("events/legacy/{}.options", kind.script)),
        ];
        let readable: Vec<&PathBuf> = options.iter().filter(|f| File::open(f).is_ok()).collect();
        let [file, ctdb] = if readable.is_empty() {
            [kind.variable, "CTDB"].map(|name| std::env::var_os(name).unwrap_or_default())
        } else {
            by_shell(kind, &paths, &readable)?
        };
        let filled = |value: OsString| Some(value).filter(|value| !value.is_empty());
        Ok(Settings {
            group_file: filled(file).map_or_else(|| paths.base_dir.join(kind.file), PathBuf::from),
            ctdb: filled(ctdb).unwrap_or_else(installed_ctdb),
        })
    }
}

fn by_shell(kind: &Kind, paths: &Paths, files: &[&PathBuf]) -> Result<[OsString; 2], Ending> {
    let failed = |why: String| Ending::complaint(format!("{}: {why}\n", kind.name), 1);
    let output = Command::new("sh")
        .args(["-c", READ, kind.name, kind.variable])
        .args(files)
        .env("CTDB_BASE", &paths.base_dir)
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .map_err(|e| failed(format!("sh: {e}")))?;
    let mut values = output.stdout.split(|byte| *byte == 0).map(OsStr::from_bytes);
    match (output.status.success(), values.next(), values.next()) {
        (true, Some(file), Some(ctdb)) => Ok([file.to_owned(), ctdb.to_owned()]),
        _ => Err(failed("the files of script options cannot be read".into())),
    }
}

/// The tool that was installed with this program, or any.
fn installed_ctdb() -> OsString {
    let beside = |program: PathBuf| {
        let ctdb = program.parent().map(Path::to_path_buf)?.join("../../bin/ctdb");
        ctdb.is_file().then_some(ctdb)
    };
    std::env::current_exe().ok().and_then(beside).map_or("ctdb".into(), PathBuf::into_os_string)
}
