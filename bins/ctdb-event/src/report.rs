// SPDX-License-Identifier: GPL-3.0-or-later
//! What is printed about runs and statuses (spec/events-config.md 16.1, 16.2), and the exit codes.

use chrono::TimeZone;
use ctdb_command_line::{strerror, Ending};
use ctdb_wire::event::{EventStatus, ScriptResult};
use ctdb_wire::types::Timeval;
use std::ffi::OsStr;

/// Results of scripts that are no exit codes.
const TIMED_OUT: i32 = -libc::ETIMEDOUT;
const DISABLED: i32 = -libc::ENOEXEC;
const NOT_REACHED: i32 = -libc::ENOMSG;

/// A run that ended with `result`.
pub fn run(result: i32, component: &OsStr, event: &OsStr) -> Ending {
    let (component, event) = (component.to_string_lossy(), event.to_string_lossy());
    let text = match result {
        0 => String::new(),
        libc::ENOENT => format!("Event dir for {component} does not exist\n"),
        libc::ETIMEDOUT => format!("Event {event} in {component} timed out\n"),
        libc::ECANCELED => format!("Event {event} in {component} got cancelled\n"),
        libc::ENOEXEC => format!("Event {event} in {component} failed\n"),
        _ => format!("Failed to run event {event} in {component}, result={result}\n"),
    };
    Ending::output(text, result)
}

/// There is no status, because of `result`.
pub fn no_status(result: i32, component: &OsStr, event: &OsStr) -> Ending {
    let (component, event) = (component.to_string_lossy(), event.to_string_lossy());
    let text = match result {
        libc::ENOENT => format!("Event dir for {component} does not exist\n"),
        libc::EINVAL => format!("Event {event} has never run in {component}\n"),
        _ => format!("Unknown error ({result}) for event {event} in {component}\n"),
    };
    Ending::output(text, result)
}

/// A status.
pub fn status(status: &EventStatus) -> Ending {
    let mut output = Vec::new();
    let mut last = Timeval::default();
    for script in status.scripts.iter().filter(|s| s.result != NOT_REACHED) {
        // Entries of an older run stand behind those of the last one.
        if (script.begin.sec, script.begin.usec) < (last.sec, last.usec) {
            break;
        }
        last = script.begin;
        line(&mut output, script);
    }
    Ending::output(output, status.summary.saturating_abs())
}

fn line(output: &mut Vec<u8>, script: &ScriptResult) {
    let (state, rest) = match script.result {
        0 => ("OK", times(script)),
        TIMED_OUT => ("TIMEDOUT", format!(" {}", ctime(script.begin))),
        DISABLED => ("DISABLED", String::new()),
        code if code < 0 => ("CANNOT RUN", format!(" ({})", strerror(code.saturating_neg()))),
        _ => ("ERROR", times(script)),
    };
    let name = String::from_utf8_lossy(script.name.as_bytes());
    output.extend(format!("{name:<20} {state:<10}{rest}\n").into_bytes());
    if script.result != 0 && script.result != DISABLED {
        output.extend(b"  OUTPUT: ");
        output.extend(script.output.as_bytes());
        output.push(b'\n');
    }
}

fn times(script: &ScriptResult) -> String {
    let seconds = script.end.sec.wrapping_sub(script.begin.sec) as f64;
    let rest = script.end.usec.wrapping_sub(script.begin.usec) as f64 / 1e6;
    format!(" {:.3} {}", seconds + rest, ctime(script.begin))
}

/// As ctime(3), in local time.
fn ctime(time: Timeval) -> String {
    match chrono::Local.timestamp_opt(time.sec, 0).earliest() {
        Some(time) => time.format("%a %b %e %H:%M:%S %Y").to_string(),
        None => format!("{} seconds after the epoch", time.sec),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ctdb_wire::StringN;

    fn script(name: &str, result: i32, begin: i64, output: &str) -> ScriptResult {
        ScriptResult {
            name: StringN::new(name),
            begin: Timeval { sec: begin, usec: 900_000 },
            end: Timeval { sec: begin + 1, usec: 0 },
            result,
            output: if output.is_empty() { StringN(None) } else { StringN::new(output) },
        }
    }

    fn shown(summary: i32, scripts: Vec<ScriptResult>) -> (String, i32) {
        let ending = status(&EventStatus { summary, scripts });
        (String::from_utf8(ending.output).unwrap(), ending.code)
    }

    #[test]
    fn every_state() {
        let at = ctime(Timeval { sec: 1000, usec: 0 });
        let (text, code) = shown(
            -110,
            vec![
                script("01.ok", 0, 1000, "not shown"),
                script("02.off", -8, 1000, ""),
                script("03.bad", 7, 1000, "a\nb\n"),
                script("04.gone", -2, 1000, ""),
                script("05.slow", -110, 1000, "x"),
                script("06.not_run", -42, 1000, ""),
                script("07.old", 0, 999, ""),
            ],
        );
        let expected = format!(
            "01.ok                OK         0.100 {at}\n\
             02.off               DISABLED  \n\
             03.bad               ERROR      0.100 {at}\n  OUTPUT: a\nb\n\n\
             04.gone              CANNOT RUN (No such file or directory)\n  OUTPUT: \n\
             05.slow              TIMEDOUT   {at}\n  OUTPUT: x\n"
        );
        assert_eq!((text, code), (expected, 110));
    }

    #[test]
    fn numbers_that_make_no_sense() {
        let mut odd = script("01.x", i32::MIN, i64::MIN, "");
        odd.end = Timeval { sec: i64::MAX, usec: i64::MAX };
        assert_eq!(shown(i32::MIN, vec![odd.clone()]).1, i32::MAX);
        odd.result = 1;
        odd.begin = Timeval { sec: i64::MAX, usec: i64::MIN };
        assert!(shown(0, vec![odd]).0.contains("seconds after the epoch"));
    }
}
