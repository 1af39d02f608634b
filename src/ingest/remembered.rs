//! What a validator remembers, in checkpoints.
//!
//! It belongs to partitions and not to keys: an entry's key is its partition and what is remembered, every worker looks at all
//! entries and takes those of the partitions that it reads now.

use super::Decode;
use super::front::unreadable;
use super::validate::Validate;
use crate::keys::key_hash;
use crate::record::Partition;
use crate::state::{Fold, StateError, StateHub, StateWriter};

/// The name of the state.
const NAME: &str = "Validator";

/// Writes what `validator` has come to remember of a worker's partitions, which are given with their ranks.
pub(super) fn save<'p, D: Decode>(
    validator: &mut impl Validate<D>,
    partitions: impl Iterator<Item = (u32, &'p Partition)>,
) -> StateWriter {
    let mut written = StateWriter::delta(NAME);
    let mut key = Vec::new();
    for (rank, id) in partitions {
        // Plain data, which bincode always writes.
        let name = bincode::serialize(id).unwrap_or_default();
        validator.save(rank, &mut |until_us, remembered| {
            key.clear();
            key.extend_from_slice(&name);
            key.extend_from_slice(remembered);
            written.put(key_hash(&key), &key, until_us, &());
        });
    }
    written
}

/// Gives back to `validator` what was saved of the partitions for which `rank` gives a present rank: those that this worker
/// reads.
///
/// # Errors
/// When something that was saved is not the validator's.
pub(super) fn restore<D: Decode>(
    validator: &mut impl Validate<D>,
    hub: &StateHub,
    rank: impl Fn(&Partition) -> Option<u32>,
) -> Result<(), StateError> {
    hub.register(NAME, Fold::Replace);
    let mut outcome = Ok(());
    hub.restore_latest_of_all(NAME, |_hash, key, ()| {
        let mut remembered = key;
        let restored = bincode::deserialize_from::<_, Partition>(&mut remembered)
            .map_err(|error| StateError { operator: NAME.to_owned(), cause: error.to_string() })
            .and_then(|id| match rank(&id) {
                None => Ok(()),
                Some(rank) => validator.restore(rank, remembered).map_err(|error| unreadable(&id, error)),
            });
        if outcome.is_ok() {
            outcome = restored;
        }
    });
    outcome
}
