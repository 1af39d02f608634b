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
///
/// # State
/// 8 bytes, the key and about 24 bytes more a pair, freed when a look-up's watermark has passed the window's end. Where it is
/// [saved](Dedup::saved), the pairs of an open epoch once more.
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
    /// By rank, what was remembered since it was saved: pairs, each behind its length. `None` where nothing is saved.
    unsaved: Option<Vec<Vec<u8>>>,
}

impl Dedup {
    /// Nothing is remembered; windows are those of `spec`.
    pub fn new(spec: WindowSpec) -> Self {
        Dedup { spec, partitions: Vec::new(), entry: Vec::new(), unsaved: None }
    }

    /// What is remembered is kept for [`Dedup::save`] as well.
    pub fn saved(mut self) -> Self {
        self.unsaved = Some(Vec::new());
        self
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
        if let Some(unsaved) = &mut self.unsaved {
            let rank = rank as usize;
            if rank >= unsaved.len() {
                unsaved.resize_with(rank + 1, Vec::new);
            }
            // An entry holds a text of at most 1 GiB.
            unsaved[rank].extend_from_slice(&(entry.len() as u32).to_le_bytes());
            unsaved[rank].extend_from_slice(&entry);
        }
        self.windows(rank).entry(window).or_default().insert(entry);
    }

    /// How many pairs are remembered, over all partitions.
    pub fn entries(&self) -> usize {
        self.partitions.iter().flat_map(BTreeMap::values).map(HashSet::len).sum()
    }

    /// Calls `each` with every pair that was remembered of a partition since this was called last, and until which
    /// watermark it is.
    pub fn save(&mut self, rank: u32, each: &mut dyn FnMut(i64, &[u8])) {
        let unsaved = self.unsaved.as_mut().and_then(|unsaved| unsaved.get_mut(rank as usize));
        let pairs = unsaved.map(std::mem::take).unwrap_or_default();
        let mut rest = &pairs[..];
        while let Some((entry, after)) = next_entry(rest) {
            if let Some(time_us) = time_of(entry) {
                each(self.spec.end(window_of(&self.spec, time_us)), entry);
            }
            rest = after;
        }
    }

    /// Takes back a pair that [`save`](Dedup::save) gave.
    ///
    /// # Errors
    /// When the bytes are no pair.
    pub fn restore(&mut self, rank: u32, entry: &[u8]) -> Result<(), BadState> {
        let time_us = time_of(entry).ok_or_else(|| BadState("a remembered pair is cut".to_owned()))?;
        let window = window_of(&self.spec, time_us);
        self.windows(rank).entry(window).or_default().insert(entry.into());
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

fn next_entry(pairs: &[u8]) -> Option<(&[u8], &[u8])> {
    let (len, rest) = pairs.split_first_chunk()?;
    rest.split_at_checked(u32::from_le_bytes(*len) as usize)
}

/// The instant of a pair.
fn time_of(entry: &[u8]) -> Option<i64> {
    entry.first_chunk().map(|bytes| i64::from_le_bytes(*bytes))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet as Set;

    use proptest::prelude::*;

    use super::*;

    /// What three partitions are numbered after others have been added.
    const RANKS: [u32; 3] = [1, 3, 4];

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
    fn only_what_is_new_is_saved_and_a_cut_pair_is_refused() {
        let mut dedup = minute().saved();
        dedup.remember(3, b"sensor", 5, i64::MIN);
        let mut saved = Vec::new();
        dedup.save(3, &mut |until_us, entry| saved.push((until_us, entry.to_vec())));
        let mut after = Vec::new();
        dedup.save(3, &mut |_, entry| after.push(entry.to_vec()));
        assert_eq!((saved.len(), saved[0].0, after.len()), (1, 60, 0));
        for cut in 0..8 {
            assert!(minute().restore(3, &saved[0].1[..cut]).is_err(), "cut at {cut}");
        }
    }

    proptest! {
        /// The naive model remembers every pair for ever and looks at the watermark.
        #[test]
        fn repeats_are_those_of_the_naive_model(
            steps in prop::collection::vec((0_u32..3, 0_u8..4, -200_i64..200, 0_i64..30), 1..200),
            saved_at in 0_usize..200,
        ) {
            let mut dedup = minute().saved();
            let (mut saved, mut model) = (Vec::new(), Set::new());
            let mut watermarks = [i64::MIN; 3];
            for (i, (rank, key, time, delay)) in steps.into_iter().enumerate() {
                // Saved twice, by what is new; taken back with other ranks, as far as it is of any account.
                if i == saved_at / 2 || i == saved_at {
                    for rank in 0..3 {
                        dedup.save(rank, &mut |until_us, entry| saved.push((rank, until_us, entry.to_vec())));
                    }
                }
                if i == saved_at {
                    let least = *watermarks.iter().min().unwrap();
                    dedup = minute().saved();
                    for (rank, _, entry) in saved.iter().filter(|(_, until_us, _)| *until_us > least) {
                        dedup.restore(RANKS[*rank as usize], entry).unwrap();
                    }
                }
                let now = if i >= saved_at { RANKS[rank as usize] } else { rank };
                let watermark = watermarks[rank as usize];
                let open = (time.div_euclid(60) + 1) * 60 > watermark;
                let repeat = open && model.contains(&(rank, key, time));
                prop_assert_eq!(dedup.is_repeat(now, &[key], time, watermark), repeat);
                if !repeat {
                    dedup.remember(now, &[key], time, watermark);
                    model.insert((rank, key, time));
                    watermarks[rank as usize] = watermark.max(time - delay);
                }
            }
        }
    }
}
