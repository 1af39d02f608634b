//! What is told of a record that was made faulty on purpose, so that what a pipeline finds can be scored.

use serde::Serialize;

/// A record, or an entity of one, that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Mark<K> {
    /// What is wrong with it.
    pub kind: K,
    /// The reason that its dead letter is to have.
    pub reason: &'static str,
    /// The partition of its record.
    pub partition: i32,
    /// The record's offset, counted from the first one that was generated there.
    pub offset: i64,
    /// The entity, where the record holds several.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub entity_id: Option<String>,
}
