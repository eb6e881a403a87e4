// SPDX-License-Identifier: GPL-3.0-or-later
//! `make smbtorture`: all smbtorture tests of tests/torture/expected.tsv, on one node and across
//! two, compared with what they give on the C daemon.

use std::fmt::Write as _;
use std::sync::Mutex;
use std::time::Instant;

use anyhow::{bail, ensure, Result};
use ctdb_tests::{
    exit_with, expected, missing, today, write_section, Cluster, Expected, Needs, Options, Side,
    Verdict,
};

const USAGE: &str = "usage: torture [--quick] [--only TEXT] [--report FILE] [--record]
  --quick        only the rows of `make test`
  --only TEXT    only tests whose name contains TEXT
  --report FILE  write the results as a Markdown table
  --record       print rows for expected.tsv from what is seen, and compare nothing
Environment: CTDBD=debian runs the C daemon, CTDBD=PATH another one.";

struct Arguments {
    quick: bool,
    only: String,
    report: Option<String>,
    record: bool,
}

fn arguments() -> Result<Arguments> {
    let mut got = Arguments { quick: false, only: String::new(), report: None, record: false };
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        match word.as_str() {
            "--quick" => got.quick = true,
            "--record" => got.record = true,
            "--only" => got.only = words.next().unwrap_or_default(),
            "--report" => got.report = words.next(),
            _ => bail!("{USAGE}"),
        }
    }
    Ok(got)
}

fn main() {
    exit_with(torture());
}

fn torture() -> Result<()> {
    let args = arguments()?;
    if let Some(why) = missing(Needs::Torture) {
        bail!("{why}");
    }
    let side = Side::from_env()?;
    let started = Instant::now();
    let mut rows = expected()?;
    rows.retain(|r| (r.quick || !args.quick) && r.test.contains(&args.only));
    let results = Mutex::new(Vec::new());
    // a cluster of one and a cluster of two nodes at the same time: smbtorture mostly waits
    std::thread::scope(|scope| -> Result<()> {
        let mut threads = Vec::new();
        for nodes in [1, 2] {
            let rows: Vec<Expected> = rows.iter().filter(|r| r.nodes == nodes).cloned().collect();
            if rows.is_empty() {
                continue;
            }
            let (side, results, args) = (side.clone(), &results, &args);
            threads.push(scope.spawn(move || -> Result<()> {
                let cluster = Cluster::start(Options::new(side, nodes).with_smbd())?;
                cluster.torture_rows(&rows, |row, verdict| {
                    if !args.record {
                        show(row, verdict);
                    }
                    if let Ok(mut all) = results.lock() {
                        all.push((row.clone(), verdict.clone()));
                    }
                })
            }));
        }
        for thread in threads {
            thread.join().map_err(|_| anyhow::anyhow!("a thread panicked"))??;
        }
        Ok(())
    })?;
    let mut results = results.into_inner().unwrap_or_default();
    let position =
        |r: &Expected| rows.iter().position(|x| (x.nodes, &x.test) == (r.nodes, &r.test));
    results.sort_by_key(|(row, _)| position(row));
    if args.record {
        for (row, verdict) in &results {
            println!("{}", recorded(row, verdict));
        }
        return Ok(());
    }
    if let Some(file) = &args.report {
        write_section(file.as_ref(), "make smbtorture", &markdown(&side, &results)?)?;
    }
    let different = results.iter().filter(|(_, v)| !v.differences.is_empty()).count();
    let same = results.len() - different;
    println!("{same} tests as expected, {different} not, {:.0} s", started.elapsed().as_secs_f64());
    ensure!(different == 0, "results differ");
    Ok(())
}

fn show(row: &Expected, verdict: &Verdict) {
    let word = if verdict.differences.is_empty() { "ok  " } else { "DIFF" };
    println!(
        "{word} {} node{} {:40} {:>9} {:6.1} s  {}",
        row.nodes,
        if row.nodes == 1 { " " } else { "s" },
        row.test,
        verdict.counts.figures(),
        verdict.counts.seconds,
        verdict.differences.join("; ")
    );
    if !verdict.differences.is_empty() && std::env::var_os("VERBOSE").is_some() {
        println!("{}", verdict.counts.output);
    }
}

fn recorded(row: &Expected, verdict: &Verdict) -> String {
    let counts = &verdict.counts;
    let dash = |text: String| if text.is_empty() { "-".to_string() } else { text };
    let fails: Vec<&str> = counts.failed.iter().map(String::as_str).collect();
    let varies: Vec<&str> = row.varies.iter().map(String::as_str).collect();
    [
        row.nodes.to_string(),
        if row.quick { "quick" } else { "full" }.to_string(),
        row.repeat.to_string(),
        (counts.seconds.ceil() as u64).to_string(),
        row.test.clone(),
        dash(row.arguments.join(" ")),
        counts.passed.len().to_string(),
        counts.skipped.len().to_string(),
        dash(fails.join(";")),
        dash(varies.join(";")),
    ]
    .join("\t")
}

fn markdown(side: &Side, results: &[(Expected, Verdict)]) -> Result<String> {
    let mut text = format!(
        "Run of {} on {} ({}). Figures are subtests passed/failed/skipped.\n\n\
         | nodes | test | C daemon | here | seconds | difference |\n|---|---|---|---|---|---|\n",
        today(),
        match side.is_debian() {
            true => "Debian's ctdbd",
            false => "our ctdbd",
        },
        "smbd and smbtorture of Debian's packages samba and samba-testsuite",
    );
    for (row, verdict) in results {
        writeln!(
            text,
            "| {} | {} | {} | {} | {:.1} | {} |",
            row.nodes,
            row.test,
            row.figures(),
            verdict.counts.figures(),
            verdict.counts.seconds,
            verdict.differences.join("; ")
        )?;
    }
    Ok(text)
}
