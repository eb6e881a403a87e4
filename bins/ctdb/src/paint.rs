// SPDX-License-Identifier: GPL-3.0-or-later
//! Colours and aligned columns, for eyes only: on a terminal, and not if NO_COLOR is set. Words and lines
//! are the same with and without.

use std::borrow::Cow;
use std::io::IsTerminal;
use std::sync::OnceLock;

use crate::options::Options;

static ON: OnceLock<bool> = OnceLock::new();

/// Looks at what standard output is; without this there are no colours.
pub(crate) fn decide(options: &Options) {
    let set = |name| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    let dumb = std::env::var_os("TERM").is_none_or(|term| term == "dumb");
    let for_programs = options.machine || options.json;
    ON.get_or_init(|| {
        !for_programs && !set("NO_COLOR") && !dumb && std::io::stdout().is_terminal()
    });
}

/// Whether somebody looks at standard output.
pub(crate) fn is_on() -> bool {
    ON.get().copied().unwrap_or(false)
}

/// What a word says about the thing it describes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sense {
    Good,
    /// Not as it should be, but working.
    Doubtful,
    Bad,
}

/// The text in the colour of its sense.
pub(crate) fn paint(sense: Sense, text: &str) -> Cow<'_, str> {
    if !is_on() {
        return text.into();
    }
    let colour = match sense {
        Sense::Good => 32,
        Sense::Doubtful => 33,
        Sense::Bad => 31,
    };
    format!("\x1b[{colour}m{text}\x1b[0m").into()
}

/// Good or bad.
pub(crate) fn judge(good: bool, text: &str) -> Cow<'_, str> {
    paint(if good { Sense::Good } else { Sense::Bad }, text)
}
