//! Where lines end, found for many lines at once.
//!
//! A search for one newline costs more in setting out than in looking at the hundred bytes of a line; here one search gives
//! the ends of several.

use crate::decode::simd::{BLOCK, CACHE_LINE, Level, Simd, Vectorized, fetch};

/// Ends that are kept.
const KEPT: usize = 64;

/// Bytes that are looked through at once. They come from memory, which is slow and can go on fetching while lines are decoded:
/// so it is little, and often.
const WINDOW: usize = 2 << 10;

/// The ends of the lines that come next, for whoever reads lines one after the other.
pub struct LineEnds {
    level: Level,
    /// Positions of newlines, from where the search began.
    ends: [u32; KEPT],
    found: usize,
    next: usize,
    /// Where the search began.
    base: usize,
}

impl Default for LineEnds {
    fn default() -> Self {
        LineEnds::new()
    }
}

impl LineEnds {
    /// Nothing has been searched.
    pub fn new() -> Self {
        LineEnds { level: Level::detect(), ends: [0; KEPT], found: 0, next: 0, base: 0 }
    }

    /// Newlines at or behind `at`, the beginning of a line, in their order, less a number that is given too; none when there is
    /// none. They are given again until they are [`passed`](Self::pass).
    #[inline(always)]
    pub fn of_lines(&mut self, bytes: &[u8], at: usize) -> (usize, &[u32]) {
        if self.next == self.found {
            self.search(bytes, at);
        }
        (self.base, &self.ends[self.next..self.found])
    }

    /// Goes on to a later line.
    #[inline(always)]
    pub fn pass(&mut self, lines: usize) {
        self.next += lines;
    }

    #[inline(never)]
    fn search(&mut self, bytes: &[u8], at: usize) {
        let rest = &bytes[at..];
        let (window, ahead) = rest.split_at(rest.len().min(WINDOW));
        (self.base, self.next) = (at, 0);
        let ahead = &ahead[..ahead.len().min(WINDOW)];
        self.found = self.level.dispatch(Search { window, ahead, ends: &mut self.ends });
        // A line as long as that costs nothing to look for by itself.
        if self.found == 0
            && let Some(len) = memchr::memchr(b'\n', rest)
        {
            self.base = at + len;
            (self.ends[0], self.found) = (0, 1);
        }
    }
}

struct Search<'a> {
    window: &'a [u8],
    /// What is searched next.
    ahead: &'a [u8],
    ends: &'a mut [u32; KEPT],
}

impl Vectorized for Search<'_> {
    /// How many were found.
    type Output = usize;

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) -> usize {
        let Search { window, ahead, ends } = self;
        let (lines, rest) = window.as_chunks::<CACHE_LINE>();
        let mut found = 0;
        // The machine's own foresight ends with the page, and begins anew in each of the partitions that are read in turns.
        let (ahead, _) = ahead.as_chunks::<CACHE_LINE>();
        let mut ahead = ahead.iter();
        for (number, line) in lines.iter().enumerate() {
            if let Some(line) = ahead.next() {
                fetch(line);
            }
            let (blocks, _) = line.as_chunks::<BLOCK>();
            let newlines_of = |block| u64::from(simd.equal(simd.load(block), b'\n'));
            let newlines = newlines_of(&blocks[0]) | newlines_of(&blocks[1]) << BLOCK;
            // Most have one newline or none, which nobody can foresee: it is written in any case, and counted or not.
            let Some(end) = ends.get_mut(found) else { return found };
            *end = (number * CACHE_LINE) as u32 + newlines.trailing_zeros();
            found += usize::from(newlines != 0);
            let mut more = newlines & newlines.wrapping_sub(1);
            while more != 0 {
                let Some(end) = ends.get_mut(found) else { return found };
                *end = (number * CACHE_LINE) as u32 + more.trailing_zeros();
                found += 1;
                more &= more - 1;
            }
        }
        let base = window.len() - rest.len();
        for (at, _) in rest.iter().enumerate().filter(|(_, byte)| **byte == b'\n') {
            let Some(end) = ends.get_mut(found) else { return found };
            *end = (base + at) as u32;
            found += 1;
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn all(mut ends: LineEnds, bytes: &[u8]) -> Vec<usize> {
        let (mut at, mut all) = (0, Vec::new());
        loop {
            let (base, found) = ends.of_lines(bytes, at);
            let Some(end) = found.first().map(|end| base + *end as usize) else { break };
            let more: Vec<usize> = found[1..].iter().map(|end| base + *end as usize).collect();
            all.push(end);
            at = end + 1;
            ends.pass(1);
            // All at once gives the same as one by one.
            if all.len() % 3 == 0 {
                at = more.last().map_or(at, |end| end + 1);
                ends.pass(more.len());
                all.extend(more);
            }
        }
        all
    }

    proptest! {
        #[test]
        fn ends_are_those_of_memchr(lens in prop_oneof![
            prop::collection::vec(prop_oneof![9 => 0_usize..90, 1 => 0_usize..700, 1 => WINDOW - 40..WINDOW + 40], 0..500),
            // So short that there are more in a window than are kept.
            prop::collection::vec(prop_oneof![9 => 0_usize..6, 1 => 0_usize..70], 0..900),
        ], newline_at_end: bool) {
            let mut bytes: Vec<u8> = lens.iter().flat_map(|len| [vec![b'a'; *len], vec![b'\n']].concat()).collect();
            if !newline_at_end {
                bytes.extend_from_slice(b"the last");
            }
            let expected: Vec<usize> = memchr::memchr_iter(b'\n', &bytes).collect();
            for level in Level::all() {
                prop_assert_eq!(&all(LineEnds { level, ..LineEnds::new() }, &bytes), &expected);
            }
        }
    }
}
