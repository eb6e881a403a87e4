// SPDX-License-Identifier: GPL-3.0-or-later
//! Debian's smbd on the nodes of a cluster, and its clients (spec/samba-client.md 20).

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{bail, ensure, Context, Result};
use nix::sys::signal::Signal;

use crate::cluster::Cluster;
use crate::command::{run, run_ok, Outcome};
use crate::daemon::Daemon;
use crate::wait::wait_for;

/// An account that exists on every Debian machine; the Samba account goes with it.
pub const SMB_USER: &str = "games";
/// Its Samba password in test clusters.
pub const SMB_PASSWORD: &str = "secret";
/// Shares of every smbd, each a directory of its own, so that several smbtortures can run at once.
pub const SHARES: [&str; 4] = ["share", "share2", "share3", "share4"];

const CLIENT: Duration = Duration::from_secs(60);
const SMBD_START: Duration = Duration::from_secs(30);
const SMBD_STOP: Duration = Duration::from_secs(10);
const PYTHON: &str = "/usr/bin/python3";
const SMB_OPEN: &str = include_str!("../tools/smb_open.py");

/// The share mode of an open: what others may do meanwhile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ShareMode {
    /// Nobody else may open the file.
    DenyAll,
    /// Everybody may.
    DenyNone,
}

/// How an open ended that was not to be held.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OpenResult {
    /// It was granted (and closed again).
    Opened,
    /// It was refused with this NT status.
    Refused(String),
}

/// A file that a client holds open; closed by [`HeldOpen::close`].
#[derive(Debug)]
pub struct HeldOpen {
    client: Child,
    said: BufReader<std::process::ChildStdout>,
}

impl HeldOpen {
    /// Closes the file and waits until the server has confirmed it.
    pub fn close(mut self) -> Result<()> {
        drop(self.client.stdin.take());
        let mut line = String::new();
        self.said.read_line(&mut line)?;
        ensure!(line.trim() == "CLOSED", "closing the file: {line:?}");
        ensure!(self.client.wait()?.success(), "the client that held the file open failed");
        Ok(())
    }
}

impl Drop for HeldOpen {
    fn drop(&mut self) {
        let _ = self.client.kill();
        let _ = self.client.wait();
    }
}

impl Cluster {
    pub(crate) fn write_samba_files(&self) -> Result<()> {
        let dir = self.path();
        for share in SHARES {
            let path = dir.join(share);
            fs::create_dir(&path)?;
            fs::set_permissions(&path, fs::Permissions::from_mode(0o1777))?;
            run_ok(Command::new("chown").arg(SMB_USER).arg(&path), CLIENT)?;
        }
        let client = dir.join("client");
        fs::create_dir(&client)?;
        fs::write(dir.join("smb_open.py"), SMB_OPEN)?;
        let mut conf =
            String::from("[global]\n\tclient min protocol = SMB2_02\n\tnetbios name = client\n");
        for option in
            ["private dir", "lock dir", "state directory", "cache directory", "pid directory"]
        {
            conf += &format!("\t{option} = {}\n", client.display());
        }
        fs::write(dir.join("client.conf"), conf)?;
        for pnn in 0..self.nodes.len() {
            self.write_smb_conf(pnn)?;
        }
        Ok(())
    }

    fn write_smb_conf(&self, pnn: usize) -> Result<()> {
        let node = &self.nodes[pnn];
        let smb = node.base.join("smb");
        for sub in ["private", "lock", "state", "cache", "pid", "ncalrpc", "log", "binddns"] {
            fs::create_dir_all(smb.join(sub))?;
        }
        fs::set_permissions(smb.join("private"), fs::Permissions::from_mode(0o700))?;
        // kernel-wide mechanisms are off because these "nodes" share one kernel: otherwise they
        // would do the work that has to go through the cluster
        let mut conf = format!(
            "[global]\n\tclustering = yes\n\tctdbd socket = {socket}\n\
             \tnetbios name = SMBCLUSTER\n\tworkgroup = WORKGROUP\n\
             \tserver role = standalone server\n\
             \tinterfaces = {address}/8\n\tbind interfaces only = yes\n\tsmb ports = 445\n\
             \tdisable netbios = yes\n\
             \tprivate dir = {smb}/private\n\tlock directory = {smb}/lock\n\
             \tstate directory = {smb}/state\n\tcache directory = {smb}/cache\n\
             \tpid directory = {smb}/pid\n\tncalrpc dir = {smb}/ncalrpc\n\
             \tbinddns dir = {smb}/binddns\n\
             \tlog file = {smb}/log/log.smbd\n\tlog level = 1\n\tmax log size = 0\n\
             \tdebug pid = yes\n\tpanic action = /bin/true\n\
             \tload printers = no\n\tprinting = bsd\n\tprintcap name = /dev/null\n\
             \tdisable spoolss = yes\n\
             \tpassdb backend = tdbsam\n\tmap to guest = Bad User\n\tguest account = nobody\n\
             \tusershare max shares = 0\n\tserver min protocol = SMB2_02\n\
             \tkernel oplocks = no\n\tkernel share modes = no\n\tposix locking = no\n\
             \tkernel change notify = no\n\tsmbd profiling level = off\n",
            socket = node.socket().display(),
            address = node.address(),
            smb = smb.display(),
        );
        for share in SHARES {
            conf += &format!(
                "[{share}]\n\tpath = {path}\n\tread only = no\n\tguest ok = yes\n\
                 \tcreate mask = 0777\n\tdirectory mask = 0777\n\
                 \tea support = yes\n\tstore dos attributes = yes\n\
                 \tmap archive = no\n\tmap hidden = no\n\tmap system = no\n\tmap readonly = no\n\
                 \tvfs objects = acl_xattr streams_xattr\n\
                 \tacl_xattr:ignore system acls = yes\n",
                path = self.path().join(share).display(),
            );
        }
        Ok(fs::write(smb.join("smb.conf"), conf)?)
    }

    /// A node's smb.conf.
    pub fn smb_conf(&self, pnn: usize) -> PathBuf {
        self.nodes[pnn].base.join("smb/smb.conf")
    }

    /// Adds the account once, on node 0; passdb is a replicated database.
    pub fn add_smb_user(&self) -> Result<()> {
        let mut command = self.nodes[0].command("smbpasswd");
        command.arg("-c").arg(self.smb_conf(0)).args(["-s", "-a", SMB_USER]);
        let mut child =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
        if let Some(mut stdin) = child.stdin.take() {
            writeln!(stdin, "{SMB_PASSWORD}\n{SMB_PASSWORD}")?;
        }
        let out = child.wait_with_output()?;
        let text = [out.stdout, out.stderr].concat();
        ensure!(out.status.success(), "smbpasswd: {}", String::from_utf8_lossy(&text));
        Ok(())
    }

    /// Starts a node's smbd and waits until it serves a client.
    pub fn start_smbd(&mut self, pnn: usize) -> Result<()> {
        let conf = format!("--configfile={}", self.smb_conf(pnn).display());
        let node = &mut self.nodes[pnn];
        ensure!(node.smbd.is_none(), "smbd of node {pnn} is running");
        let log = node.base.join("smb/log/smbd.out");
        let args = ["-F", "--no-process-group", &conf];
        let smbd = Daemon::start("/usr/sbin/smbd".as_ref(), &args, &node.env(), &node.base, &log)?;
        node.smbd = Some(smbd);
        wait_for(&format!("smbd of node {pnn} serves"), SMBD_START, || {
            if let Some(smbd) = &mut self.nodes[pnn].smbd {
                smbd.check()?;
            }
            // smbclient takes long to give up, a plain connection does not
            let address = format!("{}:445", self.nodes[pnn].address());
            if std::net::TcpStream::connect(address).is_err() {
                return Ok(None);
            }
            Ok(self.smbclient(pnn, "ls")?.success().then_some(()))
        })
    }

    pub(crate) fn stop_smbds(&mut self) -> Result<()> {
        for node in &mut self.nodes {
            if let Some(mut smbd) = node.smbd.take() {
                smbd.signal(Signal::SIGTERM)?;
                let _ = smbd.wait(SMBD_STOP);
            }
        }
        Ok(())
    }

    /// `smbclient -c COMMANDS` on the first share of a node.
    pub fn smbclient(&self, pnn: usize, commands: &str) -> Result<Outcome> {
        let mut command = Command::new("smbclient");
        command
            .arg(format!("--configfile={}", self.path().join("client.conf").display()))
            .args(["-t", "20", "-U", &format!("{SMB_USER}%{SMB_PASSWORD}")])
            .arg(format!("//{}/{}", self.nodes[pnn].address(), SHARES[0]))
            .args(["-c", commands])
            .current_dir(self.path());
        run(&mut command, CLIENT)
    }

    /// Writes a file with this content through a node.
    pub fn smb_write(&self, pnn: usize, name: &str, content: &str) -> Result<()> {
        let local = self.path().join("client/upload");
        fs::write(&local, content)?;
        let put = format!("put {} {name}", local.display());
        self.smbclient(pnn, &put)?.ok().with_context(|| format!("writing through node {pnn}"))?;
        Ok(())
    }

    /// Reads a file's content through a node.
    pub fn smb_read(&self, pnn: usize, name: &str) -> Result<String> {
        let local = self.path().join("client/download");
        let _ = fs::remove_file(&local);
        let get = format!("get {name} {}", local.display());
        self.smbclient(pnn, &get)?.ok().with_context(|| format!("reading through node {pnn}"))?;
        Ok(fs::read_to_string(&local)?)
    }

    /// One of Samba's own tools (smbstatus, net, ...) with a node's smb.conf.
    pub fn samba_tool(&self, pnn: usize, program: &str, args: &[&str]) -> Result<Outcome> {
        let mut command = self.nodes[pnn].command(program);
        command.arg(format!("--configfile={}", self.smb_conf(pnn).display())).args(args);
        run(&mut command, CLIENT)
    }

    /// Opens a file through a node, and closes it at once.
    pub fn smb_open(&self, pnn: usize, name: &str, mode: ShareMode) -> Result<OpenResult> {
        let got = run(&mut self.open_command(pnn, name, mode), CLIENT)?;
        match (got.success(), got.stdout.lines().next()) {
            (true, _) => Ok(OpenResult::Opened),
            (false, Some(status)) if status.starts_with("NT_STATUS_") => {
                Ok(OpenResult::Refused(status.to_string()))
            }
            _ => bail!("{got}"),
        }
    }

    /// Opens a file through a node, and holds it open.
    pub fn smb_hold_open(&self, pnn: usize, name: &str, mode: ShareMode) -> Result<HeldOpen> {
        let mut command = self.open_command(pnn, name, mode);
        let mut client =
            command.arg("hold").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let stdout = client.stdout.take().context("client's output")?;
        let mut held = HeldOpen { client, said: BufReader::new(stdout) };
        let mut line = String::new();
        held.said.read_line(&mut line)?;
        ensure!(line.trim() == "OPENED", "opening {name} through node {pnn}: {line:?}");
        Ok(held)
    }

    fn open_command(&self, pnn: usize, name: &str, mode: ShareMode) -> Command {
        let mut command = Command::new(PYTHON);
        command
            .arg(self.path().join("smb_open.py"))
            .arg(self.path().join("client.conf"))
            .args([&self.nodes[pnn].address(), SHARES[0], SMB_USER, SMB_PASSWORD, name])
            .arg(match mode {
                ShareMode::DenyAll => "deny-all",
                ShareMode::DenyNone => "deny-none",
            });
        command
    }
}
