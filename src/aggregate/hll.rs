//! HyperLogLog: how many distinct values there were, approximately, in bounded space.
//!
//! The sketch is that of Flajolet, Fusy, Gandouet and Meunier (*HyperLogLog: the analysis of a near-optimal
//! cardinality estimation algorithm*, AofA 2007) over 64-bit hashes, so that no correction for large numbers
//! is needed. The estimate is the improved raw estimator of Ertl (*New cardinality estimation algorithms for
//! HyperLogLog sketches*, 2017, algorithm 6), which is unbiased from 0 up, without the tables and the switch
//! of HyperLogLog++. It reads nothing but how many registers hold each value, and uses nothing but additions,
//! multiplications, divisions and square roots, which IEEE 754 rounds correctly: the same registers give the
//! same estimate on every machine and in every build.
//!
//! A sketch with few values set keeps a sorted list of them, and 2^`P` bytes from then on. Which of
//! the two it is depends on the registers alone, so equal sketches are equal in memory and in bytes.

use std::cmp::Ordering;
use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use super::fixed::Bytes;

/// 1/(2·ln 2), the limit of the bias correction for many registers.
const ALPHA: f64 = 0.721_347_520_444_481_7;

/// A HyperLogLog sketch of 2^`P` registers, `P` from 4 to 18, over 64-bit hashes.
///
/// # Guarantees
/// * A function of the set of hashes, whatever the order, grouping and repetition; so is its serialised form.
/// * The relative standard error of [`Hll::estimate`] is 1.04/√(2^`P`): 0.81 % for 14.
///
/// # Cost
/// 4 bytes a register set up to a 16th of the registers (at most 2,048), 2^`P` bytes above. Serialised: 3
/// bytes a register set, or 6 bits a register.
#[derive(Clone, PartialEq, Eq)]
pub struct Hll<const P: u8> {
    registers: Registers,
}

#[derive(Clone, PartialEq, Eq)]
enum Registers {
    /// `register << 6 | rank` of each one set, ascending, at most [`Hll::SPARSE`].
    Sparse(Vec<u32>),
    /// The rank of every register.
    Dense(Box<[u8]>),
}

impl<const P: u8> Default for Hll<P> {
    fn default() -> Self {
        Hll { registers: Registers::Sparse(Vec::new()) }
    }
}

impl<const P: u8> Hll<P> {
    /// The number of registers.
    const REGISTERS: usize = {
        assert!(4 <= P && P <= 18, "the precision of a HyperLogLog sketch is 4 to 18");
        1 << P
    };
    /// The largest rank: a hash that is zero after its first `P` bits.
    const LARGEST: u8 = 65 - P;
    /// How many registers are listed before all get a byte.
    const SPARSE: usize = if Self::REGISTERS / 16 < 2048 { Self::REGISTERS / 16 } else { 2048 };

    /// Inserts the value that has this hash. All hashes must come from one good 64-bit function with one
    /// seed.
    #[inline]
    pub fn insert(&mut self, hash: u64) {
        let register = (hash >> (64 - P)) as u32;
        // The marker bit behind the rest of the hash ends the count of leading zeros.
        let rank = (hash << P | 1 << (P - 1)).leading_zeros() as u8 + 1;
        self.raise(register, rank);
    }

    /// Inserts all that `other` has inserted.
    pub fn merge(&mut self, other: &Self) {
        match (&mut self.registers, &other.registers) {
            (Registers::Sparse(mine), Registers::Sparse(theirs)) => {
                *mine = union(mine, theirs);
                if mine.len() > Self::SPARSE {
                    self.dense();
                }
            }
            (Registers::Dense(_), Registers::Sparse(theirs)) => {
                theirs.iter().for_each(|&entry| self.raise(entry >> 6, entry as u8 & 63));
            }
            (_, Registers::Dense(theirs)) => {
                for (mine, &theirs) in self.dense().iter_mut().zip(theirs) {
                    *mine = theirs.max(*mine);
                }
            }
        }
    }

    /// Whether nothing was inserted.
    pub fn is_empty(&self) -> bool {
        matches!(&self.registers, Registers::Sparse(list) if list.is_empty())
    }

    /// About how many distinct values were inserted, rounded to the nearest whole number.
    pub fn estimate(&self) -> u64 {
        let mut histogram = [0; 64];
        let mut set = 0;
        for (_, rank) in self.entries() {
            histogram[usize::from(rank)] += 1;
            set += 1;
        }
        histogram[0] = Self::REGISTERS as u32 - set;
        estimate(&histogram[..=usize::from(Self::LARGEST)])
    }

    /// The registers that are set, ascending, each with its rank.
    pub fn entries(&self) -> impl Iterator<Item = (u32, u8)> + '_ {
        let (list, ranks): (&[u32], &[u8]) = match &self.registers {
            Registers::Sparse(list) => (list, &[]),
            Registers::Dense(ranks) => (&[], ranks),
        };
        let listed = list.iter().map(|&entry| (entry >> 6, entry as u8 & 63));
        let dense = (0u32..).zip(ranks.iter().copied()).filter(|&(_, rank)| rank != 0);
        listed.chain(dense)
    }

    /// Raises `register` to `rank`, unless it is as high.
    #[inline]
    pub(super) fn raise(&mut self, register: u32, rank: u8) {
        match &mut self.registers {
            Registers::Dense(ranks) => {
                let held = &mut ranks[register as usize];
                *held = rank.max(*held);
            }
            Registers::Sparse(list) => {
                let entry = register << 6 | u32::from(rank);
                let at = list.partition_point(|&held| held >> 6 < register);
                match list.get(at) {
                    Some(&held) if held >> 6 == register => list[at] = entry.max(held),
                    _ if list.len() < Self::SPARSE => list.insert(at, entry),
                    _ => self.dense()[register as usize] = rank,
                }
            }
        }
    }

    /// The ranks of all registers, which from now on are kept.
    fn dense(&mut self) -> &mut [u8] {
        if let Registers::Sparse(list) = &self.registers {
            let mut ranks = vec![0; Self::REGISTERS].into_boxed_slice();
            for &entry in list {
                ranks[(entry >> 6) as usize] = entry as u8 & 63;
            }
            self.registers = Registers::Dense(ranks);
        }
        let Registers::Dense(ranks) = &mut self.registers else {
            unreachable!("a sparse sketch was made dense just above");
        };
        ranks
    }
}

impl<const P: u8> fmt::Debug for Hll<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Hll<{P}>(about {})", self.estimate())
    }
}

/// Both lists of `register << 6 | rank`, ascending; of a register in both, the higher rank.
fn union(a: &[u32], b: &[u32]) -> Vec<u32> {
    let mut out = Vec::with_capacity(a.len() + b.len());
    let (mut a, mut b) = (a.iter().copied().peekable(), b.iter().copied().peekable());
    while let (Some(&x), Some(&y)) = (a.peek(), b.peek()) {
        match (x >> 6).cmp(&(y >> 6)) {
            Ordering::Less => out.extend(a.next()),
            Ordering::Greater => out.extend(b.next()),
            Ordering::Equal => out.push(a.next().max(b.next()).unwrap_or(x)),
        }
    }
    out.extend(a);
    out.extend(b);
    out
}

/// Ertl's improved raw estimate from the number of registers with each rank, 0 to the largest.
fn estimate(histogram: &[u32]) -> u64 {
    let [unset, ranks @ .., largest] = histogram else { return 0 };
    let registers = f64::from(histogram.iter().sum::<u32>());
    let mut z = registers * tau(1.0 - f64::from(*largest) / registers);
    for &count in ranks.iter().rev() {
        z = 0.5 * (z + f64::from(count));
    }
    z += registers * sigma(f64::from(*unset) / registers);
    // Without any register set, z is infinite and the estimate 0.
    (ALPHA * registers * registers / z).round() as u64
}

/// x + Σ x^(2^k)·2^(k−1) over k ≥ 1: stands in for the registers that are not set.
fn sigma(mut x: f64) -> f64 {
    if x == 1.0 {
        return f64::INFINITY;
    }
    let (mut power, mut sum) = (1.0, x);
    loop {
        x *= x;
        let before = sum;
        sum += x * power;
        power += power;
        if sum == before {
            return sum;
        }
    }
}

/// (1 − x − Σ (1 − x^(2^−k))²·2^−k over k ≥ 1)/3: stands in for the ranks that a hash is too short for.
fn tau(mut x: f64) -> f64 {
    if x == 0.0 || x == 1.0 {
        return 0.0;
    }
    let (mut power, mut sum) = (1.0, 1.0 - x);
    loop {
        x = x.sqrt();
        let before = sum;
        power *= 0.5;
        sum -= (1.0 - x) * (1.0 - x) * power;
        if sum == before {
            return sum / 3.0;
        }
    }
}

/// As bytes: `P`, then either 0 and 3 bytes (`register << 6 | rank`, little-endian) a register set,
/// ascending; or 1 and all ranks, four in 3 bytes, the first in the lowest bits.
impl<const P: u8> Serialize for Hll<P> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut bytes = vec![P];
        match &self.registers {
            Registers::Sparse(list) => {
                bytes.push(0);
                bytes.extend(list.iter().flat_map(|entry| three_bytes(*entry)));
            }
            Registers::Dense(ranks) => {
                bytes.push(1);
                let packed =
                    |four: &[u8]| four.iter().rev().fold(0, |packed, &rank| packed << 6 | u32::from(rank));
                bytes.extend(ranks.chunks_exact(4).flat_map(|four| three_bytes(packed(four))));
            }
        }
        serializer.serialize_bytes(&bytes)
    }
}

impl<'de, const P: u8> Deserialize<'de> for Hll<P> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let bytes = Bytes::deserialize(deserializer)?;
        Self::from_bytes(&bytes.0)
            .ok_or_else(|| de::Error::custom(format_args!("not a HyperLogLog sketch of precision {P}")))
    }
}

impl<const P: u8> Hll<P> {
    /// Reads the serialised form; `None` for anything but what a sketch writes.
    fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (&[precision, form], body) = bytes.split_first_chunk()?;
        let (threes, rest) = body.as_chunks::<3>();
        if precision != P || !rest.is_empty() {
            return None;
        }
        let mut words = threes.iter().map(|&[a, b, c]| u32::from_le_bytes([a, b, c, 0]));
        let registers = match form {
            0 => {
                let list: Vec<u32> = words.collect();
                let in_range = |&entry: &u32| {
                    (entry >> 6) < Self::REGISTERS as u32 && (1..=Self::LARGEST).contains(&(entry as u8 & 63))
                };
                let ascending = list.is_sorted_by(|a, b| a >> 6 < b >> 6);
                (list.len() <= Self::SPARSE && ascending && list.iter().all(in_range))
                    .then_some(Registers::Sparse(list))?
            }
            1 => {
                let ranks: Vec<u8> = words
                    .by_ref()
                    .flat_map(|word| [0, 6, 12, 18].map(|by| (word >> by) as u8 & 63))
                    .collect();
                let set = ranks.iter().filter(|&&rank| rank != 0).count();
                (ranks.len() == Self::REGISTERS
                    && set > Self::SPARSE
                    && ranks.iter().all(|&rank| rank <= Self::LARGEST))
                .then(|| Registers::Dense(ranks.into()))?
            }
            _ => return None,
        };
        Some(Hll { registers })
    }
}

/// The three low bytes, the lowest first.
fn three_bytes(word: u32) -> [u8; 3] {
    let [a, b, c, _] = word.to_le_bytes();
    [a, b, c]
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use xxhash_rust::xxh3::xxh3_64_with_seed;

    use super::*;

    fn hash(value: u64, seed: u64) -> u64 {
        xxh3_64_with_seed(&value.to_le_bytes(), seed)
    }

    fn sketch<const P: u8>(hashes: impl IntoIterator<Item = u64>) -> Hll<P> {
        let mut sketch = Hll::default();
        hashes.into_iter().for_each(|hash| sketch.insert(hash));
        sketch
    }

    /// The root of the mean squared relative error over `trials` seeds.
    fn relative_error<const P: u8>(cardinality: u64, trials: u64) -> f64 {
        let squares: f64 = (0..trials)
            .map(|seed| {
                let estimate = sketch::<P>((0..cardinality).map(|value| hash(value, seed))).estimate();
                ((estimate as f64 - cardinality as f64) / cardinality as f64).powi(2)
            })
            .sum();
        (squares / trials as f64).sqrt()
    }

    fn check_error<const P: u8>() {
        let promised = 1.04 / f64::from(1u32 << P).sqrt();
        for (cardinality, trials) in [(10, 100), (100, 100), (1000, 100), (10_000, 50), (100_000, 20)] {
            let measured = relative_error::<P>(cardinality, trials);
            // A root mean square of so few trials strays by some 1/√(2·trials) itself; three times that is
            // allowed.
            let allowed = promised * (1.0 + 3.0 / (2.0 * trials as f64).sqrt());
            assert!(measured <= allowed, "P {P}, {cardinality} values: {measured} over {promised}");
        }
    }

    #[test]
    fn error_is_as_promised() {
        check_error::<6>();
        check_error::<10>();
        check_error::<12>();
        check_error::<14>();
        check_error::<16>();
    }

    #[test]
    fn large_cardinalities_are_estimated() {
        assert!(relative_error::<12>(2_000_000, 4) < 3.0 * 1.04 / 64.0);
    }

    #[test]
    fn estimates_never_change() {
        // Golden: another build, machine or version of this code must say the same.
        let estimate = |n| sketch::<14>((0..n).map(|value| hash(value, 7))).estimate();
        let estimates = [0, 1, 2, 10, 1000, 20_000, 300_000].map(estimate);
        assert_eq!(estimates, [0, 1, 2, 10, 998, 20_129, 297_557]);
    }

    #[test]
    fn extreme_hashes_are_in_range() {
        assert_eq!(sketch::<4>([0, u64::MAX]).estimate(), 2);
        let zeros = sketch::<18>([0]);
        assert_eq!(zeros.entries().collect::<Vec<_>>(), [(0, 47)]);
        let mut all = Hll::<4>::default();
        (0..16).for_each(|register| all.raise(register, 61));
        assert!(all.estimate() > 1 << 60, "every register full: {}", all.estimate());
    }

    fn bytes<const P: u8>(sketch: &Hll<P>) -> Vec<u8> {
        bincode::serialize(sketch).unwrap()
    }

    proptest! {
        #[test]
        fn equal_sets_make_equal_sketches(
            (values, shuffled) in prop::collection::vec(0u64..400, 0..300)
                .prop_flat_map(|values| (Just(values.clone()), Just(values).prop_shuffle())),
            cut in 0usize..300,
        ) {
            // Precision 8 turns dense at 17 registers, so that all three kinds of merge happen.
            let hashes = |values: &[u64]| values.iter().map(|&value| hash(value, 1)).collect::<Vec<_>>();
            let straight = sketch::<8>(hashes(&values));
            let (left, right) = shuffled.split_at(cut.min(shuffled.len()));
            let (left, right) = (sketch::<8>(hashes(left)), sketch::<8>(hashes(right)));
            for (mut merged, other) in [(left.clone(), &right), (right.clone(), &left)] {
                merged.merge(other);
                merged.merge(other);
                prop_assert!(merged == straight);
                prop_assert_eq!(bytes(&merged), bytes(&straight));
                prop_assert_eq!(merged.estimate(), straight.estimate());
            }
            let back: Hll<8> = bincode::deserialize(&bytes(&straight)).unwrap();
            prop_assert!(back == straight);
        }

        #[test]
        fn damaged_bytes_are_refused_or_are_another_sketch(
            values in prop::collection::vec(any::<u64>(), 0..40),
            at in 0usize..200,
            damage in 1u8..,
        ) {
            let mut bytes = bytes(&sketch::<8>(values));
            let at = 8 + at % (bytes.len() - 8);
            bytes[at] ^= damage;
            if let Ok(sketch) = bincode::deserialize::<Hll<8>>(&bytes) {
                prop_assert_eq!(super::tests::bytes(&sketch), bytes);
            }
        }
    }

    #[test]
    fn another_precision_is_refused() {
        assert!(bincode::deserialize::<Hll<5>>(&bytes(&sketch::<4>([1]))).is_err());
    }
}
