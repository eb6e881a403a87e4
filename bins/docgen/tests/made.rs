// SPDX-License-Identifier: GPL-3.0-or-later
//! What is made can be used: pages are sound and say something, completions complete.

use std::path::Path;
use std::process::Command;

use anyhow::{ensure, Context, Result};

const PROGRAMS: &[&str] = &[
    "ctdb",
    "ctdbd",
    "ctdb-mutex-fcntl",
    "ctdb-bench",
    "onnode",
    "ltdbtool",
    "ping_pong",
    "ctdb-event",
    "ctdb-config",
    "ctdb-path",
    "ctdb_diagnostics",
    "ctdb_natgw",
    "ctdb_lvs",
];

/// Whether a program is installed; where everything has to be, it must be.
fn installed(program: &str) -> bool {
    let found = Command::new("sh").args(["-c", &format!("command -v {program}")]).output();
    let found = found.is_ok_and(|output| output.status.success());
    let required = std::env::var_os("CTDB_TESTS_REQUIRE").is_some();
    assert!(found || !required, "{program} is missing: run `make setup`");
    found
}

#[test]
fn every_program_has_a_page_with_all_sections() -> Result<()> {
    let dir = tempfile::tempdir()?;
    docgen::write_man(dir.path())?;
    for program in PROGRAMS {
        let page = std::fs::read_to_string(dir.path().join(format!("man1/{program}.1")))?;
        for section in ["NAME", "SYNOPSIS", "DESCRIPTION", "EXIT STATUS", "EXAMPLES", "SEE ALSO"] {
            let quoted = format!(".SH \"{section}\"");
            let found = page.contains(&format!(".SH {section}\n")) || page.contains(&quoted);
            ensure!(found, "{program}: no {section}");
        }
    }
    let page = std::fs::read_to_string(dir.path().join("man1/ctdb.1"))?;
    for word in ["nodestatus", "restoredb", "CTDB_TIMEOUT", "timelimit", "top"] {
        ensure!(page.contains(word), "ctdb: no {word}");
    }
    let made = std::fs::read_dir(dir.path().join("man1"))?.count();
    ensure!(made == PROGRAMS.len(), "{made} pages");
    Ok(())
}

#[test]
fn pages_have_no_errors() -> Result<()> {
    let dir = tempfile::tempdir()?;
    docgen::write_man(dir.path())?;
    for program in PROGRAMS {
        let page = dir.path().join(format!("man1/{program}.1"));
        if installed("mandoc") {
            let lint =
                Command::new("mandoc").args(["-T", "lint", "-W", "error"]).arg(&page).output()?;
            ensure!(lint.status.success(), "{}", String::from_utf8_lossy(&lint.stdout));
        }
    }
    Ok(())
}

/// What bash offers behind some words.
fn bash(directory: &Path, words: &str) -> Result<Vec<String>> {
    let script = r#"
        . "$1/bash-completion/completions/ctdb"
        shift
        COMP_WORDS=("$@") COMP_CWORD=$(($# - 1)) COMPREPLY=()
        $(complete -p ctdb | sed 's/.*-F \([^ ]*\).*/\1/') ctdb "${COMP_WORDS[COMP_CWORD]}" "${COMP_WORDS[COMP_CWORD-1]}"
        printf '%s\n' "${COMPREPLY[@]}"
    "#;
    let output = Command::new("bash")
        .args(["--norc", "-c", script, "bash"])
        .arg(directory)
        .args(words.split(' '))
        .output()
        .context("bash")?;
    ensure!(output.status.success() && output.stderr.is_empty(), "{words}: {output:?}");
    Ok(String::from_utf8(output.stdout)?.split_whitespace().map(String::from).collect())
}

#[test]
fn bash_completes() -> Result<()> {
    let dir = tempfile::tempdir()?;
    docgen::write_completions(dir.path())?;
    for (words, want) in [
        ("ctdb sta", &["status", "statistics", "statisticsreset", "stats"][..]),
        ("ctdb nodest", &["nodestatus"]),
        ("ctdb help nodest", &["nodestatus"]),
        ("ctdb --js", &["--json"]),
        ("ctdb -X getdbm", &["getdbmap"]),
        ("ctdb runstate st", &["startup"]),
        ("ctdb natgw l", &["leader", "list"]),
    ] {
        let mut got = bash(dir.path(), words)?;
        let mut want: Vec<String> = want.iter().map(|word| (*word).into()).collect();
        got.sort();
        want.sort();
        ensure!(got == want, "{words}: {got:?}");
    }
    Ok(())
}

#[test]
fn other_shells_read_theirs() -> Result<()> {
    let dir = tempfile::tempdir()?;
    docgen::write_completions(dir.path())?;
    for program in PROGRAMS {
        let zsh = dir.path().join(format!("zsh/site-functions/_{program}"));
        ensure!(std::fs::read_to_string(&zsh)?.starts_with("#compdef"), "{program}");
        let fish = dir.path().join(format!("fish/vendor_completions.d/{program}.fish"));
        ensure!(fish.exists(), "{program}");
        // these shells are not part of the set-up
        for (shell, file) in [("/usr/bin/zsh", &zsh), ("/usr/bin/fish", &fish)] {
            if Path::new(shell).exists() {
                let mut command = Command::new(shell);
                if shell.ends_with("zsh") {
                    command.arg("-n");
                }
                let output = command.arg(file).output()?;
                ensure!(output.status.success() && output.stderr.is_empty(), "{shell}: {output:?}");
            }
        }
    }
    Ok(())
}
