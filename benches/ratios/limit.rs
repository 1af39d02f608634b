//! The limit: what a hand-written, single-threaded loop needs for the same rows from the same bytes.
//!
//! No dataflow, no worker, no frontier, no second partition at a time: each partition is read to its end,
//! windows are rows of an array, sessions are made by sorting at the end, which a stream cannot do. The
//! records are judged by the project's own decoder, so that the same ones are refused.

use memchr::memchr;
use tidegate::decode::json::Limits;
use tidegate::ingest::Decode;
use tidegate::keys::key_hash;
use tidegate::record::{Headers, KafkaTime, Record, Value};
use tidegate_dataflows::activity::{ActivityDecoder, EventType};

const MINUTE_US: i64 = 60_000_000;
const DELAY_US: i64 = 120_000_000;
const GAP_US: i64 = 1_800_000_000;

/// What a loop counts, to be compared with the engine's counts.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Found {
    /// Records refused.
    pub(crate) rejected: u64,
    /// Records late, by output.
    pub(crate) late: [u64; 3],
    /// Rows of page views, active users, last sessions.
    pub(crate) rows: [u64; 3],
    /// Page views counted.
    pub(crate) views: u64,
}

impl Found {
    /// What concerns page views only.
    pub(crate) fn of_page_views(&self) -> (u64, u64, u64, u64) {
        (self.rejected, self.late[0], self.rows[0], self.views)
    }
}

/// Byte strings to dense numbers: open addressing, the text in one arena.
struct Interner {
    slots: Vec<(u64, u32)>,
    spans: Vec<(u32, u32)>,
    arena: Vec<u8>,
}

impl Interner {
    fn new() -> Self {
        Interner { slots: vec![(0, u32::MAX); 1 << 12], spans: Vec::new(), arena: Vec::new() }
    }

    fn text(&self, id: u32) -> &[u8] {
        let (start, len) = self.spans[id as usize];
        &self.arena[start as usize..(start + len) as usize]
    }

    #[inline(always)]
    fn id(&mut self, key: &[u8]) -> u32 {
        let hash = key_hash(key);
        let mask = self.slots.len() - 1;
        let mut at = hash as usize & mask;
        loop {
            let (known, id) = self.slots[at];
            if id == u32::MAX {
                return self.insert(hash, key);
            }
            if known == hash && self.text(id) == key {
                return id;
            }
            at = (at + 1) & mask;
        }
    }

    #[cold]
    #[inline(never)]
    fn insert(&mut self, hash: u64, key: &[u8]) -> u32 {
        let id = self.spans.len() as u32;
        self.spans.push((self.arena.len() as u32, key.len() as u32));
        self.arena.extend_from_slice(key);
        if self.spans.len() * 4 > self.slots.len() {
            let larger = vec![(0, u32::MAX); self.slots.len() * 2];
            for (hash, id) in std::mem::replace(&mut self.slots, larger) {
                if id != u32::MAX {
                    self.place(hash, id);
                }
            }
        }
        self.place(hash, id);
        id
    }

    fn place(&mut self, hash: u64, id: u32) {
        let mask = self.slots.len() - 1;
        let mut at = hash as usize & mask;
        while self.slots[at].1 != u32::MAX {
            at = (at + 1) & mask;
        }
        self.slots[at] = (hash, id);
    }
}

/// Counters by (minute, number); minutes are consecutive.
struct Minutes {
    base: i64,
    rows: Vec<Vec<u64>>,
}

impl Minutes {
    #[inline(always)]
    fn at(&mut self, minute: i64, id: usize) -> &mut u64 {
        let row = minute.wrapping_sub(self.base) as usize;
        if row < self.rows.len() && id < self.rows[row].len() {
            return &mut self.rows[row][id];
        }
        self.grow(minute, id)
    }

    #[cold]
    fn grow(&mut self, minute: i64, id: usize) -> &mut u64 {
        if self.rows.is_empty() {
            self.base = minute;
        }
        while minute < self.base {
            self.rows.insert(0, Vec::new());
            self.base -= 1;
        }
        let row = (minute - self.base) as usize;
        assert!(row < 1_000_000, "the limit's windows are an array: the input must not span years");
        if row >= self.rows.len() {
            self.rows.resize_with(row + 1, Vec::new);
        }
        if id >= self.rows[row].len() {
            self.rows[row].resize((id + 1).next_power_of_two(), 0);
        }
        &mut self.rows[row][id]
    }

    fn totals(&self) -> (u64, u64) {
        let taken = self.rows.iter().flatten().filter(|count| **count > 0);
        taken.fold((0, 0), |(rows, sum), count| (rows + 1, sum + count))
    }
}

/// Shows every line of a partition to `each`, decoded; returns how many were refused.
#[inline(always)]
fn lines(bytes: &[u8], mut each: impl FnMut(i64, i64, EventType, &[u8], &[u8])) -> u64 {
    let mut decoder = ActivityDecoder::new(Limits::default());
    let (mut at, mut offset, mut refused) = (0, 0, 0);
    while at < bytes.len() {
        let len = memchr(b'\n', &bytes[at..]).unwrap_or(bytes.len() - at);
        let record = Record {
            offset,
            kafka_time: KafkaTime::None,
            key: None,
            value: Some(Value::within(&bytes[at..], len)),
            headers: Headers::default(),
        };
        match decoder.decode(&record) {
            Ok(event) => {
                each(offset, event.event_time_us(), event.event_type(), event.user_id(), event.page_url())
            }
            Err(_) => refused += 1,
        }
        at += len + 1;
        offset += 1;
    }
    refused
}

/// Page views by page and minute.
pub(crate) fn page_views(partitions: &[&[u8]]) -> Found {
    let mut found = Found::default();
    let mut pages = Interner::new();
    let mut minutes = Minutes { base: 0, rows: Vec::new() };
    for bytes in partitions {
        let mut watermark = i64::MIN;
        let mut late = 0;
        found.rejected += lines(bytes, |_, time_us, kind, _, page| {
            let before = watermark;
            watermark = watermark.max(time_us - DELAY_US);
            if kind != EventType::PageView {
                return;
            }
            let minute = time_us.div_euclid(MINUTE_US);
            if (minute + 1) * MINUTE_US <= before {
                late += 1;
                return;
            }
            *minutes.at(minute, pages.id(page) as usize) += 1;
        });
        found.late[0] += late;
    }
    (found.rows[0], found.views) = minutes.totals();
    found
}

/// One event of a user, as sessions need it: packed to 16 bytes, sorted by time, then by where it stands.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Step {
    time_us: i64,
    /// Partition and offset, then what it is.
    place: u64,
}

/// Page views, exact active users and sessions.
pub(crate) fn all_three(partitions: &[&[u8]]) -> Found {
    let mut found = Found::default();
    let (mut pages, mut users) = (Interner::new(), Interner::new());
    let mut minutes = Minutes { base: 0, rows: Vec::new() };
    let mut active = ActiveUsers::default();
    let mut steps: Vec<Vec<Step>> = Vec::new();
    for (partition, bytes) in partitions.iter().enumerate() {
        let mut watermark = i64::MIN;
        let mut late = [0; 3];
        found.rejected += lines(bytes, |offset, time_us, kind, user, page| {
            let before = watermark;
            watermark = watermark.max(time_us - DELAY_US);
            let minute = time_us.div_euclid(MINUTE_US);
            if kind == EventType::PageView {
                if (minute + 1) * MINUTE_US <= before {
                    late[0] += 1;
                } else {
                    *minutes.at(minute, pages.id(page) as usize) += 1;
                }
            }
            let first = (minute - 4).max(before.saturating_sub(5 * MINUTE_US).div_euclid(MINUTE_US) + 1);
            let user = users.id(user);
            if first > minute {
                late[1] += 1;
            } else {
                active.set(user as usize, first, minute);
            }
            if time_us < before {
                late[2] += 1;
            } else {
                if user as usize >= steps.len() {
                    steps.resize_with(user as usize + 1, Vec::new);
                }
                let place = (partition as u64) << 50 | (offset as u64) << 2 | kind as u64;
                steps[user as usize].push(Step { time_us, place });
            }
        });
        (0..3).for_each(|i| found.late[i] += late[i]);
    }
    (found.rows[0], found.views) = minutes.totals();
    found.rows[1] = active.counts.iter().filter(|count| **count > 0).count() as u64;
    for steps in &mut steps {
        steps.sort_unstable();
        let last_us = last_session(steps);
        found.rows[2] += u64::from(std::hint::black_box(last_us).is_some());
    }
    found
}

/// The duration of a user's last session.
fn last_session(steps: &[Step]) -> Option<i64> {
    let mut open: Option<(i64, i64)> = None;
    let mut last = None;
    for step in steps {
        let now = step.time_us;
        if let Some((start, end)) = open
            && now - end >= GAP_US
        {
            last = Some(end - start);
            open = None;
        }
        match (step.place & 3, open) {
            (0 | 1, Some((start, _))) => open = Some((start, now)),
            (2, Some((start, end))) => {
                last = Some(end - start);
                open = Some((now, now));
            }
            (0..=2, None) => open = Some((now, now)),
            (_, Some((start, _))) => {
                last = Some(now - start);
                open = None;
            }
            (_, None) => {}
        }
    }
    open.map_or(last, |(start, end)| Some(end - start))
}

/// A bit for each user and window of 5 minutes; a new bit adds one to its window.
#[derive(Default)]
struct ActiveUsers {
    base: i64,
    words: usize,
    bits: Vec<u64>,
    counts: Vec<u64>,
}

impl ActiveUsers {
    #[inline(always)]
    fn set(&mut self, user: usize, first: i64, last: i64) {
        if self.words == 0 || first < self.base || last - self.base >= 64 * self.words as i64 {
            self.widen(first, last);
        }
        let row = user * self.words;
        if row + self.words > self.bits.len() {
            self.bits.resize((row + self.words).next_power_of_two(), 0);
        }
        for window in first..=last {
            let at = (window - self.base) as usize;
            let (word, bit) = (&mut self.bits[row + at / 64], 1 << (at % 64));
            self.counts[at] += u64::from(*word & bit == 0);
            *word |= bit;
        }
    }

    #[cold]
    fn widen(&mut self, first: i64, last: i64) {
        if self.words == 0 {
            self.base = first - 64;
        }
        let front = if first < self.base { (self.base - first) as usize / 64 + 1 } else { 0 };
        let base = self.base - 64 * front as i64;
        let words = (self.words + front).max((last - base) as usize / 64 + 1);
        let mut bits = vec![0; self.bits.len() / self.words.max(1) * words];
        for (old, new) in self.bits.chunks_exact(self.words.max(1)).zip(bits.chunks_exact_mut(words)) {
            new[front..front + old.len()].copy_from_slice(old);
        }
        let mut counts = vec![0; 64 * words];
        counts[64 * front..64 * front + self.counts.len()].copy_from_slice(&self.counts);
        (self.base, self.words, self.bits, self.counts) = (base, words, bits, counts);
    }
}
