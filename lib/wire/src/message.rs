// SPDX-License-Identifier: GPL-3.0-or-later
//! Payloads of messages whose address gives them a structure (spec/wire.md 7.2, 7.4). To daemons
//! that only deliver messages they are opaque.

use crate::codec::{Decode, Encode};
use crate::error::Error;
use crate::inspect::{Inspect, Value};
use crate::output::Output;
use crate::reader::Reader;
use crate::srvid;
use crate::text::Text;
use crate::types::{
    DisableMessage, ElectionMessage, NodeFlagChange, PublicIp, RecBuffer, SrvidMessage,
};

macro_rules! messages {
    ($($(#[$meta:meta])* $variant:ident $srvid:ident $(($payload:ty))?;)*) => {
        /// The payload of a message.
        #[derive(Debug, Clone, PartialEq)]
        pub enum MessagePayload<'a> {
            $($(#[$meta])* $variant $(($payload))?,)*
            /// Records of a recovery transfer, to an address that starts with
            /// [`srvid::RECOVERY`].
            Recovery(RecBuffer<'a>),
            /// Any other message.
            Other(&'a [u8]),
        }

        impl<'a> MessagePayload<'a> {
            /// Decodes the payload of a message to `srvid`. Its size must be exactly that of the
            /// structure; of an empty message the payload is ignored.
            pub fn decode(srvid: u64, payload: &'a [u8]) -> Result<Self, Error> {
                let mut r = Reader::new(payload);
                Ok(match srvid {
                    $(srvid::$srvid => Self::$variant $(({
                        let value = <$payload as Decode<'a>>::decode(&mut r)
                            .map_err(|e| e.named(stringify!($srvid)))?;
                        r.finish().map_err(|e| e.named(stringify!($srvid)))?;
                        value
                    }))?,)*
                    recovery if recovery >> 32 == srvid::RECOVERY >> 32 => {
                        Self::Recovery(RecBuffer::decode(&mut r)?)
                    }
                    _ => Self::Other(payload),
                })
            }
        }

        impl<'a> Encode for MessagePayload<'a> {
            fn size(&self) -> usize {
                match self {
                    $(Self::$variant $((messages!(@bind value $payload)))? => {
                        0 $(+ <$payload as Encode>::size(value))?
                    })*
                    Self::Recovery(records) => records.size(),
                    Self::Other(payload) => payload.len(),
                }
            }
            fn encode<O: Output>(&self, out: &mut O) {
                match self {
                    $(Self::$variant $((messages!(@bind value $payload)))? => {
                        $(<$payload as Encode>::encode(value, out))?
                    })*
                    Self::Recovery(records) => records.encode(out),
                    Self::Other(payload) => out.put_bytes(payload),
                }
            }
        }

        impl<'a> Inspect for MessagePayload<'a> {
            fn inspect(&self) -> Value {
                match self {
                    $(Self::$variant $((messages!(@bind value $payload)))? => {
                        messages!(@inspect $(value $payload)?)
                    })*
                    Self::Recovery(records) => records.inspect(),
                    Self::Other(payload) => payload.inspect(),
                }
            }
        }

        #[cfg(test)]
        fn sample<'a>(u: &mut crate::sample::Entropy<'a>) -> (u64, MessagePayload<'a>) {
            use crate::sample::Sample;
            let samples: &[fn(&mut crate::sample::Entropy<'a>) -> (u64, MessagePayload<'a>)] = &[
                $(|_u| (srvid::$srvid, MessagePayload::$variant
                    $((<$payload as Sample<'a>>::sample(_u)))?),)*
                |u| (srvid::recovery(3), MessagePayload::Recovery(Sample::sample(u))),
                |u| (77, MessagePayload::Other(Sample::sample(u))),
            ];
            samples[u.below(samples.len())](u)
        }
    };
    (@bind $value:ident $ty:ty) => { $value };
    (@inspect $value:ident $ty:ty) => { <$ty as Inspect>::inspect($value) };
    (@inspect) => { Value::Null };
}

messages! {
    /// Node whose banning credits grow.
    Banning BANNING (u32);
    /// A candidate.
    Election ELECTION (ElectionMessage);
    /// PNN of the leader, or 0xFFFFFFFF during an election.
    Leader LEADER (u32);
    /// A recovery has finished.
    Reconfigure RECONFIGURE;
    /// The address that has been released.
    ReleaseIp RELEASE_IP (Option<Text>);
    /// The address that has been taken.
    TakeIp TAKE_IP (Option<Text>);
    /// The ipreallocated event has run.
    Ipreallocated IPREALLOCATED;
    /// The startipreallocate event has run.
    StartIpreallocate START_IPREALLOCATE;
    /// Obsolete.
    SetNodeFlags SET_NODE_FLAGS (NodeFlagChange);
    /// Obsolete.
    RecdUpdateIp RECD_UPDATE_IP (PublicIp);
    /// Obsolete.
    VacuumFetch VACUUM_FETCH (RecBuffer<'a>);
    /// Obsolete.
    DetachDatabase DETACH_DATABASE (u32);
    /// Where the memory report goes.
    MemDump MEM_DUMP (SrvidMessage);
    /// Obsolete.
    GetLog GETLOG;
    /// Obsolete.
    ClearLog CLEARLOG;
    /// The new flags of the sender's node.
    PushNodeFlags PUSH_NODE_FLAGS (NodeFlagChange);
    /// The nodes file is to be read again.
    ReloadNodes RELOAD_NODES;
    /// Where the result of the takeover run goes.
    TakeoverRun TAKEOVER_RUN (SrvidMessage);
    /// Node that addresses are moved onto.
    RebalanceNode REBALANCE_NODE (u32);
    /// For how long.
    DisableTakeoverRuns DISABLE_TAKEOVER_RUNS (DisableMessage);
    /// For how long.
    DisableRecoveries DISABLE_RECOVERIES (DisableMessage);
    /// Seconds.
    DisableIpCheck DISABLE_IP_CHECK (u32);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample::Entropy;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn payloads_survive_the_round_trip(entropy in prop::collection::vec(any::<u8>(), 0..200)) {
            let (srvid, payload) = sample(&mut Entropy::new(&entropy));
            let bytes = payload.to_vec();
            prop_assert_eq!(bytes.len(), payload.size());
            prop_assert_eq!(MessagePayload::decode(srvid, &bytes), Ok(payload));
        }

        #[test]
        fn arbitrary_payloads_never_panic(
            bytes in prop::collection::vec(any::<u8>(), 0..80),
            entropy in any::<u8>(),
        ) {
            let (srvid, _) = sample(&mut Entropy::new(&[entropy]));
            let _ = MessagePayload::decode(srvid, &bytes);
        }
    }

    #[test]
    fn the_size_must_be_exact() {
        assert!(MessagePayload::decode(srvid::LEADER, &[0; 4]).is_ok());
        assert!(MessagePayload::decode(srvid::LEADER, &[0; 3]).is_err());
        let e = MessagePayload::decode(srvid::LEADER, &[0; 8]).unwrap_err();
        assert_eq!((e.what, e.offset), ("LEADER", 4));
    }
}
