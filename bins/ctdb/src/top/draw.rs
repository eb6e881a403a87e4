// SPDX-License-Identifier: GPL-3.0-or-later
//! The screen of `ctdb top`.

use ratatui::layout::{Alignment, Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style, Stylize};
use ratatui::text::{Line, Span, Text};
use ratatui::widgets::{Block, Cell, Clear, Paragraph, Row, Table as Widget, TableState, Tabs};
use ratatui::Frame;

use super::app::{App, View, VIEWS};
use super::sample::Sample;
use super::table::{Column, Mood, Sort, Table};

const KEYS: &str =
    " q quit  1-5/Tab view  s/S sort  r reverse  n node  a all  p pause  +/- interval  h help";

const HELP: &str = "\
1 to 5, Tab        the views: nodes, databases and so on
s S, right left    sort by the next or previous column
r                  reverse the order
n N                one node after the other, then all
Enter              the node of the selected row; again: all nodes
a                  all nodes
up down j k        select a row
p, space           pause, go on
+ -                longer, shorter interval
h ?                this text
q, Esc, Ctrl-C     quit

Rates are per second since the sample before; CALL, LOCK and
WAIT are the mean duration of what was finished since then.
HOPS are redirections of calls for records: many of them for
one key mean that nodes take a record away from each other.";

/// Draws all of it.
pub(crate) fn draw(frame: &mut Frame<'_>, app: &App) {
    let rows = Layout::vertical([
        Constraint::Length(1),
        Constraint::Length(1),
        Constraint::Min(1),
        Constraint::Length(1),
    ]);
    let [title, tabs, body, foot] = rows.areas(frame.area());
    frame.render_widget(summary(app), title);
    let titles = VIEWS.iter().map(|view| view.title());
    let selected = VIEWS.iter().position(|view| *view == app.view);
    let highlight = Style::new().add_modifier(Modifier::REVERSED);
    frame.render_widget(Tabs::new(titles).select(selected).highlight_style(highlight), tabs);
    match app.table() {
        Some(table) => draw_table(frame, body, app, &table),
        None => frame.render_widget(Paragraph::new(" waiting for the first sample"), body),
    }
    frame.render_widget(footer(app), foot);
    if app.help {
        draw_help(frame);
    }
}

fn summary(app: &App) -> Line<'static> {
    let Some(now) = &app.now else { return Line::from(" ctdb top") };
    let or_unknown = |value: Option<u32>, word: &str| value.map_or(word.into(), |v| v.to_string());
    let mode = if now.recovering { "RECOVERY".yellow() } else { "NORMAL".into() };
    let mut spans: Vec<Span<'static>> = vec![
        " ctdb top".bold(),
        format!(
            "  node {}  leader {}  generation {}  ",
            now.pnn,
            or_unknown(now.leader, "UNKNOWN"),
            or_unknown(now.generation, "INVALID")
        )
        .into(),
        mode,
        format!("  {}  {} databases", healthy(now), now.databases.len()).into(),
    ];
    if let Some(node) = app.node {
        spans.push(format!("  only node {node}").cyan());
    }
    if app.paused {
        spans.push("  PAUSED".yellow());
    }
    Line::from(spans)
}

fn healthy(now: &Sample) -> String {
    let ok = now.nodes.iter().filter(|node| node.flags == 0).count();
    format!("{ok}/{} nodes OK", now.nodes.len())
}

fn footer(app: &App) -> Line<'static> {
    match &app.trouble {
        Some(why) => Line::from(format!(" no sample: {why}")).red(),
        None => {
            let every = app.interval.as_secs_f64();
            Line::from(format!("{KEYS}  ({every} s)")).dim()
        }
    }
}

fn style(mood: Mood) -> Style {
    match mood {
        Mood::Normal => Style::new(),
        Mood::Warning => Style::new().fg(Color::Yellow),
        Mood::Bad => Style::new().fg(Color::Red),
    }
}

fn draw_table(frame: &mut Frame<'_>, area: Rect, app: &App, table: &Table) {
    let sort = app.view.is_sorted().then(|| app.sort());
    let columns = fitting(table.columns, area.width);
    if table.rows.is_empty() {
        return frame.render_widget(Paragraph::new(" nothing to show"), area);
    }
    let aligned = |number: bool, text: String| {
        Text::from(text).alignment(if number { Alignment::Right } else { Alignment::Left })
    };
    let header = columns.iter().enumerate().map(|(at, column)| {
        let cell = Cell::from(aligned(column.number, heading(app.view, at, column.title, sort)));
        match sort.is_some_and(|sort| sort.column == at) {
            true => cell.style(Style::new().add_modifier(Modifier::UNDERLINED)),
            false => cell,
        }
    });
    let header = Row::new(header).style(Style::new().add_modifier(Modifier::BOLD));
    let rows = table.rows.iter().map(|row| {
        let cells = row.cells.iter().zip(columns);
        let cells = cells.map(|(cell, column)| aligned(column.number, cell.text.clone()));
        Row::new(cells).style(style(row.mood))
    });
    let widths = columns.iter().map(|column| match column.grows {
        true => Constraint::Min(column.width),
        false => Constraint::Length(column.width),
    });
    let widget = Widget::new(rows, widths)
        .header(header)
        .column_spacing(1)
        .row_highlight_style(Style::new().add_modifier(Modifier::REVERSED));
    let last = table.rows.len().saturating_sub(1);
    let mut state = TableState::new().with_selected(app.selected.min(last));
    frame.render_stateful_widget(widget, area, &mut state);
}

/// The first columns, as many as there is room for.
fn fitting(columns: &[Column], width: u16) -> &[Column] {
    let mut used = 0;
    let room = columns.iter().take_while(|column| {
        used += column.width + 1;
        used <= width + 1
    });
    let count = room.count();
    columns.get(..count).unwrap_or(columns)
}

/// The title of a column; the one that sorts shows in which direction.
fn heading(view: View, at: usize, title: &str, sort: Option<Sort>) -> String {
    let title = match (view, at) {
        (View::Hops, 0) => "HOPS",
        (View::Waits, 0) => "WAIT",
        _ => title,
    };
    match sort {
        Some(sort) if sort.column == at => {
            format!("{title}{}", if sort.descending { "▼" } else { "▲" })
        }
        _ => title.into(),
    }
}

fn draw_help(frame: &mut Frame<'_>) {
    let area = frame.area();
    let width = 68.min(area.width);
    let height = (HELP.lines().count() as u16 + 2).min(area.height);
    let place = Rect {
        x: area.x + (area.width - width) / 2,
        y: area.y + (area.height - height) / 2,
        width,
        height,
    };
    frame.render_widget(Clear, place);
    frame.render_widget(Paragraph::new(HELP).block(Block::bordered().title(" ctdb top ")), place);
}
