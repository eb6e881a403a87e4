// SPDX-License-Identifier: GPL-3.0-or-later
//! Suspending recoveries by request (`spec/cluster.md 23`).

use super::timer::Timer;
use super::Cluster;
use crate::env::Env;
use ctdb_wire::types::DisableMessage;
use ctdb_wire::Encode;
use std::time::Duration;

const EAGAIN: i32 = 11;

impl Cluster {
    /// DISABLE_RECOVERIES. Requests do not nest: the last one counts.
    pub(super) fn disable_recoveries(&mut self, env: &mut Env<'_>, request: &DisableMessage) {
        let answer = if request.timeout == 0 {
            log::error!("Reenabling recoveries");
            self.enable_recoveries(env);
            self.me as i32
        } else if self.run.is_some() {
            log::error!("Unable to disable recoveries - in progress");
            -EAGAIN
        } else {
            log::error!("Disabling recoveries for {} seconds", request.timeout);
            self.suspended = true;
            let period = Duration::from_secs(request.timeout.into());
            env.set_timer(Timer::Reenable.token(), period);
            self.me as i32
        };
        if request.srvid != 0 {
            env.message(request.pnn, request.srvid, answer.to_vec());
        }
    }

    /// The period is over.
    pub(super) fn suspension_over(&mut self, env: &mut Env<'_>) {
        log::error!("Reenabling recoveries after timeout");
        self.enable_recoveries(env);
    }

    /// Also ends the pause after the last recoveries: in the protocol both are one switch.
    fn enable_recoveries(&mut self, env: &mut Env<'_>) {
        env.cancel_timer(Timer::Reenable.token());
        self.suspended = false;
        self.history.forget_pause();
    }
}
