//! The wall clock and the calendar: seconds since 1970, and days as `YYYY-MM-DD` in UTC.

use std::time::{SystemTime, UNIX_EPOCH};

/// Seconds of a day.
pub const DAY: i64 = 86_400;

/// Returns the seconds since 1970.
pub fn now() -> i64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |d| d.as_secs().cast_signed())
}

/// Returns today as `YYYY-MM-DD`, in UTC.
pub fn today() -> String {
    date(now())
}

/// Returns the day of a second since 1970 as `YYYY-MM-DD`, in UTC.
pub fn date(seconds: i64) -> String {
    // Days to a date of the proleptic Gregorian calendar, counted from 1 March of year 0.
    let days = seconds.div_euclid(DAY) + 719_468;
    let era = days.div_euclid(146_097);
    let day_of_era = days.rem_euclid(146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = (month_from_march + 2) % 12 + 1;
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02}")
}

#[cfg(test)]
mod tests {
    use super::date;

    #[test]
    fn dates_are_those_of_the_calendar() {
        assert_eq!(date(0), "1970-01-01");
        assert_eq!(date(951_782_400), "2000-02-29");
        assert_eq!(date(315_532_800), "1980-01-01");
        assert_eq!(date(1_795_176_000), "2026-11-20");
        assert_eq!(date(-1), "1969-12-31");
    }
}
