// SPDX-License-Identifier: GPL-3.0-or-later
//! What `top` shows of two samples, and what keys do.

use std::time::{Duration, Instant};

use ctdb_wire::flags::node;
use ctdb_wire::types::{DbStatistics, HotKey, LatencyCounter, Statistics, Timeval};
use ratatui::backend::TestBackend;
use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use ratatui::Terminal;

use super::app::{App, View};
use super::draw::draw;
use super::sample::{DbSample, News, NodeSample, Order, Sample};

/// A cluster whose counters are all a multiple of `base`.
fn sample(at: Instant, base: u32) -> Sample {
    let statistics = |factor: u32| {
        let mut s = Statistics { total_calls: base * factor, num_clients: 7, ..Default::default() };
        s.client_packets_recv = 2 * base * factor;
        s.call_latency =
            LatencyCounter { num: base as i32, min: 0.0, max: 1.0, total: f64::from(base) * 0.004 };
        s.hop_count_bucket[0] = 3 * base;
        s.hop_count_bucket[2] = base;
        s.statistics_start_time = Timeval { sec: 1, usec: 0 };
        Some(s)
    };
    let node = |pnn, flags, statistics| NodeSample {
        pnn,
        address: format!("10.0.0.{pnn}"),
        flags,
        statistics,
    };
    let db = |id: u32, name: &str, factor: u32| {
        let mut s = DbStatistics { num_hot_keys: 10, ..DbStatistics::default() };
        s.locks.num_calls = base * factor;
        s.hot_keys.0[0] = HotKey { count: base * factor, key: b"key\0".to_vec() };
        DbSample { id, flags: 0, name: name.into(), nodes: vec![(0, s.clone()), (1, s)] }
    };
    Sample {
        at,
        pnn: 0,
        leader: Some(1),
        generation: Some(4711),
        recovering: false,
        nodes: vec![
            node(0, 0, statistics(1)),
            node(1, 0, statistics(10)),
            node(2, node::DISCONNECTED | node::UNHEALTHY, None),
        ],
        databases: vec![db(1, "locking.tdb", 1), db(2, "brlock.tdb", 5)],
    }
}

/// Two samples, two seconds apart.
fn app() -> App {
    let mut app = App::new(None, Duration::from_secs(2));
    let start = Instant::now();
    app.hear(News::Sample(Box::new(sample(start, 100))));
    app.hear(News::Sample(Box::new(sample(start + Duration::from_secs(2), 500))));
    app
}

fn press(app: &mut App, keys: &str) {
    for key in keys.chars() {
        app.key(KeyEvent::new(KeyCode::Char(key), KeyModifiers::NONE));
    }
}

fn screen(app: &App, width: u16, height: u16) -> Vec<String> {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
    terminal.draw(|frame| draw(frame, app)).unwrap();
    let buffer = terminal.backend().buffer().clone();
    let row = |y| (0..width).map(|x| buffer[(x, y)].symbol()).collect::<String>();
    (0..height).map(|y| row(y).trim_end().to_string()).collect()
}

fn line<'a>(screen: &'a [String], with: &str) -> Vec<&'a str> {
    let found = screen.iter().find(|line| line.contains(with));
    found.unwrap_or_else(|| panic!("no {with} in {screen:#?}")).split_whitespace().collect()
}

#[test]
fn nodes_show_rates() {
    let shown = screen(&app(), 160, 20);
    assert!(shown[0].contains("node 0  leader 1  generation 4711  NORMAL  2/3 nodes OK"));
    // calls a second, packets from clients a second, mean duration of a call
    assert_eq!(line(&shown, "10.0.0.0")[..7], ["0", "10.0.0.0", "OK", "*", "7", "200", "400"]);
    assert_eq!(
        line(&shown, "10.0.0.1")[..7],
        ["1", "10.0.0.1", "OK", "leader", "7", "2000", "4000"]
    );
    assert!(line(&shown, "10.0.0.1").contains(&"4.0ms"));
    let gone = line(&shown, "10.0.0.2");
    assert_eq!(gone[2..5], ["DISCONNECTED|UNHEALTHY|INACTIVE", "-", "-"]);
}

#[test]
fn without_an_earlier_sample_there_are_no_rates() {
    let mut app = App::new(None, Duration::from_secs(2));
    assert!(screen(&app, 80, 10).concat().contains("waiting for the first sample"));
    app.hear(News::Sample(Box::new(sample(Instant::now(), 100))));
    assert_eq!(line(&screen(&app, 160, 10), "10.0.0.0")[4..7], ["7", "-", "-"]);
}

#[test]
fn counters_that_were_reset_have_no_rate_and_those_that_wrap_do() {
    let mut app = App::new(None, Duration::from_secs(2));
    let start = Instant::now();
    let mut before = sample(start, 100);
    let mut now = sample(start + Duration::from_secs(1), 0);
    before.nodes[0].statistics.as_mut().unwrap().total_calls = u32::MAX - 9;
    let reset = &mut now.nodes[1].statistics.as_mut().unwrap().statistics_start_time;
    reset.sec += 1;
    app.hear(News::Sample(Box::new(before)));
    app.hear(News::Sample(Box::new(now)));
    let shown = screen(&app, 160, 10);
    assert_eq!(line(&shown, "10.0.0.0")[5], "10.0");
    assert_eq!(line(&shown, "10.0.0.1")[5], "-");
}

#[test]
fn tables_are_sorted_by_any_column() {
    let mut app = app();
    press(&mut app, "2");
    assert_eq!(app.view, View::Databases);
    let first = |app: &App| app.table().unwrap().rows[0].cells[0].text.clone();
    assert_eq!(first(&app), "brlock.tdb");
    assert_eq!(line(&screen(&app, 160, 10), "brlock")[2], "2000");
    press(&mut app, "r");
    assert_eq!(first(&app), "locking.tdb");
    // two columns to the left is the name, ascending
    press(&mut app, "SS");
    assert_eq!((app.sort().column, app.sort().descending), (0, false));
    assert_eq!(first(&app), "brlock.tdb");
    press(&mut app, "S");
    assert_eq!(app.sort().column, app.table().unwrap().columns.len() - 1);
    press(&mut app, "1");
    assert_eq!(app.sort().column, 0);
}

#[test]
fn one_node_can_be_looked_at() {
    let mut app = app();
    press(&mut app, "n");
    assert_eq!(app.node, Some(0));
    press(&mut app, "n2");
    assert_eq!(app.node, Some(1));
    assert_eq!(line(&screen(&app, 160, 10), "brlock")[2], "1000");
    press(&mut app, "nn");
    assert_eq!(app.node, None);
    press(&mut app, "1j");
    app.key(KeyEvent::new(KeyCode::Enter, KeyModifiers::NONE));
    assert_eq!(app.node, Some(1));
    assert_eq!(app.table().unwrap().rows.len(), 1);
    press(&mut app, "a");
    assert_eq!(app.node, None);
}

#[test]
fn hot_keys_and_hop_counts() {
    let mut app = app();
    press(&mut app, "3");
    let shown = screen(&app, 100, 20);
    assert_eq!(line(&shown, "brlock")[..3], ["2500", "1000", "brlock.tdb"]);
    assert!(shown.concat().contains("key\\00"));
    press(&mut app, "4");
    let shown = screen(&app, 100, 20);
    // two nodes with three of four calls each
    assert_eq!(line(&shown, "none")[1..4], ["3000", "1200", "75.0%"]);
    assert_eq!(line(&shown, "2-3")[1..4], ["1000", "400", "25.0%"]);
    press(&mut app, "s");
    assert_eq!(app.table().unwrap().rows[0].cells[0].text, "none");
}

#[test]
fn a_pause_holds_the_picture() {
    let mut app = app();
    press(&mut app, "p");
    app.hear(News::Sample(Box::new(sample(Instant::now(), 9))));
    assert!(screen(&app, 160, 10)[0].contains("PAUSED"));
    assert_eq!(line(&screen(&app, 160, 10), "10.0.0.0")[5], "200");
    let order = app.key(KeyEvent::new(KeyCode::Char(' '), KeyModifiers::NONE));
    assert!(matches!(order, Some(Order::Now)));
    assert!(!screen(&app, 160, 10)[0].contains("PAUSED"));
}

#[test]
fn trouble_is_told_and_forgotten() {
    let mut app = app();
    app.hear(News::Trouble("connection refused".into()));
    let shown = screen(&app, 100, 10);
    assert!(shown[9].contains("no sample: connection refused"));
    assert!(shown.concat().contains("10.0.0.0"), "the last picture stays");
    app.hear(News::Sample(Box::new(sample(Instant::now(), 900))));
    assert!(screen(&app, 100, 10)[9].contains("q quit"));
}

#[test]
fn intervals_change_in_steps_and_have_ends() {
    let mut app = app();
    press(&mut app, "+");
    assert_eq!(app.interval, Duration::from_secs(5));
    press(&mut app, "++++++");
    assert_eq!(app.interval, Duration::from_secs(60));
    press(&mut app, "----------");
    assert_eq!(app.interval, Duration::from_millis(250));
}

#[test]
fn help_covers_the_screen_until_a_key() {
    let mut app = app();
    press(&mut app, "h");
    assert!(screen(&app, 80, 24).concat().contains("reverse the order"));
    press(&mut app, "q");
    assert!(!app.quit && !app.help);
    press(&mut app, "q");
    assert!(app.quit);
}

#[test]
fn control_c_quits() {
    let mut app = app();
    app.key(KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL));
    assert!(app.quit);
}

#[test]
fn any_size_will_do() {
    let mut app = app();
    for view in ["1", "2", "3", "4", "5", "h"] {
        press(&mut app, view);
        for (width, height) in [(1, 1), (2, 3), (10, 4), (40, 5), (79, 6), (300, 100)] {
            screen(&app, width, height);
        }
    }
    press(&mut app, "x1");
    // what does not fit is left out from the right
    let narrow = screen(&app, 60, 10).concat();
    assert!(narrow.contains("STATE") && !narrow.contains("RECOV"));
}

#[test]
fn the_selection_stays_in_the_table() {
    let mut app = app();
    app.key(KeyEvent::new(KeyCode::End, KeyModifiers::NONE));
    assert_eq!(app.selected, 2);
    press(&mut app, "jjj");
    assert_eq!(app.selected, 2);
    press(&mut app, "kkkkk");
    assert_eq!(app.selected, 0);
}
