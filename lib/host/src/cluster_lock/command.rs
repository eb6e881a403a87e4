// SPDX-License-Identifier: GPL-3.0-or-later
//! Which program takes the cluster lock: `[cluster] cluster lock` is a file for the built-in helper, or after `!` a
//! command of the administrator's.

use crate::nodes_file::split_command;
use crate::paths::Paths;
use std::ffi::OsString;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// A helper program with its arguments.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HelperCommand {
    /// The program.
    pub program: PathBuf,
    /// Its arguments.
    pub arguments: Vec<OsString>,
}

/// There is no helper to run.
#[derive(Debug, thiserror::Error)]
pub enum CommandError {
    /// Nothing after `!`.
    #[error("Invalid cluster lock \"{0}\": no command after \"!\"")]
    Empty(String),
    /// The built-in helper is missing or not executable.
    #[error("Unable to set cluster mutex helper \"{}\" - {error}", program.display())]
    BuiltIn {
        /// Where it was sought.
        program: PathBuf,
        /// Why not.
        error: io::Error,
    },
}

impl HelperCommand {
    /// Reads the configured text.
    pub fn from_setting(setting: &str, paths: &Paths) -> Result<HelperCommand, CommandError> {
        if let Some(command) = setting.strip_prefix('!') {
            let (program, arguments) =
                split_command(command).ok_or_else(|| CommandError::Empty(setting.to_owned()))?;
            let arguments = arguments.into_iter().map(OsString::from).collect();
            return Ok(HelperCommand { program: program.into(), arguments });
        }
        let program = paths.mutex_helper();
        if let Err(error) = check_executable(&program) {
            return Err(CommandError::BuiltIn { program, error });
        }
        log::info!("Set cluster mutex helper to \"{}\"", program.display());
        Ok(HelperCommand { program, arguments: vec![setting.into()] })
    }
}

fn check_executable(program: &Path) -> io::Result<()> {
    let data = std::fs::metadata(program)?;
    if !data.is_file() || data.permissions().mode() & 0o111 == 0 {
        return Err(io::Error::from_raw_os_error(libc::EACCES));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_split_at_blanks() {
        let paths = Paths::below(Path::new("/t"));
        let command = HelperCommand::from_setting("! /bin/lock\t-f  'a b'", &paths).unwrap();
        assert_eq!(command.program, Path::new("/bin/lock"));
        assert_eq!(command.arguments, ["-f", "'a", "b'"]);
        assert_eq!(
            HelperCommand::from_setting("! ", &paths).unwrap_err().to_string(),
            "Invalid cluster lock \"! \": no command after \"!\""
        );
    }

    #[test]
    fn files_go_to_the_built_in_helper() {
        let dir = tempfile::tempdir().unwrap();
        let mut paths = Paths::below(dir.path());
        paths.helper_dir = dir.path().to_path_buf();
        let helper = dir.path().join("ctdb_mutex_fcntl_helper");
        let fault = || {
            let error = HelperCommand::from_setting("/lock file", &paths).unwrap_err();
            error.to_string().replace(&helper.display().to_string(), "H")
        };
        assert_eq!(
            fault(),
            "Unable to set cluster mutex helper \"H\" - No such file or directory (os error 2)"
        );
        std::fs::write(&helper, "").unwrap();
        assert_eq!(
            fault(),
            "Unable to set cluster mutex helper \"H\" - Permission denied (os error 13)"
        );
        std::fs::set_permissions(&helper, PermissionsExt::from_mode(0o755)).unwrap();
        let command = HelperCommand::from_setting("/lock file", &paths).unwrap();
        assert_eq!((command.program, command.arguments), (helper, vec!["/lock file".into()]));
    }
}
