// SPDX-License-Identifier: GPL-3.0-or-later
//! Our `ltdbtool` and Debian's on the same files.

use anyhow::{ensure, Result};
use ctdb_tests::{run_ok, run_with_input, skip, Needs, Twins};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

const OURS: &str = env!("CARGO_BIN_EXE_ltdbtool");
const DEBIANS: &str = "/usr/bin/ltdbtool";
const LIMIT: Duration = Duration::from_secs(30);

/// Header of a record, as a dump has it: rsn 9, data master 2, a reserved word, flags.
const HEADER: &str = r"\09\00\00\00\00\00\00\00\02\00\00\00\07\00\00\00\BC\0A\01\00";

/// Makes a file with what a dump says.
fn restore(path: &Path, records: &[(&str, String)]) -> Result<()> {
    let size = |text: &str| text.len() - 2 * text.matches('\\').count();
    let mut dump = String::new();
    for (key, data) in records {
        dump +=
            &format!("{{\nkey({}) = \"{key}\"\ndata({}) = \"{data}\"\n}}\n", size(key), size(data));
    }
    run_with_input(Command::new("tdbrestore").arg(path), dump.as_bytes(), LIMIT)?.ok()?;
    Ok(())
}

fn files(dir: &Path) -> Result<()> {
    let padded = |data: &str| format!(r"{HEADER}\00\00\00\00{data}");
    restore(
        &dir.join("cluster.tdb"),
        &[
            ("k1", padded(r"\01\22\5C x")),
            (r"k2\00\FF", padded("value")),
            ("empty", padded("")),
            ("last", padded("z")),
        ],
    )?;
    restore(&dir.join("32.tdb"), &[("a", format!("{HEADER}12345678")), ("b", HEADER.to_string())])?;
    restore(
        &dir.join("padding.tdb"),
        &[("a", format!("{HEADER}12345678")), ("b", format!("{HEADER}1234567"))],
    )?;
    restore(&dir.join("plain.tdb"), &[("a", "x".into()), ("b", String::new())])?;
    restore(&dir.join("short.tdb"), &[("short", "abc".into())])?;
    restore(&dir.join("none.tdb"), &[])?;
    std::fs::write(dir.join("text"), "no database\n".repeat(100))?;
    Ok(std::fs::write(dir.join("nothing"), "")?)
}

fn twins(dir: &Path) -> Twins {
    let dir = dir.to_path_buf();
    Twins::new(OURS, DEBIANS, move |command: &mut Command| {
        command.current_dir(&dir);
    })
    .masked(without_details)
}

/// Only ours says where and how a file is damaged.
fn without_details(text: &str) -> String {
    text.split_inclusive('\n').filter(|line| !line.starts_with("ltdbtool: ")).collect()
}

fn words(line: &str) -> Vec<&str> {
    line.split(' ').filter(|word| !word.is_empty()).collect()
}

#[test]
fn dumps_alike() -> Result<()> {
    if skip(Needs::DebianCtdb) {
        return Ok(());
    }
    let dir = tempfile::tempdir()?;
    files(dir.path())?;
    let mut twins = twins(dir.path());
    for line in [
        "dump cluster.tdb",
        "dump -p cluster.tdb",
        "-e dump -p cluster.tdb",
        "dump cluster.tdb -ep",
        "dump -s32 -p cluster.tdb",
        "dump -s 0 -p plain.tdb",
        "dump -e -s 0 -p plain.tdb",
        "-s32 -pe dump 32.tdb",
        "dump -p padding.tdb",
        "dump -p -S 22 padding.tdb",
        "dump -p -S 4 cluster.tdb",
        "dump -S50 -p cluster.tdb",
        "dump -S 0x10 -p cluster.tdb",
        "dump -s0 none.tdb",
        "dump text",
        "dump nothing",
        "dump .",
        "dump nosuch",
        "dump -s32 -s64 cluster.tdb",
        "dump -o 0 cluster.tdb",
        "dump -S 2x cluster.tdb",
    ] {
        twins.compare(&words(line))?;
    }
    twins.finish()
}

#[test]
fn refuses_the_same_command_lines() -> Result<()> {
    if skip(Needs::DebianCtdb) {
        return Ok(());
    }
    let dir = tempfile::tempdir()?;
    let mut twins = twins(dir.path());
    for line in [
        "",
        "-h",
        "help",
        "help x",
        "-h dump",
        "dump",
        "dump a b",
        "convert a",
        "convert a b c",
        "foo a",
        "-x dump a",
        "-s 3 dump a",
        "-o 16 dump a",
        "-s",
        "-S",
        "dump a -o",
        "--help",
        "-pz",
        "-- dump nosuch",
        "-S x dump nosuch",
    ] {
        twins.compare(&words(line))?;
    }
    twins.finish()
}

#[test]
fn converts_alike() -> Result<()> {
    if skip(Needs::DebianCtdb) {
        return Ok(());
    }
    let dir = tempfile::tempdir()?;
    files(dir.path())?;
    let mut twins = twins(dir.path());
    for line in [
        "convert cluster.tdb",
        "convert -e -o32 cluster.tdb",
        "convert -o0 cluster.tdb",
        "convert -s0 plain.tdb",
        "convert -s0 -e plain.tdb",
        "convert -s32 -o64 32.tdb",
        "convert -e -s32 -o64 32.tdb",
        "convert -s64 padding.tdb",
        "convert -O 4 cluster.tdb",
        "convert -O 30 cluster.tdb",
        "convert none.tdb",
        "convert text",
        "convert nosuch",
    ] {
        let theirs = twins.run(false, &words(&format!("{line} theirs.tdb")), "")?;
        let ours = twins.run(true, &words(&format!("{line} ours.tdb")), "")?;
        twins.judge(&theirs, &ours);
        let [a, b] = ["theirs.tdb", "ours.tdb"].map(|name| dir.path().join(name));
        ensure!(a.exists() == b.exists(), "{line}: only one of them made a file");
        if a.exists() {
            let content = |path: &Path| run_ok(Command::new("tdbdump").arg(path), LIMIT);
            let (theirs, ours) = (content(&a)?, content(&b)?);
            ensure!(theirs.stdout == ours.stdout, "{line}\n{theirs}\n{ours}");
            std::fs::remove_file(a)?;
            std::fs::remove_file(b)?;
        }
    }
    for line in [
        "convert cluster.tdb 32.tdb",
        "convert cluster.tdb /nonexistent/file",
        "convert nosuch 32.tdb",
    ] {
        twins.compare(&words(line))?;
    }
    twins.finish()
}

#[test]
fn a_record_too_short_is_a_failure() -> Result<()> {
    if skip(Needs::DebianCtdb) {
        return Ok(());
    }
    let dir = tempfile::tempdir()?;
    files(dir.path())?;
    let twins = twins(dir.path());
    for line in ["dump short.tdb", "convert short.tdb out.tdb"] {
        let ours = twins.run(true, &words(line), "")?;
        ensure!(ours.code == Some(255), "{ours}");
        let said = "Value too short to contain a ctdb header: \"short\" = \"abc\"\n";
        ensure!(ours.stderr == said, "{ours}");
    }
    Ok(())
}

#[test]
fn a_damaged_file_is_dumped_up_to_the_damage() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let vectors = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/vectors/tdb");
    for (file, reason) in [
        ("corrupt-chain-loop.tdb", "tdb_traverse: Input/output error\nltdbtool: "),
        ("corrupt-next-beyond-eof.tdb", "tdb_traverse: Input/output error\nltdbtool: "),
        ("corrupt-huge-hashsize.tdb", "tdbopen in: Input/output error\nltdbtool: "),
    ] {
        let copy = dir.path().join(file);
        std::fs::copy(vectors.join(file), &copy)?;
        let output = ctdb_tests::run(Command::new(OURS).args(["dump", "-s0"]).arg(&copy), LIMIT)?;
        ensure!(output.code == Some(255), "{output}");
        ensure!(output.stderr.starts_with(reason) && output.stderr.contains(file), "{output}");
    }
    Ok(())
}

#[test]
fn the_definition_holds() {
    ltdbtool::command().debug_assert();
}
