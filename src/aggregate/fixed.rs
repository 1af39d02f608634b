//! A fixed-point number wide enough for every finite `f64`, small while the values are ordinary.
//!
//! Adding fixed-point numbers is adding integers: exact, commutative and associative. The whole range of
//! `f64`, from 2^−1074 to 2^1024, takes 270 bytes; nearly all data live in a narrow part of it. So the number
//! is kept in two parts:
//!
//! ```text
//!   wide   [············································]   a box, there only if a value has needed it
//!   lane                [········]                           inline; every ordinary value goes here
//!          2^−(SCALE+64·BELOW)  └ 2^−SCALE, limb BELOW of `wide`
//! ```
//!
//! The number is `lane` + `wide`, both in two's complement. How it is divided between them depends on
//! history; what is compared, rounded and serialised is always the whole, so history never shows.
//!
//! The wide part is the long accumulator of Kulisch and Miranker (*The arithmetic of the digital computer: a
//! new approach*, SIAM Review 28, 1986).

use std::fmt;

use serde::de::{self, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::limbs::trimmed;

/// A sum of numbers m·2^e with |m| < 2^`BITS`, kept exactly.
///
/// `LANE` and `WIDE` are the limbs of the two parts, `SCALE` and `BELOW` their places (see the module).
/// Who picks them sees to it that no value lies below the wide part, and that 2^64 values fit into it.
#[derive(Clone)]
pub(super) struct Fixed<
    const LANE: usize,
    const WIDE: usize,
    const BITS: i32,
    const SCALE: i32,
    const BELOW: usize,
> {
    lane: [u64; LANE],
    wide: Option<Box<[u64; WIDE]>>,
}

impl<const LANE: usize, const WIDE: usize, const BITS: i32, const SCALE: i32, const BELOW: usize> Default
    for Fixed<LANE, WIDE, BITS, SCALE, BELOW>
{
    fn default() -> Self {
        Fixed { lane: [0; LANE], wide: None }
    }
}

impl<const LANE: usize, const WIDE: usize, const BITS: i32, const SCALE: i32, const BELOW: usize>
    Fixed<LANE, WIDE, BITS, SCALE, BELOW>
{
    /// How far a value may be shifted to the left within the lane without reaching its sign bit.
    const SPAN: u32 = (64 * LANE as i32 - BITS) as u32;

    /// Adds ±`magnitude`·2^`exponent`.
    #[inline(always)]
    pub(super) fn add(&mut self, negative: bool, magnitude: u128, exponent: i32) {
        let shift = exponent + SCALE;
        // One comparison for both ends: a negative shift is a huge one.
        if shift as u32 >= Self::SPAN || !self.add_to_lane(negative, magnitude, shift as u32) {
            self.add_beyond(negative, magnitude, exponent);
        }
    }

    /// Adds `other`, or with `negative` subtracts it.
    pub(super) fn combine(&mut self, other: &Self, negative: bool) {
        match add_words(&self.lane, &other.lane, negative) {
            Some(lane) => self.lane = lane,
            None => {
                self.lane_to_wide();
                add_extended(&mut self.widened()[BELOW..], &other.lane, negative);
            }
        }
        if let Some(wide) = &other.wide {
            add_extended(self.widened(), &wide[..], negative);
        }
        self.settle();
    }

    /// Gives the box back if the number fits into the lane.
    pub(super) fn settle(&mut self) {
        let Some(wide) = self.wide.as_deref_mut() else { return };
        add_extended(&mut wide[BELOW..], &self.lane, false);
        self.lane = [0; LANE];
        let (below, rest) = wide.split_at(BELOW);
        let (lane, above) = rest.split_at(LANE);
        let sign = extension(lane);
        if below.iter().all(|&limb| limb == 0) && above.iter().all(|&limb| limb == sign) {
            self.lane.copy_from_slice(lane);
            self.wide = None;
        }
    }

    /// Whether the number takes no box.
    #[cfg(test)]
    pub(super) fn is_narrow(&self) -> bool {
        self.wide.is_none()
    }

    /// Whether the number is zero.
    pub(super) fn is_zero(&self) -> bool {
        match self.wide {
            None => self.lane == [0; LANE],
            Some(_) => self.with_whole(|limbs, _| limbs.iter().all(|&limb| limb == 0)),
        }
    }

    /// Calls `read` with the number's sign, its magnitude's limbs without leading zeros, and their scale.
    pub(super) fn with_magnitude<R>(&self, read: impl FnOnce(bool, &[u64], i32) -> R) -> R {
        self.with_whole(|limbs, below| {
            let scale = SCALE + 64 * (BELOW - below) as i32;
            if extension(limbs) == 0 {
                return read(false, trimmed(limbs), scale);
            }
            let mut magnitude = [0; WIDE];
            let magnitude = &mut magnitude[..limbs.len()];
            add_extended(magnitude, limbs, true);
            read(true, trimmed(magnitude), scale)
        })
    }

    /// Calls `read` with the whole number, and the limb of the wide form at which it begins.
    fn with_whole<R>(&self, read: impl FnOnce(&[u64], usize) -> R) -> R {
        match self.wide.as_deref() {
            None => read(&self.lane, BELOW),
            Some(wide) => {
                let mut whole = *wide;
                add_extended(&mut whole[BELOW..], &self.lane, false);
                read(&whole, 0)
            }
        }
    }

    /// Adds within the lane; `false`, and nothing done, if it would overflow. `shift` is below `SPAN`.
    #[inline(always)]
    fn add_to_lane(&mut self, negative: bool, magnitude: u128, shift: u32) -> bool {
        let (limb, words) = shifted(magnitude, shift);
        let mut addend = [0; LANE];
        for (i, word) in addend.iter_mut().enumerate() {
            // Selections instead of stores at a computed place: the lane stays in registers.
            *word = match i.wrapping_sub(limb) {
                0 => words[0],
                1 => words[1],
                2 if BITS > 64 => words[2],
                _ => 0,
            };
        }
        match add_words(&self.lane, &addend, negative) {
            Some(lane) => {
                self.lane = lane;
                true
            }
            None => false,
        }
    }

    /// Adds a value that the lane did not take as it was.
    #[inline(never)]
    fn add_beyond(&mut self, negative: bool, magnitude: u128, exponent: i32) {
        if magnitude == 0 {
            return;
        }
        // A short number far down may have low bits to spare: 2^−60 comes as 2^52·2^−112.
        let spare = magnitude.trailing_zeros();
        let shift = exponent + SCALE;
        if shift < 0 && shift + spare as i32 >= 0 && self.add_to_lane(negative, magnitude >> -shift, 0) {
            return;
        }
        if (shift as u32) < Self::SPAN {
            // The lane is full: empty it, so that it serves the values to come.
            self.lane_to_wide();
        }
        let shift = exponent + SCALE + 64 * BELOW as i32;
        let (limb, words) = shifted(magnitude, shift as u32);
        // The topmost word is far from its sign bit: 106 bits shifted by up to 63 are less than 3 limbs.
        add_extended(&mut self.widened()[limb..], &words, negative);
    }

    /// Moves what the lane holds into the wide part.
    fn lane_to_wide(&mut self) {
        let lane = std::mem::replace(&mut self.lane, [0; LANE]);
        add_extended(&mut self.widened()[BELOW..], &lane, false);
    }

    fn widened(&mut self) -> &mut [u64; WIDE] {
        self.wide.get_or_insert_with(|| Box::new([0; WIDE]))
    }
}

/// `magnitude`·2^`shift` as the index of its lowest limb and three limbs.
#[inline(always)]
fn shifted(magnitude: u128, shift: u32) -> (usize, [u64; 3]) {
    let within = shift & 63;
    let low = magnitude << within;
    // Shifted in two steps, since `within` may be 0 and a shift by 128 has no meaning.
    let high = (magnitude >> 64) >> (64 - within);
    ((shift >> 6) as usize, [low as u64, (low >> 64) as u64, high as u64])
}

/// `a` + `b`, or with `negative` `a` − `b`, in two's complement; `None` when it does not fit.
#[inline(always)]
fn add_words<const N: usize>(a: &[u64; N], b: &[u64; N], negative: bool) -> Option<[u64; N]> {
    // −b is !b + 1: the complement by a mask, the one as the first carry.
    let mask = u64::from(negative).wrapping_neg();
    let mut carry = negative;
    let mut sum = [0; N];
    for i in 0..N {
        let (partial, first) = a[i].overflowing_add(b[i] ^ mask);
        let (limb, second) = partial.overflowing_add(u64::from(carry));
        sum[i] = limb;
        carry = first | second;
    }
    let (a, b, s) = (a[N - 1], b[N - 1] ^ mask, sum[N - 1]);
    (((a ^ s) & (b ^ s)) >> 63 == 0).then_some(sum)
}

/// Adds `b`, sign-extended, to `a`, or with `negative` subtracts it. `b` is not longer than `a`.
fn add_extended(a: &mut [u64], b: &[u64], negative: bool) {
    let mask = u64::from(negative).wrapping_neg();
    let sign = extension(b) ^ mask;
    let mut carry = negative;
    for (i, limb) in a.iter_mut().enumerate() {
        let word = b.get(i).map_or(sign, |&limb| limb ^ mask);
        if i >= b.len() && word.wrapping_add(u64::from(carry)) == 0 {
            // Nothing more to add: the extension is 0 without, or all ones with a carry that goes on for
            // ever.
            return;
        }
        let (partial, first) = limb.overflowing_add(word);
        let (sum, second) = partial.overflowing_add(u64::from(carry));
        *limb = sum;
        carry = first | second;
    }
}

/// The limb that continues a number in two's complement upwards: all zeros or all ones.
fn extension(limbs: &[u64]) -> u64 {
    limbs.last().map_or(0, |&top| ((top as i64) >> 63) as u64)
}

impl<const LANE: usize, const WIDE: usize, const BITS: i32, const SCALE: i32, const BELOW: usize> PartialEq
    for Fixed<LANE, WIDE, BITS, SCALE, BELOW>
{
    fn eq(&self, other: &Self) -> bool {
        match (&self.wide, &other.wide) {
            (None, None) => self.lane == other.lane,
            _ => self.to_bytes() == other.to_bytes(),
        }
    }
}

impl<const LANE: usize, const WIDE: usize, const BITS: i32, const SCALE: i32, const BELOW: usize> Eq
    for Fixed<LANE, WIDE, BITS, SCALE, BELOW>
{
}

/// As bytes: see [`Fixed::to_bytes`].
impl<const LANE: usize, const WIDE: usize, const BITS: i32, const SCALE: i32, const BELOW: usize> Serialize
    for Fixed<LANE, WIDE, BITS, SCALE, BELOW>
{
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.to_bytes())
    }
}

impl<'de, const LANE: usize, const WIDE: usize, const BITS: i32, const SCALE: i32, const BELOW: usize>
    Deserialize<'de> for Fixed<LANE, WIDE, BITS, SCALE, BELOW>
{
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let bytes = Bytes::deserialize(deserializer)?;
        Self::from_bytes(&bytes.0).ok_or_else(|| de::Error::custom("not the bytes of an exact sum"))
    }
}

impl<const LANE: usize, const WIDE: usize, const BITS: i32, const SCALE: i32, const BELOW: usize>
    Fixed<LANE, WIDE, BITS, SCALE, BELOW>
{
    /// The number's only serialised form: nothing for zero, else the count of zero bytes at the low end of
    /// the wide form (`u16`, little-endian), then the bytes above them in two's complement, as few as keep
    /// the sign.
    fn to_bytes(&self) -> Vec<u8> {
        self.with_whole(|limbs, below| {
            let mut bytes = Vec::with_capacity(2 + 8 * limbs.len());
            bytes.extend([0; 2]);
            let limbs_skipped = limbs.iter().take_while(|&&limb| limb == 0).count();
            let Some(&first) = limbs.get(limbs_skipped) else { return Vec::new() };
            let bytes_skipped = first.trailing_zeros() as usize / 8;
            bytes.extend_from_slice(&first.to_le_bytes()[bytes_skipped..]);
            bytes.extend(limbs[limbs_skipped + 1..].iter().flat_map(|limb| limb.to_le_bytes()));
            let zeros = 8 * (below + limbs_skipped) + bytes_skipped;
            bytes[..2].copy_from_slice(&(zeros as u16).to_le_bytes());
            while let [.., before, last] = bytes[2..] {
                if last != sign_byte(before) {
                    break;
                }
                bytes.pop();
            }
            bytes
        })
    }

    /// Reads what [`Fixed::to_bytes`] made; `None` for anything else, since two forms of one number would
    /// break "equal multisets, equal bytes".
    fn from_bytes(bytes: &[u8]) -> Option<Self> {
        if bytes.is_empty() {
            return Some(Self::default());
        }
        let (zeros, digits) = bytes.split_first_chunk()?;
        let zeros = usize::from(u16::from_le_bytes(*zeros));
        let first = *digits.first()?;
        let padded = matches!(digits, [.., before, last] if *last == sign_byte(*before));
        if first == 0 || padded || zeros + digits.len() > 8 * WIDE {
            return None;
        }
        let mut number = Self::default();
        match zeros.checked_sub(8 * BELOW) {
            Some(zeros) if zeros + digits.len() <= 8 * LANE => place(&mut number.lane, zeros, digits),
            _ => place(number.widened(), zeros, digits),
        }
        Some(number)
    }
}

/// Fills `limbs`, which are zero, with `digits` after `zeros` zero bytes, sign-extended.
fn place(limbs: &mut [u64], zeros: usize, digits: &[u8]) {
    let sign = digits.last().map_or(0, |&top| sign_byte(top));
    let end = zeros + digits.len();
    let extension = (end..end.next_multiple_of(8)).map(|_| sign);
    for (at, digit) in (zeros..).zip(digits.iter().copied().chain(extension)) {
        limbs[at / 8] |= u64::from(digit) << (8 * (at % 8));
    }
    limbs[end.div_ceil(8)..].fill(u64::from_le_bytes([sign; 8]));
}

/// The byte that continues `top` upwards in two's complement.
fn sign_byte(top: u8) -> u8 {
    ((top as i8) >> 7) as u8
}

/// Bytes, from formats that have them and from those that write a sequence of numbers instead.
pub(super) struct Bytes(pub(super) Vec<u8>);

impl<'de> Deserialize<'de> for Bytes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reader;

        impl<'de> Visitor<'de> for Reader {
            type Value = Bytes;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("bytes")
            }

            fn visit_bytes<E: de::Error>(self, bytes: &[u8]) -> Result<Bytes, E> {
                Ok(Bytes(bytes.to_vec()))
            }

            fn visit_byte_buf<E: de::Error>(self, bytes: Vec<u8>) -> Result<Bytes, E> {
                Ok(Bytes(bytes))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut numbers: A) -> Result<Bytes, A::Error> {
                let mut bytes = Vec::new();
                while let Some(byte) = numbers.next_element()? {
                    bytes.push(byte);
                }
                Ok(Bytes(bytes))
            }
        }

        deserializer.deserialize_bytes(Reader)
    }
}
