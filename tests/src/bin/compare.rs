// SPDX-License-Identifier: GPL-3.0-or-later
//! `make compare`: our `ctdb` beside Debian's on running clusters of both kinds, in all output
//! modes, and the table of it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{bail, Result};
use ctdb_tests::beside::{compare, scripts, start, table, Column, Pace};
use ctdb_tests::golden::File;
use ctdb_tests::{exit_with, missing, today, write_section, Needs, Side};

const USAGE: &str = "usage: compare [--report FILE] [--quick] [CLUSTER...]
A CLUSTER is debian1, debian3, ours1 or ours3; all of them if none is named.";

fn main() {
    exit_with(run());
}

fn run() -> Result<()> {
    let mut report: Option<PathBuf> = None;
    let mut pace = Pace::Full;
    let mut clusters = Vec::new();
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        match word.as_str() {
            "--report" => report = words.next().map(PathBuf::from),
            "--quick" => pace = Pace::Quick,
            "debian1" | "debian3" | "ours1" | "ours3" => clusters.push(word),
            _ => bail!("{USAGE}"),
        }
    }
    if clusters.is_empty() {
        clusters = ["debian1", "debian3", "ours1", "ours3"].map(String::from).to_vec();
    }
    if let Some(why) = missing(Needs::DebianCtdb) {
        bail!("{why}");
    }
    let ours = Side::our_tool()?;
    let runs: Vec<_> = clusters
        .iter()
        .map(|name| {
            let (name, ours) = (name.clone(), ours.clone());
            // a cluster's network belongs to the thread that starts it
            std::thread::spawn(move || column(&name, &ours, pace))
        })
        .collect();
    let mut columns = Vec::new();
    for run in runs {
        match run.join() {
            Ok(column) => columns.push(column?),
            Err(_) => bail!("a cluster's thread panicked"),
        }
    }
    let mut unexpected = 0;
    for column in &columns {
        for difference in column.results.unexpected() {
            unexpected += 1;
            println!("== {}\n{difference}", column.name);
        }
    }
    let golden = golden_files()?;
    let text = format!("Run of {}.\n\n{}", today(), table(&columns, &golden_forms(&golden)?));
    match report {
        Some(file) => {
            write_section(&file, "make compare: differences", &golden_differences(&golden))?;
            write_section(&file, "make compare: commands", &text)?;
        }
        None => println!("{}\n{text}", golden_differences(&golden)),
    }
    if unexpected > 0 {
        bail!("{unexpected} differences that are not on purpose");
    }
    Ok(())
}

fn column(name: &str, ours: &Path, pace: Pace) -> Result<Column> {
    let nodes: usize = if name.ends_with('1') { 1 } else { 3 };
    let (side, of) = match name.starts_with("debian") {
        true => (Side::debian(), "C daemon"),
        false => (Side::ours()?, "our daemon"),
    };
    let cluster = start(side, nodes)?;
    let results = compare(&cluster, ours, &scripts(), pace)?;
    let plural = if nodes == 1 { "" } else { "s" };
    Ok(Column { name: format!("{of}, {nodes} node{plural}"), results })
}

/// The golden files of the tool.
fn golden_files() -> Result<Vec<File>> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("golden/tool");
    let mut paths: Vec<PathBuf> =
        std::fs::read_dir(directory)?.map(|entry| Ok(entry?.path())).collect::<Result<_>>()?;
    paths.sort();
    paths.iter().map(|path| File::parse(&std::fs::read_to_string(path)?)).collect()
}

/// How many forms of each command are recorded, and how many of them differ.
fn golden_forms(files: &[File]) -> Result<BTreeMap<String, (usize, usize)>> {
    let mut forms: BTreeMap<String, (usize, usize)> = BTreeMap::new();
    for block in files.iter().flat_map(|file| &file.blocks).filter(|b| b.ours_only.is_none()) {
        for step in &block.steps {
            let words = step.words()?;
            let Some(command) = words.iter().find(|word| scripts_know(word)) else { continue };
            let (all, differ) = forms.entry(command.clone()).or_default();
            *all += 1;
            *differ += usize::from(step.differs.is_some());
        }
    }
    Ok(forms)
}

/// The reasons why recorded forms differ, with one form of each.
fn golden_differences(files: &[File]) -> String {
    let mut reasons: BTreeMap<&str, (usize, String)> = BTreeMap::new();
    for block in files.iter().flat_map(|file| &file.blocks) {
        for step in &block.steps {
            let Some((reason, _)) = &step.differs else { continue };
            let fault = block.faults.first().map(|f| format!(", at {f}")).unwrap_or_default();
            let example = format!("`ctdb {}` ({}{fault})", step.line, block.state);
            reasons.entry(reason).or_insert((0, example)).0 += 1;
        }
    }
    let mut out = "| ours | forms | for example |\n|---|---|---|\n".to_string();
    for (reason, (forms, example)) in reasons {
        out += &format!("| {reason} | {forms} | {} |\n", example.replace('|', "\\|"));
    }
    out
}

fn scripts_know(word: &str) -> bool {
    scripts().iter().any(|script| script.commands.contains(&word))
}
