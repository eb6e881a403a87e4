// SPDX-License-Identifier: GPL-3.0-or-later
//! Statistics (spec/tool.md 9.3-9.6).

use ctdb_wire::control::call;
use ctdb_wire::types::{LatencyCounter, LockCounters, Statistics};

use crate::args::Args;
use crate::commands::status::{age, ctime};
use crate::exit::Done;
use crate::json;
use crate::number::atoi;
use crate::tool::Tool;

/// The version that statistics begin with: that of the protocol.
const VERSION: u32 = 1;

/// Counters in the order in which they are printed; a group's title comes before its members.
fn counters(s: &Statistics) -> [(Option<&'static str>, &'static str, u32); 38] {
    let (node, client, timeouts, locks) =
        (Some("node"), Some("client"), Some("timeouts"), Some("locks"));
    [
        (None, "num_clients", s.num_clients),
        (None, "frozen", s.frozen),
        (None, "recovering", s.recovering),
        (None, "num_recoveries", s.num_recoveries),
        (None, "client_packets_sent", s.client_packets_sent),
        (None, "client_packets_recv", s.client_packets_recv),
        (None, "node_packets_sent", s.node_packets_sent),
        (None, "node_packets_recv", s.node_packets_recv),
        (None, "keepalive_packets_sent", s.keepalive_packets_sent),
        (None, "keepalive_packets_recv", s.keepalive_packets_recv),
        (node, "req_call", s.node.req_call),
        (node, "reply_call", s.node.reply_call),
        (node, "req_dmaster", s.node.req_dmaster),
        (node, "reply_dmaster", s.node.reply_dmaster),
        (node, "reply_error", s.node.reply_error),
        (node, "req_message", s.node.req_message),
        (node, "req_control", s.node.req_control),
        (node, "reply_control", s.node.reply_control),
        (node, "req_tunnel", s.node.req_tunnel),
        (client, "req_call", s.client.req_call),
        (client, "req_message", s.client.req_message),
        (client, "req_control", s.client.req_control),
        (client, "req_tunnel", s.client.req_tunnel),
        (timeouts, "call", s.timeouts.call),
        (timeouts, "control", s.timeouts.control),
        (timeouts, "traverse", s.timeouts.traverse),
        (locks, "num_calls", s.locks.num_calls),
        (locks, "num_current", s.locks.num_current),
        (locks, "num_pending", s.locks.num_pending),
        (locks, "num_failed", s.locks.num_failed),
        (None, "total_calls", s.total_calls),
        (None, "pending_calls", s.pending_calls),
        (None, "childwrite_calls", s.childwrite_calls),
        (None, "pending_childwrite_calls", s.pending_childwrite_calls),
        (None, "memory_used", s.memory_used),
        (None, "max_hop_count", s.max_hop_count),
        (None, "total_ro_delegations", s.total_ro_delegations),
        (None, "total_ro_revokes", s.total_ro_revokes),
    ]
}

pub(crate) fn average(counter: &LatencyCounter) -> f64 {
    if counter.num == 0 {
        0.0
    } else {
        counter.total / f64::from(counter.num)
    }
}

fn print_plain(name: &str, value: u32) {
    outln!(" {name:<22}    {value:>10}");
}

fn print_grouped(name: &str, value: u32) {
    outln!("     {name:<22}{value:>10}");
}

fn print_buckets(name: &str, buckets: &[u32]) {
    let values: String = buckets.iter().map(|value| format!(" {value}")).collect();
    outln!(" {name}:{values}");
}

fn print_latency(name: &str, counter: &LatencyCounter) {
    let name = format!("{name:<18} MIN/AVG/MAX");
    let LatencyCounter { num, min, max, .. } = counter;
    outln!(" {name:<30}     {min:.6}/{:.6}/{max:.6} sec out of {num}", average(counter));
}

fn print_human(s: &Statistics) {
    let (now, since) = (s.statistics_current_time.sec, s.statistics_start_time.sec);
    outln!("CTDB version {VERSION}");
    outln!("Current time of statistics  :                {}", ctime(now));
    outln!("Statistics collected since  : {} {}", age(now - since), ctime(since));
    let mut group = None;
    for (of, name, value) in counters(s) {
        match of {
            None => print_plain(name, value),
            Some(title) => {
                if group != of {
                    outln!(" {title}");
                }
                print_grouped(name, value);
            }
        }
        group = of;
    }
    print_buckets("hop_count_buckets", &s.hop_count_bucket);
    print_buckets("lock_buckets", &s.locks.buckets);
    print_latency("locks_latency", &s.locks.latency);
    print_latency("reclock_ctdbd", &s.reclock.ctdbd);
    print_latency("reclock_recd", &s.reclock.recd);
    print_latency("call_latency", &s.call_latency);
    print_latency("childwrite_latency", &s.childwrite_latency);
}

fn latencies(s: &Statistics) -> [(&'static str, &LatencyCounter); 5] {
    [
        ("reclock_ctdbd", &s.reclock.ctdbd),
        ("reclock_recd", &s.reclock.recd),
        ("call", &s.call_latency),
        ("lockwait", &s.locks.latency),
        ("childwrite", &s.childwrite_latency),
    ]
}

fn print_machine(s: &Statistics, sep: &str, with_names: bool) {
    let mut names: Vec<String> =
        ["CTDB version", "Current time of statistics", "Statistics collected since"]
            .map(String::from)
            .to_vec();
    let (now, since) = (s.statistics_current_time.sec, s.statistics_start_time.sec);
    let mut values = vec![VERSION.to_string(), now.to_string(), since.to_string()];
    for (group, name, value) in counters(s) {
        names.push(group.map_or(name.into(), |group| format!("{group}.{name}")));
        values.push(value.to_string());
    }
    for (name, counter) in latencies(s) {
        let LatencyCounter { num, min, max, .. } = counter;
        names.extend(["num", "min", "avg", "max"].map(|what| format!("{what}_{name}_latency")));
        values.push(num.to_string());
        values.extend([*min, average(counter), *max].map(|value| format!("{value:.6}")));
    }
    let row = |fields: Vec<String>| -> String {
        fields.iter().flat_map(|field| [field.as_str(), sep]).collect()
    };
    if with_names {
        outln!("{}", row(names));
    }
    outln!("{}", row(values));
}

/// `statistics`
pub(crate) fn statistics(tool: &mut Tool<'_>, args: Args<'_>) -> Done {
    args.exactly(0)?;
    let target = tool.target;
    let statistics = tool.control::<call::Statistics, _>(target, &())?;
    if tool.options.json {
        return json::print(&json::Statistics::new(target, &statistics));
    }
    if tool.options.machine {
        print_machine(&statistics, tool.sep(), true);
    } else {
        print_human(&statistics);
    }
    Ok(())
}

/// `statisticsreset`
pub(crate) fn reset(tool: &mut Tool<'_>, args: Args<'_>) -> Done {
    args.exactly(0)?;
    let target = tool.target;
    tool.control::<call::StatisticsReset, ()>(target, &())
}

/// `stats [COUNT]`: snapshots, newest first.
pub(crate) fn history(tool: &mut Tool<'_>, args: Args<'_>) -> Done {
    args.between(0, 1)?;
    let target = tool.target;
    let list = tool.control::<call::GetStatHistory, _>(target, &())?.stats.0;
    let count = args.get(0).map_or(0, |text| atoi(&text));
    let wanted = usize::try_from(count).ok().filter(|n| *n > 0).unwrap_or(list.len());
    let used = list.iter().filter(|s| s.statistics_start_time.sec != 0).take(wanted);
    if tool.options.json {
        let history = used.map(|s| json::Statistics::new(target, s)).collect();
        return json::print(&json::History { node: target, history });
    }
    for (at, statistics) in used.enumerate() {
        if tool.options.machine {
            print_machine(statistics, tool.sep(), at == 0);
        } else {
            print_human(statistics);
        }
    }
    Ok(())
}

/// `dbstatistics DB`
pub(crate) fn dbstatistics(tool: &mut Tool<'_>, args: Args<'_>) -> Done {
    args.exactly(1)?;
    let db = tool.find_db(&args.text(0))?;
    let target = tool.target;
    let s = tool.control::<call::GetDbStatistics, _>(target, &db.id).inspect_err(|_| {
        errln!("Failed to get statistics for DB {}", db.name);
    })?;
    if tool.options.json {
        return json::print(&json::DbStatistics::new(target, &db, &s));
    }
    outln!("DB Statistics {}", db.name);
    print_plain("db_ro_delegations", s.db_ro_delegations);
    print_plain("db_ro_revokes", s.db_ro_revokes);
    outln!(" locks");
    let LockCounters { num_calls, num_current, num_pending, num_failed, .. } = s.locks;
    print_grouped("num_calls", num_calls);
    print_grouped("num_current", num_current);
    print_grouped("num_pending", num_pending);
    print_grouped("num_failed", num_failed);
    print_buckets("hop_count_buckets", &s.hop_count_bucket);
    print_buckets("lock_buckets", &s.locks.buckets);
    print_latency("locks_latency", &s.locks.latency);
    print_latency("vacuum_latency", &s.vacuum.latency);
    outln!(" Num Hot Keys:     {}", s.num_hot_keys);
    for slot in s.hot_keys.0.iter().take(s.num_hot_keys as usize) {
        let key: String = slot.key.iter().map(|byte| format!("{byte:02x}")).collect();
        outln!("     Count:{} Key:{key}", slot.count);
    }
    Ok(())
}
