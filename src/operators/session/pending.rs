//! Events that the frontier has not passed yet, in buckets of event time.

use std::collections::BTreeMap;

use super::{Mark, SessionEvent};

/// Buckets are 2^20 µs wide, about a second.
const BUCKET_BITS: u32 = 20;

/// An event that waits, with its key's number.
#[derive(Clone, Copy, Debug)]
pub(super) struct Waiting {
    pub(super) time_us: i64,
    pub(super) offset: i64,
    pub(super) rank: u32,
    pub(super) key: u32,
    pub(super) mark: Mark,
    pub(super) flagged: bool,
}

/// Waiting events; those that the frontier has passed come out in (event time, partition, offset) order.
#[derive(Default)]
pub(super) struct Pending {
    buckets: BTreeMap<i64, Vec<Waiting>>,
    spare: Vec<Vec<Waiting>>,
    /// The bucket that the last event went to, outside the map.
    hot: Option<(i64, Vec<Waiting>)>,
}

impl Pending {
    #[inline]
    pub(super) fn push(&mut self, key: u32, event: SessionEvent) {
        let bucket = event.time_us >> BUCKET_BITS;
        let SessionEvent { time_us, rank, offset, mark, flagged } = event;
        let waiting = Waiting { time_us, offset, rank, key, mark, flagged };
        match &mut self.hot {
            Some((hot, events)) if *hot == bucket => events.push(waiting),
            _ => self.heat(bucket).push(waiting),
        }
    }

    #[inline(never)]
    fn heat(&mut self, bucket: i64) -> &mut Vec<Waiting> {
        self.cool();
        let events = self.buckets.remove(&bucket).or_else(|| self.spare.pop()).unwrap_or_default();
        &mut self.hot.insert((bucket, events)).1
    }

    fn cool(&mut self) {
        if let Some((bucket, events)) = self.hot.take() {
            self.buckets.insert(bucket, events);
        }
    }

    /// Calls `each` for all events before `watermark_us` (all, when `None`), in order.
    pub(super) fn pass(&mut self, watermark_us: Option<i64>, mut each: impl FnMut(&Waiting)) {
        self.cool();
        while let Some(first) = self.buckets.first_entry() {
            let start_us = first.key() << BUCKET_BITS;
            if watermark_us.is_some_and(|us| us <= start_us) {
                break;
            }
            let (bucket, mut events) = first.remove_entry();
            let whole = watermark_us.is_none_or(|us| us >> BUCKET_BITS > bucket);
            let rest = match watermark_us {
                Some(us) if !whole => split_off(&mut events, us),
                _ => Vec::new(),
            };
            events.sort_unstable_by_key(|event| (event.time_us, event.rank, event.offset));
            events.iter().for_each(&mut each);
            events.clear();
            if self.spare.len() < 16 {
                self.spare.push(events);
            }
            if !whole {
                if !rest.is_empty() {
                    self.buckets.insert(bucket, rest);
                }
                break;
            }
        }
    }

    pub(super) fn len(&self) -> usize {
        self.buckets.values().chain(self.hot.as_ref().map(|(_, events)| events)).map(Vec::len).sum()
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
