//! Numbers of JSON: their grammar, and their values.
//!
//! [`shape`] is the grammar of RFC 8259, section 6, for whole documents. [`quick`] and
//! [`quick_integer`] read the short numbers that measurements are made of straight into a value and
//! give up on anything else; they accept nothing that [`shape`] does not, as long as what follows the
//! number is checked to be no part of one.

use crate::decode::simd::Padded;

/// Powers of ten that an `f64` holds exactly.
const POWERS: [f64; 8] = [1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7];

/// The same as integers.
const POWERS_INTEGER: [u64; 8] = [1, 10, 100, 1_000, 10_000, 100_000, 1_000_000, 10_000_000];

/// Any integer of so many digits is below the largest `f64`.
const ALWAYS_FINITE_DIGITS: usize = 308;

/// A number's end, and whether it has neither fraction nor exponent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Shape {
    pub(super) end: usize,
    pub(super) integer: bool,
}

/// Why there is no number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NotANumber {
    /// The grammar is broken at this position.
    Malformed(usize),
    /// It is beyond `f64`.
    Overflow,
}

/// The number that begins at `start`, where `bytes` holds `-` or a digit.
#[inline]
pub(super) fn shape(bytes: &[u8], start: usize) -> Result<Shape, NotANumber> {
    let first = start + usize::from(bytes.get(start) == Some(&b'-'));
    let mut end = skip_digits(bytes, first);
    let integer_digits = end - first;
    if integer_digits == 0 {
        return Err(NotANumber::Malformed(first));
    }
    if integer_digits > 1 && bytes[first] == b'0' {
        return Err(NotANumber::Malformed(first + 1));
    }
    let mut integer = true;
    if bytes.get(end) == Some(&b'.') {
        integer = false;
        end = some_digits(bytes, end + 1)?;
    }
    let mut exponent = false;
    if let Some(b'e' | b'E') = bytes.get(end) {
        (integer, exponent) = (false, true);
        let signed = matches!(bytes.get(end + 1), Some(b'+' | b'-'));
        end = some_digits(bytes, end + 1 + usize::from(signed))?;
    }
    if (exponent || integer_digits > ALWAYS_FINITE_DIGITS) && !float(&bytes[start..end]).is_finite() {
        return Err(NotANumber::Overflow);
    }
    Ok(Shape { end, integer })
}

/// Where the digits from `start` on end; `start` may be behind the text.
#[inline(always)]
fn skip_digits(bytes: &[u8], start: usize) -> usize {
    let rest = bytes.get(start..).unwrap_or_default();
    start + rest.iter().position(|b| !b.is_ascii_digit()).unwrap_or(rest.len())
}

#[inline(always)]
fn some_digits(bytes: &[u8], start: usize) -> Result<usize, NotANumber> {
    let end = skip_digits(bytes, start);
    if end > start { Ok(end) } else { Err(NotANumber::Malformed(start)) }
}

/// The `f64` nearest to the number `text`, which [`shape`] accepted; `-0.0` as `0.0`.
pub(super) fn float(text: &[u8]) -> f64 {
    let text = std::str::from_utf8(text).unwrap_or_default();
    // Rust's reading of decimals is correctly rounded, and its grammar includes JSON's.
    text.parse::<f64>().unwrap_or(f64::NAN) + 0.0
}

/// The integer `text`, which [`shape`] accepted as one; `None` beyond `i64`.
pub(super) fn integer(text: &[u8]) -> Option<i64> {
    std::str::from_utf8(text).ok()?.parse().ok()
}

/// How many digits `word` begins with, low byte first, and their value. 8 means: perhaps more.
#[inline(always)]
fn leading_digits(word: u64) -> (usize, u64) {
    const ONES: u64 = u64::MAX / 0xff;
    let digits = word ^ (ONES * 0x30);
    // A digit is below 10 and stays below 0x80 when 0x76 is added. Carries go upwards only, so the
    // lowest lane that is marked is the first one that is no digit.
    let others = (digits.wrapping_add(ONES * 0x76) | digits) & (ONES * 0x80);
    let count = others.trailing_zeros() as usize / 8;
    if count == 0 {
        return (0, 0);
    }
    // Eight digits with zeros in front: add pairs, then fours, then eights.
    let padded = digits << (8 * (8 - count));
    let pairs = (padded.wrapping_mul(10 << 8 | 1) >> 8) & (u64::MAX / 0xffff * 0xff);
    let fours = (pairs.wrapping_mul(100 << 16 | 1) >> 16) & (u64::MAX / 0xffff_ffff * 0xffff);
    (count, fours.wrapping_mul(10_000 << 32 | 1) >> 32)
}

#[inline(always)]
fn word_at(document: Padded<'_>, at: usize) -> Option<u64> {
    document.array(at).map(|bytes| u64::from_le_bytes(*bytes))
}

/// Whether more than one digit begins with 0.
#[inline(always)]
fn leading_zero(word: u64, digits: usize) -> bool {
    digits > 1 && word as u8 == b'0'
}

/// The number at `at`, and its end, if it has at most seven digits before a point and seven behind it.
///
/// The value is an integer below 2⁵³ divided by a power of ten that is exact, hence correctly rounded.
#[inline(always)]
pub(super) fn quick(document: Padded<'_>, at: usize) -> Option<(f64, usize)> {
    let negative = document.byte(at)? == b'-';
    let first = at + usize::from(negative);
    let word = word_at(document, first)?;
    let (digits, whole) = leading_digits(word);
    if digits == 0 || digits > 7 || leading_zero(word, digits) {
        return None;
    }
    let mut end = first + digits;
    let mut value = whole as f64;
    if document.byte(end)? == b'.' {
        let (digits, fraction) = leading_digits(word_at(document, end + 1)?);
        if digits == 0 || digits > 7 {
            return None;
        }
        end += 1 + digits;
        value = (whole * POWERS_INTEGER[digits] + fraction) as f64 / POWERS[digits];
    }
    Some((if negative { -value } else { value } + 0.0, end))
}

/// The integer at `at`, and its end, if it has at most 15 digits.
#[inline(always)]
pub(super) fn quick_integer(document: Padded<'_>, at: usize) -> Option<(i64, usize)> {
    let negative = document.byte(at)? == b'-';
    let first = at + usize::from(negative);
    let word = word_at(document, first)?;
    let (mut digits, mut value) = leading_digits(word);
    if digits == 8 {
        let (more, low) = leading_digits(word_at(document, first + 8)?);
        if more == 8 {
            return None;
        }
        (digits, value) = (8 + more, value * POWERS_INTEGER[more] + low);
    }
    if digits == 0 || leading_zero(word, digits) {
        return None;
    }
    let value = value as i64;
    Some((if negative { -value } else { value }, first + digits))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_grammar_is_that_of_the_rfc() {
        let whole = |text: &str| shape(text.as_bytes(), 0).is_ok_and(|shape| shape.end == text.len());
        for text in [
            "0",
            "-0",
            "12",
            "-1.5",
            "0.5e3",
            "1E+2",
            "1e-2",
            "0.0",
            "9223372036854775808",
            "1e308",
            "1e-400",
        ] {
            assert!(whole(text), "{text}");
        }
        for text in
            ["", "-", "+1", "01", "-01", "1.", ".5", "1.e3", "1e", "1e+", "0x10", "NaN", "1_000", "1.5.2"]
        {
            assert!(!whole(text), "{text}");
        }
        assert_eq!(shape(b"-", 0), Err(NotANumber::Malformed(1)));
        assert_eq!(shape(b"1", 7), Err(NotANumber::Malformed(7)));
        assert_eq!(shape(b"012", 0), Err(NotANumber::Malformed(1)));
        assert_eq!(shape(b"x1.5,", 1), Ok(Shape { end: 4, integer: false }));
    }

    #[test]
    fn beyond_f64_is_no_number() {
        for text in ["1e309", "-1e400", "1.8e308", "0.00001e314", "1e99999999999999999999"] {
            assert_eq!(shape(text.as_bytes(), 0), Err(NotANumber::Overflow), "{text}");
        }
        assert!(shape("9".repeat(308).as_bytes(), 0).is_ok());
        assert_eq!(shape("9".repeat(309).as_bytes(), 0), Err(NotANumber::Overflow));
        assert!(shape(format!("1{}", "0".repeat(308)).as_bytes(), 0).is_ok());
        assert!(shape(b"1.7976931348623157e308", 0).is_ok());
        assert!(shape(b"0e999999999999", 0).is_ok());
        assert!(shape(b"1e-99999999999999999999", 0).is_ok());
    }

    /// Reads the number that `text` begins with, with `text` behind it again.
    fn padded<T>(text: &str, read: impl Fn(Padded<'_>) -> T) -> T {
        let slab = format!("{text}{}", "0".repeat(100));
        read(Padded::new(slab.as_bytes(), text.len()).unwrap())
    }

    fn read_quick(text: &str) -> Option<(f64, usize)> {
        padded(text, |document| quick(document, 0))
    }

    fn read_quick_integer(text: &str) -> Option<(i64, usize)> {
        padded(text, |document| quick_integer(document, 0))
    }

    #[test]
    fn minus_zero_is_zero() {
        assert!(float(b"-0.0").is_sign_positive());
        assert!(float(b"-1e-400").is_sign_positive());
        assert!(read_quick("-0.0,").unwrap().0.is_sign_positive());
        assert!(read_quick("-0,").unwrap().0.is_sign_positive());
        assert_eq!(read_quick_integer("-0,"), Some((0, 2)));
    }

    #[test]
    fn integers_end_at_64_bits() {
        assert_eq!(integer(b"9223372036854775807"), Some(i64::MAX));
        assert_eq!(integer(b"-9223372036854775808"), Some(i64::MIN));
        assert_eq!(integer(b"9223372036854775808"), None);
        assert_eq!(integer(b"-0"), Some(0));
    }

    /// A quick reader may give up, but what it reads is what the slow ones read.
    fn agree(text: &str) {
        let slab = format!("{text},");
        let slow = shape(slab.as_bytes(), 0);
        let ends = |end: usize| !matches!(slab.as_bytes()[end], b'e' | b'E' | b'.');
        if let Some((value, end)) = read_quick(&slab).filter(|(_, end)| ends(*end)) {
            assert_eq!(slow.unwrap().end, end, "{text}");
            assert_eq!(value.to_bits(), float(&slab.as_bytes()[..end]).to_bits(), "{text}");
        }
        if let Some((value, end)) = read_quick_integer(&slab).filter(|(_, end)| ends(*end)) {
            assert_eq!(slow, Ok(Shape { end, integer: true }), "{text}");
            assert_eq!(Some(value), integer(&slab.as_bytes()[..end]), "{text}");
        }
    }

    proptest! {
        #[test]
        fn quick_readers_agree_with_slow_ones(
            text in "-?[0-9]{0,9}(\\.[0-9]{0,9})?([eE][+-]?[0-9]{1,3})?",
            integer in "-?[0-9]{1,20}",
            bytes in "[0-9+.eE:/-]{0,20}",
        ) {
            agree(&text);
            agree(&integer);
            agree(&bytes);
        }

        #[test]
        fn ordinary_measurements_are_read_quickly(whole in -9_999_999_i64..=9_999_999, fraction in "[0-9]{1,7}") {
            for text in [format!("{whole}"), format!("{whole}.{fraction}")] {
                prop_assert_eq!(
                    read_quick(&format!("{text}}}")), Some((text.parse::<f64>().unwrap() + 0.0, text.len())));
            }
            prop_assert_eq!(read_quick_integer(&format!("{whole},")).map(|read| read.0), Some(whole));
        }
    }
}
