//! A partition's watermark: the bound on event time that its own log sets.
//!
//! `wm_p` = (largest event time among the earlier accepted records) − `delay`, −∞ before the first, and at
//! least the time of the latest `tidegate-watermark` record. It never goes back.

use crate::record::{Headers, Record};

/// The header that makes a record a statement about time and nothing else.
pub(super) const WATERMARK_HEADER: &str = "tidegate-watermark";

/// The watermark of one partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PartitionWatermark {
    delay_us: i64,
    watermark_us: i64,
}

impl PartitionWatermark {
    /// A partition without records: its watermark is −∞ (`i64::MIN`).
    pub fn new(delay_us: i64) -> Self {
        PartitionWatermark { delay_us, watermark_us: i64::MIN }
    }

    /// The watermark.
    #[inline(always)]
    pub fn us(&self) -> i64 {
        self.watermark_us
    }

    /// Takes an accepted record's event time into account for the records after it.
    #[inline(always)]
    pub fn observe(&mut self, time_us: i64) {
        self.watermark_us = self.watermark_us.max(time_us.saturating_sub(self.delay_us));
    }

    /// Raises the watermark to `to_us`, if it is lower.
    pub fn raise(&mut self, to_us: i64) {
        self.watermark_us = self.watermark_us.max(to_us);
    }
}

/// The time that a watermark record states; `None` for every other record, also when no header of the name has an `i64` in
/// decimal, 1 to 19 digits behind an optional `-`, as its value (the record is then judged as data). Of several the latest
/// counts: each raises the watermark.
#[inline(always)]
pub(super) fn stated_watermark(record: &Record<'_>) -> Option<i64> {
    if record.headers.is_empty() { None } else { stated_in(record.headers) }
}

#[inline(never)]
fn stated_in(headers: Headers<'_>) -> Option<i64> {
    let stated = headers.iter().filter(|(name, _)| *name == WATERMARK_HEADER.as_bytes());
    stated.filter_map(|(_, value)| decimal(value?)).max()
}

fn decimal(value: &[u8]) -> Option<i64> {
    let digits = value.strip_prefix(b"-").unwrap_or(value);
    let is_decimal = matches!(digits.len(), 1..=19) && digits.iter().all(u8::is_ascii_digit);
    std::str::from_utf8(value).ok().filter(|_| is_decimal)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::KafkaTime;

    fn with_header(name: &[u8], value: &[u8]) -> Option<i64> {
        with_headers(&[(name, Some(value))])
    }

    fn with_headers(all: &[(&[u8], Option<&[u8]>)]) -> Option<i64> {
        let mut wire = Vec::new();
        all.iter().for_each(|(name, value)| Headers::append(&mut wire, name, *value));
        let headers = Headers::from_wire(all.len() as u32, &wire);
        stated_watermark(&Record { offset: 0, kafka_time: KafkaTime::None, key: None, value: None, headers })
    }

    #[test]
    fn a_watermark_never_goes_back() {
        let mut watermark = PartitionWatermark::new(10);
        assert_eq!(watermark.us(), i64::MIN);
        watermark.observe(50);
        assert_eq!(watermark.us(), 40);
        watermark.observe(20);
        assert_eq!(watermark.us(), 40);
        watermark.raise(60);
        watermark.raise(55);
        assert_eq!(watermark.us(), 60);
        watermark.observe(i64::MIN);
        assert_eq!(watermark.us(), 60);
    }

    #[test]
    fn only_the_header_with_an_integer_states_a_watermark() {
        assert_eq!(with_header(b"tidegate-watermark", b"-12"), Some(-12));
        for text in ["soon", "", "-", "+5", " 5 ", "9223372036854775808", "00000000000000000005"] {
            assert_eq!(with_header(b"tidegate-watermark", text.as_bytes()), None, "{text:?}");
        }
        assert_eq!(with_header(b"tidegate-watermark", b"-9223372036854775808"), Some(i64::MIN));
        assert_eq!(with_header(b"other", b"12"), None);
    }

    #[test]
    fn any_header_of_the_name_may_state_it() {
        let name = b"tidegate-watermark".as_slice();
        let (five, nine) = (Some(b"5".as_slice()), Some(b"9".as_slice()));
        assert_eq!(with_headers(&[(name, None), (name, Some(b"soon")), (name, five)]), Some(5));
        assert_eq!(with_headers(&[(name, five), (name, nine), (name, five)]), Some(9));
    }
}
