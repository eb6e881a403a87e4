// SPDX-License-Identifier: GPL-3.0-or-later
//! The command space. Numbers of the existing protocol stay recognisable: an operation is
//! [`RECORD_BASE`] plus its number, a control [`CONTROL_BASE`] plus its opcode; the reply to a
//! control has the same command and the flag REPLY.

use crate::legacy::operation;

/// First packet on each one-way link.
pub const HELLO: u32 = 0x0001;
/// A packet could not be handled; answers any request.
pub const ERROR: u32 = 0x0002;

/// Commands of the operations of the existing protocol.
pub const RECORD_BASE: u32 = 0x0100;
/// Record call.
pub const REQ_CALL: u32 = RECORD_BASE + operation::REQ_CALL;
/// Result of a record call.
pub const REPLY_CALL: u32 = RECORD_BASE + operation::REPLY_CALL;
/// dmaster to lmaster: make that node the dmaster.
pub const REQ_DMASTER: u32 = RECORD_BASE + operation::REQ_DMASTER;
/// lmaster to the new dmaster: the record.
pub const REPLY_DMASTER: u32 = RECORD_BASE + operation::REPLY_DMASTER;
/// A record request that failed.
pub const REPLY_ERROR: u32 = RECORD_BASE + operation::REPLY_ERROR;
/// Message to a SRVID.
pub const MESSAGE: u32 = RECORD_BASE + operation::REQ_MESSAGE;
/// Result of a control, from a sender that does not know the opcode any more: a link to a C daemon,
/// whose replies do not repeat it. The same payload as under the control's own command.
pub const REPLY_CONTROL: u32 = RECORD_BASE + operation::REPLY_CONTROL;
/// Heartbeat of a link.
pub const HEARTBEAT: u32 = RECORD_BASE + operation::REQ_KEEPALIVE;
/// The existing protocol's name for [`HEARTBEAT`].
pub const KEEPALIVE: u32 = HEARTBEAT;
/// Tunnel packet.
pub const TUNNEL: u32 = RECORD_BASE + operation::REQ_TUNNEL;

/// Commands of the controls.
pub const CONTROL_BASE: u32 = 0x1000;
/// End of the commands of the controls.
pub const CONTROL_END: u32 = 0x2000;

/// The command of a control; none for an opcode that is far from any assigned one.
pub const fn control(opcode: u32) -> Option<u32> {
    match opcode < CONTROL_END - CONTROL_BASE {
        true => Some(CONTROL_BASE + opcode),
        false => None,
    }
}

/// The opcode of a control's command.
pub const fn control_opcode(command: u32) -> Option<u32> {
    match command >= CONTROL_BASE && command < CONTROL_END {
        true => Some(command - CONTROL_BASE),
        false => None,
    }
}

/// True for the commands whose packets answer a request, besides those of controls.
pub const fn is_reply(command: u32) -> bool {
    matches!(command, REPLY_CALL | REPLY_ERROR | REPLY_CONTROL | ERROR)
}

/// True for the four record packets that the generation fences (spec/wire.md 3.2).
pub const fn is_fenced(command: u32) -> bool {
    matches!(command, REQ_CALL | REPLY_CALL | REQ_DMASTER | REPLY_DMASTER)
}

/// The command of an operation other than a control request, which has one for each opcode.
pub const fn from_operation(number: u32) -> Option<u32> {
    match number {
        operation::REQ_CALL..=operation::REQ_MESSAGE
        | operation::REPLY_CONTROL..=operation::REQ_TUNNEL => Some(RECORD_BASE + number),
        _ => None,
    }
}

/// The operation of a command below [`CONTROL_BASE`].
pub const fn operation(command: u32) -> Option<u32> {
    match command {
        REQ_CALL..=MESSAGE | REPLY_CONTROL..=TUNNEL => Some(command - RECORD_BASE),
        _ => None,
    }
}

/// The name used in logs.
pub const fn name(command: u32) -> &'static str {
    match command {
        HELLO => "HELLO",
        ERROR => "ERROR",
        HEARTBEAT => "HEARTBEAT",
        CONTROL_BASE..CONTROL_END => match crate::Opcode::from_u32(command - CONTROL_BASE) {
            Some(opcode) => opcode.name(),
            None => "unknown control",
        },
        _ => match operation(command) {
            Some(number) => operation::name(number),
            None => "unknown command",
        },
    }
}
