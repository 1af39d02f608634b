//! Instant to text: RFC 3339 in UTC with exactly six fraction digits, so that text order is time order.
//!
//! An instant outside the years 0000 to 9999 has no such text. No time that was read is there, nor in the year 0000, but
//! arithmetic may lead there (the start of a window around the first instant, or the end of one around the last): windows
//! that begin in the year 0000 are told apart, and an instant further out is written as the nearest instant that has a
//! text, which keeps the order.

use super::{DAY_US, MARCH_0000_TO_EPOCH, MAX_US, MINUTE_US, SECOND_US};

/// 0000-01-01T00:00:00.000000Z, the first instant that has a text form.
const FIRST_US: i64 = -62_167_219_200_000_000;

/// Bytes of `YYYY-MM-DDThh:mm:ss.ffffffZ`.
pub const TEXT_LEN: usize = 27;

/// Bytes of `YYYY-MM-DD`.
pub const DATE_LEN: usize = 10;

/// `us` as `YYYY-MM-DDThh:mm:ss.ffffffZ`; outside the years 0000 to 9999, the nearest instant within.
///
/// # Examples
/// ```
/// use tidegate::time::format;
/// assert_eq!(&format(1_706_443_200_000_001), b"2024-01-28T12:00:00.000001Z");
/// assert_eq!(&format(i64::MAX), b"9999-12-31T23:59:59.999999Z");
/// ```
pub fn format(us: i64) -> [u8; TEXT_LEN] {
    TimeFormatter::default().format(us)
}

/// The date of `us` as `YYYY-MM-DD`; outside the years 0000 to 9999, the nearest within.
///
/// # Examples
/// ```
/// assert_eq!(&tidegate::time::format_date(-1), b"1969-12-31");
/// ```
pub fn format_date(us: i64) -> [u8; DATE_LEN] {
    date_text(written_us(us).div_euclid(DAY_US))
}

/// [`format()`] with a memory of the date written last, for output that is mostly in order.
#[derive(Clone, Debug)]
pub struct TimeFormatter {
    /// The first instant of the remembered date.
    day_us: i64,
    /// A whole text of that date; each call overwrites the time of day.
    text: [u8; TEXT_LEN],
}

impl Default for TimeFormatter {
    fn default() -> Self {
        TimeFormatter { day_us: 0, text: *b"1970-01-01T00:00:00.000000Z" }
    }
}

/// The instant that [`format()`] writes for `us`.
#[inline]
pub(crate) fn written_us(us: i64) -> i64 {
    us.clamp(FIRST_US, MAX_US)
}

impl TimeFormatter {
    /// `us` as [`format()`] writes it.
    #[inline]
    pub fn format(&mut self, us: i64) -> [u8; TEXT_LEN] {
        let us = written_us(us);
        let mut rest_us = us - self.day_us;
        if !(0..DAY_US).contains(&rest_us) {
            self.turn_to(us.div_euclid(DAY_US));
            rest_us = us - self.day_us;
        }
        let minutes = (rest_us / MINUTE_US) as u32;
        let in_minute_us = (rest_us % MINUTE_US) as u32;
        let fraction_us = in_minute_us % SECOND_US as u32;
        let mut text = self.text;
        put_two(&mut text, 11, minutes / 60);
        put_two(&mut text, 14, minutes % 60);
        put_two(&mut text, 17, in_minute_us / SECOND_US as u32);
        put_two(&mut text, 20, fraction_us / 10_000);
        put_two(&mut text, 22, fraction_us / 100 % 100);
        put_two(&mut text, 24, fraction_us % 100);
        text
    }

    /// Appends `us` to `out` as [`format()`] writes it.
    #[inline]
    pub fn write(&mut self, us: i64, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.format(us));
    }

    /// The date of `us` as [`format_date`] writes it.
    #[inline]
    pub fn date(&mut self, us: i64) -> [u8; DATE_LEN] {
        let mut date = [0; DATE_LEN];
        date.copy_from_slice(&self.format(us)[..DATE_LEN]);
        date
    }

    #[cold]
    fn turn_to(&mut self, day: i64) {
        self.day_us = day * DAY_US;
        self.text[..DATE_LEN].copy_from_slice(&date_text(day));
    }
}

/// Writes `value`, below 100, as two digits at `at`.
#[inline(always)]
fn put_two(text: &mut [u8; TEXT_LEN], at: usize, value: u32) {
    text[at] = b'0' + (value / 10) as u8;
    text[at + 1] = b'0' + (value % 10) as u8;
}

/// The date `day` days after the epoch, of a year from 0 to 9999.
///
/// The way back of the count in `parse`: 400-year eras, years from March, months by a linear rule
/// (after H. Hinnant, *chrono-Compatible Low-Level Date Algorithms*).
fn date_text(day: i64) -> [u8; DATE_LEN] {
    const ERA: i64 = 146_097;
    let day = day + MARCH_0000_TO_EPOCH;
    let (era, in_era) = (day.div_euclid(ERA), day.rem_euclid(ERA));
    let year_of_era = (in_era - in_era / 1_460 + in_era / 36_524 - in_era / 146_096) / 365;
    let in_year = in_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let march_month = (5 * in_year + 2) / 153;
    let day_of_month = in_year - (153 * march_month + 2) / 5 + 1;
    let (month, next_year) = if march_month < 10 { (march_month + 3, 0) } else { (march_month - 9, 1) };
    let year = era * 400 + year_of_era + next_year;

    let mut text = [0; TEXT_LEN];
    put_two(&mut text, 0, (year / 100) as u32);
    put_two(&mut text, 2, (year % 100) as u32);
    text[4] = b'-';
    put_two(&mut text, 5, month as u32);
    text[7] = b'-';
    put_two(&mut text, 8, day_of_month as u32);
    let mut date = [0; DATE_LEN];
    date.copy_from_slice(&text[..DATE_LEN]);
    date
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::time::MIN_US;

    #[test]
    fn edges_are_written() {
        assert_eq!(&format(0), b"1970-01-01T00:00:00.000000Z");
        assert_eq!(&format(-1), b"1969-12-31T23:59:59.999999Z");
        assert_eq!(&format(MIN_US), b"0001-01-01T00:00:00.000000Z");
        assert_eq!(&format(MIN_US - 1), b"0000-12-31T23:59:59.999999Z");
        assert_eq!(&format(FIRST_US), b"0000-01-01T00:00:00.000000Z");
        assert_eq!(&format(MAX_US), b"9999-12-31T23:59:59.999999Z");
        assert_eq!(&format(951_782_400_000_000), b"2000-02-29T00:00:00.000000Z");
    }

    #[test]
    fn an_instant_without_text_is_written_as_the_nearest_that_has_one() {
        for us in [i64::MIN, FIRST_US - 1] {
            assert_eq!(format(us), format(FIRST_US));
            assert_eq!(&format_date(us), b"0000-01-01");
        }
        for us in [i64::MAX, MAX_US + 1] {
            assert_eq!(format(us), format(MAX_US));
            assert_eq!(&format_date(us), b"9999-12-31");
        }
    }

    proptest! {
        #[test]
        fn a_used_formatter_writes_as_a_fresh_one(instants in prop::collection::vec(any::<i64>(), 1..20), near: bool) {
            let mut formatter = TimeFormatter::default();
            for us in instants {
                let us = if near { us % (3 * DAY_US) } else { us % (MAX_US + DAY_US) };
                let mut out = Vec::new();
                formatter.write(us, &mut out);
                prop_assert_eq!(&out[..], &format(us));
                prop_assert_eq!(formatter.date(us), format_date(us));
            }
        }

        #[test]
        fn text_order_is_time_order(a: i64, b: i64) {
            let (a, b) = (a % MAX_US, b % MAX_US);
            let clamped = |us: i64| us.clamp(FIRST_US, MAX_US);
            prop_assert_eq!(format(a).cmp(&format(b)), clamped(a).cmp(&clamped(b)));
        }
    }
}
