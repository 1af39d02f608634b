//! Events that the frontier has not passed yet, in buckets of event time; when memory is short, those of the last ones on disk.

use std::collections::BTreeMap;

use super::cold::ColdBuckets;
use super::{Mark, SessionEvent};
use crate::spill::{Budget, SpillError};

/// Buckets are 2^20 µs wide, about a second.
const BUCKET_BITS: u32 = 20;

/// An event that waits, with its key's number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Waiting {
    pub(super) time_us: i64,
    pub(super) offset: i64,
    pub(super) rank: u32,
    pub(super) key: u32,
    pub(super) mark: Mark,
    pub(super) flagged: bool,
}

impl Waiting {
    #[inline(always)]
    pub(super) fn new(key: u32, event: SessionEvent) -> Self {
        let SessionEvent { time_us, rank, offset, mark, flagged } = event;
        Waiting { time_us, offset, rank, key, mark, flagged }
    }

    pub(super) fn event(self) -> SessionEvent {
        let Waiting { time_us, offset, rank, mark, flagged, .. } = self;
        SessionEvent { time_us, rank, offset, mark, flagged }
    }
}

/// How many buckets are found without a search: enough for the usual disorder.
const HOT: usize = 64;

/// So many events are given at a time: for as many keys memory can be waited for at once.
const TOGETHER: usize = 16;

/// Waiting events; those that the frontier has passed come out in (event time, partition, offset) order.
pub(super) struct Pending {
    /// From bucket to its place in `events`.
    buckets: BTreeMap<i64, u32>,
    events: Vec<Vec<Waiting>>,
    free: Vec<u32>,
    /// Buckets used lately and their places, by the bucket's low bits.
    hot: [(i64, u32); HOT],
    len: usize,
    cold: Option<ColdBuckets>,
    /// What on disk cannot be read.
    failure: Option<SpillError>,
}

const COLD: (i64, u32) = (i64::MAX, 0);

impl Default for Pending {
    fn default() -> Self {
        let (buckets, events, free) = (BTreeMap::new(), Vec::new(), Vec::new());
        Pending { buckets, events, free, hot: [COLD; HOT], len: 0, cold: None, failure: None }
    }
}

impl Pending {
    #[inline]
    pub(super) fn push(&mut self, event: Waiting) {
        let bucket = event.time_us >> BUCKET_BITS;
        let (hot, place) = self.hot[bucket as usize % HOT];
        let place = if hot == bucket { place } else { self.heat(bucket) };
        self.events[place as usize].push(event);
        self.len += 1;
    }

    #[inline(never)]
    fn heat(&mut self, bucket: i64) -> u32 {
        let (events, free) = (&mut self.events, &mut self.free);
        let place = *self.buckets.entry(bucket).or_insert_with(|| {
            free.pop().unwrap_or_else(|| {
                events.push(Vec::new());
                (events.len() - 1) as u32
            })
        });
        self.hot[bucket as usize % HOT] = (bucket, place);
        place
    }

    /// Calls `each` with all events before `watermark_us` (all, when `None`), in order, some at a time.
    pub(super) fn pass(&mut self, watermark_us: Option<i64>, mut each: impl FnMut(&[Waiting])) {
        loop {
            self.warm(watermark_us);
            let Some(first) = self.buckets.first_entry() else { break };
            let start_us = first.key() << BUCKET_BITS;
            if watermark_us.is_some_and(|us| us <= start_us) {
                break;
            }
            let place = *first.get() as usize;
            let mut events = std::mem::take(&mut self.events[place]);
            let whole = watermark_us.is_none_or(|us| us >> BUCKET_BITS > *first.key());
            if let Some(us) = watermark_us.filter(|_| !whole) {
                self.events[place] = split_off(&mut events, us);
            }
            events.sort_unstable_by_key(|event| (event.time_us, event.rank, event.offset));
            events.chunks(TOGETHER).for_each(&mut each);
            self.len -= events.len();
            if !whole {
                break;
            }
            let (bucket, place) = first.remove_entry();
            self.hot[bucket as usize % HOT] = COLD;
            events.clear();
            self.events[place as usize] = events;
            self.free.push(place);
        }
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Events that memory is too short for go to disk, as `budget` says.
    pub(super) fn within(&mut self, budget: &Budget) {
        self.cold = budget.directory().map(ColdBuckets::new);
    }

    /// Why events are missing: what was on disk cannot be read. The run must end.
    pub(super) fn failure(&self) -> Option<&SpillError> {
        self.failure.as_ref()
    }

    fn fail(&mut self, error: SpillError) {
        self.failure.get_or_insert(error);
        self.cold = None;
    }

    /// Bytes held in memory by events.
    pub(super) fn heap_bytes(&self) -> usize {
        self.events.iter().map(Vec::capacity).sum::<usize>() * size_of::<Waiting>()
    }

    /// Moves the last buckets to disk, until `bytes` are free or none is left.
    ///
    /// # Errors
    /// When one cannot be written; it then stays.
    pub(super) fn chill(&mut self, bytes: usize) -> Result<(), SpillError> {
        let Some(cold) = &mut self.cold else { return Ok(()) };
        let mut freed = 0;
        while freed < bytes
            && let Some(last) = self.buckets.last_entry()
        {
            let (bucket, events) = (*last.key(), &mut self.events[*last.get() as usize]);
            cold.put(bucket, events)?;
            freed += events.capacity() * size_of::<Waiting>();
            // Its memory is what is wanted.
            *events = Vec::new();
            self.free.push(last.remove());
            self.hot[bucket as usize % HOT] = COLD;
        }
        Ok(())
    }

    /// Frees the memory of buckets that have passed.
    pub(super) fn shrink(&mut self) {
        for place in &self.free {
            self.events[*place as usize] = Vec::new();
        }
    }

    /// Brings the first bucket back where it is on disk and some of it is before `watermark_us`.
    fn warm(&mut self, watermark_us: Option<i64>) {
        let Some(bucket) = self.cold.as_ref().and_then(ColdBuckets::first) else { return };
        let is_first = self.buckets.first_key_value().is_none_or(|(first, _)| bucket <= *first);
        if !is_first || watermark_us.is_some_and(|us| us <= bucket << BUCKET_BITS) {
            return;
        }
        let place = self.heat(bucket) as usize;
        let events = &mut self.events[place];
        if let Some(cold) = &mut self.cold
            && let Err(error) = cold.take(bucket, events)
        {
            self.fail(error);
        }
    }
}

/// Keeps the events before `watermark_us` and returns the others.
fn split_off(events: &mut Vec<Waiting>, watermark_us: i64) -> Vec<Waiting> {
    let mut rest = Vec::new();
    events.retain(|event| {
        let passed = event.time_us < watermark_us;
        if !passed {
            rest.push(*event);
        }
        passed
    });
    rest
}
