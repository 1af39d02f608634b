//! Deduplication within a partition, with state that event time frees.
//!
//! A record repeats another when it has the same key and the same instant, and the other was accepted earlier in
//! the same partition. That is remembered for as long as the instant's window is open for the partition, and no
//! longer: afterwards a repeat is late, counts nowhere, and need not be recognised. So the state is bounded by
//! what a partition holds within a window and its delay.

use std::collections::BTreeMap;

use hashbrown::HashSet;

use super::validate::BadState;
use crate::window::WindowSpec;

/// Keys with their instants: eight bytes of time, then the key.
type Seen = HashSet<Box<[u8]>>;

/// Which (key, instant) pairs were accepted, partition by partition.
///
/// # Guarantees
/// * A pair is a repeat exactly when it was [remembered](Dedup::remember) in the same partition and the last window
///   that holds its instant ends after the watermark given.
/// * Equal histories save to equal bytes.
///
/// # State
/// 8 bytes, the key and about 24 bytes more a pair, freed when a look-up's watermark has passed the window's end.
///
/// # Examples
/// ```
/// use tidegate::ingest::Dedup;
/// use tidegate::window::WindowSpec;
///
/// let mut dedup = Dedup::new(WindowSpec::tumbling(60)?);
/// assert!(!dedup.is_repeat(0, b"s1", 7, i64::MIN));
/// dedup.remember(0, b"s1", 7, i64::MIN);
/// assert!(dedup.is_repeat(0, b"s1", 7, 59));
/// assert!(!dedup.is_repeat(1, b"s1", 7, 59), "another partition");
/// assert!(!dedup.is_repeat(0, b"s1", 7, 60), "its window is closed: it is just late");
/// # Ok::<(), tidegate::window::BadWindow>(())
/// ```
#[derive(Debug)]
pub struct Dedup {
    spec: WindowSpec,
    /// By rank, then by window.
    partitions: Vec<BTreeMap<i64, Seen>>,
    entry: Vec<u8>,
}

impl Dedup {
    /// Nothing is remembered; windows are those of `spec`.
    pub fn new(spec: WindowSpec) -> Self {
        Dedup { spec, partitions: Vec::new(), entry: Vec::new() }
    }

    /// Whether the pair was accepted before in the partition and its window is open at `watermark_us`.
    ///
    /// Frees the windows that the watermark has closed. The watermark of a partition must not go back.
    pub fn is_repeat(&mut self, rank: u32, key: &[u8], time_us: i64, watermark_us: i64) -> bool {
        let Some(windows) = self.partitions.get_mut(rank as usize) else { return false };
        while let Some(first) = windows.first_entry().filter(|e| self.spec.end(*e.key()) <= watermark_us) {
            first.remove();
        }
        let Some(seen) = windows.get(&window_of(&self.spec, time_us)) else { return false };
        seen.contains(encode(&mut self.entry, key, time_us))
    }

    /// Remembers an accepted pair, unless its window is closed at `watermark_us`.
    pub fn remember(&mut self, rank: u32, key: &[u8], time_us: i64, watermark_us: i64) {
        let window = window_of(&self.spec, time_us);
        if self.spec.end(window) <= watermark_us {
            return;
        }
        let entry: Box<[u8]> = encode(&mut self.entry, key, time_us).into();
        self.windows(rank).entry(window).or_default().insert(entry);
    }

    /// How many pairs are remembered, over all partitions.
    pub fn entries(&self) -> usize {
        self.partitions.iter().flat_map(BTreeMap::values).map(HashSet::len).sum()
    }

    /// What is remembered of a partition; empty when nothing is.
    pub fn save(&self, rank: u32) -> Vec<u8> {
        let windows = self.partitions.get(rank as usize);
        let mut entries: Vec<&[u8]> =
            windows.into_iter().flat_map(BTreeMap::values).flatten().map(|entry| &**entry).collect();
        entries.sort_unstable();
        let mut out = Vec::new();
        for entry in entries {
            // An entry holds a text of at most 1 GiB.
            out.extend_from_slice(&(entry.len() as u32).to_le_bytes());
            out.extend_from_slice(entry);
        }
        out
    }

    /// Takes back what [`save`](Dedup::save) gave, in place of what is remembered of the partition.
    ///
    /// # Errors
    /// When the bytes are cut or are no such state; the partition then remembers nothing.
    pub fn restore(&mut self, rank: u32, mut state: &[u8]) -> Result<(), BadState> {
        let spec = self.spec;
        let windows = self.windows(rank);
        windows.clear();
        while !state.is_empty() {
            let Some((entry, rest)) = next_entry(state) else {
                windows.clear();
                return Err(BadState("the remembered pairs are cut".to_owned()));
            };
            let (time, _key) = entry.split_at(TIME_BYTES);
            // Eight bytes, as `next_entry` has seen to.
            let time_us = i64::from_le_bytes(time.try_into().unwrap_or_default());
            windows.entry(window_of(&spec, time_us)).or_default().insert(entry.into());
            state = rest;
        }
        Ok(())
    }

    fn windows(&mut self, rank: u32) -> &mut BTreeMap<i64, Seen> {
        let rank = rank as usize;
        if rank >= self.partitions.len() {
            self.partitions.resize_with(rank + 1, BTreeMap::new);
        }
        &mut self.partitions[rank]
    }
}

const TIME_BYTES: usize = size_of::<i64>();

/// The last window that holds an instant: the one that closes last.
fn window_of(spec: &WindowSpec, time_us: i64) -> i64 {
    spec.last_window(spec.pane_at(time_us))
}

fn encode<'e>(entry: &'e mut Vec<u8>, key: &[u8], time_us: i64) -> &'e [u8] {
    entry.clear();
    entry.extend_from_slice(&time_us.to_le_bytes());
    entry.extend_from_slice(key);
    entry
}

fn next_entry(state: &[u8]) -> Option<(&[u8], &[u8])> {
    let (len, rest) = state.split_first_chunk()?;
    let len = u32::from_le_bytes(*len) as usize;
    rest.split_at_checked(len).filter(|(entry, _)| entry.len() >= TIME_BYTES)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet as Set;

    use proptest::prelude::*;

    use super::*;

    fn minute() -> Dedup {
        Dedup::new(WindowSpec::tumbling(60).unwrap())
    }

    #[test]
    fn state_is_freed_as_the_watermark_passes() {
        let mut dedup = minute();
        for time in 0..180 {
            dedup.remember(0, b"s", time, i64::MIN);
        }
        assert_eq!(dedup.entries(), 180);
        assert!(dedup.is_repeat(0, b"s", 179, 120));
        assert_eq!(dedup.entries(), 60);
        dedup.remember(0, b"s", 100, 120);
        assert_eq!(dedup.entries(), 60, "a closed window is not opened again");
    }

    #[test]
    fn key_and_time_do_not_run_into_each_other() {
        let mut dedup = minute();
        dedup.remember(0, b"", 0x61, i64::MIN);
        assert!(!dedup.is_repeat(0, b"a", 0, i64::MIN));
        assert!(dedup.is_repeat(0, b"", 0x61, i64::MIN));
    }

    #[test]
    fn cut_state_is_refused() {
        let mut dedup = minute();
        dedup.remember(3, b"sensor", 5, i64::MIN);
        let saved = dedup.save(3);
        for cut in 1..saved.len() {
            assert!(minute().restore(3, &saved[..cut]).is_err(), "cut at {cut}");
        }
    }

    proptest! {
        /// The naive model remembers every pair for ever and looks at the watermark.
        #[test]
        fn repeats_are_those_of_the_naive_model(
            steps in prop::collection::vec((0_u32..3, 0_u8..4, -200_i64..200, 0_i64..30), 1..200),
            saved_at in 0_usize..200,
        ) {
            let mut dedup = minute();
            let mut model = Set::new();
            let mut watermarks = [i64::MIN; 3];
            for (i, (rank, key, time, delay)) in steps.into_iter().enumerate() {
                if i == saved_at {
                    let mut fresh = minute();
                    for rank in 0..3 {
                        fresh.restore(rank, &dedup.save(rank)).unwrap();
                        prop_assert_eq!(fresh.save(rank), dedup.save(rank));
                    }
                    dedup = fresh;
                }
                let watermark = watermarks[rank as usize];
                let open = (time.div_euclid(60) + 1) * 60 > watermark;
                let repeat = open && model.contains(&(rank, key, time));
                prop_assert_eq!(dedup.is_repeat(rank, &[key], time, watermark), repeat);
                if !repeat {
                    dedup.remember(rank, &[key], time, watermark);
                    model.insert((rank, key, time));
                    watermarks[rank as usize] = watermark.max(time - delay);
                }
            }
        }
    }
}
