//! A synthetic clickstream for `activity`.
//!
//! Time goes on evenly; each event happened a little before it arrives, a few of them much before. Pages are
//! popular by the cube of a uniform number, so the first tenth of them gets almost half of the views. A
//! user's events all go to the partition of the user's number, as Kafka's hash of the key would have it. Where it is
//! asked for, some events cannot be used, each in one way that decoding knows; which ones is told.

use std::time::Duration;

use serde::Serialize;
use thiserror::Error;
use tidegate::time::{self, TimeFormatter};

use super::marks::Mark;
use super::random::Random;

/// An event arrives at most this long after it happened, unless it is a straggler.
pub const DISORDER_MS: u64 = 30_000;
/// A straggler arrives at least this long after it happened …
pub const STRAGGLER_MIN_MS: u64 = 180_000;
/// … and less than this long.
pub const STRAGGLER_MAX_MS: u64 = 600_000;

/// More partitions than this are more files than a process may have open.
pub const PARTITIONS_MAX: u32 = 512;

/// 14 of 20 events are page views, 4 clicks, 1 each begins and ends a session.
const KINDS: [&str; 20] = {
    let mut kinds = ["page_view"; 20];
    (kinds[14], kinds[15], kinds[16], kinds[17]) = ("click", "click", "click", "click");
    (kinds[18], kinds[19]) = ("session_start", "session_end");
    kinds
};

/// How far a wrong clock is ahead.
const AHEAD_MS: i64 = 172_800_000;

/// What is wrong with an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum FaultKind {
    /// No page.
    MissingMember,
    /// A kind of event that there is not.
    UnknownType,
    /// The 13th month.
    BadTime,
    /// Half of an object.
    CutShort,
    /// Two days ahead of its arrival.
    WrongClock,
}

const FAULTS: [FaultKind; 5] = [
    FaultKind::MissingMember,
    FaultKind::UnknownType,
    FaultKind::BadTime,
    FaultKind::CutShort,
    FaultKind::WrongClock,
];

impl FaultKind {
    /// As the marks and the header `fault` call it.
    pub fn name(self) -> &'static str {
        ["missing_member", "unknown_type", "bad_time", "cut_short", "wrong_clock"][self as usize]
    }

    /// The reason that its dead letter is to have.
    pub fn reason(self) -> &'static str {
        ["schema", "schema", "time", "not_json", "ahead"][self as usize]
    }
}

/// What is generated. The same specification gives the same bytes, always.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spec {
    /// Chooses the events.
    pub seed: u64,
    /// How many events.
    pub records: u64,
    /// How many partitions they are spread over.
    pub partitions: u32,
    /// How many different pages.
    pub pages: u32,
    /// How many different users.
    pub users: u32,
    /// When the first event arrives, in milliseconds since the epoch.
    pub start_ms: i64,
    /// How long after it the last one arrives.
    pub span: Duration,
    /// One event in so many is a straggler, on average; 0: none.
    pub late_every: u32,
    /// One event in so many cannot be used, on average; 0: none.
    pub fault_every: u32,
}

impl Default for Spec {
    /// 5 million events of the first hour of 2026, 8 partitions, 1,000 pages, 100,000 users, 2 % stragglers, all of use.
    fn default() -> Self {
        Spec {
            seed: 1,
            records: 5_000_000,
            partitions: 8,
            pages: 1_000,
            users: 100_000,
            start_ms: 1_767_225_600_000,
            span: Duration::from_secs(3_600),
            late_every: 50,
            fault_every: 0,
        }
    }
}

/// A specification that describes nothing.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum BadSpec {
    /// A number that must not be 0 is.
    #[error("{0} must be at least 1")]
    Zero(&'static str),
    /// Too many partitions.
    #[error("at most {PARTITIONS_MAX} partitions can be written at once, not {0}")]
    Partitions(u32),
    /// A time that cannot be written.
    #[error("the events would leave the years 0001 to 9999; choose another start or a shorter span")]
    Time,
}

/// An event as Kafka would hold it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Generated<'a> {
    /// The number of its partition.
    pub partition: i32,
    /// Its offset there.
    pub offset: i64,
    /// When it arrived: Kafka's timestamp, in milliseconds since the epoch.
    pub kafka_ms: i64,
    /// The user.
    pub key: &'a [u8],
    /// A JSON object of about 130 bytes.
    pub payload: &'a [u8],
    /// What is wrong with it on purpose; it then has a header `fault` that says so.
    pub fault: Option<&'a str>,
}

/// The events of a [`Spec`], one after the other in the order of their arrival.
///
/// # Examples
/// ```
/// use tidegate_dataflows::generate::activity::{Clickstream, Spec};
///
/// let mut events = Clickstream::new(Spec { records: 1, ..Spec::default() })?;
/// let event = events.next_event().expect("there is one");
/// assert!(event.payload.starts_with(b"{\"event_time\":\"20"));
/// assert!(events.next_event().is_none());
/// # Ok::<(), tidegate_dataflows::generate::activity::BadSpec>(())
/// ```
#[derive(Clone, Debug)]
pub struct Clickstream {
    spec: Spec,
    random: Random,
    next: u64,
    offsets: Vec<i64>,
    faults: Vec<Mark<FaultKind>>,
    formatter: TimeFormatter,
    key: Vec<u8>,
    payload: Vec<u8>,
}

impl Clickstream {
    /// The events of `spec`, from the first.
    ///
    /// # Errors
    /// When there can be no such events.
    pub fn new(spec: Spec) -> Result<Clickstream, BadSpec> {
        let counts = [("partitions", spec.partitions), ("pages", spec.pages), ("users", spec.users)];
        if let Some((name, _)) = counts.into_iter().find(|(_, count)| *count == 0) {
            return Err(BadSpec::Zero(name));
        }
        if spec.partitions > PARTITIONS_MAX {
            return Err(BadSpec::Partitions(spec.partitions));
        }
        let first_ms = spec.start_ms.checked_sub(STRAGGLER_MAX_MS as i64);
        let last_ms = i64::try_from(spec.span.as_millis()).ok().and_then(|ms| spec.start_ms.checked_add(ms));
        // Two days for the wrong clocks.
        let ahead_ms = if spec.fault_every > 0 { AHEAD_MS } else { 0 };
        let last_ms = last_ms.and_then(|ms| ms.checked_add(ahead_ms));
        if first_ms.and_then(time::from_epoch_ms).is_none() || last_ms.and_then(time::from_epoch_ms).is_none()
        {
            return Err(BadSpec::Time);
        }
        Ok(Clickstream {
            random: Random::new(spec.seed),
            next: 0,
            offsets: vec![0; spec.partitions as usize],
            faults: Vec::new(),
            formatter: TimeFormatter::default(),
            key: Vec::new(),
            payload: Vec::new(),
            spec,
        })
    }

    /// What cannot be used of the events so far.
    pub fn faults(&self) -> &[Mark<FaultKind>] {
        &self.faults
    }

    /// The next event; `None` after the last.
    pub fn next_event(&mut self) -> Option<Generated<'_>> {
        let Spec { records, partitions, pages, users, start_ms, span, late_every, fault_every, .. } =
            self.spec;
        if self.next == records {
            return None;
        }
        let since_ms = span.as_millis() * u128::from(self.next) / u128::from(records);
        self.next += 1;
        let kafka_ms = start_ms + since_ms as i64;

        let random = &mut self.random;
        let straggles = late_every > 0 && random.below(late_every.into()) == 0;
        let behind_ms = if straggles {
            STRAGGLER_MIN_MS + random.below(STRAGGLER_MAX_MS - STRAGGLER_MIN_MS)
        } else {
            random.below(DISORDER_MS)
        };
        let user = random.below(users.into());
        let x = random.unit();
        // Multiplied out, since `powi` may round differently elsewhere.
        let page = (f64::from(pages) * (x * x * x)) as u64;
        let mut kind = KINDS[random.below(KINDS.len() as u64) as usize];
        // A straggler is late and nothing else, so that both can be counted.
        let is_faulty = fault_every > 0 && random.below(fault_every.into()) == 0 && !straggles;
        let fault = is_faulty.then(|| FAULTS[random.below(FAULTS.len() as u64) as usize]);
        if fault == Some(FaultKind::UnknownType) {
            kind = "hover";
        }
        let ahead_ms = if fault == Some(FaultKind::WrongClock) { AHEAD_MS } else { 0 };

        let partition = (user % u64::from(partitions)) as usize;
        let offset = self.offsets[partition];
        self.offsets[partition] += 1;
        // The text has six fraction digits; producers of clicks write three.
        let time = self.formatter.format((kafka_ms - behind_ms as i64 + ahead_ms) * 1_000);
        self.key.clear();
        self.key.extend_from_slice(b"user_");
        integer(user, &mut self.key);
        let out = &mut self.payload;
        out.clear();
        out.extend_from_slice(b"{\"event_time\":\"");
        let month = out.len() + 5;
        out.extend_from_slice(&time[..23]);
        if fault == Some(FaultKind::BadTime) {
            out[month..month + 2].copy_from_slice(b"13");
        }
        out.extend_from_slice(b"Z\",\"user_id\":\"");
        out.extend_from_slice(&self.key);
        if fault != Some(FaultKind::MissingMember) {
            out.extend_from_slice(b"\",\"page_url\":\"https://example.com/page/");
            integer(page, out);
        }
        out.extend_from_slice(b"\",\"event_type\":\"");
        out.extend_from_slice(kind.as_bytes());
        out.extend_from_slice(b"\"}");
        if fault == Some(FaultKind::CutShort) {
            out.truncate(out.len() / 2);
        }
        let partition = partition as i32;
        if let Some(kind) = fault {
            self.faults.push(Mark { kind, reason: kind.reason(), partition, offset, entity_id: None });
        }
        let (key, payload, fault) = (&self.key, &self.payload, fault.map(FaultKind::name));
        Some(Generated { partition, offset, kafka_ms, key, payload, fault })
    }
}

fn integer(mut n: u64, out: &mut Vec<u8>) {
    let mut digits = [0; 20];
    let mut at = digits.len();
    loop {
        at -= 1;
        digits[at] = b'0' + (n % 10) as u8;
        n /= 10;
        if n == 0 {
            return out.extend_from_slice(&digits[at..]);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn all(spec: Spec) -> Vec<(i32, i64, i64, String)> {
        let mut events = Clickstream::new(spec).unwrap();
        let mut out = Vec::new();
        while let Some(event) = events.next_event() {
            let payload = String::from_utf8(event.payload.to_vec()).unwrap();
            out.push((event.partition, event.offset, event.kafka_ms, payload));
        }
        out
    }

    #[test]
    fn same_seed_same_events_and_another_seed_others() {
        let spec = Spec { records: 1_000, ..Spec::default() };
        assert_eq!(all(spec.clone()), all(spec.clone()));
        assert_ne!(all(spec.clone()), all(Spec { seed: 2, ..spec }));
    }

    /// What a seed means must not change with a version. Computed by a program of its own, in Python.
    #[test]
    fn first_event_of_seed_1_is_fixed() {
        let (partition, offset, kafka_ms, payload) = all(Spec { records: 1, ..Spec::default() }).remove(0);
        assert_eq!((partition, offset, kafka_ms), (4, 0, 1_767_225_600_000));
        let expected = "{\"event_time\":\"2025-12-31T23:59:37.627Z\",\"user_id\":\"user_97100\",\
                        \"page_url\":\"https://example.com/page/87\",\"event_type\":\"page_view\"}";
        assert_eq!(payload, expected);
    }

    #[test]
    fn shape_is_that_of_the_benchmark_input() {
        let events = all(Spec { records: 100_000, ..Spec::default() });
        let bytes: usize = events.iter().map(|event| event.3.len()).sum();
        assert!((120..135).contains(&(bytes / events.len())), "{} bytes an event", bytes / events.len());
        let mut kinds: BTreeMap<&str, usize> = BTreeMap::new();
        let (mut stragglers, mut offsets) = (0, [0_i64; 8]);
        for (partition, offset, kafka_ms, payload) in &events {
            assert_eq!(*offset, offsets[*partition as usize]);
            offsets[*partition as usize] += 1;
            let event_us = time::parse(&payload.as_bytes()[15..39]).unwrap();
            let behind_ms = kafka_ms - event_us / 1_000;
            stragglers += usize::from(behind_ms >= STRAGGLER_MIN_MS as i64);
            assert!((0..DISORDER_MS as i64).contains(&behind_ms) || (180_000..600_000).contains(&behind_ms));
            *kinds.entry(payload.rsplit('"').nth(1).unwrap()).or_default() += 1;
        }
        assert!((1_800..2_200).contains(&stragglers), "{stragglers} stragglers");
        assert!((69_000..71_000).contains(&kinds["page_view"]), "{kinds:?}");
        assert!((4_700..5_300).contains(&kinds["session_start"]), "{kinds:?}");
        assert_eq!(kinds.len(), 4);
    }

    #[test]
    fn faults_are_of_every_kind_and_decoding_finds_them_by_their_reasons() {
        use tidegate::ingest::Decode;
        use tidegate::record::{Headers, KafkaTime, Record, Value};

        let mut events =
            Clickstream::new(Spec { records: 20_000, fault_every: 50, ..Spec::default() }).unwrap();
        let mut decoder = crate::activity::ActivityDecoder::new(Default::default());
        let mut found = Vec::new();
        while let Some(event) = events.next_event() {
            let record = Record {
                offset: event.offset,
                kafka_time: KafkaTime::Create(event.kafka_ms),
                key: None,
                value: Some(Value::exact(event.payload)),
                headers: Headers::default(),
            };
            let reason = match decoder.decode(&record) {
                Err(rejected) => Some(rejected.reason.as_str()),
                Ok(event_read) => {
                    let ahead = event_read.event_time_us() > (event.kafka_ms + 3_600_000) * 1_000;
                    ahead.then_some("ahead")
                }
            };
            assert_eq!(reason.is_some(), event.fault.is_some());
            found.extend(reason.map(|reason| (event.partition, event.offset, reason)));
        }
        let marked = |mark: &Mark<FaultKind>| (mark.partition, mark.offset, mark.reason);
        assert_eq!(found, events.faults().iter().map(marked).collect::<Vec<_>>());
        for kind in FAULTS {
            assert!(events.faults().iter().any(|mark| mark.kind == kind), "{kind:?}");
            assert_eq!(serde_json::to_value(kind).unwrap(), kind.name());
        }
        assert!((300..500).contains(&found.len()), "{}", found.len());
    }

    #[test]
    fn impossible_specifications_are_refused() {
        let refused = |spec| Clickstream::new(spec).err();
        assert_eq!(refused(Spec { users: 0, ..Spec::default() }), Some(BadSpec::Zero("users")));
        assert_eq!(refused(Spec { partitions: 513, ..Spec::default() }), Some(BadSpec::Partitions(513)));
        assert_eq!(refused(Spec { start_ms: i64::MAX, ..Spec::default() }), Some(BadSpec::Time));
        assert_eq!(refused(Spec { start_ms: i64::MIN, ..Spec::default() }), Some(BadSpec::Time));
        assert_eq!(refused(Spec { span: Duration::MAX, ..Spec::default() }), Some(BadSpec::Time));
        assert!(all(Spec { records: 0, ..Spec::default() }).is_empty());
        assert!(all(Spec { records: 100, late_every: 0, ..Spec::default() }).len() == 100);
    }
}
