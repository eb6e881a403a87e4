// SPDX-License-Identifier: GPL-3.0-or-later
//! Local time with its offset.

/// A moment in local time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LocalTime {
    /// Year of the common era.
    pub year: i64,
    /// 1 to 12.
    pub month: i64,
    /// 1 to 31.
    pub day: i64,
    /// 0 to 23.
    pub hour: i64,
    /// 0 to 59.
    pub minute: i64,
    /// 0 to 60.
    pub second: i64,
    /// Seconds east of Greenwich.
    pub offset_seconds: i64,
}

/// Local time of a number of seconds since 1970.
pub fn local_time(unix_seconds: i64) -> LocalTime {
    // SAFETY: an all-zero tm is a valid value (its pointer may be null).
    let mut tm: libc::tm = unsafe { std::mem::zeroed() };
    let time: libc::time_t = unix_seconds;
    // SAFETY: both pointers are to live values of the right type. On failure tm stays zero, a valid value.
    unsafe { libc::localtime_r(&time, &mut tm) };
    LocalTime {
        year: i64::from(tm.tm_year) + 1900,
        month: i64::from(tm.tm_mon) + 1,
        day: tm.tm_mday.into(),
        hour: tm.tm_hour.into(),
        minute: tm.tm_min.into(),
        second: tm.tm_sec.into(),
        offset_seconds: tm.tm_gmtoff,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_offset_accounts_for_the_difference_to_utc() {
        // 2024-02-29T12:34:56Z
        let unix = 1_709_210_096;
        let t = local_time(unix);
        let days_in_february = 29;
        let since_march = (t.month - 3) * 31 + t.day - 1;
        assert!(t.year == 2024 && (t.month == 2 || since_march == 0));
        let day = if t.month == 2 { t.day } else { days_in_february + t.day };
        let seconds = ((day * 24 + t.hour) * 60 + t.minute) * 60 + t.second;
        assert_eq!(seconds - t.offset_seconds, ((29 * 24 + 12) * 60 + 34) * 60 + 56);
    }
}
