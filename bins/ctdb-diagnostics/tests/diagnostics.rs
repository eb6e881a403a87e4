// SPDX-License-Identifier: GPL-3.0-or-later
//! `ctdb_diagnostics` on pretended nodes: a remote shell that runs commands here, with commands that find nothing.

use anyhow::{ensure, Context, Result};
use ctdb_tests::{run, skip, write_program, Needs, Outcome, Twins};
use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

const OURS: &str = env!("CARGO_BIN_EXE_ctdb_diagnostics");
const LIMIT: Duration = Duration::from_secs(120);

/// Node 0 has all files; node 1 another /etc/hosts, and a clock of its own; node 2 cannot be reached.
const ONNODE: &str = r#"#!/bin/sh
echo "$1: $2" >>"$LOG"
case "$1,$2" in
2,*) exit 255;;
*"hostname; date;"*) echo "gathered from $1"; exit 0;;
1,"cat /etc/hosts") printf '127.0.0.1 localhost\n#here\n10.0.0.9  other\n';;
0,"cat /etc/hosts") printf '127.0.0.1 localhost\n10.0.0.9 other\n';;
0,"date +%s") echo 1000;;
1,"date +%s") echo 1031;;
*krb5*) exit 1;;
*static-routes*) exit 1;;
*) echo same;;
esac
"#;

const CTDB: &str = "#!/bin/sh\n[ \"$*\" = \"listnodes -X\" ] && printf '|0|10.0.0.1|\\n|1|10.0.0.2|\\n|2|10.0.0.3|\\n'\n";

struct World {
    dir: tempfile::TempDir,
}

impl World {
    fn new() -> Result<World> {
        let world = World { dir: tempfile::tempdir()? };
        fs::write(world.path("nodes"), "10.0.0.1\n10.0.0.2\n10.0.0.3\n")?;
        for (name, text) in [("onnode", ONNODE), ("ctdb", CTDB)] {
            write_program(&world.path(name), text, 0o755)?;
        }
        Ok(world)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn run(&self, args: &[&str]) -> Result<Outcome> {
        let mut command = Command::new(OURS);
        command.args(args).env("CTDB_BASE", self.dir.path()).env("LOG", self.path("log"));
        command.env("PATH", format!("{}:/usr/bin:/bin", self.dir.path().display()));
        run(&mut command, LIMIT)
    }
}

#[test]
fn errors_are_counted_and_listed() -> Result<()> {
    let world = World::new()?;
    let outcome = world.run(&[])?;
    ensure!(outcome.stderr.is_empty(), "{outcome}");
    let text = &outcome.stdout;
    ensure!(text.contains("Diagnosis started on these nodes:\n0,1\n"), "{text}");
    ensure!(text.contains("uncontactable nodes:\n2\n"), "{text}");
    let (_, list) =
        text.split_once("Diagnostics finished with 4 errors\n").context("four errors")?;
    let etc = world.dir.path().display();
    let expected = format!(
        " ERROR[1]: /etc/krb5.conf is missing on node 0\n\
         \u{20}ERROR[2]: File /etc/hosts is different on node 1\n\
         \u{20}ERROR[3]: Optional file {etc}/static-routes is not present on node 0\n\
         \u{20}ERROR[4]: time on node 1 differs by 31 seconds\n"
    );
    ensure!(list == expected, "{list}");
    ensure!(outcome.code == Some(4), "{outcome}");
    ensure!(text.contains("\n+#here\n"), "the difference is shown: {text}");
    ensure!(
        text.contains("running ctdb status; ctdb ip on nodes 0,1\ngathered from 0,1\n"),
        "{text}"
    );
    ensure!(text.contains("running net ads info on nodes 0,1\n"), "{text}");
    Ok(())
}

#[test]
fn options_leave_things_out() -> Result<()> {
    let world = World::new()?;
    let outcome = world.run(&["-cw", "--no-ads", "-n", "0,1"])?;
    ensure!(outcome.code == Some(3), "{outcome}");
    ensure!(!outcome.stdout.contains("is different"), "{outcome}");
    ensure!(!outcome.stdout.contains("net ads"), "{outcome}");
    let one = world.run(&["-n", "1"])?;
    ensure!(one.stdout.contains("/etc/krb5.conf is missing on node 1"), "{one}");
    Ok(())
}

#[test]
fn local_mode_needs_no_other_node() -> Result<()> {
    let world = World::new()?;
    let outcome = world.run(&["-l"])?;
    ensure!(outcome.stdout.contains("running df on local node\n"), "{outcome}");
    ensure!(!world.path("log").exists(), "onnode was used");
    ensure!(outcome.code.is_some_and(|code| code > 0), "static-routes is missing here: {outcome}");
    Ok(())
}

#[test]
fn without_nodes_it_says_so() -> Result<()> {
    let world = World::new()?;
    write_program(&world.path("ctdb"), "#!/bin/sh\necho no daemon >&2; exit 1\n", 0o755)?;
    let outcome = world.run(&[])?;
    ensure!(outcome.code == Some(1) && outcome.stdout.is_empty(), "{outcome}");
    ensure!(outcome.stderr.starts_with("no daemon\nctdb_diagnostics: no nodes known"), "{outcome}");
    Ok(())
}

#[test]
fn refuses_the_same_command_lines_as_debians() -> Result<()> {
    if skip(Needs::DebianCtdb) {
        return Ok(());
    }
    // Debian's asks for the nodes first, and has no local mode.
    let common = |text: &str| {
        let kept =
            text.lines().filter(|l| !l.starts_with("Failed to read") && !l.contains("  -l  "));
        kept.collect::<Vec<_>>().join("\n")
    };
    let mut twins = Twins::new(OURS, "/usr/bin/ctdb_diagnostics", |command: &mut Command| {
        use std::os::unix::process::CommandExt;
        command.arg0("ctdb_diagnostics");
    })
    .masked(common);
    for line in ["-h", "--help", "-x", "foo", "-n", "--nosuch", "-cx"] {
        twins.compare(&line.split(' ').collect::<Vec<_>>())?;
    }
    twins.finish()
}

#[test]
fn the_definition_holds() {
    ctdb_diagnostics::command().debug_assert();
}
