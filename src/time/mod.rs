//! Event time: microseconds since the Unix epoch, UTC, as `i64`; its text form, both ways.
//!
//! What can be read, and nothing else (contract, section 6):
//!
//! ```text
//! 2024-01-28T12:00:00.123456789Z
//! │          ││       │        └ Z, z, ±hh:mm, or nothing for UTC
//! │          ││       └ nothing, or `.` and 1 to 9 digits, cut to microseconds
//! │          │└ hh:mm:ss, seconds to 59
//! │          └ T, t or one space
//! └ a real calendar date of the years 0001 to 9999
//! ```
//!
//! or an integer of epoch milliseconds. An instant that an offset or an integer puts outside the
//! years 0001 to 9999 could not be written as one of them, so it cannot be read either: [`MIN_US`]`..=`[`MAX_US`]
//! is the range of every time that comes out of this module.

mod format;
mod parse;

pub(crate) use format::written_us;
pub use format::{DATE_LEN, TEXT_LEN, TimeFormatter, format, format_date};
pub use parse::{TimeParser, from_epoch_ms, parse};

/// 0001-01-01T00:00:00.000000Z, the first instant that can be read.
pub const MIN_US: i64 = -62_135_596_800_000_000;

/// 9999-12-31T23:59:59.999999Z, the last instant that has a text form.
pub const MAX_US: i64 = 253_402_300_799_999_999;

/// Microseconds in a second.
const SECOND_US: i64 = 1_000_000;

/// Microseconds in a minute.
const MINUTE_US: i64 = 60 * SECOND_US;

/// Microseconds in a day of UTC, which has no leap seconds here.
const DAY_US: i64 = 24 * 60 * MINUTE_US;

/// Days from 0000-03-01, where the arithmetic of both directions begins, to 1970-01-01.
const MARCH_0000_TO_EPOCH: i64 = 719_468;

#[doc(hidden)]
/// For fuzzing: all readers of `text` agree, and what was read survives being written. Never panics otherwise.
pub fn fuzz_time(text: &[u8]) {
    let once = parse(text);
    let mut parser = TimeParser::default();
    for _ in 0..2 {
        assert_eq!(parser.parse(text), once, "a cache must not change what is read");
    }
    // The same text after another that shares the cache's slot.
    let mut other = text.to_vec();
    if let Some(first) = other.first_mut() {
        *first ^= 1;
    }
    assert_eq!(parser.parse(&other), parse(&other), "a cache must not change what is read");
    assert_eq!(parser.parse(text), once, "a cache must not change what is read");
    if let Some(us) = once {
        assert!((MIN_US..=MAX_US).contains(&us), "{us} is outside the years 0001 to 9999");
        let written = format(us);
        assert_eq!(parse(&written), Some(us), "what was written must read the same");
        assert_eq!(written[..DATE_LEN], format_date(us));
    }
}
