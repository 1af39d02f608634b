//! Validation: what may refuse a record that was decoded, before it counts anywhere.
//!
//! A validator stands between the decoder and the verdicts, in the partition's own order, so that what it says
//! is a function of the log alone. A refused record goes to the dead letters and moves no watermark.

use thiserror::Error;

use super::{Decode, Position};
use crate::decode::Rejected;

/// Judges decoded records, partition by partition.
///
/// Compiled into the source operator like the fronts: [`AcceptAll`] costs nothing.
pub trait Validate<D: Decode>: 'static {
    /// Whether the record counts; called once for every record that is decoded and not ahead of its clock, in
    /// offset order within a partition.
    ///
    /// # Errors
    /// Why not: the reason, and in the detail every rule that it breaks.
    fn check(&mut self, at: &Position<'_>, event: &D::Event<'_>) -> Result<(), Rejected>;

    /// Is told of a record that was refused before it came here, with its event if there is one.
    fn refused(&mut self, event: Option<&D::Event<'_>>, why: &Rejected) {
        let _unused = (event, why);
    }

    /// Calls `each` with what it has come to remember of the partition with rank `rank` since this was called last, and
    /// until which event time each of it is of any account; with nothing, for a validator that looks at each record by
    /// itself.
    fn save(&mut self, rank: u32, each: &mut dyn FnMut(i64, &[u8])) {
        let _unused = (rank, each);
    }

    /// Takes back something that [`save`](Self::save) gave for the partition, which may have another rank now.
    ///
    /// # Errors
    /// When the bytes are no such thing.
    fn restore(&mut self, rank: u32, remembered: &[u8]) -> Result<(), BadState> {
        let _unused = (rank, remembered);
        Err(BadState("this validator keeps no state".to_owned()))
    }
}

/// Bytes that are not the state of a validator.
#[derive(Debug, Error, PartialEq, Eq)]
#[error("the saved state of validation cannot be used: {0}; start from an earlier checkpoint")]
pub struct BadState(pub(crate) String);

/// Refuses nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct AcceptAll;

impl<D: Decode> Validate<D> for AcceptAll {
    #[inline(always)]
    fn check(&mut self, _at: &Position<'_>, _event: &D::Event<'_>) -> Result<(), Rejected> {
        Ok(())
    }
}

/// A validator that can be switched off.
impl<D: Decode, V: Validate<D>> Validate<D> for Option<V> {
    #[inline(always)]
    fn check(&mut self, at: &Position<'_>, event: &D::Event<'_>) -> Result<(), Rejected> {
        self.as_mut().map_or(Ok(()), |validator| validator.check(at, event))
    }
    fn refused(&mut self, event: Option<&D::Event<'_>>, why: &Rejected) {
        if let Some(validator) = self {
            validator.refused(event, why);
        }
    }
    fn save(&mut self, rank: u32, each: &mut dyn FnMut(i64, &[u8])) {
        if let Some(validator) = self {
            validator.save(rank, each);
        }
    }
    fn restore(&mut self, rank: u32, remembered: &[u8]) -> Result<(), BadState> {
        match self {
            Some(validator) => validator.restore(rank, remembered),
            None => Validate::<D>::restore(&mut AcceptAll, rank, remembered),
        }
    }
}
