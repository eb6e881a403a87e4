// SPDX-License-Identifier: GPL-3.0-or-later
//! The scripts of a component: those installed, and those enabled (spec/events-config.md 13.1-13.3, 16.3-16.5).
//!
//! An installed script is enabled by a symbolic link to it; a local one by its execute bits.

use ctdb_command_line::Ending;
use ctdb_host::Paths;
use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::io::{self, ErrorKind};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{symlink, PermissionsExt};
use std::path::{Path, PathBuf};

const SUFFIX: &str = ".script";
const OWNER_EXECUTE: u32 = 0o100;
const EXECUTE: u32 = 0o111;

/// An ending, and the result that is logged if there is one.
type Outcome = Result<(Ending, Option<i32>), Ending>;

/// A component.
#[derive(Debug)]
pub struct Component<'a> {
    name: &'a OsStr,
    /// Scripts that may be enabled.
    installed: PathBuf,
    /// Scripts that are run.
    enabled: PathBuf,
}

/// What stands in the directory of enabled scripts.
enum Entry {
    Absent,
    Link,
    File(u32),
    Other,
}

impl<'a> Component<'a> {
    /// The component of that name.
    pub fn new(paths: &Paths, name: &'a OsStr) -> Component<'a> {
        let dir = |root: &Path| root.join("events").join(name);
        Component { name, installed: dir(&paths.data_dir), enabled: dir(&paths.etc_dir) }
    }

    /// Lists installed scripts, then those that only this node has.
    pub fn list(&self) -> Result<Ending, Ending> {
        let failed = |e: io::Error| {
            let code = e.raw_os_error().unwrap_or(libc::EIO);
            Ending::complaint(format!("Command script list finished with result={code}\n"), code)
        };
        let installed = scripts(&self.installed).map_err(failed)?;
        let enabled = scripts(&self.enabled).map_err(failed)?;
        let linked = |entry: &&OsString| {
            let target = std::fs::canonicalize(self.installed.join(entry));
            let link = std::fs::read_link(self.enabled.join(entry));
            matches!((target, link), (Ok(target), Ok(link)) if target == link)
        };
        let matched: BTreeSet<&OsString> = installed.iter().filter(linked).collect();
        let mut output = Vec::new();
        for entry in &installed {
            row(&mut output, matched.contains(entry), entry);
        }
        let own: Vec<&OsString> = enabled.iter().filter(|e| !matched.contains(e)).collect();
        if !own.is_empty() && !installed.is_empty() {
            output.push(b'\n');
        }
        for entry in own {
            row(&mut output, is_executable(&self.enabled.join(entry)), entry);
        }
        Ok(Ending::output(output, 0))
    }

    /// Makes a script run from the next event on.
    pub fn enable(&self, script: &OsStr) -> Outcome {
        let path = self.path(&self.enabled, script);
        match Entry::of(&path) {
            Entry::Link => Ok((Ending::default(), None)),
            Entry::File(mode) => self.set_mode(script, &path, mode | EXECUTE),
            Entry::Other => Err(not_a_script(&path)),
            Entry::Absent => {
                let target = std::fs::canonicalize(self.path(&self.installed, script))
                    .map_err(|_| self.missing(script))?;
                symlink(target, &path).map_err(|_| {
                    let text = format!("Failed to create symlink {}\n", path.display());
                    Ending::output(text, libc::EIO)
                })?;
                Ok((Ending::default(), None))
            }
        }
    }

    /// Makes a script run no more.
    pub fn disable(&self, script: &OsStr) -> Outcome {
        let path = self.path(&self.enabled, script);
        match Entry::of(&path) {
            Entry::Absent => Ok((Ending::default(), None)),
            Entry::File(mode) => self.set_mode(script, &path, mode & !EXECUTE),
            Entry::Other => Err(not_a_script(&path)),
            Entry::Link => {
                std::fs::remove_file(&path).map_err(|_| {
                    let text = format!("Failed to remove symlink {}\n", path.display());
                    Ending::output(text, libc::EIO)
                })?;
                Ok((Ending::default(), None))
            }
        }
    }

    fn set_mode(&self, script: &OsStr, path: &Path, mode: u32) -> Outcome {
        let (name, component) = (script.to_string_lossy(), self.name.to_string_lossy());
        if !is_script(path.file_name().unwrap_or_default()) {
            let text = format!("Script {name} is invalid in {component}\n");
            return Err(Ending::output(text, libc::EINVAL));
        }
        match std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)) {
            Ok(()) => Ok((Ending::default(), Some(0))),
            Err(e) if e.kind() == ErrorKind::NotFound => Err(self.missing(script)),
            Err(e) => {
                let text = format!("{}: {e}\n", path.display());
                Err(Ending::complaint(text, e.raw_os_error().unwrap_or(libc::EIO)))
            }
        }
    }

    fn path(&self, dir: &Path, script: &OsStr) -> PathBuf {
        let mut name = script.to_os_string();
        name.push(SUFFIX);
        dir.join(name)
    }

    fn missing(&self, script: &OsStr) -> Ending {
        let (name, component) = (script.to_string_lossy(), self.name.to_string_lossy());
        Ending::output(format!("Script {name} does not exist in {component}\n"), libc::ENOENT)
    }
}

impl Entry {
    fn of(path: &Path) -> Entry {
        match std::fs::symlink_metadata(path) {
            Err(_) => Entry::Absent,
            Ok(data) if data.is_symlink() => Entry::Link,
            Ok(data) if data.is_file() => Entry::File(data.permissions().mode() & 0o7777),
            Ok(_) => Entry::Other,
        }
    }
}

fn not_a_script(path: &Path) -> Ending {
    Ending::output(format!("Script {} is not a file or a link\n", path.display()), libc::EINVAL)
}

/// The scripts of a directory, in order.
fn scripts(dir: &Path) -> io::Result<BTreeSet<OsString>> {
    let entries = std::fs::read_dir(dir)?.map(|entry| entry.map(|e| e.file_name()));
    entries.filter(|name| name.as_ref().map_or(true, |name| is_script(name))).collect()
}

/// Whether the name is that of a script: two digits, a dot, anything, `.script`.
fn is_script(name: &OsStr) -> bool {
    let name = name.as_bytes();
    match (name.strip_suffix(SUFFIX.as_bytes()), name) {
        (Some([_, _, b'.', ..]), [a, b, ..]) => a.is_ascii_digit() && b.is_ascii_digit(),
        _ => false,
    }
}

fn is_executable(path: &Path) -> bool {
    std::fs::metadata(path).is_ok_and(|data| data.permissions().mode() & OWNER_EXECUTE != 0)
}

fn row(output: &mut Vec<u8>, enabled: bool, entry: &OsStr) {
    let name = entry.as_bytes();
    output.extend(if enabled { b"* " } else { b"  " });
    output.extend(name.strip_suffix(SUFFIX.as_bytes()).unwrap_or(name));
    output.push(b'\n');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_scripts() {
        for name in ["10.a.script", "10.a.b.script", "10..script", "00.script.script"] {
            assert!(is_script(OsStr::new(name)), "{name}");
        }
        for name in
            ["1.a.script", "10.a.script~", "a.script", "10.script", "x0.a.script", ".script"]
        {
            assert!(!is_script(OsStr::new(name)), "{name}");
        }
    }
}
