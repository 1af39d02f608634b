//! The kinds of value that a setting has: how one is written, and what is wrong with what is not one.

use std::time::Duration;

use crate::activity::DistinctMode;

/// How values of a setting are read and shown.
pub(super) struct Kind<T> {
    /// The value in a text, or what is wrong and how to mend it.
    pub(super) read: fn(&str) -> Result<T, (String, String)>,
    /// The text of a value, which `read` reads.
    pub(super) show: fn(&T) -> String,
}

/// Longer spans of event time cannot be meant.
const LONGEST: Duration = Duration::from_secs(1_000 * 365 * 86_400);

/// `2m`, `1h 30m`, `500ms`: whole microseconds, at most 1,000 years.
pub(super) const DURATION: Kind<Duration> = Kind { read: duration, show: show_duration };

/// A duration that is not zero.
pub(super) const POSITIVE_DURATION: Kind<Duration> = Kind {
    read: |text| match duration(text)? {
        Duration::ZERO => wrong("must be more than 0", "write a duration such as 1m"),
        duration => Ok(duration),
    },
    show: show_duration,
};

/// A duration of more than nothing, or `none`.
pub(super) const OPTIONAL_DURATION: Kind<Option<Duration>> = Kind {
    read: |text| if text == "none" { Ok(None) } else { (POSITIVE_DURATION.read)(text).map(Some) },
    show: |duration| duration.map_or("none".to_owned(), |duration| show_duration(&duration)),
};

/// `2048`, `1MiB`: at least 1 byte, at most 1 GiB.
pub(super) const BYTES: Kind<usize> = Kind { read: bytes, show: show_bytes };

/// `true` or `false`; `on` and `off` say the same.
pub(super) const SWITCH: Kind<bool> = Kind {
    read: |text| match text {
        "true" | "on" => Ok(true),
        "false" | "off" => Ok(false),
        _ => wrong(format!("{text:?} is neither true nor false"), "write true or false"),
    },
    show: bool::to_string,
};

/// The name of a Kafka topic.
pub(super) const TOPIC: Kind<String> = Kind { read: topic, show: String::clone };

/// `exact` or `hll`.
pub(super) const DISTINCT: Kind<DistinctMode> = Kind {
    read: |text| match text {
        "exact" => Ok(DistinctMode::Exact),
        "hll" => Ok(DistinctMode::Hll),
        _ => wrong(
            format!("{text:?} is no way of counting distinct values"),
            "write exact (every value is remembered) or hll (16 KiB a window, within about 1 %)",
        ),
    },
    show: |mode| match mode {
        DistinctMode::Exact => "exact".to_owned(),
        DistinctMode::Hll => "hll".to_owned(),
    },
};

/// A bound of a range; `None` where there is none.
pub(super) type Bound = Option<f64>;

/// A number or `none`.
pub(super) const BOUND: Kind<Bound> = Kind { read: bound, show: show_bound };

fn bound(text: &str) -> Result<Bound, (String, String)> {
    if text == "none" {
        return Ok(None);
    }
    match text.parse::<f64>() {
        Ok(number) if number.is_finite() => Ok(Some(number)),
        _ => wrong(format!("{text:?} is not a number"), "write a number such as -50 or 0.5, or none"),
    }
}

fn show_bound(bound: &Bound) -> String {
    bound.map_or("none".to_owned(), |number| number.to_string())
}

pub(super) fn wrong<T>(cause: impl Into<String>, mend: impl Into<String>) -> Result<T, (String, String)> {
    Err((cause.into(), mend.into()))
}

fn duration(text: &str) -> Result<Duration, (String, String)> {
    let mend = "write numbers with units, such as 500ms, 30s, 2m, 1h 30m or 7days";
    if text.parse::<f64>().is_ok_and(|n| n != 0.0) {
        return wrong(format!("{text:?} has no unit"), mend);
    }
    match humantime::parse_duration(text) {
        Err(error) => wrong(format!("{text:?} is not a duration: {error}"), mend),
        Ok(duration) if duration > LONGEST => {
            wrong(format!("{text:?} is more than 1,000 years"), "write less")
        }
        Ok(duration) if duration.subsec_nanos() % 1_000 != 0 => wrong(
            format!("{text:?} is finer than a microsecond"),
            "event time has microseconds: write whole ones",
        ),
        Ok(duration) => Ok(duration),
    }
}

fn show_duration(duration: &Duration) -> String {
    humantime::format_duration(*duration).to_string()
}

const UNITS: [(&str, usize); 4] = [("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10), ("B", 1)];
const BYTES_MAX: usize = 1 << 30;

fn bytes(text: &str) -> Result<usize, (String, String)> {
    bytes_up_to(text, BYTES_MAX, "write a number of bytes from 1 to 1GiB, such as 2048, 64KiB or 1MiB")
}

/// A number of bytes from 1 to `most`.
pub(super) fn bytes_up_to(text: &str, most: usize, mend: &str) -> Result<usize, (String, String)> {
    let unit = UNITS.iter().find(|(unit, _)| text.ends_with(unit));
    let (digits, factor) =
        unit.map_or((text, 1), |(unit, factor)| (text[..text.len() - unit.len()].trim_end(), *factor));
    let count = digits.replace('_', "").parse::<usize>().ok().and_then(|count| count.checked_mul(factor));
    match count {
        None => wrong(format!("{text:?} is not a number of bytes"), mend),
        Some(count) if !(1..=most).contains(&count) => wrong(format!("{text:?} is out of range"), mend),
        Some(count) => Ok(count),
    }
}

pub(super) fn show_bytes(bytes: &usize) -> String {
    let unit = UNITS.iter().find(|(_, factor)| *bytes >= *factor && bytes.is_multiple_of(*factor));
    unit.filter(|(_, factor)| *factor > 1)
        .map_or(bytes.to_string(), |(unit, factor)| format!("{}{unit}", bytes / factor))
}

fn topic(text: &str) -> Result<String, (String, String)> {
    let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    if text.is_empty() || text.len() > 249 || matches!(text, "." | "..") || !text.chars().all(legal) {
        let mend = "write 1 to 249 of the characters a-z, A-Z, 0-9, '.', '_' and '-'";
        return wrong(format!("{text:?} is not the name of a Kafka topic"), mend);
    }
    Ok(text.to_owned())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn durations_are_read_with_units_only() {
        assert_eq!((DURATION.read)("2m"), Ok(Duration::from_secs(120)));
        assert_eq!((DURATION.read)("1h 30m"), Ok(Duration::from_secs(5400)));
        assert_eq!((DURATION.read)("0"), Ok(Duration::ZERO));
        for bad in ["120", "1.5", "-3s", "2 minuts", "", "2000years", "1ns", "99999999999999999999s"] {
            assert!((DURATION.read)(bad).is_err(), "{bad:?}");
        }
        assert!((POSITIVE_DURATION.read)("0s").is_err());
    }

    #[test]
    fn bytes_are_read_with_and_without_units() {
        for (text, n) in
            [("1", 1), ("2_048", 2048), ("64KiB", 65_536), ("1 MiB", 1 << 20), ("12B", 12), ("1GiB", 1 << 30)]
        {
            assert_eq!((BYTES.read)(text), Ok(n), "{text}");
        }
        for bad in ["0", "2GiB", "1MB", "-1", "many", "", "18446744073709551615KiB"] {
            assert!((BYTES.read)(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn topic_is_what_kafka_allows() {
        assert!((TOPIC.read)("user_activity").is_ok());
        for bad in ["", "..", "a/b", "a b", "ä", &"x".repeat(250)] {
            assert!((TOPIC.read)(bad).is_err(), "{bad:?}");
        }
    }

    proptest! {
        #[test]
        fn what_is_shown_is_read_again(us in 0_u64..10_u64.pow(16), bytes in 1_usize..=BYTES_MAX, shift in 0_u32..30) {
            let duration = Duration::from_micros(us);
            prop_assert_eq!((DURATION.read)(&show_duration(&duration)), Ok(duration));
            let bytes = (bytes >> shift << shift).max(1);
            prop_assert_eq!((BYTES.read)(&show_bytes(&bytes)), Ok(bytes));
        }
    }
}
