// SPDX-License-Identifier: GPL-3.0-or-later
//! docs/protocol.md states what the code does: every control, address, endpoint and tunable.

use ctdb_wire::native::{self, command, endpoint};
use ctdb_wire::types::TunableList;
use ctdb_wire::{legacy, srvid, Decode, Inspect, Opcode, Value};

fn page() -> String {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/protocol.md");
    std::fs::read_to_string(path).expect(path)
}

/// The cells of every table row.
fn rows(page: &str) -> Vec<Vec<&str>> {
    page.lines()
        .filter(|line| line.starts_with('|'))
        .map(|line| line.trim_matches('|').split('|').map(str::trim).collect())
        .collect()
}

fn has_row(rows: &[Vec<&str>], start: &[&str]) -> bool {
    rows.iter().any(|row| row.starts_with(start))
}

#[test]
fn every_control_has_its_row() {
    let page = page();
    let rows = rows(&page);
    for opcode in Opcode::ALL {
        let number = u32::from(*opcode).to_string();
        assert!(has_row(&rows, &[&number, opcode.name()]), "{number} {opcode}");
    }
    let controls = page.split("## 3. Controls").nth(1).and_then(|s| s.split("## 4.").next());
    let listed = controls
        .unwrap_or_default()
        .lines()
        .filter(|l| l.starts_with("| ") && l.as_bytes().get(2).is_some_and(u8::is_ascii_digit));
    assert_eq!(listed.count(), Opcode::ALL.len());
}

#[test]
fn operations_commands_and_endpoints_are_the_documented_ones() {
    let page = page();
    let rows = rows(&page);
    for operation in (0..=10).filter(|operation| *operation != 6) {
        let number = operation.to_string();
        assert!(has_row(&rows, &[&number, legacy::operation::name(operation)]), "{number}");
    }
    for number in 0..0x200 {
        let name = match number {
            command::MESSAGE => "MESSAGE",
            command::TUNNEL => "TUNNEL",
            _ => command::name(number),
        };
        let known = name != "unknown command";
        assert_eq!(has_row(&rows, &[&format!("0x{number:04X}"), name]), known, "{number:#x}");
    }
    for id in 1..=9 {
        let name = endpoint::name(id).expect("well known");
        let documented = |row: &Vec<&str>| {
            row.first() == Some(&id.to_string().as_str())
                && row.get(1).is_some_and(|text| text.starts_with(&format!("{name}:")))
        };
        assert!(rows.iter().any(documented), "{id} {name}");
    }
    assert!(page.contains(&format!("{:#010x}, the bytes `CTDP`", native::MAGIC)));
    assert!(page.contains(&format!("{:#010x}", legacy::MAGIC)));
}

#[test]
fn addresses_and_tunables_are_the_documented_ones() {
    let page = page();
    let rows = rows(&page);
    for (address, name) in [
        (srvid::RECOVERY, "RECOVERY"),
        (srvid::LEADER, "LEADER"),
        (srvid::TAKEOVER_RUN, "TAKEOVER_RUN"),
        (srvid::DISABLE_RECOVERIES, "DISABLE_RECOVERIES"),
        (srvid::SAMBA_NOTIFY, "SAMBA_NOTIFY"),
        (srvid::ALL, "ALL"),
    ] {
        assert!(has_row(&rows, &[&format!("0x{address:016X}"), name]), "{name}");
    }
    let tunables = TunableList::from_exact(&[0; TunableList::SIZE]).map(|list| list.inspect());
    let Ok(Value::Record(fields)) = tunables else { panic!("{tunables:?}") };
    for i in 0..fields.len() {
        let offset = (4 * i).to_string();
        let tunable = |row: &Vec<&str>| row.len() == 4 && row[0] == offset;
        assert!(rows.iter().any(tunable), "offset {offset}");
    }
}
