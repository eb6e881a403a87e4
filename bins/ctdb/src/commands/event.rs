// SPDX-License-Identifier: GPL-3.0-or-later
//! Commands that are programs of their own: events and the group helpers (spec/tool.md 12).

use std::ffi::OsStr;

use crate::args::Args;
use crate::exit::Done;
use crate::helper::Helper;
use crate::options::Options;
use crate::tool::Tool;

/// `event ARGS...`
pub(crate) fn event(_options: &Options, args: Args<'_>) -> Done {
    Helper::Event.run(args.words())
}

/// `scriptstatus [EVENT]`: whatever the status is, showing it is a success.
pub(crate) fn scriptstatus(_options: &Options, args: Args<'_>) -> Done {
    args.between(0, 1)?;
    let event = args.words().first().map_or(OsStr::new("monitor"), |word| word);
    let _ = Helper::Event.run([OsStr::new("status"), OsStr::new("legacy"), event]);
    Ok(())
}

/// `natgw leader|list|status`
pub(crate) fn natgw(_tool: &mut Tool<'_>, args: Args<'_>) -> Done {
    args.exactly(1)?;
    Helper::Natgw.run(args.words())
}

/// `lvs leader|list|status`
pub(crate) fn lvs(_tool: &mut Tool<'_>, args: Args<'_>) -> Done {
    args.exactly(1)?;
    Helper::Lvs.run(args.words())
}
