//! Vector compares for the scanners: the decoder's only file with `unsafe`.
//!
//! A [`Simd`] is a token of what the machine can do; its methods look at 32 bytes at a time. The
//! build names no CPU, so on x86-64 only SSE2 may be taken for granted; AVX2 is looked for once, when
//! a decoder is made. A token of it exists only where the CPU has it, which is what makes the
//! methods safe. [`Level::dispatch`] enters a function compiled for the token's instructions; all that
//! is inlined into it is compiled for them too, so work handed to it says `#[inline(always)]`.

#[cfg(target_arch = "x86_64")]
use std::arch::x86_64::*;

/// Bytes a [`Simd`] looks at together.
pub(crate) const BLOCK: usize = 32;

/// Bytes that come from memory together.
pub(crate) const CACHE_LINE: usize = 64;

/// Asks for `bytes` to be in the cache soon, where the machine can be asked.
#[inline(always)]
pub(crate) fn fetch(bytes: &[u8; CACHE_LINE]) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: every x86-64 has the instruction; it reads nothing, and the address is that of a reference.
    unsafe {
        _mm_prefetch::<_MM_HINT_T0>(bytes.as_ptr().cast())
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = bytes;
}

/// 32 bytes at a time; bit `i` of a mask speaks of byte `i`.
pub(crate) trait Simd: Copy {
    /// 32 bytes in registers.
    type Block: Copy;

    /// Loads 32 bytes.
    fn load(self, bytes: &[u8; BLOCK]) -> Self::Block;

    /// Where `block` holds `byte`.
    fn equal(self, block: Self::Block, byte: u8) -> u32;

    /// Where `a` and `b` hold the same.
    fn same(self, a: Self::Block, b: Self::Block) -> u32;

    /// Where `block` holds a quote, a backslash or a control character: what a JSON string cannot hold as it is.
    fn not_plain(self, block: Self::Block) -> u32;

    /// Where `block` holds a byte that is not ASCII.
    fn high(self, block: Self::Block) -> u32;
}

/// Work that can be compiled for several instruction sets.
pub(crate) trait Vectorized {
    /// What it gives.
    type Output;

    /// Does it; implementations must be `#[inline(always)]` to profit.
    fn run<S: Simd>(self, simd: S) -> Self::Output;
}

/// The instruction sets that are told apart.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Level {
    /// AVX2, with BMI and POPCNT.
    #[cfg(target_arch = "x86_64")]
    Avx2(Avx2),
    /// SSE2, on every x86-64.
    #[cfg(target_arch = "x86_64")]
    Sse2(Sse2),
    /// 64-bit words, everywhere.
    Words(Words),
}

impl Level {
    /// The best that this machine has.
    pub(crate) fn detect() -> Self {
        #[cfg(target_arch = "x86_64")]
        return Avx2::detect().map_or(Level::Sse2(Sse2), Level::Avx2);
        #[cfg(not(target_arch = "x86_64"))]
        Level::Words(Words)
    }

    /// Everything that this machine has, to be compared.
    pub(crate) fn all() -> Vec<Self> {
        #[cfg(target_arch = "x86_64")]
        let vectors = [Some(Level::Sse2(Sse2)), Avx2::detect().map(Level::Avx2)];
        #[cfg(not(target_arch = "x86_64"))]
        let vectors: [Option<Self>; 0] = [];
        vectors.into_iter().flatten().chain([Level::Words(Words)]).collect()
    }

    /// Does `work`, compiled for this instruction set.
    #[inline(always)]
    pub(crate) fn dispatch<W: Vectorized>(self, work: W) -> W::Output {
        match self {
            #[cfg(target_arch = "x86_64")]
            // SAFETY: the token exists only where the CPU has the features.
            Level::Avx2(simd) => unsafe { run_avx2(simd, work) },
            #[cfg(target_arch = "x86_64")]
            Level::Sse2(simd) => run(simd, work),
            Level::Words(simd) => run(simd, work),
        }
    }
}

#[inline(never)]
fn run<S: Simd, W: Vectorized>(simd: S, work: W) -> W::Output {
    work.run(simd)
}

/// # Safety
/// The CPU must have the features named.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,bmi1,bmi2,lzcnt,popcnt")]
#[inline(never)]
unsafe fn run_avx2<W: Vectorized>(simd: Avx2, work: W) -> W::Output {
    work.run(simd)
}

/// Proof that the CPU has AVX2, BMI1, BMI2, LZCNT and POPCNT.
#[cfg(target_arch = "x86_64")]
#[derive(Clone, Copy, Debug)]
pub(crate) struct Avx2(());

#[cfg(target_arch = "x86_64")]
impl Avx2 {
    fn detect() -> Option<Self> {
        (is_x86_feature_detected!("avx2")
            && is_x86_feature_detected!("bmi1")
            && is_x86_feature_detected!("bmi2")
            && is_x86_feature_detected!("lzcnt")
            && is_x86_feature_detected!("popcnt"))
        .then_some(Avx2(()))
    }
}

// SAFETY, for every block below: `self` proves that the CPU has AVX2, and the only pointer is made
// from a reference to as many bytes as are read, with an instruction that needs no alignment.
#[cfg(target_arch = "x86_64")]
impl Simd for Avx2 {
    type Block = __m256i;

    #[inline(always)]
    fn load(self, bytes: &[u8; BLOCK]) -> __m256i {
        // SAFETY: see above.
        unsafe { _mm256_loadu_si256(bytes.as_ptr().cast()) }
    }

    #[inline(always)]
    fn equal(self, block: __m256i, byte: u8) -> u32 {
        // SAFETY: see above.
        self.same(block, unsafe { _mm256_set1_epi8(byte as i8) })
    }

    #[inline(always)]
    fn same(self, a: __m256i, b: __m256i) -> u32 {
        // SAFETY: see above.
        unsafe { _mm256_movemask_epi8(_mm256_cmpeq_epi8(a, b)) as u32 }
    }

    #[inline(always)]
    fn not_plain(self, block: __m256i) -> u32 {
        // SAFETY: see above.
        unsafe {
            let quote = _mm256_cmpeq_epi8(block, _mm256_set1_epi8(b'"' as i8));
            let backslash = _mm256_cmpeq_epi8(block, _mm256_set1_epi8(b'\\' as i8));
            let control = _mm256_cmpeq_epi8(block, _mm256_min_epu8(block, _mm256_set1_epi8(0x1f)));
            _mm256_movemask_epi8(_mm256_or_si256(_mm256_or_si256(quote, backslash), control)) as u32
        }
    }

    #[inline(always)]
    fn high(self, block: __m256i) -> u32 {
        // SAFETY: see above.
        unsafe { _mm256_movemask_epi8(block) as u32 }
    }
}

/// SSE2, which every x86-64 has.
#[cfg(target_arch = "x86_64")]
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sse2;

#[cfg(target_arch = "x86_64")]
impl Sse2 {
    #[inline(always)]
    fn masks(a: __m128i, b: __m128i) -> u32 {
        // SAFETY: every x86-64 has SSE2.
        unsafe { _mm_movemask_epi8(a) as u32 | (_mm_movemask_epi8(b) as u32) << 16 }
    }
}

// SAFETY, for every block below: every x86-64 has SSE2, and the pointers are made from a reference
// to as many bytes as are read, with an instruction that needs no alignment.
#[cfg(target_arch = "x86_64")]
impl Simd for Sse2 {
    type Block = [__m128i; 2];

    #[inline(always)]
    fn load(self, bytes: &[u8; BLOCK]) -> [__m128i; 2] {
        let at: *const __m128i = bytes.as_ptr().cast();
        // SAFETY: see above; the second half begins 16 bytes after the first.
        unsafe { [_mm_loadu_si128(at), _mm_loadu_si128(at.add(1))] }
    }

    #[inline(always)]
    fn equal(self, block: [__m128i; 2], byte: u8) -> u32 {
        // SAFETY: see above.
        let byte = unsafe { _mm_set1_epi8(byte as i8) };
        self.same(block, [byte; 2])
    }

    #[inline(always)]
    fn same(self, a: [__m128i; 2], b: [__m128i; 2]) -> u32 {
        // SAFETY: see above.
        unsafe { Self::masks(_mm_cmpeq_epi8(a[0], b[0]), _mm_cmpeq_epi8(a[1], b[1])) }
    }

    #[inline(always)]
    fn not_plain(self, block: [__m128i; 2]) -> u32 {
        Self::masks(not_plain_lanes(block[0]), not_plain_lanes(block[1]))
    }

    #[inline(always)]
    fn high(self, block: [__m128i; 2]) -> u32 {
        Self::masks(block[0], block[1])
    }
}

/// 64-bit words, each byte a lane.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Words;

impl Words {
    /// Every lane 1.
    const ONES: u64 = u64::MAX / 0xff;
    /// The high bit of every lane.
    const HIGH: u64 = Self::ONES * 0x80;

    /// The high bits of the lanes of four words, as a mask of 32 bits.
    #[inline(always)]
    fn mask(words: [u64; 4]) -> u32 {
        // The factor brings bit 8i + 7 to bit 56 + i; no two products meet.
        let byte = |word: u64| ((word & Self::HIGH) >> 7).wrapping_mul(0x0102_0408_1020_4080) >> 56;
        u32::from_le_bytes(words.map(|word| byte(word) as u8))
    }

    /// The high bit of every lane of `word` that is 0; exact, since no lane carries into the next.
    #[inline(always)]
    fn zero_lanes(word: u64) -> u64 {
        !(((word & !Self::HIGH) + !Self::HIGH) | word) & Self::HIGH
    }
}

impl Simd for Words {
    type Block = [u64; 4];

    #[inline(always)]
    fn load(self, bytes: &[u8; BLOCK]) -> [u64; 4] {
        let word = |i: usize| {
            let mut word = [0; 8];
            word.copy_from_slice(&bytes[8 * i..8 * i + 8]);
            u64::from_le_bytes(word)
        };
        [word(0), word(1), word(2), word(3)]
    }

    #[inline(always)]
    fn equal(self, block: [u64; 4], byte: u8) -> u32 {
        self.same(block, [Self::ONES * u64::from(byte); 4])
    }

    #[inline(always)]
    fn same(self, a: [u64; 4], b: [u64; 4]) -> u32 {
        Self::mask([0, 1, 2, 3].map(|i| Self::zero_lanes(a[i] ^ b[i])))
    }

    #[inline(always)]
    fn not_plain(self, block: [u64; 4]) -> u32 {
        let lanes = |word: u64| {
            let quote = Self::zero_lanes(word ^ (Self::ONES * u64::from(b'"')));
            let backslash = Self::zero_lanes(word ^ (Self::ONES * u64::from(b'\\')));
            quote | backslash | Self::zero_lanes(word & (Self::ONES * 0xe0))
        };
        Self::mask(block.map(lanes))
    }

    #[inline(always)]
    fn high(self, block: [u64; 4]) -> u32 {
        Self::mask(block)
    }
}

/// The lanes of `block` that hold a quote, a backslash or a control character.
#[cfg(target_arch = "x86_64")]
#[inline(always)]
fn not_plain_lanes(block: __m128i) -> __m128i {
    // SAFETY: every x86-64 has SSE2.
    unsafe {
        let quote = _mm_cmpeq_epi8(block, _mm_set1_epi8(b'"' as i8));
        let backslash = _mm_cmpeq_epi8(block, _mm_set1_epi8(b'\\' as i8));
        let control = _mm_cmpeq_epi8(block, _mm_min_epu8(block, _mm_set1_epi8(0x1f)));
        _mm_or_si128(_mm_or_si128(quote, backslash), control)
    }
}

/// [`Simd::not_plain`] of 16 bytes, for code that is compiled once, for the instructions that every machine has.
#[inline(always)]
pub(crate) fn not_plain(bytes: &[u8; 16]) -> u32 {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: every x86-64 has SSE2; the load reads the 16 bytes of the reference and needs no alignment.
    unsafe {
        _mm_movemask_epi8(not_plain_lanes(_mm_loadu_si128(bytes.as_ptr().cast()))) as u32
    }
    #[cfg(not(target_arch = "x86_64"))]
    {
        let mut wide = [b' '; BLOCK];
        wide[..16].copy_from_slice(bytes);
        Words.not_plain(Words.load(&wide))
    }
}

/// How far behind its end a [`Padded`] document can be read.
pub(crate) const MARGIN: usize = 2 * BLOCK;

/// A document, and [`MARGIN`] readable bytes behind it that mean nothing.
///
/// Loads are checked against the document's end only, once each, whatever their width.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Padded<'a> {
    /// At least [`MARGIN`] longer than `len`.
    slab: &'a [u8],
    len: usize,
}

impl<'a> Padded<'a> {
    /// The first `len` bytes of `slab`, if [`MARGIN`] bytes follow them.
    #[inline(always)]
    pub(crate) fn new(slab: &'a [u8], len: usize) -> Option<Self> {
        let behind = slab.len().checked_sub(len)?;
        (behind >= MARGIN).then_some(Padded { slab, len })
    }

    /// The document's length.
    #[inline(always)]
    pub(crate) fn len(self) -> usize {
        self.len
    }

    /// The document.
    #[inline(always)]
    pub(crate) fn bytes(self) -> &'a [u8] {
        &self.slab[..self.len]
    }

    /// The `K` bytes from `at` on; `None` when `at` is behind the document's end.
    #[inline(always)]
    pub(crate) fn array<const K: usize>(self, at: usize) -> Option<&'a [u8; K]> {
        const { assert!(K <= MARGIN, "an array must fit into the margin") };
        if at > self.len {
            return None;
        }
        // SAFETY: `at + K <= len + MARGIN <= slab.len()`, and any bytes are an array of bytes.
        Some(unsafe { &*self.slab.as_ptr().add(at).cast::<[u8; K]>() })
    }

    /// The byte at `at`, likewise.
    #[inline(always)]
    pub(crate) fn byte(self, at: usize) -> Option<u8> {
        self.array::<1>(at).map(|byte| byte[0])
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// All masks of a block, for a byte and another block.
    struct Masks<'a>(&'a [u8; BLOCK], &'a [u8; BLOCK], u8);

    impl Vectorized for Masks<'_> {
        type Output = [u32; 4];

        #[inline(always)]
        fn run<S: Simd>(self, simd: S) -> [u32; 4] {
            let (a, b) = (simd.load(self.0), simd.load(self.1));
            [simd.equal(a, self.2), simd.same(a, b), simd.not_plain(a), simd.high(a)]
        }
    }

    fn naive(bytes: &[u8], holds: impl Fn(usize, u8) -> bool) -> u32 {
        bytes.iter().enumerate().map(|(i, &b)| u32::from(holds(i, b)) << i).sum()
    }

    proptest! {
        #[test]
        fn every_level_sees_what_a_loop_sees(
            a in prop::array::uniform32(prop_oneof![any::<u8>(), prop::sample::select(b"\"\\ \x1f\x20\x7f\x80\xff\x00".to_vec())]),
            b in prop::array::uniform32(any::<u8>()),
            take in any::<u32>(),
            byte in any::<u8>(),
        ) {
            let b: [u8; 32] = std::array::from_fn(|i| if take >> i & 1 == 1 { a[i] } else { b[i] });
            let expected = [
                naive(&a, |_, x| x == byte),
                naive(&a, |i, x| x == b[i]),
                naive(&a, |_, x| x == b'"' || x == b'\\' || x < 0x20),
                naive(&a, |_, x| x >= 0x80),
            ];
            for level in Level::all() {
                prop_assert_eq!(level.dispatch(Masks(&a, &b, byte)), expected, "{:?}", level);
            }
            let first = a.first_chunk::<16>().unwrap();
            prop_assert_eq!(not_plain(first), expected[2] & 0xffff);
        }

        #[test]
        fn padded_documents_are_read_as_far_as_they_say(slab in prop::collection::vec(any::<u8>(), 0..200), len in 0_usize..200) {
            let Some(padded) = Padded::new(&slab, len) else {
                prop_assert!(slab.len() < len + MARGIN);
                return Ok(());
            };
            prop_assert_eq!(padded.bytes(), &slab[..len]);
            for at in 0..=len {
                prop_assert_eq!(&padded.array::<MARGIN>(at).unwrap()[..], &slab[at..at + MARGIN]);
                prop_assert_eq!(padded.byte(at), Some(slab[at]));
            }
            prop_assert!(padded.byte(len + 1).is_none() && padded.array::<8>(usize::MAX).is_none());
        }
    }
}
