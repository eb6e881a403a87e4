// SPDX-License-Identifier: GPL-3.0-or-later
//! What follows the header, one structure for each operation (spec/wire.md 5). Keys and data borrow
//! from the packet. Offsets in the tables of the specification start at the header: subtract 32.

use super::header::operation;
use crate::codec::Encode;

/// The body of one kind of packet.
pub trait Body: Encode {
    /// The operation that goes into the header.
    const OPERATION: u32;
    /// Smallest packet of this kind that C daemons send, header and padding included.
    const DAEMON_MIN_PACKET: usize = 0;
}

macro_rules! bodies {
    ($($name:ident $(<$lt:lifetime>)? = $operation:ident $(, min $min:literal)?;)*) => {$(
        impl $(<$lt>)? Body for $name $(<$lt>)? {
            const OPERATION: u32 = operation::$operation;
            $(const DAEMON_MIN_PACKET: usize = $min;)?
        }
    )*};
}

bodies! {
    ReqCall<'a> = REQ_CALL;
    ReplyCall<'a> = REPLY_CALL, min 48;
    ReqDmaster<'a> = REQ_DMASTER;
    ReplyDmaster<'a> = REPLY_DMASTER;
    ReplyError<'a> = REPLY_ERROR;
    ReqMessage<'a> = REQ_MESSAGE;
    ReqControl<'a> = REQ_CONTROL;
    ReplyControl<'a> = REPLY_CONTROL;
    ReqKeepalive = REQ_KEEPALIVE;
    ReqTunnel<'a> = REQ_TUNNEL;
}

layout! {
    /// Call of a function on a record (spec/wire.md 5.1).
    pub struct ReqCall<'a> {
        /// [`crate::flags::call`] flags.
        flags: u32,
        /// Database.
        db_id: u32,
        /// Function, [`crate::flags::call`].
        callid: u32,
        /// Number of redirects so far.
        hopcount: u32,
    }
    parts {
        /// Key of the record.
        key,
        /// Argument of the function; unused.
        calldata,
    }
}

layout! {
    /// Result of a call (spec/wire.md 5.2).
    pub struct ReplyCall<'a> {
        /// 0 is success.
        status: i32,
    }
    parts {
        /// What the function returned.
        data,
    }
}

layout! {
    /// The dmaster gives a record up: make `dmaster` the new one (spec/wire.md 5.3).
    pub struct ReqDmaster<'a> {
        /// Database.
        db_id: u32 => pad 4,
        /// Sequence number of the record.
        rsn: u64,
        /// The new dmaster: the requester.
        dmaster: u32,
    }
    parts {
        /// Key of the record.
        key,
        /// Data of the record, without its header.
        data,
    }
    trailing {
        /// Flags of the record; absent in packets of old senders, which means 0. Always send it.
        record_flags
    }
}

layout! {
    /// The lmaster hands a record to its new dmaster (spec/wire.md 5.4).
    pub struct ReplyDmaster<'a> {
        /// Database.
        db_id: u32 => pad 4,
        /// Sequence number of the record.
        rsn: u64,
    }
    parts {
        /// Key of the record.
        key,
        /// Data of the record, without its header.
        data,
    }
    trailing {
        /// Flags of the record, as in [`ReqDmaster`].
        record_flags
    }
}

layout! {
    /// A call or dmaster request failed (spec/wire.md 5.5).
    pub struct ReplyError<'a> {
        /// -1.
        status: i32,
    }
    parts {
        /// The reason, NUL included.
        msg,
    }
}

layout! {
    /// Message (spec/wire.md 5.6).
    pub struct ReqMessage<'a> {
        /// Address, [`crate::srvid`].
        srvid: u64,
    }
    parts {
        /// Payload.
        data,
    }
}

layout! {
    /// Control (spec/wire.md 5.7).
    pub struct ReqControl<'a> {
        /// Which control, [`crate::Opcode`].
        opcode: u32 => pad 4,
        /// Argument of controls that concern an address; mostly 0.
        srvid: u64,
        /// The calling client in its own daemon; 0 means a daemon.
        client_id: u32,
        /// [`crate::flags::control`] flags.
        flags: u32,
    }
    parts {
        /// Payload, [`crate::ControlRequest`].
        data,
    }
}

layout! {
    /// Result of a control (spec/wire.md 5.8). The opcode is not repeated.
    pub struct ReplyControl<'a> {
        /// 0 is success; some controls return a value here.
        status: i32,
    }
    parts {
        /// Payload, [`crate::ControlReply`].
        data,
        /// Error message; daemons send it without NUL, the C library with it.
        errormsg,
    }
}

impl ReplyControl<'_> {
    /// The error message without its NUL, if there is one.
    pub fn error_text(&self) -> Option<String> {
        let text = self.errormsg.strip_suffix(&[0]).unwrap_or(self.errormsg);
        (!text.is_empty()).then(|| String::from_utf8_lossy(text).into_owned())
    }
}

layout! {
    /// Sign of life of a link (spec/wire.md 5.9).
    pub struct ReqKeepalive, size 8 {
        /// Release of the sender, (major << 16) + minor.
        version: u32,
        /// Uptime of the sender in seconds.
        uptime: u32,
    }
}

layout! {
    /// Tunnel packet (spec/wire.md 5.10).
    pub struct ReqTunnel<'a> {
        /// The tunnel.
        tunnel_id: u64,
        /// [`crate::flags::tunnel`] flags.
        flags: u32,
    }
    parts {
        /// Payload.
        data,
    }
}
