//! The arithmetic of tumbling and sliding windows, and which of them a record can still reach.
//!
//! Windows are aligned to the Unix epoch and half-open. Window `w` (any integer) is
//! `[w · slide, w · slide + size)`; a tumbling window slides by its size. Panes are the pieces of
//! `gcd(size, slide)` that windows share, so that a record is added once and not once per window
//! (Li et al., *No Pane, No Gain*, SIGMOD Record 2005).
//!
//! A record can be late for its older windows and on time for its newer ones. Its **class** is the first
//! window that it can still reach; a window is the sum of its panes' parts of a class not after it.

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// A tumbling or sliding window over event time, in microseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WindowSpec {
    size_us: i64,
    slide_us: i64,
    pane_us: i64,
}

/// A size or slide that makes no windows.
#[derive(Debug, Error, PartialEq, Eq)]
#[error(
    "a window needs 0 < slide <= size, a size of at most 1,000 years and at most {MOST_OVERLAP} slides in a size, \
     not size {size_us} us and slide {slide_us} us"
)]
pub struct BadWindow {
    size_us: i64,
    slide_us: i64,
}

/// Where a record counts: its pane, and the first window that it can still reach.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Eligible {
    /// The first window that the record is on time for.
    pub class: i64,
    /// The pane that the record's event time lies in.
    pub pane: i64,
}

/// How many windows may hold the same instant: each is a row when it closes.
pub const MOST_OVERLAP: i64 = 100_000;

const LONGEST_US: i64 = 1_000 * 366 * 86_400 * 1_000_000;

impl WindowSpec {
    /// Adjacent windows of `size_us`.
    ///
    /// # Errors
    /// When the size is not positive or beyond 1,000 years.
    pub fn tumbling(size_us: i64) -> Result<Self, BadWindow> {
        Self::sliding(size_us, size_us)
    }

    /// Windows of `size_us`, one starting every `slide_us`.
    ///
    /// # Errors
    /// When not 0 < slide ≤ size ≤ 1,000 years, or a size has more than [`MOST_OVERLAP`] slides.
    pub fn sliding(size_us: i64, slide_us: i64) -> Result<Self, BadWindow> {
        let too_long = size_us > LONGEST_US;
        if slide_us <= 0 || size_us < slide_us || too_long || size_us / slide_us > MOST_OVERLAP {
            return Err(BadWindow { size_us, slide_us });
        }
        Ok(WindowSpec { size_us, slide_us, pane_us: gcd(size_us, slide_us) })
    }

    /// Whether each pane is a window of its own.
    pub fn is_tumbling(&self) -> bool {
        self.size_us == self.slide_us
    }

    /// How long a window is.
    pub fn size_us(&self) -> i64 {
        self.size_us
    }

    /// How far apart windows start.
    pub fn slide_us(&self) -> i64 {
        self.slide_us
    }

    /// How long a pane is.
    pub fn pane_us(&self) -> i64 {
        self.pane_us
    }

    /// The pane that `time_us` lies in.
    #[inline]
    pub fn pane_at(&self, time_us: i64) -> i64 {
        time_us.div_euclid(self.pane_us)
    }

    /// Where pane `pane` starts.
    #[inline]
    pub fn pane_start(&self, pane: i64) -> i64 {
        pane * self.pane_us
    }

    /// The first window that `pane` is part of.
    #[inline]
    pub fn first_window(&self, pane: i64) -> i64 {
        // The smallest w with w · slide + size >= the pane's end.
        -(self.size_us - (pane + 1) * self.pane_us).div_euclid(self.slide_us)
    }

    /// The last window that `pane` is part of.
    #[inline]
    pub fn last_window(&self, pane: i64) -> i64 {
        (pane * self.pane_us).div_euclid(self.slide_us)
    }

    /// Where window `window` starts.
    #[inline]
    pub fn start(&self, window: i64) -> i64 {
        window * self.slide_us
    }

    /// Where window `window` ends (exclusive).
    #[inline]
    pub fn end(&self, window: i64) -> i64 {
        window * self.slide_us + self.size_us
    }

    /// The first window that a watermark leaves open: the smallest with an end after `watermark_us`.
    #[inline]
    pub fn first_open(&self, watermark_us: i64) -> i64 {
        watermark_us.saturating_sub(self.size_us).div_euclid(self.slide_us) + 1
    }

    /// Where a record at `time_us` counts, given its partition's watermark at its position; `None` when
    /// it is late for every window (each has an end at or before the watermark).
    #[inline]
    pub fn eligible(&self, time_us: i64, watermark_us: i64) -> Option<Eligible> {
        let pane = self.pane_at(time_us);
        let class = self.first_window(pane).max(self.first_open(watermark_us));
        (class <= self.last_window(pane)).then_some(Eligible { class, pane })
    }
}

fn gcd(a: i64, b: i64) -> i64 {
    if b == 0 { a } else { gcd(b, a % b) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::{MAX_US, MIN_US};
    use proptest::prelude::*;

    #[test]
    fn nonsense_is_refused() {
        assert!(WindowSpec::tumbling(0).is_err());
        assert!(WindowSpec::sliding(5, 6).is_err());
        assert!(WindowSpec::sliding(i64::MAX, 1).is_err());
        assert!(WindowSpec::sliding(365 * 86_400_000_000, 1000).is_err());
    }

    #[test]
    fn a_record_before_1970_has_its_window() {
        let minute = WindowSpec::tumbling(60).expect("valid");
        assert_eq!(minute.eligible(-1, i64::MIN), Some(Eligible { class: -1, pane: -1 }));
        assert_eq!((minute.start(-1), minute.end(-1)), (-60, 0));
    }

    #[test]
    fn a_window_that_ends_at_the_watermark_is_closed_to_the_record() {
        let minute = WindowSpec::tumbling(60).expect("valid");
        assert_eq!(minute.eligible(59, 60), None);
        assert!(minute.eligible(59, 59).is_some());
        assert!(minute.eligible(60, 60).is_some());
    }

    #[test]
    fn the_first_and_the_last_instant_of_the_calendar_have_their_windows() {
        const MINUTE: i64 = 60_000_000;
        let minute = WindowSpec::tumbling(MINUTE).expect("valid");
        // Both ends of the calendar are whole minutes from the epoch.
        for (time, start) in [(MIN_US, MIN_US), (MAX_US, MAX_US + 1 - MINUTE), (-1, -MINUTE), (0, 0)] {
            let at = minute.eligible(time, i64::MIN).expect("no watermark");
            assert_eq!((minute.start(at.class), minute.end(at.class)), (start, start + MINUTE), "{time}");
            assert_eq!(
                (minute.pane_start(at.pane), at.class),
                (start, minute.last_window(at.pane)),
                "{time}"
            );
        }
        // The longest windows reach beyond the calendar, and are numbered all the same.
        let longest = WindowSpec::tumbling(LONGEST_US).expect("valid");
        for time in [MIN_US, -1, 0, MAX_US] {
            let at = longest.eligible(time, i64::MIN).expect("no watermark");
            assert!((longest.start(at.class)..longest.end(at.class)).contains(&time), "{time}");
        }
    }

    #[test]
    fn a_watermark_at_the_other_end_of_the_calendar_closes_all_windows_or_none() {
        for (size, slide) in [(60_000_000, 60_000_000), (300_000_000, 60_000_000), (7, 3)] {
            let spec = WindowSpec::sliding(size, slide).expect("valid");
            assert_eq!(spec.eligible(MIN_US, MAX_US), None);
            let of_first = spec.eligible(MAX_US, i64::MIN);
            assert_eq!(spec.eligible(MAX_US, MIN_US), of_first);
            assert!(of_first.is_some_and(|at| spec.end(at.class) > MAX_US));
        }
    }

    /// An instant of the calendar, often near one of its ends or the epoch.
    fn any_instant() -> impl Strategy<Value = i64> {
        prop_oneof![
            MIN_US..=MAX_US,
            (0..200_i64).prop_map(|us| MIN_US + us),
            (0..200_i64).prop_map(|us| MAX_US - us),
            -200..200_i64,
        ]
    }

    /// A size and a slide of which `most` slides at most make a size.
    fn any_window(most: i64) -> impl Strategy<Value = (i64, i64)> {
        let size = prop_oneof![1..200_i64, 1..LONGEST_US, Just(LONGEST_US)];
        size.prop_flat_map(move |size| (Just(size), (size + most - 1) / most..=size))
    }

    proptest! {
        /// The definition in wider integers is the oracle, from the year 1 to the year 9999.
        #[test]
        fn windows_anywhere_in_the_calendar_agree_with_the_definition(
            (size, slide) in any_window(50), time in any_instant(), watermark in any_instant(), lag in -200..200_i64, near: bool,
        ) {
            let spec = WindowSpec::sliding(size, slide).expect("valid");
            let watermark = if near { time.saturating_add(lag) } else { watermark };
            let (wide_size, wide_slide) = (i128::from(size), i128::from(slide));
            let (time_wide, watermark_wide) = (i128::from(time), i128::from(watermark));
            let mut on_time = Vec::new();
            let mut window = time_wide.div_euclid(wide_slide);
            while window * wide_slide + wide_size > time_wide {
                if window * wide_slide + wide_size > watermark_wide {
                    on_time.push(window);
                }
                window -= 1;
            }
            let found = spec.eligible(time, watermark).map(|Eligible { class, pane }| {
                (i128::from(class), i128::from(spec.last_window(pane)))
            });
            // They were found from the last one on.
            prop_assert_eq!(found, on_time.last().copied().zip(on_time.first().copied()));
        }

        /// The definition, window by window, is the oracle.
        #[test]
        fn classes_and_panes_agree_with_the_definition(
            slide in 1_i64..40, extra in 0_i64..100, time in -500_i64..500, watermark in -700_i64..700,
        ) {
            let size = slide + extra;
            let spec = WindowSpec::sliding(size, slide).expect("valid");
            let on_time: Vec<i64> = (-800..800)
                .filter(|w| (w * slide..w * slide + size).contains(&time) && w * slide + size > watermark)
                .collect();
            match spec.eligible(time, watermark) {
                None => prop_assert!(on_time.is_empty()),
                Some(Eligible { class, pane }) => {
                    prop_assert_eq!(class, on_time[0]);
                    prop_assert_eq!(spec.last_window(pane), on_time[on_time.len() - 1]);
                }
            }
        }
    }
}
