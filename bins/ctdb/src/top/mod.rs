// SPDX-License-Identifier: GPL-3.0-or-later
//! `ctdb top`: the cluster while one looks at it.
//!
//! A thread asks ([`sample`]), what changed between two samples becomes a table ([`table`]), keys
//! change what is shown ([`app`]), and that is drawn ([`draw`]). However it ends, the terminal is
//! left as it was.

mod app;
mod draw;
mod sample;
mod table;
#[cfg(test)]
mod tests;

use std::io::{self, IsTerminal};
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{channel, sync_channel, Receiver, Sender, TryRecvError};
use std::sync::Arc;
use std::time::{Duration, Instant};

use ctdbcore::Environment;
use nix::errno::Errno;
use nix::poll::{poll, PollFd, PollFlags, PollTimeout};
use ratatui::crossterm::event::{self, Event, KeyEventKind};
use ratatui::DefaultTerminal;
use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM};

use crate::args::Args;
use crate::exit::{Done, Exit, FAILED};
use crate::tool::Tool;
use app::App;
use sample::{News, Order, Sampler};

/// Between samples if nothing else is said.
const INTERVAL: Duration = Duration::from_secs(2);
/// Shortest and longest time between samples.
const INTERVALS: (f64, f64) = (0.1, 3600.0);
/// How long a signal or a sample waits until it is noticed.
const TICK: Duration = Duration::from_millis(50);

/// `top [SECONDS]`
pub(crate) fn top(tool: Tool<'_>, args: Args<'_>) -> Done {
    args.between(0, 1)?;
    let interval = match args.get(0) {
        None => INTERVAL,
        Some(text) => seconds(&text).ok_or_else(|| {
            errln!("Invalid interval {text}");
            FAILED
        })?,
    };
    if !(io::stdin().is_terminal() && io::stdout().is_terminal()) {
        errln!("ctdb top needs a terminal");
        return Err(FAILED);
    }
    let path = Environment::from_process().socket_path().map_err(|e| {
        errln!("{e}");
        FAILED
    })?;
    let until = u64::try_from(tool.options.max_runtime).ok().filter(|seconds| *seconds != 0);
    let until = until.map(|seconds| Instant::now() + Duration::from_secs(seconds));
    let app = App::new(tool.options.node, interval);
    let limit = tool.limit();
    let (orders, told) = channel();
    let (tells, news) = sync_channel(4);
    let sampler = Sampler::new(tool.client, &path, limit);
    std::thread::spawn(move || sampler.run(interval, &told, &tells));

    let signal = Arc::new(AtomicUsize::new(0));
    for number in [SIGTERM, SIGHUP, SIGINT, SIGQUIT] {
        let watched = usize::try_from(number).unwrap_or_default();
        signal_hook::flag::register_usize(number, signal.clone(), watched).map_err(failed)?;
    }
    let terminal = ratatui::try_init().map_err(failed)?;
    std::thread::spawn(end_with_terminal);
    let shown = Screen { terminal, app, orders, news, until }.run(&signal);
    ratatui::restore();
    match shown.map_err(failed)? {
        End::Quit => Ok(()),
        End::Signal(number) => {
            // ends this process as the signal would have
            let _ = signal_hook::low_level::emulate_default_handler(number);
            Err(Exit::Code(1))
        }
        End::TimeIsOver => {
            errln!("Maximum runtime exceeded - exiting");
            Err(FAILED)
        }
        End::NoSampler => {
            errln!("ctdb top: internal error");
            Err(FAILED)
        }
    }
}

/// Ends the process when its terminal has gone: a read for keys from such a terminal would find its end over and over
/// and never return.
fn end_with_terminal() {
    let stdin = io::stdin();
    loop {
        // a hang-up is reported whatever is asked for
        let mut fds = [PollFd::new(stdin.as_fd(), PollFlags::empty())];
        match poll(&mut fds, PollTimeout::NONE) {
            Err(Errno::EINTR) => continue,
            Err(_) => return,
            Ok(_) => break,
        }
    }
    // there is nothing left to put in order
    let _ = signal_hook::low_level::emulate_default_handler(SIGHUP);
}

fn failed(error: io::Error) -> Exit {
    errln!("ctdb top: {error}");
    FAILED
}

/// An interval that makes sense.
fn seconds(text: &str) -> Option<Duration> {
    let seconds: f64 = text.parse().ok()?;
    (INTERVALS.0..=INTERVALS.1).contains(&seconds).then(|| Duration::from_secs_f64(seconds))
}

/// Why it ends.
enum End {
    Quit,
    Signal(i32),
    TimeIsOver,
    NoSampler,
}

struct Screen {
    terminal: DefaultTerminal,
    app: App,
    orders: Sender<Order>,
    news: Receiver<News>,
    until: Option<Instant>,
}

impl Screen {
    fn run(mut self, signal: &AtomicUsize) -> io::Result<End> {
        let mut changed = true;
        loop {
            loop {
                match self.news.try_recv() {
                    Ok(news) => self.app.hear(news),
                    Err(TryRecvError::Empty) => break,
                    Err(TryRecvError::Disconnected) => return Ok(End::NoSampler),
                }
                changed = true;
            }
            if changed {
                self.terminal.draw(|frame| draw::draw(frame, &self.app))?;
            }
            changed = self.input()?;
            if self.app.quit {
                return Ok(End::Quit);
            }
            match i32::try_from(signal.load(Ordering::Relaxed)) {
                Ok(0) | Err(_) => (),
                Ok(number) => return Ok(End::Signal(number)),
            }
            if self.until.is_some_and(|until| Instant::now() >= until) {
                return Ok(End::TimeIsOver);
            }
        }
    }

    /// Waits a moment for keys; whether something has to be drawn.
    fn input(&mut self) -> io::Result<bool> {
        let mut changed = false;
        let mut wait = TICK;
        loop {
            match event::poll(wait) {
                Ok(true) => (),
                Ok(false) => return Ok(changed),
                Err(e) if e.kind() == io::ErrorKind::Interrupted => return Ok(changed),
                Err(e) => return Err(e),
            }
            match event::read()? {
                Event::Key(key) if key.kind != KeyEventKind::Release => {
                    if let Some(order) = self.app.key(key) {
                        // a sampler that has gone is noticed by its silence
                        let _ = self.orders.send(order);
                    }
                }
                _ => (),
            }
            changed = true;
            if self.app.quit {
                return Ok(true);
            }
            wait = Duration::ZERO;
        }
    }
}
