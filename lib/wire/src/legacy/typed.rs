// SPDX-License-Identifier: GPL-3.0-or-later
//! Bodies whose payload is written straight into the packet, from a typed value instead of bytes that
//! were encoded before. They decode as [`super::ReqControl`], [`super::ReplyControl`] and
//! [`super::ReqMessage`].

use super::body::Body;
use super::header::operation;
use crate::codec::{encode_len, Encode};
use crate::control::{Control, ControlRequest};
use crate::output::Output;

/// A control request with a typed payload.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct TypedControl<'p, P> {
    /// Which control.
    pub opcode: u32,
    /// Argument of controls that concern an address; mostly 0.
    pub srvid: u64,
    /// The calling client; 0 means a daemon.
    pub client_id: u32,
    /// [`crate::flags::control`] flags.
    pub flags: u32,
    /// The payload.
    pub payload: &'p P,
}

impl<'p, 'a> From<&'p ControlRequest<'a>> for TypedControl<'p, ControlRequest<'a>> {
    fn from(payload: &'p ControlRequest<'a>) -> Self {
        let opcode = payload.opcode().into();
        TypedControl { opcode, srvid: 0, client_id: 0, flags: 0, payload }
    }
}

impl<'p, P> TypedControl<'p, P> {
    /// The request of control `C`.
    pub fn of<C>(payload: &'p P) -> Self
    where
        C: for<'r> Control<Request<'r> = P>,
    {
        let opcode = C::OPCODE.into();
        TypedControl { opcode, srvid: 0, client_id: 0, flags: 0, payload }
    }
}

impl<P: Encode> Encode for TypedControl<'_, P> {
    fn size(&self) -> usize {
        28 + self.payload.size()
    }
    fn encode<O: Output>(&self, out: &mut O) {
        [self.opcode, 0].encode(out);
        self.srvid.encode(out);
        [self.client_id, self.flags].encode(out);
        encode_len(self.payload.size(), out);
        self.payload.encode(out);
    }
}

impl<P: Encode> Body for TypedControl<'_, P> {
    const OPERATION: u32 = operation::REQ_CONTROL;
}

/// A control reply with a typed payload and no error message.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct TypedReply<'p, P> {
    /// 0 is success; some controls return a value here.
    pub status: i32,
    /// The payload.
    pub payload: &'p P,
}

impl<P: Encode> Encode for TypedReply<'_, P> {
    fn size(&self) -> usize {
        12 + self.payload.size()
    }
    fn encode<O: Output>(&self, out: &mut O) {
        self.status.encode(out);
        encode_len(self.payload.size(), out);
        0u32.encode(out);
        self.payload.encode(out);
    }
}

impl<P: Encode> Body for TypedReply<'_, P> {
    const OPERATION: u32 = operation::REPLY_CONTROL;
}

/// A message with a typed payload.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct TypedMessage<'p, P> {
    /// Address.
    pub srvid: u64,
    /// The payload.
    pub payload: &'p P,
}

impl<P: Encode> Encode for TypedMessage<'_, P> {
    fn size(&self) -> usize {
        12 + self.payload.size()
    }
    fn encode<O: Output>(&self, out: &mut O) {
        self.srvid.encode(out);
        encode_len(self.payload.size(), out);
        self.payload.encode(out);
    }
}

impl<P: Encode> Body for TypedMessage<'_, P> {
    const OPERATION: u32 = operation::REQ_MESSAGE;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::{call, Opcode};
    use crate::legacy::{encode_to_vec, ReplyControl, ReqControl, ReqMessage, Rounding, Route};
    use crate::types::{BanState, SrvidMessage};

    fn same(typed: &impl Body, plain: &impl Body) {
        for rounding in [Rounding::Exact, Rounding::Daemon] {
            let route = Route { generation: 1, destnode: 2, srcnode: 3, reqid: 4 };
            let typed = encode_to_vec(&route, typed, rounding).unwrap();
            assert_eq!(typed, encode_to_vec(&route, plain, rounding).unwrap());
        }
    }

    #[test]
    fn typed_bodies_are_the_plain_ones() {
        let ban = BanState { pnn: 1, time: 300 };
        let data = ban.to_vec();
        let opcode = Opcode::SetBanState.into();
        let plain = ReqControl { opcode, srvid: 0, client_id: 0, flags: 0, data: &data };
        same(&TypedControl::of::<call::SetBanState>(&ban), &plain);
        same(&TypedControl::from(&ControlRequest::SetBanState(ban)), &plain);
        same(
            &TypedReply { status: 0, payload: &ban },
            &ReplyControl { status: 0, data: &data, errormsg: b"" },
        );
        let reply_to = SrvidMessage { pnn: 0, srvid: 9 };
        same(
            &TypedMessage { srvid: 5, payload: &reply_to },
            &ReqMessage { srvid: 5, data: &reply_to.to_vec() },
        );
    }

    #[test]
    fn a_packet_costs_one_allocation() {
        let ban = BanState { pnn: 1, time: 300 };
        let mut out = Vec::with_capacity(72);
        let before = out.as_ptr();
        let typed = TypedControl::of::<call::SetBanState>(&ban);
        crate::legacy::encode(&mut out, &Route::default(), &typed, Rounding::Daemon).unwrap();
        assert_eq!((out.len(), out.as_ptr()), (72, before));
    }
}
