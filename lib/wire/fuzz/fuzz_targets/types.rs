// SPDX-License-Identifier: GPL-3.0-or-later
//! The types that no control carries, and those with inner lengths.
#![no_main]

use std::fmt::Debug;

use ctdb_wire::types::*;
use ctdb_wire::{CharArray, Decode, Encode, StringN, StringZ, Text};
use libfuzzer_sys::fuzz_target;

fn check<'a, T: Decode<'a> + Encode + Debug>(bytes: &'a [u8]) -> Option<Vec<u8>> {
    let value = T::from_prefix(bytes).ok()?;
    let again = value.to_vec();
    assert_eq!(again.len(), value.size());
    Some(again)
}

macro_rules! check_all {
    ($data:expr, $($ty:ty),* $(,)?) => {$(
        if let Some(bytes) = check::<$ty>($data) {
            assert_eq!(check::<$ty>(&bytes).as_ref(), Some(&bytes));
        }
    )*};
}

fuzz_target!(|data: &[u8]| {
    check_all!(
        data,
        RecData<'_>,
        RecBuffer<'_>,
        ConnectionList,
        TickleList,
        ScriptList,
        StatisticsList,
        DbStatistics,
        RestList<GLock>,
        PublicIpInfo,
        AddrInfo,
        PushRecordData<'_>,
        KeyData<'_>,
        VarList,
        StringN,
        StringZ,
        Option<Text>,
        CharArray<18>,
    );
});
