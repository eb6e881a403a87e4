// SPDX-License-Identifier: GPL-3.0-or-later
//! What `ctdb top` shows at the moment, and what keys do to it. Knows nothing of terminals.

use std::time::Duration;

use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

use super::sample::{News, Order, Sample};
use super::table::{self, Sort, Span, Table};

/// What is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum View {
    Nodes,
    Databases,
    HotKeys,
    Hops,
    Waits,
}

/// All views in the order of their keys.
pub(crate) const VIEWS: [View; 5] =
    [View::Nodes, View::Databases, View::HotKeys, View::Hops, View::Waits];

impl View {
    pub(crate) fn title(self) -> &'static str {
        match self {
            View::Nodes => "1 Nodes",
            View::Databases => "2 Databases",
            View::HotKeys => "3 Hot keys",
            View::Hops => "4 Hop counts",
            View::Waits => "5 Lock latency",
        }
    }

    fn first_sort(self) -> Sort {
        match self {
            View::Nodes | View::Hops | View::Waits => Sort { column: 0, descending: false },
            View::Databases => Sort { column: 2, descending: true },
            View::HotKeys => Sort { column: 0, descending: true },
        }
    }

    /// The rows of a histogram have an order of their own.
    pub(crate) fn is_sorted(self) -> bool {
        !matches!(self, View::Hops | View::Waits)
    }

    fn table(self, span: Span<'_>) -> Table {
        match self {
            View::Nodes => table::nodes(span),
            View::Databases => table::databases(span),
            View::HotKeys => table::hot_keys(span),
            View::Hops => table::hop_counts(span),
            View::Waits => table::lock_waits(span),
        }
    }
}

/// Between samples, as keys change it.
const INTERVALS: [u64; 8] = [250, 500, 1000, 2000, 5000, 10_000, 30_000, 60_000];

/// What is shown.
pub(crate) struct App {
    pub view: View,
    sorts: [Sort; VIEWS.len()],
    /// One node, or all.
    pub node: Option<u32>,
    pub paused: bool,
    pub help: bool,
    pub interval: Duration,
    pub selected: usize,
    pub quit: bool,
    before: Option<Box<Sample>>,
    pub now: Option<Box<Sample>>,
    /// Why there is no new sample.
    pub trouble: Option<String>,
}

impl App {
    pub(crate) fn new(node: Option<u32>, interval: Duration) -> App {
        App {
            view: View::Nodes,
            sorts: VIEWS.map(View::first_sort),
            node,
            paused: false,
            help: false,
            interval,
            selected: 0,
            quit: false,
            before: None,
            now: None,
            trouble: None,
        }
    }

    fn index(&self) -> usize {
        VIEWS.iter().position(|view| *view == self.view).unwrap_or(0)
    }

    /// How the present view is sorted.
    pub(crate) fn sort(&self) -> Sort {
        self.sorts.get(self.index()).copied().unwrap_or(self.view.first_sort())
    }

    /// The table to show.
    pub(crate) fn table(&self) -> Option<Table> {
        let now = self.now.as_deref()?;
        let mut table =
            self.view.table(Span { before: self.before.as_deref(), now, node: self.node });
        if self.view.is_sorted() {
            table.sort(self.sort());
        }
        Some(table)
    }

    /// Takes in what the sampler tells. Samples are of no use while paused.
    pub(crate) fn hear(&mut self, news: News) {
        match news {
            News::Trouble(why) => self.trouble = Some(why),
            News::Sample(sample) => {
                self.trouble = None;
                if self.paused {
                    return;
                }
                // counters of another daemon are nothing to compare with
                let same = self.now.as_ref().is_some_and(|now| now.pnn == sample.pnn);
                self.before = self.now.take().filter(|_| same);
                self.now = Some(sample);
            }
        }
    }

    /// Does what a key says.
    pub(crate) fn key(&mut self, key: KeyEvent) -> Option<Order> {
        if self.help {
            self.help = false;
            self.quit = is_interrupt(key);
            return None;
        }
        match key.code {
            _ if is_interrupt(key) => self.quit = true,
            KeyCode::Char('q') | KeyCode::Esc => self.quit = true,
            KeyCode::Char('h' | '?') | KeyCode::F(1) => self.help = true,
            KeyCode::Char(digit @ '1'..='5') => self.show(digit as usize - '1' as usize),
            KeyCode::Tab => self.show((self.index() + 1) % VIEWS.len()),
            KeyCode::BackTab => self.show((self.index() + VIEWS.len() - 1) % VIEWS.len()),
            KeyCode::Right | KeyCode::Char('s' | '>') => self.sort_next(1),
            KeyCode::Left | KeyCode::Char('S' | '<') => self.sort_next(-1),
            KeyCode::Char('r') => self.reverse(),
            KeyCode::Char('p' | ' ') => {
                self.paused = !self.paused;
                return (!self.paused).then_some(Order::Now);
            }
            KeyCode::Char('n') => self.node = self.next_node(1),
            KeyCode::Char('N') => self.node = self.next_node(-1),
            KeyCode::Char('a') => self.node = None,
            KeyCode::Enter => self.choose(),
            KeyCode::Down | KeyCode::Char('j') => self.select(1),
            KeyCode::Up | KeyCode::Char('k') => self.select(-1),
            KeyCode::PageDown => self.select(10),
            KeyCode::PageUp => self.select(-10),
            KeyCode::Home => self.selected = 0,
            KeyCode::End => self.select(isize::MAX),
            KeyCode::Char('+') => return self.change_interval(1),
            KeyCode::Char('-') => return self.change_interval(-1),
            _ => (),
        }
        None
    }

    fn show(&mut self, index: usize) {
        if let Some(view) = VIEWS.get(index) {
            self.view = *view;
            self.selected = 0;
        }
    }

    fn change_sort(&mut self, change: impl FnOnce(&mut Sort)) {
        let index = self.index();
        if let Some(sort) = self.sorts.get_mut(index).filter(|_| self.view.is_sorted()) {
            change(sort);
        }
    }

    fn sort_next(&mut self, step: isize) {
        let Some(table) = self.table() else { return };
        let columns = table.columns;
        self.change_sort(|sort| {
            let count = columns.len() as isize;
            sort.column = (sort.column as isize + step).rem_euclid(count.max(1)) as usize;
            sort.descending = columns.get(sort.column).is_some_and(|column| column.number);
        });
    }

    fn reverse(&mut self) {
        self.change_sort(|sort| sort.descending = !sort.descending);
    }

    /// All nodes, then one after the other.
    fn next_node(&self, step: isize) -> Option<u32> {
        let now = self.now.as_deref()?;
        let places = now.nodes.len() as isize + 1;
        let at = self.node.and_then(|pnn| now.nodes.iter().position(|node| node.pnn == pnn));
        let place = (at.map_or(0, |at| at as isize + 1) + step).rem_euclid(places);
        let at = usize::try_from(place - 1).ok()?;
        now.nodes.get(at).map(|node| node.pnn)
    }

    /// The node of the selected row.
    fn choose(&mut self) {
        let row = self.table().and_then(|table| table.rows.get(self.selected).cloned());
        if let Some(pnn) = row.and_then(|row| row.pnn) {
            self.node = if self.node == Some(pnn) { None } else { Some(pnn) };
            self.selected = 0;
        }
    }

    fn select(&mut self, step: isize) {
        let rows = self.table().map_or(0, |table| table.rows.len());
        let at = self.selected.min(rows) as isize;
        let last = rows.saturating_sub(1) as isize;
        self.selected = at.saturating_add(step).clamp(0, last) as usize;
    }

    fn change_interval(&mut self, step: isize) -> Option<Order> {
        let now = self.interval.as_millis();
        let at = INTERVALS.iter().position(|ms| u128::from(*ms) >= now).unwrap_or(0);
        let new = INTERVALS.get(at.checked_add_signed(step)?)?;
        self.interval = Duration::from_millis(*new);
        Some(Order::Every(self.interval))
    }
}

fn is_interrupt(key: KeyEvent) -> bool {
    key.code == KeyCode::Char('c') && key.modifiers.contains(KeyModifiers::CONTROL)
}
