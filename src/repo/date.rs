//! Days, as build folders are named by them.

use std::fmt;

/// A day of the calendar, from the year 1 to the year 9999.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Date {
    /// Days since 1 January 1970.
    days: i32,
}

/// A text is not a day.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a day: write YYYY-MM-DD")]
pub struct DateError(String);

impl Date {
    /// Reads a name `Y-M-D` of four digits and twice one or two; gives nothing for any other, and for days that
    /// do not exist.
    pub fn of_folder(name: &str) -> Option<Date> {
        let mut parts = name.split('-');
        let (year, month, day) = (parts.next()?, parts.next()?, parts.next()?);
        let digits = |text: &str, least: usize, most: usize| {
            let fits =
                (least..=most).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit());
            fits.then(|| text.parse::<i32>().ok())?
        };
        if parts.next().is_some() {
            return None;
        }
        let (year, month, day) = (
            digits(year, 4, 4)?,
            digits(month, 1, 2)?,
            digits(day, 1, 2)?,
        );
        let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
        let length = match month {
            4 | 6 | 9 | 11 => 30,
            2 if leap => 29,
            2 => 28,
            1..=12 => 31,
            _ => return None,
        };
        if year < 1 || !(1..=length).contains(&day) {
            return None;
        }
        // Years that begin in March have the leap day at their end.
        let (year, month) = if month > 2 {
            (year, month - 3)
        } else {
            (year - 1, month + 9)
        };
        let day_of_year = (153 * month + 2) / 5 + day - 1;
        let days = year * 365 + year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400);
        Some(Date {
            days: days + day_of_year - 719_468,
        })
    }

    /// Reads a day that a person wrote.
    pub fn parse(text: &str) -> Result<Date, DateError> {
        Date::of_folder(text).ok_or_else(|| DateError(text.to_owned()))
    }

    /// The day of a second since 1970, in UTC; the nearest day that there is for times outside the calendar.
    pub fn of_seconds(seconds: i64) -> Date {
        let days = seconds.div_euclid(86_400).clamp(-719_162, 2_932_896);
        Date {
            days: i32::try_from(days).unwrap_or(0),
        }
    }

    /// Whole days from this day to a later one; negative if that one is earlier.
    pub fn age(self, today: Date) -> i64 {
        i64::from(today.days) - i64::from(self.days)
    }
}

impl fmt::Display for Date {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Days from 1 March of the year 0.
        let days = self.days + 719_468;
        let era = days.div_euclid(146_097);
        let of_era = days.rem_euclid(146_097);
        let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
        let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let month = (5 * of_year + 2) / 153;
        let day = of_year - (153 * month + 2) / 5 + 1;
        let (month, next) = if month < 10 {
            (month + 3, 0)
        } else {
            (month - 9, 1)
        };
        let year = year_of_era + era * 400 + next;
        f.pad(&format!("{year:04}-{month:02}-{day:02}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn only_days_that_exist_are_days() {
        for name in [
            "2015-02-30",
            "2015-13-01",
            "2015-00-01",
            "2015-01-00",
            "20150219",
            "latest",
            "15-02-19",
            "2015-02-19-3fa9c2d",
            "2015-02-19.old",
            ".2015-02-19",
            "2015-002-19",
            "2015-02",
            "2015-02-",
            "+015-02-01",
            "0000-01-01",
            "2015-02-29",
            "1900-02-29",
            "２０１５-02-01",
            " 2015-02-01",
        ] {
            assert_eq!(Date::of_folder(name), None, "{name}");
        }
        for (name, shown) in [
            ("2015-2-9", "2015-02-09"),
            ("2012-02-29", "2012-02-29"),
            ("2000-02-29", "2000-02-29"),
            ("0001-01-01", "0001-01-01"),
            ("9999-12-31", "9999-12-31"),
        ] {
            assert_eq!(Date::of_folder(name).unwrap().to_string(), shown);
        }
    }

    #[test]
    fn ages_are_whole_days() {
        let date = |text| Date::of_folder(text).unwrap();
        assert_eq!(date("2012-02-29").age(date("2015-01-02")), 1038);
        assert_eq!(date("2014-12-31").age(date("2015-01-02")), 2);
        assert_eq!(date("2016-01-01").age(date("2015-01-01")), -365);
        assert_eq!(Date::of_seconds(0), date("1970-01-01"));
        assert_eq!(Date::of_seconds(86_399), date("1970-01-01"));
        assert_eq!(Date::of_seconds(i64::MAX), date("9999-12-31"));
        assert_eq!(Date::of_seconds(i64::MIN), date("0001-01-01"));
    }

    proptest! {
        #[test]
        fn a_day_reads_back_as_itself(seconds in -62_135_596_800i64..253_402_300_800) {
            let date = Date::of_seconds(seconds);
            prop_assert_eq!(Date::of_folder(&date.to_string()), Some(date));
            let next = Date::of_seconds(seconds + 86_400);
            prop_assert_eq!(date.age(next), 1);
        }

        #[test]
        fn any_name_is_read_or_refused(name in "\\PC*") {
            let _ = Date::of_folder(&name);
        }
    }
}
