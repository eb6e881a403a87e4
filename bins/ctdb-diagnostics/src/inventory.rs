// SPDX-License-Identifier: GPL-3.0-or-later
//! The commands whose output is gathered.

use ctdb_host::Paths;
use std::path::Path;

/// A part of the report.
#[derive(Debug)]
pub(crate) struct Section {
    pub title: &'static str,
    pub commands: &'static [Gathered],
}

/// One command of a shell. `{etc}`, `{var}` and `{log}` are directories, `{versions}` what lists packages.
#[derive(Debug)]
pub(crate) struct Gathered {
    pub line: &'static str,
    /// Whether it assumes an Active Directory server.
    pub active_directory: bool,
}

const fn always(line: &'static str) -> Gathered {
    Gathered { line, active_directory: false }
}

const fn with_ads(line: &'static str) -> Gathered {
    Gathered { line, active_directory: true }
}

/// The parts.
pub(crate) const SECTIONS: &[Section] = &[
    Section {
        title: "Showing software versions",
        commands: &[always("uname -a"), always("{versions}")],
    },
    Section {
        title: "Showing ctdb status and recent log entries",
        commands: &[
            always("ctdb status; ctdb ip"),
            always("ctdb statistics"),
            always("ctdb uptime"),
            always("ctdb listvars"),
            always("ctdb getdbmap"),
            always("ctdb -X getdbmap | awk -F'|' 'NR > 1 {print $3}' | sort | xargs -n 1 ctdb dbstatistics"),
            always("test -f {log} && tail -100 {log}"),
            always("if [ -f /var/log/messages ]; then tail -200 /var/log/messages; else journalctl -n 200 --no-pager; fi"),
            always("ls -lRs {var}"),
            always("ls -lRs {etc}"),
        ],
    },
    Section {
        title: "Showing system and process status",
        commands: &[
            always("df"),
            always("df -i"),
            always("mount"),
            always("w"),
            always("ps axfwu"),
            always("dmesg"),
            always("lspci"),
            always("dmidecode"),
            always("cat /proc/partitions"),
            always("cat /proc/cpuinfo"),
            always("cat /proc/scsi/scsi"),
            always("ip addr list"),
            always("ip -s link"),
            always("cat /proc/net/dev"),
            always("ip route list table all"),
            always("ss -s"),
            always("free"),
            always("crontab -l"),
            always("sysctl -a"),
            always("iptables -L -n"),
            always("iptables -L -n -t nat"),
            always("rpcinfo -p"),
            always("showmount -a"),
            always("showmount -e"),
            always("nfsstat -v"),
            always("[ ! -x /sbin/multipath ] || /sbin/multipath -ll"),
            always("[ ! -x /usr/sbin/getenforce ] || /usr/sbin/getenforce"),
            always("[ ! -d /proc/net/bonding ] || for f in /proc/net/bonding/*; do echo \"$f:\"; cat \"$f\"; done"),
        ],
    },
    Section {
        title: "Showing Samba status",
        commands: &[
            always("smbstatus -n -B"),
            with_ads("net ads testjoin"),
            always("net conf list"),
            always("lsof -n | grep smbd"),
            always("lsof -n | grep ctdbd"),
            always("netstat -tan"),
            with_ads("net ads info"),
            always("date"),
            always("smbclient -U% -L 127.0.0.1"),
            always("id"),
            always("wbinfo -p"),
            always("wbinfo --online-status"),
            always("smbd -b"),
        ],
    },
];

/// The line with the directories of this machine, which those of the nodes are taken to be like.
pub(crate) fn adapted(line: &str, paths: &Paths) -> String {
    let versions = if Path::new("/usr/bin/dpkg-query").exists() {
        "dpkg-query --show 'ctdb*' 'samba*'"
    } else {
        "rpm -qa | egrep 'samba|ctdb'"
    };
    line.replace("{etc}", &paths.base_dir.display().to_string())
        .replace("{var}", &paths.var_dir.display().to_string())
        .replace("{log}", &paths.log_file().display().to_string())
        .replace("{versions}", versions)
}
