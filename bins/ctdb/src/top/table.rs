// SPDX-License-Identifier: GPL-3.0-or-later
//! What is shown, as tables: rows of cells that know how to be sorted, computed from two samples.
//! A rate is what a counter has grown by, for each second between them.

use ctdb_wire::flags::db;
use ctdb_wire::types::{DbStatistics, LatencyCounter, Statistics};

use super::sample::{DbSample, NodeSample, Sample};
use crate::flags::node_text;
use ctdb_wire::escaped;

/// A column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Column {
    pub title: &'static str,
    pub width: u16,
    /// Takes what the others leave.
    pub grows: bool,
    /// Numbers stand to the right, and the largest are wanted first.
    pub number: bool,
}

const fn text(title: &'static str, width: u16) -> Column {
    Column { title, width, grows: false, number: false }
}

const fn growing(title: &'static str, width: u16) -> Column {
    Column { title, width, grows: true, number: false }
}

const fn number(title: &'static str, width: u16) -> Column {
    Column { title, width, grows: false, number: true }
}

/// A cell.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Cell {
    pub text: String,
    /// What it is sorted by if it is a number.
    pub value: f64,
}

impl Cell {
    fn text(text: impl Into<String>) -> Cell {
        Cell { text: text.into(), value: 0.0 }
    }

    fn count(value: u32) -> Cell {
        Cell { text: value.to_string(), value: value.into() }
    }

    /// Events a second; nothing if there is no earlier sample to compare with.
    fn rate(value: Option<f64>) -> Cell {
        let Some(value) = value else { return Cell { text: "-".into(), value: -1.0 } };
        let text = if value == 0.0 || value >= 100.0 {
            format!("{value:.0}")
        } else {
            format!("{value:.1}")
        };
        Cell { text, value }
    }

    /// A duration in seconds.
    fn duration(value: Option<f64>) -> Cell {
        let Some(value) = value else { return Cell { text: "-".into(), value: -1.0 } };
        let text = match value {
            v if v <= 0.0 => "0".into(),
            v if v < 1e-3 => format!("{:.0}us", v * 1e6),
            v if v < 1.0 => format!("{:.1}ms", v * 1e3),
            v => format!("{v:.1}s"),
        };
        Cell { text, value }
    }

    fn bytes(value: u32) -> Cell {
        let text = match value {
            v if v < 10_000 => v.to_string(),
            v if v < 10 << 20 => format!("{}K", v >> 10),
            v => format!("{}M", v >> 20),
        };
        Cell { text, value: value.into() }
    }
}

/// How a row looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mood {
    Normal,
    /// Something is not as it should be.
    Warning,
    /// A node is of no use.
    Bad,
}

/// A row.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Row {
    pub cells: Vec<Cell>,
    pub mood: Mood,
    /// The node that it is about.
    pub pnn: Option<u32>,
}

/// A table.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Table {
    pub columns: &'static [Column],
    pub rows: Vec<Row>,
}

/// By which column a table is sorted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Sort {
    pub column: usize,
    pub descending: bool,
}

impl Table {
    pub(crate) fn sort(&mut self, sort: Sort) {
        let Some(column) = self.columns.get(sort.column) else { return };
        let of = |row: &Row| row.cells.get(sort.column).cloned().unwrap_or(Cell::text(""));
        self.rows.sort_by(|a, b| {
            let (a, b) = (of(a), of(b));
            let order = match column.number {
                true => a.value.total_cmp(&b.value),
                false => a.text.cmp(&b.text),
            };
            if sort.descending {
                order.reverse()
            } else {
                order
            }
        });
    }
}

/// The two samples that are compared, and what of them.
#[derive(Clone, Copy)]
pub(crate) struct Span<'a> {
    pub before: Option<&'a Sample>,
    pub now: &'a Sample,
    /// One node, or all.
    pub node: Option<u32>,
}

/// What a counter has grown by; counters wrap.
fn grown(before: u32, now: u32) -> f64 {
    now.wrapping_sub(before).into()
}

/// Mean of the durations that were added between two samples. Without any, there is none.
fn mean_since(before: &LatencyCounter, now: &LatencyCounter) -> Option<f64> {
    let count = i64::from(now.num) - i64::from(before.num);
    if count < 0 {
        return None;
    }
    let total = now.total - before.total;
    Some(if count == 0 { 0.0 } else { (total / count as f64).max(0.0) })
}

impl<'a> Span<'a> {
    fn seconds(&self) -> Option<f64> {
        let before = self.before?;
        Some(self.now.at.checked_duration_since(before.at)?.as_secs_f64()).filter(|s| *s > 0.0)
    }

    fn wants(&self, pnn: u32) -> bool {
        self.node.is_none_or(|node| node == pnn)
    }

    /// A node's counters before; `None` if they have been reset since.
    fn node_before(&self, now: &NodeSample) -> Option<&'a Statistics> {
        let before = self.before?.nodes.iter().find(|node| node.pnn == now.pnn)?;
        let (before, now) = (before.statistics.as_ref()?, now.statistics.as_ref()?);
        (before.statistics_start_time == now.statistics_start_time).then_some(before)
    }

    /// A database's counters before on a node. They have no time of their own: those that have
    /// become less were reset.
    fn db_before(&self, db: &DbSample, pnn: u32, now: &DbStatistics) -> Option<&'a DbStatistics> {
        let before = self.before?.databases.iter().find(|known| known.id == db.id)?;
        let (_, before) = before.nodes.iter().find(|(node, _)| *node == pnn)?;
        (before.locks.num_calls <= now.locks.num_calls).then_some(before)
    }

    /// A rate that is the sum over the wanted nodes of a database.
    fn db_rate(&self, db: &DbSample, of: impl Fn(&DbStatistics) -> u32) -> Option<f64> {
        let seconds = self.seconds()?;
        let known = db.nodes.iter().filter(|(pnn, _)| self.wants(*pnn));
        let grown = known.filter_map(|(pnn, now)| {
            let before = self.db_before(db, *pnn, now)?;
            Some(grown(of(before), of(now)))
        });
        Some(grown.sum::<f64>() / seconds)
    }

    fn db_sum(&self, db: &DbSample, of: impl Fn(&DbStatistics) -> u32) -> u32 {
        let known = db.nodes.iter().filter(|(pnn, _)| self.wants(*pnn));
        known.fold(0u32, |sum, (_, statistics)| sum.saturating_add(of(statistics)))
    }

    /// Mean lock wait of a database since the earlier sample.
    fn db_wait(&self, db: &DbSample) -> Option<f64> {
        self.before?;
        let mut before = LatencyCounter::default();
        let mut now = LatencyCounter::default();
        for (pnn, statistics) in db.nodes.iter().filter(|(pnn, _)| self.wants(*pnn)) {
            let Some(earlier) = self.db_before(db, *pnn, statistics) else { continue };
            let add = |sum: &mut LatencyCounter, counter: &LatencyCounter| {
                sum.num = sum.num.saturating_add(counter.num);
                sum.total += counter.total;
            };
            add(&mut before, &earlier.locks.latency);
            add(&mut now, &statistics.locks.latency);
        }
        mean_since(&before, &now)
    }
}

const NODES: &[Column] = &[
    number("PNN", 4),
    text("ADDRESS", 15),
    growing("STATE", 31),
    number("CLIENTS", 8),
    number("CALLS/s", 9),
    number("CLNT IN/s", 10),
    number("CLNT OUT/s", 11),
    number("NODE IN/s", 10),
    number("NODE OUT/s", 11),
    number("CALL", 8),
    number("LOCK", 8),
    number("PEND", 6),
    number("MEM", 7),
    number("RECOV", 6),
];

/// The nodes.
pub(crate) fn nodes(span: Span<'_>) -> Table {
    let seconds = span.seconds();
    let rows = span.now.nodes.iter().filter(|node| span.wants(node.pnn)).map(|node| {
        let before = span.node_before(node);
        let rate = |of: &dyn Fn(&Statistics) -> u32| {
            let (before, now) = (before?, node.statistics.as_ref()?);
            Some(grown(of(before), of(now)) / seconds?)
        };
        let mean = |of: &dyn Fn(&Statistics) -> LatencyCounter| {
            let (before, now) = (before?, node.statistics.as_ref()?);
            mean_since(&of(before), &of(now))
        };
        let count = |of: &dyn Fn(&Statistics) -> u32| match &node.statistics {
            Some(now) => Cell::count(of(now)),
            None => Cell { text: "-".into(), value: -1.0 },
        };
        let mut state = node_text(node.flags);
        let silent = node.statistics.is_none();
        if silent && node.flags & ctdb_wire::flags::node::DISCONNECTED == 0 {
            state.push_str(" (no answer)");
        }
        if Some(node.pnn) == span.now.leader {
            state.push_str(" leader");
        }
        if node.pnn == span.now.pnn {
            state.push_str(" *");
        }
        let inactive = node.flags & ctdb_wire::flags::node::INACTIVE != 0;
        Row {
            cells: vec![
                Cell::count(node.pnn),
                Cell::text(&node.address),
                Cell::text(state),
                count(&|s| s.num_clients),
                Cell::rate(rate(&|s| s.total_calls)),
                Cell::rate(rate(&|s| s.client_packets_recv)),
                Cell::rate(rate(&|s| s.client_packets_sent)),
                Cell::rate(rate(&|s| s.node_packets_recv)),
                Cell::rate(rate(&|s| s.node_packets_sent)),
                Cell::duration(mean(&|s| s.call_latency)),
                Cell::duration(mean(&|s| s.locks.latency)),
                count(&|s| s.locks.num_pending.saturating_add(s.pending_calls)),
                node.statistics.as_ref().map_or(Cell::text("-"), |s| Cell::bytes(s.memory_used)),
                count(&|s| s.num_recoveries),
            ],
            mood: match (inactive, silent || node.flags != 0) {
                (true, _) => Mood::Bad,
                (false, true) => Mood::Warning,
                (false, false) => Mood::Normal,
            },
            pnn: Some(node.pnn),
        }
    });
    Table { columns: NODES, rows: rows.collect() }
}

const DATABASES: &[Column] = &[
    growing("DATABASE", 20),
    text("KIND", 10),
    number("LOCKS/s", 9),
    number("WAIT", 8),
    number("HELD", 6),
    number("PEND", 6),
    number("FAILED", 7),
    number("HOPS/s", 8),
    number("RO/s", 7),
    number("REVOKE/s", 9),
    number("HOT", 7),
];

fn kind(flags: u8) -> &'static str {
    match flags {
        f if f & db::PERSISTENT != 0 => "persistent",
        f if f & db::REPLICATED != 0 => "replicated",
        f if f & db::STICKY != 0 => "sticky",
        f if f & db::READONLY != 0 => "readonly",
        _ => "volatile",
    }
}

/// Calls that needed more than no hop.
fn hops(buckets: &[u32]) -> u32 {
    buckets.iter().skip(1).fold(0, |sum: u32, bucket| sum.wrapping_add(*bucket))
}

/// The databases.
pub(crate) fn databases(span: Span<'_>) -> Table {
    let rows = span.now.databases.iter().map(|db| {
        let pending = span.db_sum(db, |s| s.locks.num_pending);
        let wanted = db.nodes.iter().filter(|(pnn, _)| span.wants(*pnn));
        let hottest = wanted.flat_map(|(_, s)| s.hot_keys.0.iter().map(|key| key.count)).max();
        Row {
            cells: vec![
                Cell::text(&db.name),
                Cell::text(kind(db.flags)),
                Cell::rate(span.db_rate(db, |s| s.locks.num_calls)),
                Cell::duration(span.db_wait(db)),
                Cell::count(span.db_sum(db, |s| s.locks.num_current)),
                Cell::count(pending),
                Cell::count(span.db_sum(db, |s| s.locks.num_failed)),
                Cell::rate(span.db_rate(db, |s| hops(&s.hop_count_bucket))),
                Cell::rate(span.db_rate(db, |s| s.db_ro_delegations)),
                Cell::rate(span.db_rate(db, |s| s.db_ro_revokes)),
                Cell::count(hottest.unwrap_or(0)),
            ],
            mood: if pending > 0 { Mood::Warning } else { Mood::Normal },
            pnn: None,
        }
    });
    Table { columns: DATABASES, rows: rows.collect() }
}

const HOT_KEYS: &[Column] = &[
    number("HOPS", 8),
    number("HOPS/s", 8),
    text("DATABASE", 24),
    number("NODE", 5),
    growing("KEY", 16),
];

/// The records that calls had to chase.
pub(crate) fn hot_keys(span: Span<'_>) -> Table {
    let mut rows = Vec::new();
    for db in &span.now.databases {
        for (pnn, statistics) in db.nodes.iter().filter(|(pnn, _)| span.wants(*pnn)) {
            let before = span.db_before(db, *pnn, statistics);
            for slot in statistics.hot_keys.0.iter().filter(|slot| !slot.key.is_empty()) {
                let earlier = before.map(|before| {
                    let known = before.hot_keys.0.iter().find(|known| known.key == slot.key);
                    known.map_or(0, |known| known.count)
                });
                let rate = earlier.zip(span.seconds()).map(|(earlier, seconds)| {
                    f64::from(slot.count.saturating_sub(earlier)) / seconds
                });
                rows.push(Row {
                    cells: vec![
                        Cell::count(slot.count),
                        Cell::rate(rate),
                        Cell::text(&db.name),
                        Cell::count(*pnn),
                        Cell::text(escaped(&slot.key)),
                    ],
                    mood: Mood::Normal,
                    pnn: Some(*pnn),
                });
            }
        }
    }
    Table { columns: HOT_KEYS, rows }
}

const HISTOGRAM: &[Column] =
    &[text("", 12), number("TOTAL", 12), number("/s", 10), number("SHARE", 7), growing("", 10)];

const HOP_LABELS: [&str; 16] = [
    "none",
    "1",
    "2-3",
    "4-7",
    "8-15",
    "16-31",
    "32-63",
    "64-127",
    "128-255",
    "256-511",
    "512-1023",
    "1024-2047",
    "2048-4095",
    "4096-8191",
    "8192-16383",
    "more",
];

const WAIT_LABELS: [&str; 11] = [
    "< 1 ms", "< 10 ms", "< 100 ms", "< 1 s", "< 2 s", "< 4 s", "< 8 s", "< 16 s", "< 32 s",
    "< 64 s", "more",
];

/// Widest bar of a histogram.
const BAR: f64 = 40.0;

/// Calls by number of hops.
pub(crate) fn hop_counts(span: Span<'_>) -> Table {
    histogram(span, &HOP_LABELS, |s| &s.hop_count_bucket)
}

/// Requests for record locks by waiting time.
pub(crate) fn lock_waits(span: Span<'_>) -> Table {
    histogram(span, &WAIT_LABELS, |s| &s.locks.buckets)
}

fn histogram(span: Span<'_>, labels: &[&str], of: fn(&Statistics) -> &[u32; 16]) -> Table {
    let nodes: Vec<_> = span.now.nodes.iter().filter(|node| span.wants(node.pnn)).collect();
    let at =
        |statistics: &Statistics, bucket: usize| of(statistics).get(bucket).copied().unwrap_or(0);
    let totals: Vec<f64> = (0..labels.len())
        .map(|bucket| {
            let known = nodes.iter().filter_map(|node| node.statistics.as_ref());
            known.map(|statistics| f64::from(at(statistics, bucket))).sum()
        })
        .collect();
    let all: f64 = totals.iter().sum();
    let rows = labels.iter().zip(&totals).enumerate().map(|(bucket, (label, total))| {
        let growth: f64 = nodes
            .iter()
            .filter_map(|node| Some((span.node_before(node)?, node.statistics.as_ref()?)))
            .map(|(before, now)| grown(at(before, bucket), at(now, bucket)))
            .sum();
        let share = if all > 0.0 { total / all } else { 0.0 };
        Row {
            cells: vec![
                Cell { text: (*label).into(), value: bucket as f64 },
                Cell { text: format!("{total:.0}"), value: *total },
                Cell::rate(span.seconds().map(|seconds| growth / seconds)),
                Cell { text: format!("{:.1}%", share * 100.0), value: share },
                Cell::text("#".repeat((share * BAR).ceil() as usize)),
            ],
            mood: Mood::Normal,
            pnn: None,
        }
    });
    Table { columns: HISTOGRAM, rows: rows.collect() }
}
