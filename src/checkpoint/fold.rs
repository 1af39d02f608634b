//! Which deltas are folded, and into which files.
//!
//! A run of the checkpoint's deltas is folded into one file, or, where they are long, into one file for each share of the keys, so that no
//! more than a share is in memory at a time. The shares of a fold make up one *group*; any other file is a group by itself. How many shares
//! there are is a power of two, so that the keys of a share of one group are those of some shares of another, and all of its files that hold
//! none of them need not be read.

use super::StateFile;

/// Deltas are folded when there are more groups of them.
const MOST_GROUPS: usize = 32;

/// A share of the keys has about so many bytes.
const SHARE_BYTES: u64 = 32 << 20;

/// Into how many files a run is folded, at most.
const MOST_SHARES: u64 = 64;

/// Deltas that are not parted by their keys yet are folded when they have more bytes: so many are held in memory then.
pub(super) const MOST_UNPARTED: u64 = 128 << 20;

/// A share of the keys: those whose hash leaves `number` when it is divided by `of`, a power of two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Share {
    pub(super) number: u64,
    pub(super) of: u64,
}

impl Share {
    const ALL: Share = Share { number: 0, of: 1 };

    /// The shares that a run of so many bytes is folded into.
    pub(super) fn of_bytes(bytes: u64) -> impl Iterator<Item = Share> {
        let of = bytes.div_ceil(SHARE_BYTES).clamp(1, MOST_SHARES).next_power_of_two();
        (0..of).map(move |number| Share { number, of })
    }

    /// The share that a file holds, by its name.
    pub(super) fn of_file(file: &StateFile) -> Share {
        parted(&file.name).map_or(Share::ALL, |(_, share)| share)
    }

    /// The file of this share, folded in `epoch` by the run of `generation`.
    pub(super) fn file_name(self, epoch: u64, generation: u64) -> String {
        let Share { number, of } = self;
        format!("delta-{epoch:010}-{generation}-folded-{number}-of-{of}.tg")
    }

    /// Whether some key may be in both.
    pub(super) fn meets(self, other: Share) -> bool {
        let both = self.of.min(other.of);
        self.number % both == other.number % both
    }

    /// Whether, of the shares of a fold, this is the first that meets `other`.
    pub(super) fn is_first_of(self, other: Share) -> bool {
        self.number == other.number % self.of
    }

    pub(super) fn is_all(self) -> bool {
        self.of == 1
    }
}

/// The fold that a file is of, and its share there.
fn parted(name: &str) -> Option<(&str, Share)> {
    let (fold, share) = name.strip_suffix(".tg")?.split_once("-folded-")?;
    let (number, of) = share.split_once("-of-")?;
    let (number, of): (u64, u64) = (number.parse().ok()?, of.parse().ok()?);
    (of.is_power_of_two() && number < of).then_some((fold, Share { number, of }))
}

/// Neighbours that are shares of one fold, or one file.
#[derive(Clone, Copy, Debug)]
struct Group<'a> {
    fold: Option<&'a str>,
    /// The place of its first file.
    first: usize,
    bytes: u64,
    is_parted: bool,
}

fn groups(files: &[StateFile]) -> Vec<Group<'_>> {
    let mut groups: Vec<Group<'_>> = Vec::new();
    for (place, file) in files.iter().enumerate() {
        let found = parted(&file.name);
        let fold = found.map(|(fold, _)| fold);
        match groups.last_mut() {
            Some(last) if fold.is_some() && last.fold == fold => last.bytes += file.bytes,
            _ => {
                let is_parted = found.is_some_and(|(_, share)| !share.is_all());
                groups.push(Group { fold, first: place, bytes: file.bytes, is_parted });
            }
        }
    }
    groups
}

/// From which of these delta files on all are to be folded; `None` where none is.
pub(super) fn first_to_fold(files: &[StateFile]) -> Option<usize> {
    let groups = groups(files);
    let unparted = groups.iter().rev().take_while(|group| !group.is_parted);
    let (count, bytes) = unparted.fold((0, 0), |(count, bytes), group| (count + 1, bytes + group.bytes));
    let sizes: Vec<u64> = groups.iter().map(|group| group.bytes).collect();
    let first = match (groups.len() > MOST_GROUPS, bytes > MOST_UNPARTED) {
        (_, true) => first_worth_it(&sizes).min(groups.len() - count),
        (true, false) => first_worth_it(&sizes),
        (false, false) => return None,
    };
    Some(groups[first].first)
}

/// Of groups that have so many bytes, the first that is to be folded with all behind it.
///
/// One is folded with those behind it when it is at most twice as long as they are together. So what is written once is
/// folded as often as its group doubles, and not whenever some other key changes: a checkpoint costs what has changed, times a
/// logarithm of what there is. At least half of the groups go, so that recovery opens few files.
fn first_worth_it(bytes: &[u64]) -> usize {
    let mut first = bytes.len().saturating_sub(1);
    let mut behind = bytes.last().copied().unwrap_or(0);
    while first > 0 && (first > MOST_GROUPS / 2 || bytes[first - 1] <= behind.saturating_mul(2)) {
        first -= 1;
        behind = behind.saturating_add(bytes[first]);
    }
    first
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_groups_are_left_alone_until_there_is_as_much_behind_them() {
        let small = vec![1; MOST_GROUPS];
        assert_eq!(first_worth_it(&[]), 0);
        assert_eq!(first_worth_it(&small), 0);
        assert_eq!(first_worth_it(&[&[1_000], &small[..]].concat()), 1);
        assert_eq!(first_worth_it(&[&[1_000, 60], &small[..]].concat()), 1);
        assert_eq!(first_worth_it(&[&[180, 60], &small[..]].concat()), 0);
        let falling: Vec<u64> = (0..=MOST_GROUPS as u32).rev().map(|n| 4u64.saturating_pow(n)).collect();
        assert_eq!(first_worth_it(&falling), MOST_GROUPS / 2);
    }

    /// Writes a unit an epoch, none of which is ever out of date, and folds it; gives the files that are left and how much was written.
    fn folded(epochs: u64, unit: u64) -> (Vec<StateFile>, u64) {
        let (mut files, mut written) = (Vec::new(), 0);
        for epoch in 1..=epochs {
            files.push(StateFile { name: format!("delta-{epoch:010}-1.tg"), bytes: unit });
            written += unit;
            if let Some(first) = first_to_fold(&files) {
                let bytes: u64 = files.drain(first..).map(|file| file.bytes).sum();
                let shares: Vec<_> = Share::of_bytes(bytes).collect();
                let each = bytes / shares.len() as u64;
                files.extend(
                    shares.iter().map(|share| StateFile { name: share.file_name(epoch, 1), bytes: each }),
                );
                written += bytes;
            }
        }
        (files, written)
    }

    #[test]
    fn what_is_written_once_is_folded_a_few_times() {
        let (files, written) = folded(10_000, 1);
        assert!(files.len() <= MOST_GROUPS && files.iter().map(|file| file.bytes).sum::<u64>() == 10_000);
        assert!(written < 10_000 * 12, "{written} units are written for 10,000");
    }

    #[test]
    fn long_deltas_are_parted_before_there_are_many_and_folded_a_few_times() {
        let (files, written) = folded(400, 32 << 20);
        let unparted = files.iter().filter(|file| parted(&file.name).is_none()).map(|file| file.bytes);
        assert!(unparted.sum::<u64>() <= MOST_UNPARTED);
        assert!(groups(&files).len() <= MOST_GROUPS);
        assert!(written < 400 * (32 << 20) * 12, "{written} bytes");
    }

    #[test]
    fn shares_meet_where_they_have_keys_in_common() {
        for (of, other_of) in [(1, 1), (1, 8), (4, 4), (2, 8), (8, 2), (16, 4)] {
            let shares: Vec<_> = (0..of).map(|number| Share { number, of }).collect();
            for other in (0..other_of).map(|number| Share { number, of: other_of }) {
                let common = |share: &Share| {
                    (0..64).any(|hash| hash % share.of == share.number && hash % other.of == other.number)
                };
                let meet: Vec<_> = shares.iter().filter(|share| share.meets(other)).collect();
                assert_eq!(meet, shares.iter().filter(|share| common(share)).collect::<Vec<_>>());
                let first: Vec<_> =
                    shares.iter().filter(|share| share.meets(other) && share.is_first_of(other)).collect();
                assert_eq!(first, meet[..1], "of {shares:?} and {other:?}");
            }
        }
    }

    #[test]
    fn files_are_told_apart_by_their_names() {
        let of = |name: &str| Share::of_file(&StateFile { name: name.to_owned(), bytes: 1 });
        let share = Share { number: 3, of: 8 };
        assert_eq!(of(&share.file_name(12, 3)), share);
        // As former versions named them, each with keys of a share that is not known.
        for name in
            ["delta-0000000012-3.tg", "delta-0000000012-3-folded-3.tg", "delta-0000000012-3-folded-3-of-6.tg"]
        {
            assert_eq!(of(name), Share::ALL, "{name}");
        }
    }
}
