// SPDX-License-Identifier: GPL-3.0-or-later
//! The runtime service in simulated daemons.

use super::*;
use crate::sim::{services, Options, Sim};
use ctdb_wire::types::{Statistics, StatisticsList, Tunable};
use ctdb_wire::Decode;

fn cluster(nodes: u32) -> Sim {
    let options = Options { seed: 8, nodes, ..Options::default() };
    let mut sim = Sim::new(options, |_| services());
    sim.start_all();
    assert!(sim.run_until(Duration::from_secs(60), |s| s.is_settled()));
    sim
}

fn ask(sim: &mut Sim, opcode: Opcode, data: impl Into<bytes::Bytes>) -> ControlReply {
    sim.control(0, 0, opcode as u32, data).expect("a reply")
}

fn set(name: &str, value: u32) -> Vec<u8> {
    Tunable { value, name: StringN::new(name) }.to_vec()
}

#[test]
fn tunables_are_listed_read_and_set() {
    let mut sim = cluster(1);
    let list = ask(&mut sim, Opcode::ListTunables, "").data;
    assert_eq!(list.len(), 823);
    assert!(list[4..].starts_with(b":SeqnumInterval:ControlTimeout:"));
    assert!(list.ends_with(b":AllowMixedVersions\0"));
    let name = StringN::new("monitorinterval").to_vec();
    assert_eq!(ask(&mut sim, Opcode::GetTunable, name.clone()).data, 15u32.to_vec());
    assert_eq!(ask(&mut sim, Opcode::SetTunable, set("MonitorInterval", 7)).status, 0);
    assert_eq!(ask(&mut sim, Opcode::GetTunable, name).data, 7u32.to_vec());
    assert_eq!(sim.daemon(0).map(|d| d.tunables().monitor_interval), Some(7));
    assert_eq!(ask(&mut sim, Opcode::SetTunable, set("MaxRedirectCount", 9)).status, 1);
    assert_eq!(ask(&mut sim, Opcode::SetTunable, set("NoSuchTunable", 9)).status, -1);
    let unknown = StringN::new("NoSuchTunable").to_vec();
    assert_eq!(ask(&mut sim, Opcode::GetTunable, unknown).status, -22);
    assert_eq!(ask(&mut sim, Opcode::GetTunable, vec![1, 0, 0, 0]).status, -1);
    let all = ask(&mut sim, Opcode::GetAllTunables, "").data;
    assert_eq!((all.len(), &all[40..44]), (248, &7u32.to_le_bytes()[..]));
    // Without the NUL, as some senders count.
    let mut bare = 8u32.to_vec();
    bare.extend(15u32.to_vec());
    bare.extend(b"MonitorInterval");
    assert_eq!(ask(&mut sim, Opcode::SetTunable, bare).status, 0);
    assert_eq!(sim.daemon(0).map(|d| d.tunables().monitor_interval), Some(8));
}

fn statistics(sim: &mut Sim) -> Statistics {
    let data = ask(sim, Opcode::Statistics, "").data;
    assert_eq!(data.len(), 488);
    Statistics::from_exact(&data).expect("statistics")
}

#[test]
fn statistics_count_and_begin_anew() {
    let mut sim = cluster(2);
    let client = sim.connect(0);
    sim.run_for(Duration::from_secs(5));
    for _ in 0..5 {
        ask(&mut sim, Opcode::GetPid, "");
    }
    let s = statistics(&mut sim);
    assert_eq!(s.num_clients, 2, "{client} and the one that asks");
    assert!(s.node.req_control > 0 && s.client.req_control > 0 && s.node_packets_recv > 0);
    assert!(s.num_recoveries > 0 && s.recovering == 0 && s.memory_used > 0);
    assert!(s.statistics_current_time > s.statistics_start_time);
    assert_eq!(ask(&mut sim, Opcode::StatisticsReset, "").status, 0);
    let again = statistics(&mut sim);
    assert_eq!((again.num_clients, again.num_recoveries), (2, 0));
    assert!(again.statistics_start_time > s.statistics_start_time);
    assert!(again.client.req_control < s.client.req_control);
}

#[test]
fn the_history_has_an_entry_for_each_interval() {
    let mut sim = cluster(1);
    let list = |sim: &mut Sim| {
        let data = ask(sim, Opcode::GetStatHistory, "").data;
        assert_eq!(data.len(), 48808);
        StatisticsList::from_exact(&data).expect("a list").stats.0
    };
    sim.run_for(Duration::from_millis(5500));
    let early = list(&mut sim);
    let used = early.iter().filter(|s| s.statistics_start_time.sec != 0).count();
    assert!((5..9).contains(&used), "{used}");
    for _ in 0..10 {
        ask(&mut sim, Opcode::GetPid, "");
    }
    sim.run_for(Duration::from_secs(2));
    let stats = list(&mut sim);
    let newest: Vec<u32> = stats[..3].iter().map(|s| s.client.req_control).collect();
    assert!(newest.iter().any(|n| *n >= 10), "{newest:?}");
    let span = |s: &Statistics| s.statistics_current_time.sec - s.statistics_start_time.sec;
    assert!(stats[..3].iter().all(|s| span(s) == 1));
    sim.run_for(Duration::from_secs(120));
    assert!(list(&mut sim).iter().all(|s| s.statistics_start_time.sec != 0));
}

#[test]
fn level_and_pid() {
    let mut sim = cluster(1);
    assert_eq!(ask(&mut sim, Opcode::SetDebug, 4i32.to_vec()).status, 0);
    assert_eq!(ask(&mut sim, Opcode::GetDebug, "").data, 4i32.to_vec());
    use crate::ports::Ports;
    let pid = sim.ports(0).daemon_pid();
    assert_eq!(ask(&mut sim, Opcode::GetPid, "").status, pid as i32);
    let report = ask(&mut sim, Opcode::DumpMemory, "").data;
    assert!(!report.is_empty() && !report.contains(&0));
}

#[test]
fn shutdown_is_answered_by_the_end_of_the_connection() {
    let mut sim = cluster(2);
    let client = sim.connect(0);
    let control = Control { opcode: CONTROL_SHUTDOWN, ..Control::default() };
    assert_eq!(sim.client_control(client, 0, control), None);
    assert_eq!(sim.exit_code(0), Some(0));
    assert!(sim.daemon(0).is_none());
    assert!(!sim.is_connected(client));
    let alone = |s: &mut Sim| s.is_settled() && s.view(1).is_some_and(|v| !v.is_connected(0));
    assert!(sim.run_until(Duration::from_secs(30), alone));
    sim.give(1, crate::Input::Terminate);
    assert!(sim.run_until(Duration::from_secs(1), |s| s.exit_code(1) == Some(0)));
}
