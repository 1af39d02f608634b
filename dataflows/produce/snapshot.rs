//! A feed's snapshot taken apart: a FeedMessage for each entity, with the snapshot's header.

use thiserror::Error;
use tidegate::decode::Rejected;
use tidegate::decode::json::Limits;
use tidegate::ingest::{Decode, Part};
use tidegate::record::{Headers, KafkaTime, Record, Value};

use crate::transit::{Config, TransitDecoder, TransitEvent};

/// One entity of a snapshot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entity {
    /// Its id.
    pub id: Vec<u8>,
    /// A `FeedMessage` with the snapshot's header and this entity alone, in the snapshot's own form and as they came.
    pub message: Vec<u8>,
}

/// Why bytes are no snapshot.
#[derive(Debug, Error)]
pub enum SnapshotError {
    /// They are neither Protobuf nor JSON, or another message.
    #[error("the answer is no GTFS-Realtime message: {0}")]
    Refused(String),
    /// It is JSON, and no feed.
    #[error("the answer is JSON, and no GTFS-Realtime message: it has no header or no entities")]
    Other,
}

/// Takes a snapshot apart: Protobuf, or its JSON form. What is wrong within an entity is for whoever reads its record.
///
/// # Errors
/// When it is neither.
///
/// # Examples
/// ```
/// use tidegate_dataflows::produce::snapshot::entities;
///
/// let feed = br#"{"header":{"timestamp":"9"},"entity":[{"id":"a"},{"id":"b","x":1}]}"#;
/// let found = entities(feed).unwrap();
/// assert_eq!(found[1].id, b"b");
/// assert_eq!(found[1].message, br#"{"header":{"timestamp":"9"},"entity":[{"id":"b","x":1}]}"#);
/// ```
pub fn entities(snapshot: &[u8]) -> Result<Vec<Entity>, SnapshotError> {
    let limits = Limits { max_record_bytes: usize::MAX, max_string_bytes: usize::MAX };
    let mut decoder = TransitDecoder::new(&Config { limits, ..Config::default() });
    let record = Record {
        offset: 0,
        kafka_time: KafkaTime::None,
        key: None,
        value: Some(Value::exact(snapshot)),
        headers: Headers::default(),
    };
    let (mut found, mut refused) = (Vec::new(), None);
    decoder.decode_each(&record, |Part { id, alone }, event| match (id, event) {
        (Some(id), _) => {
            let message = alone.map_or_else(|| snapshot.to_vec(), |alone| alone());
            found.push(Entity { id: id.to_vec(), message });
        }
        (None, Ok(TransitEvent::Other { .. })) => refused = Some(SnapshotError::Other),
        (None, Ok(_)) => {}
        (None, Err(Rejected { detail, .. })) => refused = Some(SnapshotError::Refused(detail.into_owned())),
    });
    refused.map_or(Ok(found), Err)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::generate::transit::{Feed, Spec};

    /// Whole snapshots of a generated feed, Protobuf and JSON in turns.
    fn snapshots() -> Vec<Vec<u8>> {
        let mut feed = Feed::new(Spec { polls: 4, partitions: 1, ..Spec::default() }).expect("a feed");
        let mut all = Vec::new();
        while let Some(event) = feed.next_event() {
            // There are plain objects between them.
            if event.key == b"feed" {
                all.push(event.payload.to_vec());
            }
        }
        all
    }

    #[test]
    fn each_entity_alone_is_what_it_was_among_the_others() {
        assert_eq!(snapshots().len(), 4);
        for snapshot in snapshots() {
            let found = entities(&snapshot).expect("a snapshot");
            assert!(found.len() > 30, "{}", found.len());
            for entity in &found {
                assert!(entity.message.len() < snapshot.len() / 4);
                assert_eq!(entities(&entity.message).expect("a message"), std::slice::from_ref(entity));
            }
        }
    }

    #[test]
    fn what_is_no_snapshot_is_told() {
        let told = |bytes: &[u8]| entities(bytes).unwrap_err().to_string();
        for bad in [&b"<html>"[..], b"", b"{]", b"\x12\x00", br#"{"entity":[]}"#, br#"{"error":"later"}"#] {
            let told = told(bad);
            assert!(told.contains("no GTFS-Realtime message"), "{told}");
        }
        assert_eq!(entities(br#" {"header":{},"entity":null}"#).expect("an empty feed"), []);
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..60)) {
            drop(entities(&bytes));
        }
    }
}
