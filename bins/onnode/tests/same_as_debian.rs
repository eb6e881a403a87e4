// SPDX-License-Identifier: GPL-3.0-or-later
//! Our `onnode` and Debian's, with a remote shell that runs commands here, and a `ctdb` that answers as we like.

use anyhow::{ensure, Result};
use ctdb_tests::{skip, write_program, Needs, Twins};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

const OURS: &str = env!("CARGO_BIN_EXE_onnode");
const DEBIANS: &str = "/usr/bin/onnode";

const NODES: &str = "127.0.0.1\n# 127.0.0.2\n127.0.0.3 # third\n\n  127.0.0.5\nfd00::1\n";

const REMOTE: &str = r#"#!/bin/sh
for word; do printf '<%s> ' "$word" >&2; done; echo >&2
if [ "$1" = -n ]; then shift; exec </dev/null; fi
export HOST=$1; shift
exec sh -c "$*"
"#;

const CTDB: &str = r#"#!/bin/sh
case "$*" in
"-X status")
    [ -z "$CTDB_DOWN" ] || { echo "no daemon"; echo "really" >&2; exit 1; }
    echo '|Node|IP|Disconnected|Unknown|Banned|Disabled|Unhealthy|Stopped|Inactive|PartiallyOnline|ThisNode|'
    echo '|0|127.0.0.1|0|0|0|0|0|0|0|0|Y|'
    echo '|2|127.0.0.3|0|0|0|0|1|0|0|0|N|'
    echo '|4|127.0.0.5|1|0|0|0|1|0|1|0|N|'
    echo '|5|fd00::1|0|0|0|0|0|0|0|0|N|'
    ;;
pnn)
    [ -z "$CTDB_DOWN" ] || exit 1
    echo connecting; case $HOST in *.5) echo 4;; *) echo no;; esac
    ;;
esac
"#;

struct World {
    dir: tempfile::TempDir,
}

impl World {
    fn new() -> Result<World> {
        let world = World { dir: tempfile::tempdir()? };
        fs::create_dir_all(world.path("bin"))?;
        fs::create_dir_all(world.path("etc"))?;
        fs::write(world.path("etc/nodes"), NODES)?;
        world.program("remote", REMOTE)?;
        world.program("bin/ctdb", CTDB)?;
        world.program("bin/rsync", "#!/bin/sh\necho \"rsync $* [$RSYNC_RSH]\"\n")?;
        world
            .program("bin/ssh", "#!/bin/sh\nfor word; do echo \"ssh <$word>\"; done\nexit 255\n")?;
        Ok(world)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn program(&self, name: &str, text: &str) -> Result<()> {
        write_program(&self.path(name), text, 0o755)
    }

    fn twins(&self, environment: &'static [(&str, &str)]) -> Twins {
        let (dir, remote) = (self.dir.path().to_path_buf(), self.path("remote"));
        let bin = self.path("bin").display().to_string();
        Twins::new(OURS, DEBIANS, move |command: &mut Command| {
            command.current_dir(&dir).env("PWD", &dir).env("CTDB_BASE", dir.join("etc"));
            command.env("ONNODE_SSH", &remote).env("PATH", format!("{bin}:/usr/bin:/bin"));
            command.envs(environment.iter().copied());
        })
    }
}

/// Lines of nodes that run at once come in any order; each node's stay in theirs.
fn sorted(text: &str) -> String {
    let mut lines: Vec<&str> = text.lines().collect();
    lines.sort_by_key(|line| line.split(']').next().map(str::to_owned));
    lines.join("\n")
}

#[test]
fn runs_commands_in_turn_alike() -> Result<()> {
    if skip(Needs::DebianCtdb) {
        return Ok(());
    }
    let world = World::new()?;
    let mut twins = world.twins(&[]);
    let runs: &[&[&str]] = &[
        &["0", "echo $HOST"],
        &["-v", "0", "echo a; echo b >&2"],
        &["all", "echo $HOST; echo e >&2; exit 3"],
        &["all", "exit ${HOST##*.}"],
        &["4,0", "echo $HOST; exit ${HOST##*.}"],
        &["0,0", "echo", "a", "b", "c  d"],
        &["-q", "all", "echo $HOST"],
        &["-vq", "0", "echo"],
        &["3-1", "echo", "hi"],
        &["", "echo"],
        &["0,", "echo"],
        &["00", "echo"],
        &["4-5,000", "echo $HOST"],
        &["0", "-x"],
        &["0", "echo", "-n", "x"],
        &["0", "echo", "--", "-v"],
        &["--", "0", "echo", "-v"],
        &["-c", "0", "pwd"],
        &["-n", "some-host", "true"],
        &["-n", "host,0", "echo $HOST"],
        &["-f", "etc/nodes", "2", "echo $HOST"],
        &["-f", "nodes", "2", "echo $HOST"],
        &["-f", "/dev/null", "-n", "host", "echo $HOST"],
        &["-f", "/dev/null", "all", "echo"],
        &["-f", "/dev/null", "-f", "nodes", "0", "echo"],
        &["ok", "echo $HOST"],
        &["healthy,con", "echo $HOST"],
        &["connected", "echo $HOST"],
        &["any", "echo $HOST"],
        &["-P", "all", "/etc/hosts", "sub/file"],
        &["-P", "0", "file"],
        &["-vP", "0", "file"],
        &["-qcP", "0,2", "file"],
    ];
    for args in runs {
        twins.compare(args)?;
    }
    twins.compare_with_input(&["-i", "0", "cat"], "given\n")?;
    twins.compare_with_input(&["0", "cat"], "given\n")?;
    twins.compare_with_input(&["-i", "-v", "0,2", "cat"], "given\n")?;
    twins.finish()
}

#[test]
fn runs_commands_at_once_alike() -> Result<()> {
    if skip(Needs::DebianCtdb) {
        return Ok(());
    }
    let world = World::new()?;
    let mut twins = world.twins(&[]).masked(sorted);
    let runs: &[&[&str]] = &[
        &["-p", "all", "echo $HOST; echo e >&2; [ $HOST != 127.0.0.3 ] || exit 4"],
        &["-p", "0,4,2", "exit ${HOST##*.}"],
        &["-pq", "all", "echo $HOST"],
        &["-p", "0", "echo $HOST; echo e >&2; exit 5"],
        &["-pv", "0", "echo $HOST"],
        &["-p", "con", "echo $HOST"],
        &["-pP", "all", "file", "other"],
        &["-p", "3-1", "echo"],
    ];
    for args in runs {
        twins.compare(args)?;
    }
    twins.compare_with_input(&["-pi", "all", "cat"], "given\n")?;
    twins.finish()
}

#[test]
fn refuses_the_same_command_lines() -> Result<()> {
    if skip(Needs::DebianCtdb) {
        return Ok(());
    }
    let world = World::new()?;
    let mut twins = world.twins(&[("CTDB_DOWN", "1")]);
    let lines = [
        "",
        "-h",
        "-?",
        "-x 0 true",
        "--help",
        "-f",
        "0",
        "-pz 0 true",
        "1 true",
        "7 true",
        "0-2 true",
        "3 true",
        "foo true",
        "-n a-b true",
        "1234 true",
        ",0 true",
        "0,,2 true",
        "0-x true",
        "x-0 true",
        "lvs true",
        "natgw true",
        "-f nosuch 0 true",
        "-f /nosuch 0 true",
        "ok true",
        "con true",
        "any true",
        "-f /nosuch -n host true",
    ];
    for line in lines {
        twins.compare(&line.split(' ').filter(|word| !word.is_empty()).collect::<Vec<_>>())?;
    }
    twins.finish()
}

#[test]
fn the_remote_shell_is_what_the_settings_say() -> Result<()> {
    if skip(Needs::DebianCtdb) {
        return Ok(());
    }
    let world = World::new()?;
    let mut default = world.twins(&[("ONNODE_SSH", "")]);
    default.compare(&["0", "a", "b"])?;
    default.compare(&["-i", "0", "a"])?;
    default.compare(&["-P", "0", "file"])?;
    default.finish()?;
    let conf = "ONNODE_SSH=\"ssh -o Option=1\"; export FROM_CONF=1; echo sourced\n";
    fs::write(world.path("etc/onnode.conf"), conf)?;
    let mut configured = world.twins(&[]);
    configured.compare(&["0", "a"])?;
    configured.compare(&["all", "a"])?;
    configured.compare(&["-P", "0", "file"])?;
    fs::write(world.path("etc/onnode.conf"), "export FROM_CONF=1\n")?;
    configured.compare(&["0", "echo $FROM_CONF"])?;
    configured.finish()
}

#[test]
fn a_signal_is_a_code() -> Result<()> {
    let world = World::new()?;
    let outcome = world.twins(&[]).run(true, &["0", "kill -9 $$"], "")?;
    ensure!(outcome.code == Some(128 + 9), "{outcome}");
    Ok(())
}

#[test]
fn a_missing_remote_shell_is_named() -> Result<()> {
    let world = World::new()?;
    let twins = world.twins(&[("ONNODE_SSH", "nosuchshell -x")]);
    let outcome = twins.run(true, &["0", "true"], "")?;
    ensure!(outcome.code == Some(127), "{outcome}");
    ensure!(outcome.stderr == "onnode: nosuchshell: command not found\n", "{outcome}");
    Ok(())
}

#[test]
fn sigterm_goes_on_to_the_children() -> Result<()> {
    let world = World::new()?;
    let log = |node: &str| world.path(&format!("ended.{node}"));
    let script =
        "trap 'touch ended.$HOST; exit 1' TERM; touch started.$HOST; while :; do sleep 0.05; done";
    let mut command = Command::new(OURS);
    command.args(["-pq", "0,2", script]).current_dir(world.dir.path());
    command.env("CTDB_BASE", world.path("etc")).env("ONNODE_SSH", world.path("remote"));
    let mut child = command.stderr(std::process::Stdio::null()).spawn()?;
    let limit = std::time::Duration::from_secs(20);
    let exist = |names: &[PathBuf]| names.iter().all(|name: &PathBuf| Path::exists(name));
    let started = ["127.0.0.1", "127.0.0.3"].map(|node| world.path(&format!("started.{node}")));
    ctdb_tests::wait_until("both run", limit, || exist(&started))?;
    nix::sys::signal::kill(
        nix::unistd::Pid::from_raw(child.id() as i32),
        nix::sys::signal::SIGTERM,
    )?;
    let ended = ["127.0.0.1", "127.0.0.3"].map(log);
    ctdb_tests::wait_until("both have ended", limit, || exist(&ended))?;
    let status = child.wait()?;
    ensure!(status.code() == Some(128 + 15), "{status}");
    Ok(())
}

#[test]
fn the_definition_holds() {
    onnode::command().debug_assert();
}
