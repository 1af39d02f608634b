//! Spellings of a time.

use tidegate::source::memory::OwnedRecord;

use crate::harness::{SECOND, ZERO_US, replayed_one};

/// The instant that an event time given as JSON text is read as, in microseconds since the epoch, or the
/// reason of the dead letter. The record has no Kafka timestamp, so that no time is too far ahead.
fn reads(time: &str) -> Result<i64, String> {
    let value = format!(r#"{{"event_time":{time},"user_id":"u","page_url":"/p","event_type":"click"}}"#);
    let answer = replayed_one(vec![OwnedRecord::of_value(0, value)]);
    match answer.lake.first() {
        Some(row) => Ok(row.time_us),
        None => Err(answer.reasons().join(",")),
    }
}

macro_rules! read_as {
    ($($name:ident: $time:expr => $expected:expr;)*) => {
        $(#[test] fn $name() { assert_eq!(reads($time), $expected); })*
    };
}

fn unreadable() -> Result<i64, String> {
    Err("time".to_owned())
}

/// 0001-01-01T00:00:00Z: 719,162 days before the epoch.
const YEAR_1_US: i64 = -719_162 * 86_400 * 1_000_000;
/// 10000-01-01T00:00:00Z: 2,932,897 days after the epoch.
const YEAR_10000_US: i64 = 2_932_897 * 86_400 * 1_000_000;

read_as! {
    zulu_time_is_read: "\"2026-01-01T00:00:00Z\"" => Ok(ZERO_US);
    zone_less_time_is_utc: "\"2026-01-01T00:00:00\"" => Ok(ZERO_US);
    time_with_a_space_is_read: "\"2026-01-01 00:00:00z\"" => Ok(ZERO_US);
    offset_is_taken_off: "\"2026-01-01T05:30:00+05:30\"" => Ok(ZERO_US);
    offset_before_utc_is_added: "\"2025-12-31T16:00:00-08:00\"" => Ok(ZERO_US);
    offset_of_a_whole_day_is_unreadable: "\"2026-01-01T00:00:00+24:00\"" => unreadable();
    fraction_is_cut_to_microseconds: "\"2026-01-01T00:00:00.123456999Z\"" => Ok(ZERO_US + 123_456);
    fraction_of_ten_digits_is_unreadable: "\"2026-01-01T00:00:00.1234567890Z\"" => unreadable();
    leap_second_is_unreadable: "\"2016-12-31T23:59:60Z\"" => unreadable();
    hour_24_is_unreadable: "\"2026-01-01T24:00:00Z\"" => unreadable();
    month_13_is_unreadable: "\"2024-13-01T00:00:00Z\"" => unreadable();
    leap_day_is_read: "\"2024-02-29T00:00:00Z\"" => Ok(1_709_164_800_000_000);
    leap_day_in_a_common_year_is_unreadable: "\"2023-02-29T00:00:00Z\"" => unreadable();
    leap_day_of_1900_is_unreadable: "\"1900-02-29T00:00:00Z\"" => unreadable();
    year_0001_is_read: "\"0001-01-01T00:00:00Z\"" => Ok(YEAR_1_US);
    year_0000_is_unreadable: "\"0000-12-31T23:59:59Z\"" => unreadable();
    year_9999_is_read: "\"9999-12-31T23:59:59.999999Z\"" => Ok(YEAR_10000_US - 1);
    offset_that_leaves_the_year_9999_is_unreadable: "\"9999-12-31T23:59:59-00:01\"" => unreadable();
    time_before_the_epoch_is_read: "\"1969-12-31T23:59:59.5Z\"" => Ok(-500_000);

    epoch_milliseconds_are_read: "1767225600000" => Ok(ZERO_US);
    epoch_seconds_are_read_as_milliseconds: "1767225600" => Ok(1_767_225_600_000);
    epoch_microseconds_are_unreadable: "1767225600000000" => unreadable();
    epoch_nanoseconds_are_unreadable: "1767225600000000000" => unreadable();
    epoch_zero_is_read: "0" => Ok(0);
    negative_milliseconds_are_read: "-1" => Ok(-1000);
    integer_2_to_the_63_less_1_is_unreadable: "9223372036854775807" => unreadable();
    integer_2_to_the_63_is_unreadable: "9223372036854775808" => unreadable();
    integer_minus_2_to_the_63_is_unreadable: "-9223372036854775808" => unreadable();
    integer_of_60_digits_is_unreadable: &"1".repeat(60) => unreadable();
    fraction_of_a_millisecond_is_unreadable: "12.5" => unreadable();
    exponent_is_unreadable: "1e12" => unreadable();
    integer_in_a_text_is_unreadable: "\"1767225600000\"" => unreadable();
    integer_004_is_not_json: "004" => Err("not_json".to_owned());
    time_1e400_is_not_json: "1e400" => Err("not_json".to_owned());
    time_nan_is_not_json: "NaN" => Err("not_json".to_owned());
    time_nan_as_text_is_unreadable: "\"NaN\"" => unreadable();
    minus_zero_with_a_fraction_is_unreadable: "-0.0" => unreadable();
    empty_text_is_unreadable: "\"\"" => unreadable();
    truth_value_is_unreadable: "true" => unreadable();
    array_is_unreadable: "[]" => unreadable();
    nul_behind_the_time_is_unreadable: r#""2026-01-01T00:00:00Z\u0000""# => unreadable();
    null_is_a_missing_member: "null" => Err("schema".to_owned());
}

/// On that night clocks went back at three in the morning.
#[test]
fn both_readings_of_an_hour_that_comes_twice_are_apart_by_their_offset() {
    let first = reads("\"2025-10-26T02:30:00+02:00\"").expect("a time");
    let second = reads("\"2025-10-26T02:30:00+01:00\"").expect("a time");
    assert_eq!((first, second), (1_761_438_600_000_000, 1_761_442_200_000_000));
    assert_eq!(second - first, 3600 * SECOND);
}
