//! The limit: what a hand-written, single-threaded loop needs for the same rows from the same bytes.
//!
//! No dataflow, no worker, no frontier, no second partition at a time: each partition is read to its end,
//! windows are rows of an array, sessions are made by sorting at the end, which a stream cannot do. The
//! records are judged by the project's own decoder, so that the same ones are refused. That they are the same rows, digests tell,
//! which are made beside what is timed.

use tidegate::decode::json::Limits;
use tidegate::digest::Digest;
use tidegate::ingest::Decode;
use tidegate::record::{Headers, KafkaTime, Record, Value};
use tidegate::rows::Cell;
use tidegate::source::line_ends::LineEnds;
use tidegate_dataflows::activity::{ActivityDecoder, EventType};

use crate::interner::Interner;
use crate::measure::Rows;

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

impl Rows for Found {
    fn rows(&self) -> u64 {
        self.rows.iter().sum()
    }
}

impl Found {
    /// What concerns page views only.
    pub(crate) fn of_page_views(&self) -> (u64, u64, u64, u64) {
        (self.rejected, self.late[0], self.rows[0], self.views)
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
    let mut ends = LineEnds::new();
    let (mut at, mut offset, mut refused) = (0, 0, 0);
    while at < bytes.len() {
        let (base, some) = ends.of_lines(bytes, at);
        let (end, found) = some.first().map_or((bytes.len(), 0), |end| (base + *end as usize, 1));
        ends.pass(found);
        let record = Record {
            offset,
            kafka_time: KafkaTime::None,
            key: None,
            value: Some(Value::within(&bytes[at..], end - at)),
            headers: Headers::default(),
        };
        match decoder.decode(&record) {
            Ok(event) => {
                each(offset, event.event_time_us(), event.event_type(), event.user_id(), event.page_url())
            }
            Err(_) => refused += 1,
        }
        at = end + 1;
        offset += 1;
    }
    refused
}

/// Page views by page and minute, as they are when all is read.
pub(crate) struct PageViews {
    pages: Interner,
    minutes: Minutes,
}

impl PageViews {
    /// The digest of their rows, as `summary.json` has it. No part of what is timed.
    pub(crate) fn digest(&self) -> Digest {
        let mut digest = Digest::new();
        for (row, minute) in self.minutes.rows.iter().zip(self.minutes.base..) {
            let views = row.iter().enumerate().filter(|(_, count)| **count > 0);
            for (page, &count) in views {
                digest.add_row([
                    Cell::Time(minute * MINUTE_US),
                    Cell::Time((minute + 1) * MINUTE_US),
                    Cell::Text(self.pages.text(page as u32)),
                    Cell::Int(count as i64),
                ]);
            }
        }
        digest
    }
}

/// Page views by page and minute.
pub(crate) fn page_views(partitions: &[&[u8]]) -> (Found, PageViews) {
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
    (found, PageViews { pages, minutes })
}

/// How many rows page views of windows of 5 minutes that slide by 1 second have. No limit: it marks every window of every record.
pub(crate) fn sliding_rows(partitions: &[&[u8]]) -> u64 {
    const SECOND_US: i64 = 1_000_000;
    const WINDOW_S: i64 = 300;
    let mut pages = Interner::new();
    let mut windows = std::collections::BTreeMap::<i64, Vec<bool>>::new();
    for bytes in partitions {
        let mut watermark = i64::MIN;
        lines(bytes, |_, time_us, kind, _, page| {
            let before = watermark;
            watermark = watermark.max(time_us - DELAY_US);
            if kind != EventType::PageView {
                return;
            }
            let page = pages.id(page) as usize;
            let last = time_us.div_euclid(SECOND_US);
            for start in last - WINDOW_S + 1..=last {
                if (start + WINDOW_S) * SECOND_US > before {
                    let marks = windows.entry(start).or_default();
                    marks.resize(marks.len().max(page + 1), false);
                    marks[page] = true;
                }
            }
        });
    }
    windows.values().flatten().filter(|mark| **mark).count() as u64
}

/// One event of a user, as sessions need it: packed to 16 bytes, sorted by time, then by where it stands.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Step {
    time_us: i64,
    /// Partition and offset, then what it is.
    place: u64,
}

/// What all three outputs are made of when all is read.
pub(crate) struct AllThree {
    views: PageViews,
    active: ActiveUsers,
    users: Interner,
    /// The last session of each user.
    sessions: Vec<Option<(i64, i64)>>,
}

impl AllThree {
    /// The digests of their rows. No part of what is timed.
    pub(crate) fn digests(&self) -> [Digest; 3] {
        let mut active = Digest::new();
        for (&count, minute) in self.active.counts.iter().zip(self.active.base..) {
            if count > 0 {
                let (start_us, end_us) = (minute * MINUTE_US, (minute + 5) * MINUTE_US);
                active.add_row([Cell::Time(start_us), Cell::Time(end_us), Cell::Int(count as i64)]);
            }
        }
        let mut sessions = Digest::new();
        for (user, last) in self.sessions.iter().enumerate() {
            if let &Some((start_us, end_us)) = last {
                let seconds = (end_us - start_us) / 1_000_000;
                let user = Cell::Text(self.users.text(user as u32));
                sessions.add_row([user, Cell::Time(start_us), Cell::Time(end_us), Cell::Int(seconds)]);
            }
        }
        [self.views.digest(), active, sessions]
    }
}

/// Page views, exact active users and sessions.
pub(crate) fn all_three(partitions: &[&[u8]]) -> (Found, AllThree) {
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
    let mut last_of = |steps: &mut Vec<Step>| {
        steps.sort_unstable();
        let last = last_session(steps);
        found.rows[2] += u64::from(last.is_some());
        last
    };
    let sessions = steps.iter_mut().map(&mut last_of).collect();
    (found, AllThree { views: PageViews { pages, minutes }, active, users, sessions })
}

/// A user's last session: its start and its end.
fn last_session(steps: &[Step]) -> Option<(i64, i64)> {
    let mut open: Option<(i64, i64)> = None;
    let mut last = None;
    for step in steps {
        let now = step.time_us;
        if let Some((start, end)) = open
            && now - end >= GAP_US
        {
            last = Some((start, end));
            open = None;
        }
        match (step.place & 3, open) {
            (0 | 1, Some((start, _))) => open = Some((start, now)),
            (2, Some((start, end))) => {
                last = Some((start, end));
                open = Some((now, now));
            }
            (0..=2, None) => open = Some((now, now)),
            (_, Some((start, _))) => {
                last = Some((start, now));
                open = None;
            }
            (_, None) => {}
        }
    }
    open.or(last)
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
