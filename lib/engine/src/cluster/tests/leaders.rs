// SPDX-License-Identifier: GPL-3.0-or-later
//! Leadership: announcements, the cluster lock, elections, resignation.

use super::*;
use crate::cluster::lock::Lock;
use crate::packet::endpoint::UNKNOWN_PNN;
use ctdb_wire::srvid;

#[test]
fn the_leader_dies_and_another_recovers_the_rest() {
    for options in [with_lock(3), without_lock(3)] {
        for seed in 0..5 {
            let mut rig = Rig::up(Options { seed, ..options.clone() });
            let old = rig.leads();
            let others: Vec<Pnn> = (0..3).filter(|p| *p != old).collect();
            rig.kill(old);
            let took = rig.expect("recovered", secs(5), |r| r.agreed(&others));
            // The goal is 0.5 s; in the simulator each lock helper takes up to 0.2 s.
            assert!(took < ms(800), "{took:?}");
            rig.start(old).expect("starts");
            rig.expect("joined", secs(5), Rig::all_ok);
        }
    }
}

/// The helper of a dead daemon may hold the lock a while longer.
#[test]
fn a_lingering_lock_is_raced_for_again() {
    let mut rig = Rig::up(Options { lock_linger: (secs(9), secs(9)), ..with_lock(3) });
    let old = rig.leads();
    let others: Vec<Pnn> = (0..3).filter(|p| *p != old).collect();
    rig.kill(old);
    rig.always("without leader", secs(8), |r| r.leader().is_none());
    assert!(others.iter().all(|&p| rig.seen(p).recovery_mode == RecoveryMode::Active));
    let took = rig.expect("recovered", secs(4), |r| r.agreed(&others));
    assert!(took < secs(3), "{took:?}");
}

#[test]
fn a_lost_lock_ends_the_leadership_and_its_recovery() {
    let mut rig = Rig::up(with_lock(3));
    let generation = rig.generation();
    let leader = rig.leads();
    rig.lose_lock();
    rig.expect("noticed", ms(50), |r| r.seen(leader).leader.is_none());
    rig.expect("recovered under a new leader", secs(3), Rig::all_ok);
    assert_ne!(rig.generation(), generation);
    // In the middle of a recovery.
    let leader = rig.leads();
    rig.ok(leader, Opcode::SetRecmode, &1_u32);
    rig.expect("in recovery", secs(1), |r| r.cluster(leader).is_some_and(|c| c.run.is_some()));
    rig.lose_lock();
    rig.expect("killed", ms(50), |r| r.cluster(leader).is_some_and(|c| c.run.is_none()));
    rig.expect("recovered again", secs(3), Rig::all_ok);
}

/// S1, S2: whatever happens, at most one node holds the lock and only it leads.
#[test]
fn nobody_leads_without_the_lock() {
    for seed in 0..8 {
        let mut rig = Rig::new(Options { seed, lock_linger: (ms(1), secs(2)), ..with_lock(4) });
        rig.start_all();
        let sound = |r: &Rig| {
            let leading = |p: &Pnn| r.seen(*p).leader == Some(*p);
            r.running().iter().filter(|p| leading(p)).all(|p| r.lock.holder() == Some(*p))
        };
        for _ in 0..12 {
            let victim = rig.rng().below(4) as Pnn;
            if rig.daemon(victim).is_some() {
                rig.kill(victim);
            } else {
                rig.start(victim).expect("starts");
            }
            let pause = ms(rig.rng().below(900));
            rig.always("sound", pause, sound);
        }
        rig.start_all();
        rig.expect("up", secs(20), Rig::all_ok);
    }
}

#[test]
fn a_leader_that_may_not_lead_any_more_resigns() {
    for options in [with_lock(3), without_lock(3)] {
        let mut rig = Rig::up(options);
        let old = rig.leads();
        rig.ok(old, Opcode::SetRecmasterRole, &0_u32);
        let took = rig.expect("another", secs(4), |r| r.all_ok() && r.leader() != Some(old));
        assert!(took < ms(1200), "{took:?}");
        // Nobody else may: leaderless, without storms of elections.
        let new = rig.leads();
        rig.ok(
            (0..3).find(|p| *p != old && *p != new).expect("a third"),
            Opcode::SetRecmasterRole,
            &0_u32,
        );
        rig.ok(new, Opcode::SetRecmasterRole, &0_u32);
        rig.always("leaderless", secs(10), |r| r.leader().is_none());
        rig.ok(new, Opcode::SetRecmasterRole, &1_u32);
        rig.expect("led again", secs(11), |r| r.all_ok() && r.leader() == Some(new));
    }
}

#[test]
fn the_oldest_candidate_wins() {
    let mut rig = Rig::new(without_lock(3));
    rig.start(2).expect("starts");
    rig.run_for(ms(100));
    rig.start(0).expect("starts");
    rig.run_for(ms(100));
    rig.start(1).expect("starts");
    rig.expect("up", secs(10), Rig::all_ok);
    assert_eq!(rig.leads(), 2);
    rig.kill(2);
    rig.expect("recovered", secs(2), |r| r.agreed(&[0, 1]));
    assert_eq!(rig.leads(), 0);
}

/// The announcement of a leader that lives in the past.
#[test]
fn the_holder_of_the_lock_believes_nobody_else() {
    let mut rig = Rig::up(with_lock(3));
    let leader = rig.leads();
    let other = rig.follower();
    rig.message(other, leader, srvid::LEADER, &other);
    rig.message(other, leader, srvid::LEADER, &UNKNOWN_PNN);
    rig.always("unmoved", secs(3), Rig::all_ok);
    assert_eq!(rig.leads(), leader);
    let third = (0..3).find(|p| *p != leader && *p != other).expect("a third");
    rig.message(other, third, srvid::LEADER, &other);
    rig.expect("misled", ms(50), |r| r.seen(third).leader == Some(other));
    rig.expect("corrected", secs(2), Rig::all_ok);
    // One node's word about another is nothing.
    rig.message(other, third, srvid::LEADER, &third);
    rig.always("unmoved", ms(100), |r| r.seen(third).leader == Some(leader));
    rig.message(other, third, srvid::LEADER, &7_u64);
    rig.always("a malformed one is ignored", ms(100), Rig::all_ok);
}

#[test]
fn two_leaders_without_a_lock_settle_it() {
    let mut rig = Rig::up(without_lock(3));
    let leader = rig.leads();
    let other = rig.follower();
    rig.message(other, leader, srvid::LEADER, &other);
    rig.run_for(secs(1));
    rig.expect("settled", secs(5), Rig::all_ok);
    assert_eq!(rig.leads(), leader);
}

#[test]
fn silence_of_the_leader_ends_its_term() {
    let mut rig = Rig::up(with_lock(3));
    let old = rig.leads();
    rig.stop_process(old);
    let others: Vec<Pnn> = (0..3).filter(|p| *p != old).collect();
    let lost = |r: &Rig| others.iter().all(|&p| r.seen(p).leader.is_none());
    let took = rig.expect("lost", secs(6), lost);
    assert!(took > secs(3), "{took:?}");
    // It holds the lock as long as it is only frozen.
    rig.always("leaderless", secs(20), lost);
    rig.continue_process(old);
    rig.expect("back", secs(20), Rig::all_ok);
    assert_eq!(rig.leads(), old);
}

#[test]
fn a_lock_that_cannot_be_had_is_tried_again() {
    let mut rig = Rig::new(with_lock(3));
    rig.lock.hangs = true;
    rig.start_all();
    rig.always("leaderless", secs(10), |r| r.leader().is_none());
    rig.lock.hangs = false;
    rig.expect("up", secs(3), Rig::all_ok);
}

#[test]
fn attempts_are_given_up_when_a_leader_is_heard() {
    let mut rig = Rig::up(with_lock(3));
    rig.run_for(secs(2));
    for pnn in 0..3 {
        let expected = if pnn == rig.leads() { Lock::Held } else { Lock::Free };
        assert_eq!(rig.cluster(pnn).map(|c| c.lock), Some(expected));
    }
}

/// The storage of the lock hangs when a recovery ends: that nobody can tell is no reason to stay in recovery.
#[test]
fn a_lock_test_that_times_out_counts_as_passed() {
    let mut rig = Rig::up(with_lock(3));
    rig.lock.hangs = true;
    let generation = rig.generation();
    rig.ok(0, Opcode::SetRecmode, &1_u32);
    rig.expect("recovered", secs(2), |r| r.all_ok() && r.generation() != generation);
}

/// Without a lock a leader that was frozen takes its role back: it is the oldest.
#[test]
fn a_leader_that_wakes_up_competes() {
    let mut options = without_lock(3);
    options.tunables.keepalive_interval = 1;
    options.tunables.keepalive_limit = 3;
    let mut rig = Rig::up(options);
    let old = rig.leads();
    let others: Vec<Pnn> = (0..3).filter(|p| *p != old).collect();
    rig.stop_process(old);
    rig.expect("replaced", secs(8), |r| r.agreed(&others));
    rig.run_for(secs(3));
    rig.continue_process(old);
    rig.expect("one cluster", secs(12), Rig::all_ok);
    rig.always("stable", secs(5), Rig::all_ok);
}
