// SPDX-License-Identifier: GPL-3.0-or-later
//! The test of one lock: the first process has it until a key is pressed, the second sees who has it.

use crate::file::LockFile;
use ctdb_command_line::{strerror, Ending};
use nix::errno::Errno;
use std::io::{Read, Write};

const HOLDING: &str = "\
Holding lock, press any key to continue...
You should run the same command on another node now.
";

/// Takes the lock, or tells who has it.
pub(crate) fn run(file: &LockFile) -> Result<Ending, Ending> {
    match file.try_lock_all() {
        Ok(()) => {
            let mut stdout = std::io::stdout().lock();
            let _ = stdout.write_all(HOLDING.as_bytes()).and_then(|()| stdout.flush());
            let _ = std::io::stdin().read(&mut [0]);
            Ok(Ending::output("Good bye.\n", 0))
        }
        Err(Errno::EAGAIN | Errno::EACCES) => {
            let mut text =
                "file already locked, calling check_lock to tell us who has it locked:\n"
                    .to_owned();
            match file.holder(0, 0) {
                Ok(Some(holder)) => text += &format!("{holder}\n"),
                // It has been let go just now.
                Ok(None) => {}
                Err(error) => text += &format!("check_lock failed! - {}\n", strerror(error as i32)),
            }
            Ok(Ending::output(text + "Working POSIX byte range locks\n", 0))
        }
        Err(error) => {
            Err(Ending::output(format!("lock failed! - {}\n", strerror(error as i32)), 1))
        }
    }
}
