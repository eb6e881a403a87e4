// SPDX-License-Identifier: GPL-3.0-or-later
//! What the environment and `onnode.conf` say.
//!
//! `onnode.conf` is shell code, so a shell reads it and then starts this program anew, with all that the file has
//! exported, and `ONNODE_SSH`.

use crate::options::Options;
use ctdb_command_line::Ending;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

const ETC_DIR: &str = match option_env!("CTDB_BUILD_ETCDIR") {
    Some(dir) => dir,
    None => "/etc/ctdb",
};

/// Says that the shell has read the file.
const MARK: &str = "ONNODE_CONF_IS_READ";

const READ_AND_RUN: &str =
    r#". "$1"; shift; [ -z "${ONNODE_SSH+x}" ] || export ONNODE_SSH; exec "$@""#;

/// The settings.
#[derive(Debug)]
pub(crate) struct Settings {
    base: PathBuf,
    /// ONNODE_SSH, if it is set and not empty.
    pub ssh: Option<OsString>,
}

impl Settings {
    /// Reads them; does not return if a shell has to read `onnode.conf` first.
    pub fn read(options: &Options, words: &[OsString]) -> Result<Settings, Ending> {
        let filled = |name| std::env::var_os(name).filter(|value: &OsString| !value.is_empty());
        let base = PathBuf::from(filled("CTDB_BASE").unwrap_or(ETC_DIR.into()));
        let conf = base.join("onnode.conf");
        let is_read = std::env::var_os(MARK).is_some();
        // A command that runs this program on this machine again is not meant.
        std::env::remove_var(MARK);
        if !is_read && !options.push && File::open(&conf).is_ok_and(|f| is_file(&f)) {
            return Err(start_anew(&conf, words));
        }
        Ok(Settings { base, ssh: filled("ONNODE_SSH") })
    }

    /// The nodes file: the one that is asked for, here or in the configuration directory, or the default.
    pub fn nodes_file(&self, wanted: Option<&Path>) -> PathBuf {
        match wanted {
            None => self.base.join("nodes"),
            Some(file) if file.exists() => file.to_path_buf(),
            // An absolute path replaces the directory.
            Some(file) => self.base.join(file),
        }
    }

    /// The words of the remote shell's command.
    pub fn ssh_words(&self) -> Vec<OsString> {
        let text = self.ssh.as_deref().unwrap_or(OsStr::new("ssh")).to_string_lossy();
        text.split_whitespace().map(OsString::from).collect()
    }
}

fn is_file(file: &File) -> bool {
    file.metadata().is_ok_and(|data| data.is_file())
}

/// Becomes a shell that reads `conf` and becomes this program; gives the reason if it cannot.
fn start_anew(conf: &Path, words: &[OsString]) -> Ending {
    let program = match std::env::current_exe() {
        Ok(program) => program,
        Err(e) => return Ending::complaint(format!("onnode: {e}\n"), 1),
    };
    let become_shell = |shell: &str| {
        let mut command = Command::new(shell);
        command.arg("-c").arg(READ_AND_RUN).arg("onnode").arg(conf).arg(&program);
        command.args(words.iter().skip(1)).env(MARK, "1").exec()
    };
    // The file is written for bash, usually in a way that any shell understands.
    become_shell("bash");
    let error = become_shell("sh");
    Ending::complaint(format!("onnode: {}: {error}\n", conf.display()), 1)
}
