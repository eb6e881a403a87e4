// SPDX-License-Identifier: GPL-3.0-or-later
//! What a test needs from the machine, and the plain word when it is not there.

use std::io::Write;
use std::path::Path;

/// Groups of programs, by what uses them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Needs {
    /// libtdb with its tools and Python module, and a C compiler; no root.
    Libtdb,
    /// A terminal that a program drives; no root.
    Terminal,
    /// Nodes alone: root, ip, setpriv.
    Cluster,
    /// And Debian's `ctdb` and `ctdbd`.
    DebianCtdb,
    /// And smbd with its clients.
    Samba,
    /// And smbtorture.
    Torture,
}

const LIBTDB: &[&str] = &[
    "/usr/bin/cc",
    "/usr/include/tdb.h",
    "/usr/bin/tdbtool",
    "/usr/bin/python3",
    "/usr/lib/python3/dist-packages/_tdb_text.py",
];
const TERMINAL: &[&str] = &["/usr/bin/tmux"];
const CLUSTER: &[&str] = &["/usr/bin/setpriv", "/sbin/ip"];
const DEBIAN: &[&str] = &["/usr/bin/ctdb", "/usr/sbin/ctdbd"];
const SAMBA: &[&str] = &[
    "/usr/sbin/smbd",
    "/usr/bin/smbclient",
    "/usr/bin/smbpasswd",
    "/usr/bin/python3",
    "/usr/lib/python3/dist-packages/samba/__init__.py",
];
const TORTURE: &[&str] = &["/usr/bin/smbtorture"];

/// What is missing here for `needs`, in words that say how to get it; `None` if nothing is.
pub fn missing(needs: Needs) -> Option<String> {
    if needs == Needs::Libtdb {
        return absent(LIBTDB.to_vec());
    }
    if needs == Needs::Terminal {
        return absent(TERMINAL.to_vec());
    }
    if !nix::unistd::geteuid().is_root() {
        return Some("needs root (network namespaces, smbd)".into());
    }
    let mut files = CLUSTER.to_vec();
    for (group, list) in
        [(Needs::DebianCtdb, DEBIAN), (Needs::Samba, SAMBA), (Needs::Torture, TORTURE)]
    {
        if needs as u8 >= group as u8 {
            files.extend(list);
        }
    }
    absent(files)
}

fn absent(mut files: Vec<&str>) -> Option<String> {
    files.retain(|file| !Path::new(file).exists());
    (!files.is_empty()).then(|| format!("missing {}; run `make setup`", files.join(", ")))
}

/// Whether a test has to be left out, said on standard error where the test runner's capture does
/// not hide it. With `CTDB_TESTS_REQUIRE` in the environment, as in CI, a reason to skip is a
/// failure.
pub fn skip(needs: Needs) -> bool {
    let Some(why) = missing(needs) else { return false };
    let test = std::thread::current().name().unwrap_or("test").to_string();
    assert!(std::env::var_os("CTDB_TESTS_REQUIRE").is_none(), "{test} would be skipped: {why}");
    let _ = std::io::stderr().write_all(format!("SKIPPED {test}: {why}\n").as_bytes());
    true
}
