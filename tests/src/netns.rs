// SPDX-License-Identifier: GPL-3.0-or-later
//! A network namespace that belongs to a thread.
//!
//! It has no name: what the thread starts lives in it, and the kernel removes it with the last
//! process, so that not even a killed test run leaves one behind.

use std::fs::File;
use std::os::unix::fs::MetadataExt;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use nix::sched::{setns, unshare, CloneFlags};

use crate::command::run_ok;

/// A handle on a private network namespace; it keeps the namespace alive.
#[derive(Clone, Debug)]
pub struct Netns {
    file: Arc<File>,
    inode: u64,
}

impl Netns {
    /// Moves the calling thread into a new network namespace in which only loopback is up. Needs
    /// root. Other threads of the process stay where they are.
    pub fn private() -> Result<Netns> {
        unshare(CloneFlags::CLONE_NEWNET).context("a network namespace of its own (needs root)")?;
        let file = File::open("/proc/thread-self/ns/net")?;
        let inode = file.metadata()?.ino();
        run_ok(Command::new("ip").args(["link", "set", "lo", "up"]), Duration::from_secs(10))?;
        Ok(Netns { file: Arc::new(file), inode })
    }

    /// Moves the calling thread into this namespace, so that the programs it starts are in it.
    pub fn enter(&self) -> Result<()> {
        setns(&*self.file, CloneFlags::CLONE_NEWNET).context("entering a network namespace")
    }

    /// Every process in the namespace but this one.
    pub fn processes(&self) -> Vec<i32> {
        let own = std::process::id() as i32;
        let Ok(entries) = std::fs::read_dir("/proc") else { return Vec::new() };
        let pids = entries.flatten().filter_map(|e| e.file_name().to_str()?.parse::<i32>().ok());
        pids.filter(|&pid| {
            let at = format!("/proc/{pid}/ns/net");
            pid != own && std::fs::metadata(at).is_ok_and(|m| m.ino() == self.inode)
        })
        .collect()
    }
}

/// Gives the calling thread mounts of its own, so that what it mounts goes away with it.
pub fn private_mounts() -> Result<()> {
    unshare(CloneFlags::CLONE_NEWNS).context("mounts of its own (needs root)")?;
    run_ok(Command::new("mount").args(["--make-rprivate", "/"]), Duration::from_secs(10))?;
    Ok(())
}
