// SPDX-License-Identifier: GPL-3.0-or-later
//! Waiting for a condition with a deadline, the only way in which these tests wait.

use std::time::{Duration, Instant};

use anyhow::{bail, Result};

const POLL: Duration = Duration::from_millis(10);

/// Asks `probe` until it gives a value, and returns that. An error of `probe` ends the wait at
/// once; after `limit` the error names `what` was waited for.
pub fn wait_for<T>(
    what: &str,
    limit: Duration,
    mut probe: impl FnMut() -> Result<Option<T>>,
) -> Result<T> {
    let deadline = Instant::now() + limit;
    loop {
        if let Some(value) = probe()? {
            return Ok(value);
        }
        if Instant::now() >= deadline {
            bail!("not within {:.1} s: {what}", limit.as_secs_f64());
        }
        std::thread::sleep(POLL);
    }
}

/// [`wait_for`] with a condition that holds or does not.
pub fn wait_until(what: &str, limit: Duration, mut holds: impl FnMut() -> bool) -> Result<()> {
    wait_for(what, limit, || Ok(holds().then_some(())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_what_did_not_happen() {
        let error = wait_until("pigs fly", Duration::from_millis(20), || false).unwrap_err();
        assert!(error.to_string().contains("pigs fly"), "{error}");
    }

    #[test]
    fn gives_the_value_once_it_is_there() {
        let mut calls = 0;
        let value = wait_for("three calls", Duration::from_secs(5), || {
            calls += 1;
            Ok((calls == 3).then_some(calls))
        });
        assert_eq!(value.unwrap(), 3);
    }
}
