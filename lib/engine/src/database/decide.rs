// SPDX-License-Identifier: GPL-3.0-or-later
//! What happens to a record under its chain lock: read, decide, store (`spec/database.md 8, 9, 13`). No side
//! effect but the store, so that each step can be tested by itself; the caller sends what follows.

use super::record::{
    apply_rule, carry_out, fetch, header_bytes, split, store, Effect, Place, HEADER,
};
use crate::packet::{Call, Dmaster, Pnn};
use crate::ports::{ChainRecord, StoreError};
use bytes::{Bytes, BytesMut};
use ctdb_wire::flags::{call, record as flag};
use ctdb_wire::types::LtdbHeader;

/// What became of a call.
#[derive(Debug, PartialEq)]
pub(super) enum Verdict {
    /// Executed here; the record stays.
    Executed { reply: Bytes, header: LtdbHeader, effect: Effect },
    /// Another node is dmaster.
    Elsewhere { dmaster: Pnn },
    /// Given to the requester: what the packet carries, and what was stored.
    Given { sent: LtdbHeader, data: Bytes, stored: LtdbHeader, effect: Effect },
    /// A read-only copy was granted.
    Delegated { reply: Bytes },
    /// A revoke is under way.
    Revoking,
    /// Read-only copies have to be revoked first; RO_REVOKING_READONLY is stored now.
    Revoke { header: LtdbHeader, data: Bytes },
    /// Nothing was changed.
    Failed(StoreError),
}

/// The outcome of [`decide_call`].
#[derive(Debug, PartialEq)]
pub(super) struct Decision {
    pub verdict: Verdict,
    /// The flags of an ended revoke were cleared: the key leaves the tracking set.
    pub revoked: bool,
}

/// The result of a call function (`spec/database.md 1.4`). An unknown one gives no data.
pub(super) fn call_result(callid: u32, header: &LtdbHeader, data: &Bytes) -> Bytes {
    match callid {
        call::FETCH => data.clone(),
        call::FETCH_WITH_HEADER => {
            let mut reply = BytesMut::with_capacity(HEADER + data.len());
            reply.extend_from_slice(&header_bytes(header));
            reply.extend_from_slice(data);
            reply.freeze()
        }
        _ => Bytes::new(),
    }
}

/// A call, as [`decide_call`] sees it.
pub(super) struct CallView<'a> {
    pub call: &'a Call,
    /// Whose call it is: the own node for local clients and calls that came back.
    pub requester: Pnn,
    /// WANT_READONLY, on a READONLY database.
    pub want_readonly: bool,
}

/// Evaluates a call (8 steps 5-11, 9.2 steps 5-13).
pub(super) fn decide_call(
    record: &mut dyn ChainRecord,
    place: &Place,
    view: &CallView<'_>,
) -> Decision {
    let mut revoked = false;
    let verdict = try_call(record, place, view, &mut revoked).unwrap_or_else(Verdict::Failed);
    Decision { verdict, revoked }
}

fn try_call(
    record: &mut dyn ChainRecord,
    place: &Place,
    view: &CallView<'_>,
    revoked: &mut bool,
) -> Result<Verdict, StoreError> {
    let fetched = fetch(record.value(), place);
    let mut header = fetched.header;
    if header.flags & flag::RO_FLAGS == 0 && header.dmaster != place.own {
        return Ok(Verdict::Elsewhere { dmaster: header.dmaster });
    }
    let data = Bytes::copy_from_slice(fetched.data);
    if header.flags & flag::RO_REVOKE_COMPLETE != 0 {
        header.flags &= !flag::RO_FLAGS;
        store(record, place, &mut header, &data)?;
        *revoked = true;
    }
    if header.flags & flag::RO_REVOKING_READONLY != 0 {
        return Ok(Verdict::Revoking);
    }
    let delegated = header.flags & flag::RO_HAVE_DELEGATIONS != 0;
    if header.dmaster != place.own && !delegated {
        return Ok(Verdict::Elsewhere { dmaster: header.dmaster });
    }
    if !view.want_readonly
        && header.flags & (flag::RO_HAVE_DELEGATIONS | flag::RO_HAVE_READONLY) != 0
    {
        header.flags |= flag::RO_REVOKING_READONLY;
        store(record, place, &mut header, &data)?;
        return Ok(Verdict::Revoke { header, data });
    }
    let local = view.requester == place.own;
    if view.want_readonly && !local && view.call.callid == call::FETCH_WITH_HEADER {
        return delegate(record, place, header, &data);
    }
    if local {
        let effect = store(record, place, &mut header, &data)?;
        let reply = call_result(view.call.callid, &header, &data);
        return Ok(Verdict::Executed { reply, header, effect });
    }
    give_away(record, place, header, data, view.requester)
}

/// Gives the record to `to` (9.4).
fn give_away(
    record: &mut dyn ChainRecord,
    place: &Place,
    mut sent: LtdbHeader,
    data: Bytes,
    to: Pnn,
) -> Result<Verdict, StoreError> {
    if !data.is_empty() {
        sent.flags |= flag::MIGRATED_WITH_DATA;
    }
    let mut stored = LtdbHeader { dmaster: to, ..sent };
    let effect = store(record, place, &mut stored, &data)?;
    Ok(Verdict::Given { sent, data, stored, effect })
}

/// Grants a read-only copy (13.2). The owner's record is marked as migrated with data, so that deleting it
/// later asks the nodes that got copies (13.7). Even an empty copy has to go then: the key's next life begins
/// at RSN 1, and a recovery would take the old copy for newer.
fn delegate(
    record: &mut dyn ChainRecord,
    place: &Place,
    mut header: LtdbHeader,
    data: &Bytes,
) -> Result<Verdict, StoreError> {
    let mut granted = header;
    granted.flags |= flag::RO_HAVE_DELEGATIONS | flag::MIGRATED_WITH_DATA;
    if granted.flags != header.flags {
        if header.flags & flag::RO_HAVE_DELEGATIONS == 0 {
            granted.rsn = granted.rsn.wrapping_add(3);
        }
        store(record, place, &mut granted, data)?;
    }
    header = granted;
    header.rsn = header.rsn.wrapping_sub(2);
    header.flags = (header.flags & !flag::RO_HAVE_DELEGATIONS) | flag::RO_HAVE_READONLY;
    Ok(Verdict::Delegated { reply: call_result(call::FETCH_WITH_HEADER, &header, data) })
}

/// What became of an ownership packet.
#[derive(Debug, PartialEq)]
pub(super) enum Ownership {
    /// REQ_DMASTER: stored for another node, which is to be told.
    Passed {
        stored: LtdbHeader,
        effect: Effect,
    },
    /// This node is dmaster now; the reply of the call that waited for it.
    Owned {
        reply: Bytes,
        stored: LtdbHeader,
        effect: Effect,
    },
    /// REQ_DMASTER from a node that is not the recorded dmaster.
    NotFrom {
        dmaster: Pnn,
    },
    Failed(StoreError),
}

/// The pending call that an ownership packet answers.
#[derive(Debug, Clone, Copy)]
pub(super) struct Waiting {
    pub callid: u32,
    pub vacuum: bool,
}

/// REQ_DMASTER at the lmaster (9.5), REPLY_DMASTER at the new dmaster (9.6).
pub(super) fn decide_dmaster(
    record: &mut dyn ChainRecord,
    place: &Place,
    packet: &Dmaster,
    from: Pnn,
    waiting: Option<Waiting>,
) -> Ownership {
    let mut header = LtdbHeader {
        rsn: packet.rsn,
        dmaster: packet.dmaster,
        reserved1: 0,
        flags: packet.record_flags,
    };
    if !packet.reply {
        let known = fetch(record.value(), place).header;
        if known.dmaster != from {
            return Ownership::NotFrom { dmaster: known.dmaster };
        }
        if packet.dmaster != place.own {
            return match store(record, place, &mut header, &packet.data) {
                Ok(effect) => Ownership::Passed { stored: header, effect },
                Err(error) => Ownership::Failed(error),
            };
        }
    }
    header.dmaster = place.own;
    take(record, place, header, &packet.data, waiting).unwrap_or_else(Ownership::Failed)
}

/// Becomes dmaster and executes the call that waited: two applications of the store rule (RSN + 2 as in
/// 9.11), one store.
fn take(
    record: &mut dyn ChainRecord,
    place: &Place,
    mut header: LtdbHeader,
    data: &Bytes,
    waiting: Option<Waiting>,
) -> Result<Ownership, StoreError> {
    if waiting.is_some_and(|w| w.vacuum) {
        header.flags |= flag::VACUUM_MIGRATED;
    }
    let mut plan = apply_rule(&mut header, data.is_empty(), place);
    let mut reply = Bytes::new();
    if let Some(waiting) = waiting {
        plan = apply_rule(&mut header, data.is_empty(), place);
        reply = call_result(waiting.callid, &header, data);
    }
    let effect = carry_out(record, plan, &header, data)?;
    Ok(Ownership::Owned { reply, stored: header, effect })
}

/// A read-only copy arrives (13.2 step 4): stored if it is newer than what is here.
pub(super) fn decide_copy(
    record: &mut dyn ChainRecord,
    place: &Place,
    header: LtdbHeader,
    data: &[u8],
) -> Result<(), StoreError> {
    let local = record.value().and_then(split).map_or(0, |(h, _)| h.rsn);
    if header.rsn > local {
        let mut header = header;
        store(record, place, &mut header, data)?;
    }
    Ok(())
}

/// The end of a revoke (13.3 step 4). True if the record was as the revoke had left it.
pub(super) fn decide_revoked(
    record: &mut dyn ChainRecord,
    place: &Place,
    rsn: u64,
    ok: bool,
) -> Result<bool, StoreError> {
    const RUNNING: u32 = flag::RO_REVOKING_READONLY | flag::RO_HAVE_DELEGATIONS;
    let Some((mut header, data)) = record.value().and_then(split) else { return Ok(false) };
    if header.rsn > rsn || header.flags & RUNNING != RUNNING {
        return Ok(false);
    }
    let data = Bytes::copy_from_slice(data);
    if ok {
        header.rsn = rsn.wrapping_add(1);
        header.flags |= flag::RO_REVOKE_COMPLETE;
    } else {
        header.flags &= !flag::RO_REVOKING_READONLY;
    }
    store(record, place, &mut header, &data)?;
    Ok(true)
}
