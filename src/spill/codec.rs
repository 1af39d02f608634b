//! Elements to bytes and back: the only place of the crate where abomonation is called.

use abomonation::Abomonation;
use bytemuck::Pod;

use super::error::SpillError;

/// What can be spilt: plain-old-data that abomonation knows.
///
/// `Pod` means no padding, no pointers, and every bit pattern valid. For a type of one's own, derive `Pod`
/// and `Zeroable` and write `impl Abomonation for Partial {}`: the trait's empty methods are the right ones
/// for plain data.
pub trait Element: Pod + Abomonation {}

impl<T: Pod + Abomonation> Element for T {}

/// How elements become bytes and back. Both give the same bytes, in the same frames.
///
/// `benches/spill.rs` compares them, over the words that panes are spilt as: nanoseconds a word of 8 bytes, in blocks of 128 KiB, on two
/// shared cores (read the ratios):
///
/// | | abomonation | bytemuck |
/// | --- | --- | --- |
/// | encode, in memory | 1.1 | 0 (a cast) |
/// | decode and use, in memory | 0.12 | 0.15 |
/// | write blocks: checksum, header, file | 5.2 | 4.4 |
/// | read blocks | 1.3 | 1.2 |
///
/// So abomonation is not here for speed: its one cost, a copy while encoding, is a sixth of what writing takes, and
/// it has no gain. It is the default because it was asked for and does no harm; the other is one word away.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Codec {
    /// By `abomonation`, an element at a time.
    #[default]
    Abomonation,
    /// By [`bytemuck`]: the elements' memory as it stands, without a copy.
    Bytemuck,
}

impl Codec {
    /// The bytes of `elements`; `scratch` is overwritten if they have to be put together.
    ///
    /// # Errors
    /// [`SpillError::NotPlain`].
    pub fn encode<'a, T: Element>(
        self,
        elements: &'a [T],
        scratch: &'a mut Vec<u8>,
    ) -> Result<&'a [u8], SpillError> {
        match self {
            Codec::Bytemuck => Ok(bytemuck::cast_slice(elements)),
            Codec::Abomonation => {
                scratch.clear();
                scratch.reserve(size_of_val(elements));
                for element in elements {
                    // SAFETY: `encode` reads the element's memory as bytes, all of which are initialised
                    // since a `Pod` has no padding. Then `entomb` adds what the element owns elsewhere: for
                    // plain data nothing, checked below.
                    unsafe { abomonation::encode(element, scratch) }.map_err(|_| not_plain::<T>())?;
                }
                if scratch.len() == size_of_val(elements) { Ok(scratch) } else { Err(not_plain::<T>()) }
            }
        }
    }

    /// Completes `elements`, whose memory holds bytes that [`Codec::encode`] gave.
    ///
    /// Any bytes make valid elements, so there is nothing to be unsound about for the caller. All the same
    /// it is only called on bytes that this process wrote and a checksum has verified.
    ///
    /// # Errors
    /// [`SpillError::NotPlain`].
    pub fn decode<T: Element>(self, elements: &mut [T]) -> Result<(), SpillError> {
        match self {
            Codec::Bytemuck => Ok(()),
            Codec::Abomonation => {
                assert!(elements.as_ptr().is_aligned(), "a slice is aligned for its elements");
                for element in elements {
                    if element.extent() != 0 {
                        return Err(not_plain::<T>());
                    }
                    // SAFETY: `element` is an aligned, exclusive reference to a valid `T`. `exhume` restores
                    // what it owns elsewhere from the bytes behind it: nothing, and there are none.
                    unsafe { element.exhume(&mut []) }.ok_or_else(not_plain::<T>)?;
                }
                Ok(())
            }
        }
    }
}

fn not_plain<T>() -> SpillError {
    SpillError::NotPlain { element: std::any::type_name::<T>() }
}

#[cfg(test)]
mod tests {
    use bytemuck::Zeroable;

    use super::*;

    #[derive(Clone, Copy, Debug, PartialEq, Pod, Zeroable)]
    #[repr(C, align(16))]
    struct Wide {
        key: u128,
        value: f64,
        count: u64,
    }

    impl Abomonation for Wide {}

    /// Claims plain data and owns more: what the checks are for.
    #[derive(Clone, Copy, Pod, Zeroable)]
    #[repr(C)]
    struct Liar(u64);

    impl Abomonation for Liar {
        unsafe fn entomb<W: std::io::Write>(&self, write: &mut W) -> std::io::Result<()> {
            write.write_all(b"more")
        }

        fn extent(&self) -> usize {
            4
        }
    }

    fn round_trip<T: Element + PartialEq + std::fmt::Debug>(elements: &[T]) {
        let mut scratch = Vec::new();
        let plain: Vec<u8> = bytemuck::cast_slice(elements).to_vec();
        for codec in [Codec::Abomonation, Codec::Bytemuck] {
            assert_eq!(codec.encode(elements, &mut scratch).unwrap(), plain, "both codecs write the same");
            let mut read = vec![T::zeroed(); elements.len()];
            bytemuck::cast_slice_mut(&mut read).copy_from_slice(&plain);
            codec.decode(&mut read).unwrap();
            assert_eq!(read, elements);
        }
    }

    #[test]
    fn elements_of_any_alignment_round_trip() {
        round_trip(&[1u8, 2, 3]);
        round_trip(&[1u32, u32::MAX]);
        round_trip(&[[1u64, 2, 3], [4, 5, 6]]);
        round_trip(&[Wide { key: u128::MAX, value: -0.5, count: 7 }; 3]);
        round_trip::<Wide>(&[]);
    }

    #[test]
    fn elements_that_own_more_are_refused() {
        let mut scratch = Vec::new();
        assert!(matches!(
            Codec::Abomonation.encode(&[Liar(1)], &mut scratch),
            Err(SpillError::NotPlain { .. })
        ));
        assert!(matches!(Codec::Abomonation.decode(&mut [Liar(1)]), Err(SpillError::NotPlain { .. })));
    }
}
