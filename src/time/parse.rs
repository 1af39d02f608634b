//! Text to instant.
//!
//! Sixteen bytes, `YYYY-MM-DDThh:mm`, carry all the calendar; a stream repeats them for a minute of
//! event time. [`TimeParser`] therefore remembers the instants of recent prefixes and compares the
//! prefix as one word; what follows, mostly `:ss.mmmZ`, is another word. [`parse`] is the plain form
//! that the cache is filled from.

use super::{DAY_US, MARCH_0000_TO_EPOCH, MAX_US, MIN_US, MINUTE_US, SECOND_US};

/// Bytes of `YYYY-MM-DDThh:mm`.
const PREFIX: usize = 16;

/// Slots of the cache: a power of two above 60, so that the minutes of an hour never collide.
const SLOTS: usize = 64;

/// Reads a time; `None` when `text` is not of the form that the [module](super) draws.
///
/// # Examples
/// ```
/// use tidegate::time::parse;
/// assert_eq!(parse(b"1970-01-01T00:00:01.5Z"), Some(1_500_000));
/// assert_eq!(parse(b"1970-01-01 01:00:00+01:00"), Some(0));
/// assert_eq!(parse(b"2024-02-30T00:00:00Z"), None);
/// assert_eq!(parse(b"0001-01-01T00:00:00+00:01"), None); // before the year 0001
/// ```
pub fn parse(text: &[u8]) -> Option<i64> {
    let (prefix, tail) = text.split_first_chunk::<PREFIX>()?;
    join(minute_us(prefix)?, tail)
}

/// The instant `ms` milliseconds after the epoch; `None` outside the years 0001 to 9999.
#[inline]
pub fn from_epoch_ms(ms: i64) -> Option<i64> {
    let us = ms.checked_mul(1_000)?;
    (MIN_US..=MAX_US).contains(&us).then_some(us)
}

/// [`parse`] with a memory of the minutes read last. The answers are the same.
///
/// Costs about 2.5 KiB; one a worker.
#[derive(Clone)]
pub struct TimeParser {
    slots: Box<[Slot; SLOTS]>,
}

/// A prefix as it was written, and the instant it stands for, offset not applied.
#[derive(Clone, Copy)]
struct Slot {
    prefix: [u8; PREFIX],
    minute_us: i64,
}

impl Default for TimeParser {
    fn default() -> Self {
        // A true entry, so that no text can match a slot that was never filled.
        TimeParser { slots: Box::new([Slot { prefix: *b"1970-01-01T00:00", minute_us: 0 }; SLOTS]) }
    }
}

impl std::fmt::Debug for TimeParser {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TimeParser").finish_non_exhaustive()
    }
}

impl TimeParser {
    /// Reads a time exactly as [`parse`] does.
    #[inline(always)]
    pub fn parse(&mut self, text: &[u8]) -> Option<i64> {
        let (prefix, tail) = text.split_first_chunk::<PREFIX>()?;
        let slot = &mut self.slots[(usize::from(prefix[14]) * 10 + usize::from(prefix[15])) % SLOTS];
        if u128::from_ne_bytes(slot.prefix) != u128::from_ne_bytes(*prefix) {
            slot.fill(prefix)?;
        }
        join(slot.minute_us, tail)
    }
}

impl Slot {
    /// Reads `prefix` into this slot; leaves it as it was when it is no prefix of a time.
    #[cold]
    fn fill(&mut self, prefix: &[u8; PREFIX]) -> Option<()> {
        let minute_us = minute_us(prefix)?;
        *self = Slot { prefix: *prefix, minute_us };
        Some(())
    }
}

/// The instant of `YYYY-MM-DDThh:mm`, in UTC.
fn minute_us(prefix: &[u8; PREFIX]) -> Option<i64> {
    let [y0, y1, y2, y3, b'-', m0, m1, b'-', d0, d1, b'T' | b't' | b' ', h0, h1, b':', n0, n1] = *prefix
    else {
        return None;
    };
    let year = two(y0, y1)? * 100 + two(y2, y3)?;
    let (month, day, hour, minute) = (two(m0, m1)?, two(d0, d1)?, two(h0, h1)?, two(n0, n1)?);
    if year == 0 || day == 0 || day > days_in(year, month)? || hour > 23 || minute > 59 {
        return None;
    }
    Some(day_number(year, month, day) * DAY_US + (hour * 60 + minute) * MINUTE_US)
}

/// How many days `month` has; `None` when there is no such month.
fn days_in(year: i64, month: i64) -> Option<i64> {
    match month {
        1 | 3 | 5 | 7 | 8 | 10 | 12 => Some(31),
        4 | 6 | 9 | 11 => Some(30),
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => Some(29),
        2 => Some(28),
        _ => None,
    }
}

/// Days from the epoch to a date of the proleptic Gregorian calendar, year 1 or later.
///
/// Years begin in March here, so that the leap day is the last one and months have a linear rule.
fn day_number(year: i64, month: i64, day: i64) -> i64 {
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let before_year = 365 * year + year / 4 - year / 100 + year / 400;
    before_year + (153 * month + 2) / 5 + day - 1 - MARCH_0000_TO_EPOCH
}

/// The value of two digits.
#[inline(always)]
fn two(tens: u8, units: u8) -> Option<i64> {
    let (tens, units) = (tens.wrapping_sub(b'0'), units.wrapping_sub(b'0'));
    (tens <= 9 && units <= 9).then_some(i64::from(tens) * 10 + i64::from(units))
}

/// A minute and what is written after it: seconds, fraction, zone.
#[inline(always)]
fn join(minute_us: i64, tail: &[u8]) -> Option<i64> {
    match <[u8; 8]>::try_from(tail).ok().and_then(millis_tail) {
        Some(us) => Some(minute_us + us),
        None => join_general(minute_us, tail),
    }
}

/// The microseconds of `:ss.mmmZ`, by far the commonest tail; `None` when it is another.
#[inline(always)]
fn millis_tail(tail: [u8; 8]) -> Option<i64> {
    // Lanes, low byte first: ':' s s '.' m m m 'Z'. A fixed lane must be equal, a digit must be 0 to 9.
    const PATTERN: u64 = u64::from_le_bytes(*b":00.000Z");
    const LANES_6: u64 = 0x0006_0606_0006_0600;
    const NOT_DIGIT: u64 = 0xfff0_f0f0_fff0_f0ff;
    let digits = u64::from_le_bytes(tail) ^ PATTERN;
    // A digit is below 16 and stays so when 6 is added; a fixed lane is 0. A carry out of a lane can
    // only come from one that has a forbidden bit itself.
    if (digits | digits.wrapping_add(LANES_6)) & NOT_DIGIT != 0 {
        return None;
    }
    let lane = |i: u32| (digits >> (8 * i)) as i64 & 15;
    let seconds = lane(1) * 10 + lane(2);
    let millis = lane(4) * 100 + lane(5) * 10 + lane(6);
    (seconds < 60).then_some((seconds * 1_000 + millis) * 1_000)
}

/// [`join`] for every tail.
fn join_general(minute_us: i64, tail: &[u8]) -> Option<i64> {
    let [b':', s0, s1, rest @ ..] = tail else { return None };
    let seconds = two(*s0, *s1)?;
    if seconds > 59 {
        return None;
    }
    let (fraction_us, zone) = match rest {
        [b'.', rest @ ..] => fraction(rest)?,
        _ => (0, rest),
    };
    let us = minute_us + seconds * SECOND_US + fraction_us - offset_minutes(zone)? * MINUTE_US;
    (MIN_US..=MAX_US).contains(&us).then_some(us)
}

/// Takes 1 to 9 digits off the front: their microseconds, cut, and what follows them.
#[inline]
fn fraction(text: &[u8]) -> Option<(i64, &[u8])> {
    let digits = text.iter().take_while(|b| b.is_ascii_digit()).count();
    if !(1..=9).contains(&digits) {
        return None;
    }
    let digit = |i| if i < digits { i64::from(text[i] - b'0') } else { 0 };
    let us = (0..6).fold(0, |us, i| us * 10 + digit(i));
    Some((us, &text[digits..]))
}

/// How far local time is ahead of UTC.
#[inline]
fn offset_minutes(zone: &[u8]) -> Option<i64> {
    match *zone {
        [] | [b'Z' | b'z'] => Some(0),
        [sign @ (b'+' | b'-'), h0, h1, b':', m0, m1] => {
            let (hours, minutes) = (two(h0, h1)?, two(m0, m1)?);
            let ahead = hours * 60 + minutes;
            (hours <= 23 && minutes <= 59).then_some(if sign == b'-' { -ahead } else { ahead })
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::time::{format, fuzz_time};

    /// Reads with a used cache, a fresh one and none; all must agree.
    fn read(text: &str) -> Option<i64> {
        fuzz_time(text.as_bytes());
        parse(text.as_bytes())
    }

    #[test]
    fn every_form_of_the_contract_is_read() {
        let noon = 1_706_443_200_000_000;
        for text in [
            "2024-01-28T12:00:00Z",
            "2024-01-28t12:00:00z",
            "2024-01-28 12:00:00",
            "2024-01-28T12:00:00.0",
            "2024-01-28T12:00:00.000Z",
            "2024-01-28T12:00:00.000000000+00:00",
            "2024-01-28T12:00:00-00:00",
            "2024-01-28T13:30:00+01:30",
            "2024-01-27T12:01:00-23:59",
        ] {
            assert_eq!(read(text), Some(noon), "{text}");
        }
        assert_eq!(read("2024-01-28T12:00:00.123Z"), Some(noon + 123_000));
        assert_eq!(read("2024-01-28T12:00:00.1234567Z"), Some(noon + 123_456));
        assert_eq!(read("2024-01-28T12:00:00.000000999"), Some(noon));
        assert_eq!(read("2024-01-28T12:00:59.999999999"), Some(noon + 59_999_999));
    }

    #[test]
    fn everything_else_is_unreadable() {
        for text in [
            "",
            "2024-01-28",
            "2024-01-28T12:00",
            "2024-01-28T12:00Z",
            "2024-01-28T12:00:0",
            "2024-01-28T12:00:00.",
            "2024-01-28T12:00:00.Z",
            "2024-01-28T12:00:00,5Z",
            "2024-01-28T12:00:00.1234567890Z",
            "2024-01-28T12:00:00ZZ",
            "2024-01-28T12:00:00 Z",
            "2024-01-28T12:00:00+0100",
            "2024-01-28T12:00:00+01",
            "2024-01-28T12:00:00+24:00",
            "2024-01-28T12:00:00+01:60",
            "2024-01-28T12:00:00+01:00Z",
            "2024-01-28T12:00:60Z",
            "2024-01-28T12:00:60.000Z",
            "2024-01-28T12:60:00Z",
            "2024-01-28T24:00:00Z",
            "2024-01-28  12:00:00Z",
            "2024-01-28_12:00:00Z",
            "2024-1-28T12:00:00Z",
            "2024-00-28T12:00:00Z",
            "2024-13-01T12:00:00Z",
            "2024-01-00T12:00:00Z",
            "2024-01-32T12:00:00Z",
            "2023-02-29T12:00:00Z",
            "1900-02-29T12:00:00Z",
            "2024-04-31T12:00:00Z",
            "0000-12-31T12:00:00Z",
            "-001-12-31T12:00:00Z",
            "+2024-01-28T12:00:00Z",
            " 2024-01-28T12:00:00Z",
            "2024-01-28T12:00:00Z ",
            "2024-01-28T12:00:0٣Z",
            "1706443200000",
        ] {
            assert_eq!(read(text), None, "{text}");
        }
    }

    #[test]
    fn an_offset_may_not_leave_the_years() {
        assert_eq!(read("0001-01-01T00:00:00Z"), Some(MIN_US));
        assert_eq!(read("0001-01-01T01:00:00+01:00"), Some(MIN_US));
        assert_eq!(read("0001-01-01T00:59:59.999999+01:00"), None);
        assert_eq!(read("9999-12-31T23:59:59.999999999Z"), Some(MAX_US));
        assert_eq!(read("9999-12-31T22:59:59.999999-01:00"), Some(MAX_US));
        assert_eq!(read("9999-12-31T23:00:00-01:00"), None);
    }

    #[test]
    fn integers_are_milliseconds() {
        assert_eq!(from_epoch_ms(1_706_443_200_000), Some(1_706_443_200_000_000));
        assert_eq!(from_epoch_ms(-1), Some(-1_000));
        assert_eq!(from_epoch_ms(MIN_US / 1_000), Some(MIN_US));
        assert_eq!(from_epoch_ms(MIN_US / 1_000 - 1), None);
        assert_eq!(from_epoch_ms(MAX_US / 1_000), Some(MAX_US - 999));
        assert_eq!(from_epoch_ms(MAX_US / 1_000 + 1), None);
        assert_eq!(from_epoch_ms(i64::MAX), None);
        assert_eq!(from_epoch_ms(i64::MIN), None);
    }

    #[test]
    fn an_empty_cache_matches_nothing_by_accident() {
        assert_eq!(TimeParser::default().parse(&[0; 24]), None);
        assert_eq!(TimeParser::default().parse(b"\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0:00.000Z"), None);
    }

    #[test]
    fn days_count_up_through_all_years() {
        let mut expected = MIN_US / DAY_US;
        for year in 1..=9999 {
            for month in 1..=12 {
                for day in 1..=days_in(year, month).unwrap() {
                    assert_eq!(day_number(year, month, day), expected);
                    expected += 1;
                }
            }
        }
        assert_eq!(expected * DAY_US, MAX_US + 1);
    }

    /// A byte-wise reading of the grammar that shares nothing with the parser but the calendar.
    fn naive(text: &str) -> Option<i64> {
        let bytes = text.as_bytes();
        let shape = "dddd-dd-ddTdd:dd:dd";
        if !text.is_ascii() || bytes.len() < shape.len() {
            return None;
        }
        for (byte, want) in bytes.iter().zip(shape.bytes()) {
            let fits = match want {
                b'd' => byte.is_ascii_digit(),
                b'T' => b"Tt ".contains(byte),
                _ => *byte == want,
            };
            if !fits {
                return None;
            }
        }
        let number = |range: std::ops::Range<usize>| text[range].parse::<i64>().unwrap();
        let (year, month, day) = (number(0..4), number(5..7), number(8..10));
        let (hour, minute, second) = (number(11..13), number(14..16), number(17..19));
        if year < 1 || !(1..=12).contains(&month) || day < 1 || day > days_in(year, month)? {
            return None;
        }
        if hour > 23 || minute > 59 || second > 59 {
            return None;
        }
        let zone_at = text[19..].find(['Z', 'z', '+', '-']).map_or(text.len(), |i| i + 19);
        let (fraction, zone) = (&text[19..zone_at], &text[zone_at..]);
        let fraction_us = match fraction.strip_prefix('.') {
            None if fraction.is_empty() => 0,
            None => return None,
            Some(digits) if digits.is_empty() || digits.len() > 9 => return None,
            Some(digits) if !digits.bytes().all(|b| b.is_ascii_digit()) => return None,
            Some(digits) => format!("{digits:0<9}").parse::<i64>().unwrap() / 1_000,
        };
        let offset = match zone {
            "" | "Z" | "z" => 0,
            _ => {
                let (sign, rest) = zone.split_at(1);
                let digits = |s: &str| s.len() == 2 && s.bytes().all(|b| b.is_ascii_digit());
                let (hours, minutes) = rest.split_once(':').filter(|(h, m)| digits(h) && digits(m))?;
                let (hours, minutes): (i64, i64) = (hours.parse().unwrap(), minutes.parse().unwrap());
                if hours > 23 || minutes > 59 {
                    return None;
                }
                (hours * 60 + minutes)
                    * if sign == "-" {
                        -1
                    } else if sign == "+" {
                        1
                    } else {
                        return None;
                    }
            }
        };
        let days: i64 = (1..year).map(|y| 365 + days_in(y, 2).unwrap() - 28).sum::<i64>()
            + (1..month).map(|m| days_in(year, m).unwrap()).sum::<i64>()
            + day
            - 719_163;
        let us = (((days * 24 + hour) * 60 + minute - offset) * 60 + second) * 1_000_000 + fraction_us;
        (-62_135_596_800_000_000..=253_402_300_799_999_999).contains(&us).then_some(us)
    }

    proptest! {
        #[test]
        fn equals_a_naive_reading(
            text in "[0-2][0-9]{3}-[01][0-9]-[0-3][0-9][Tt ][0-2][0-9]:[0-6][0-9]:[0-6][0-9](\\.[0-9]{0,10})?([Zz]|[+-][0-2][0-9]:[0-6][0-9])?",
            at in 0_usize..40,
            byte in prop::sample::select(b"0129:.-+TtZz /;,\x00A".to_vec()),
        ) {
            prop_assert_eq!(read(&text), naive(&text));
            let mut changed = text.into_bytes();
            let at = at % changed.len();
            changed[at] = byte;
            let changed = String::from_utf8(changed).unwrap();
            prop_assert_eq!(read(&changed), naive(&changed));
        }

        #[test]
        fn any_instant_survives_being_written(us in MIN_US..=MAX_US) {
            prop_assert_eq!(parse(&format(us)), Some(us));
            fuzz_time(&format(us)[..19]);
        }

        #[test]
        fn any_bytes_are_judged_without_panic(text in prop::collection::vec(any::<u8>(), 0..40)) {
            fuzz_time(&text);
        }
    }
}
