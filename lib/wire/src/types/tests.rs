// SPDX-License-Identifier: GPL-3.0-or-later
//! Properties that hold for every type.

use std::fmt::Debug;
use std::net::SocketAddr;

use super::*;
use crate::codec::{Decode, Encode, Rest};
use crate::native::{ControlPayload, ErrorReply, Hello};
use crate::sample::{Entropy, Sample};
use crate::text::{CharArray, StringN, StringZ, Text};
use proptest::prelude::*;

/// Encodes, decodes exactly, then decodes every prefix and a copy with one changed byte.
fn check<'a, T>(entropy: &'a [u8], scratch: [&'a mut Vec<u8>; 2], at: usize, byte: u8)
where
    T: Sample<'a> + Encode + Decode<'a> + Debug + PartialEq,
{
    let value = T::sample(&mut Entropy::new(entropy));
    let [bytes, changed] = scratch;
    value.encode(bytes);
    value.encode(changed);
    let (bytes, changed): (&'a Vec<u8>, &'a mut Vec<u8>) = (bytes, changed);
    assert_eq!(bytes.len(), value.size(), "{value:?}");
    assert!(bytes.len() >= T::MIN_SIZE, "{value:?}");
    assert_eq!(T::from_exact(bytes).as_ref(), Ok(&value));
    for cut in 0..bytes.len().min(64) {
        if let Err(e) = T::from_prefix(&bytes[..cut]) {
            assert!(e.offset <= cut, "{e}");
        }
    }
    if let Some(b) = changed.get_mut(at) {
        *b = byte;
    }
    let _ = T::from_prefix(changed);
}

macro_rules! properties {
    ($($name:ident: $ty:ty;)*) => {
        proptest! {
            #![proptest_config(ProptestConfig::with_cases(64))]
            $(
                #[test]
                fn $name(
                    entropy in prop::collection::vec(any::<u8>(), 0..600),
                    at in 0usize..200,
                    byte in any::<u8>(),
                ) {
                    check::<$ty>(&entropy, [&mut Vec::new(), &mut Vec::new()], at, byte);
                }
            )*
        }
    };
}

properties! {
    event_header: crate::event::Header;
    event_run: crate::event::Run;
    event_question: crate::event::Status;
    event_script: crate::event::Script;
    event_status: crate::event::EventStatus;
    unsigned_8: u8;
    unsigned_16: u16;
    unsigned_32: u32;
    unsigned_64: u64;
    pid: i32;
    signed_64: i64;
    double: f64;
    boolean: bool;
    datan: &[u8];
    rest: Rest<'_>;
    string: Option<Text>;
    string_with_nul: StringZ;
    stringn: StringN;
    char_array: CharArray<18>;
    sock_addr: SocketAddr;
    timeval: Timeval;
    ltdb_header: LtdbHeader;
    rec_data: RecData<'_>;
    rec_buffer: RecBuffer<'_>;
    connection: Connection;
    connection_list: ConnectionList;
    tickle_list: TickleList;
    vnn_map: VnnMap;
    dbid: Dbid;
    dbid_map: DbidMap;
    dbid_padded: DbidPadded;
    transdb: Transdb;
    pulldb: Pulldb;
    pulldb_ext: PulldbExt;
    key_data: KeyData<'_>;
    db_vacuum: DbVacuum;
    push_record_data: PushRecordData<'_>;
    traverse_start: TraverseStart;
    traverse_start_ext: TraverseStartExt;
    traverse_all: TraverseAll;
    traverse_all_ext: TraverseAllExt;
    node_and_flags: NodeAndFlags;
    node_map: NodeMap;
    node_flag_change: NodeFlagChange;
    ban_state: BanState;
    uptime: Uptime;
    public_ip: PublicIp;
    public_ip_list: PublicIpList;
    addr_info: AddrInfo;
    iface: Iface;
    iface_list: IfaceList;
    public_ip_info: PublicIpInfo;
    tunable: Tunable;
    var_list: VarList;
    tunable_list: TunableList;
    latency_counter: LatencyCounter;
    statistics: Statistics;
    statistics_list: StatisticsList;
    db_statistics: DbStatistics;
    srvid_message: SrvidMessage;
    disable_message: DisableMessage;
    election_message: ElectionMessage;
    pid_srvid: PidSrvid;
    notify_data: NotifyData<'_>;
    echo_data: EchoData<'_>;
    server_id: ServerId;
    g_lock: GLock;
    g_lock_list: RestList<GLock>;
    script: Script;
    script_list: ScriptList;
    control_payload: ControlPayload<'_>;
    hello: Hello;
    error_reply: ErrorReply<'_>;
}
