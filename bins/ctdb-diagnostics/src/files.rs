// SPDX-License-Identifier: GPL-3.0-or-later
//! Configuration files: shown from the first node, compared with those of the others.

use crate::nodes::Nodes;
use crate::options::Options;
use crate::report::Report;
use ctdb_host::Paths;
use std::io;
use std::path::Path;
use std::process::{Command, Stdio};

const FRAME: &str = "  ================================";

/// Files that are expected on a node; `{etc}` is the configuration directory.
const REQUIRED: &[&str] = &[
    "/etc/krb5.conf",
    "/etc/hosts",
    "{etc}/nodes",
    "{default}/ctdb",
    "/etc/resolv.conf",
    "/etc/nsswitch.conf",
    "/etc/sysctl.conf",
    "/etc/samba/smb.conf",
    "/etc/fstab",
    "/etc/multipath.conf",
    "/etc/pam.d/system-auth",
    "{default}/nfs",
    "/etc/exports",
    "/etc/vsftpd/vsftpd.conf",
];

const OPTIONAL: &[&str] = &["{etc}/public_addresses", "{etc}/static-routes"];

/// A file of this machine, in a frame.
pub(crate) fn show_here(report: &mut Report, path: &Path) {
    report.line(&format!("{FRAME}\n  File: {}", path.display()));
    match std::fs::read(path) {
        Ok(content) => show_content(report, &String::from_utf8_lossy(&content)),
        Err(e) => report.line(&format!("  {e}")),
    }
    report.line(FRAME);
}

fn show_content(report: &mut Report, content: &str) {
    content.lines().for_each(|line| report.line(&format!("  {line}")));
}

/// Shows and compares all files.
pub(crate) fn compare(
    report: &mut Report,
    nodes: &Nodes,
    options: &Options,
    paths: &Paths,
) -> io::Result<()> {
    let Some((first, others)) = nodes.split() else { return Ok(()) };
    let dir = tempfile::tempdir()?;
    let sysconfig = Path::new("/etc/sysconfig").is_dir();
    let default = if sysconfig { "/etc/sysconfig" } else { "/etc/default" };
    let etc = paths.base_dir.display().to_string();
    let lists = [(REQUIRED, true), (OPTIONAL, false)];
    for (name, required) in lists.iter().flat_map(|(l, r)| l.iter().map(move |name| (name, *r))) {
        let path = name.replace("{etc}", &etc).replace("{default}", default);
        let Some(content) = nodes.result(first, &format!("cat {path}")) else {
            report.error(&match required {
                true => format!("{path} is missing on node {first}"),
                false => format!("Optional file {path} is not present on node {first}"),
            });
            continue;
        };
        report.line(&format!("{FRAME}\n  File (on node {first}): {path}"));
        report.line(&format!("  {}", nodes.output(first, &format!("ls -l {path}")).trim_end()));
        show_content(report, &content);
        report.line(FRAME);
        for node in &others {
            report.line(&format!("Testing for same config file {path} on node {node}"));
            let other = nodes.output(node, &format!("cat {path}"));
            compare_one(report, options, dir.path(), &path, [(first, &content), (node, &other)])?;
        }
    }
    Ok(())
}

fn compare_one(
    report: &mut Report,
    options: &Options,
    dir: &Path,
    path: &str,
    files: [(&str, &str); 2],
) -> io::Result<()> {
    let base = Path::new(path).file_name().unwrap_or_default().to_string_lossy();
    let mut names = Vec::new();
    for (node, content) in files {
        let name = dir.join(format!("{base}.node{node}"));
        std::fs::write(&name, wanted(options, content))?;
        names.push(name);
    }
    let mut diff = Command::new("diff");
    diff.arg(if options.ignore_space { "-uw" } else { "-u" }).args(&names);
    let output = diff.stdin(Stdio::null()).output();
    let (same, text) = match &output {
        Ok(output) => (output.status.success(), String::from_utf8_lossy(&output.stdout)),
        Err(e) => (files[0].1 == files[1].1, format!("diff: {e}\n").into()),
    };
    if !same {
        report.error(&format!("File {path} is different on node {}", files[1].0));
        report.line(text.trim_end());
    }
    Ok(())
}

/// What of a file is compared.
fn wanted(options: &Options, content: &str) -> String {
    let counts = |line: &&str| !(options.ignore_comments && line.starts_with('#'));
    content.split_inclusive('\n').filter(counts).collect()
}
