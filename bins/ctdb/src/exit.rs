// SPDX-License-Identifier: GPL-3.0-or-later
//! How a command ends (spec/tool.md 1.6, 2.1).

use ctdb_wire::Opcode;
use ctdbcore::Error;

use crate::output;

/// Result of a command: what it had to say has been said.
pub(crate) type Done = Result<(), Exit>;

/// A command that ends without success.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exit {
    /// With a result of which the exit status takes the low 8 bits; -1 becomes 1.
    Code(i32),
    /// Wrong arguments: the command's usage is to be printed.
    Usage,
}

/// A failure that is described by a message alone.
pub(crate) const FAILED: Exit = Exit::Code(1);
/// A number that is none.
pub(crate) const INVALID: Exit = Exit::Code(22);

impl Exit {
    /// The process exit status.
    pub(crate) fn code(self) -> i32 {
        match self {
            Exit::Usage | Exit::Code(-1) => 1,
            Exit::Code(code) => code & 0xFF,
        }
    }
}

/// The name of a control as the tool prints it.
fn printed_name(control: Opcode) -> &'static str {
    match control {
        // misspelt since its introduction
        Opcode::SetDbReadonly => "SET_DB_READONY",
        other => other.name(),
    }
}

/// A reply that is no such reply: the message is too long for what is in it (EMSGSIZE).
const MALFORMED: Exit = Exit::Code(90);

/// The result that the tool reports for an error, without saying anything.
pub(crate) fn result_of(error: &Error) -> Exit {
    match error {
        Error::Closed => {
            output::fall_silent();
            FAILED
        }
        // nothing of this connection can be understood any more: as good as closed
        Error::Stream(_) => FAILED,
        Error::Refused { status, .. } => Exit::Code(*status),
        Error::Malformed { .. } => MALFORMED,
        Error::NoReply { source, .. } => result_of(source),
        other => Exit::Code(other.errno()),
    }
}

/// Says what happened to a control and gives the result.
pub(crate) fn control_failed(error: &Error) -> Exit {
    let exit = result_of(error);
    let Exit::Code(ret) = exit else { return exit };
    match error {
        Error::Refused { control, .. } => {
            errln!("Control {} failed, ret={ret}", printed_name(*control))
        }
        Error::NoReply { control, node, source } => match &**source {
            Error::Stream(_) => errln!("ctdb: {source}"),
            _ => errln!("Control {} failed to node {node}, ret={ret}", printed_name(*control)),
        },
        other => errln!("ctdb: {other}"),
    }
    exit
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses_become_exit_codes() {
        assert_eq!(Exit::Code(-1).code(), 1);
        assert_eq!(Exit::Code(110).code(), 110);
        assert_eq!(Exit::Code(-22).code(), 234);
        assert_eq!(Exit::Usage.code(), 1);
    }
}
