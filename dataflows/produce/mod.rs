//! Records from feeds: a GTFS-Realtime feed is polled, and each of its entities becomes a record.

pub mod feed;
pub mod snapshot;
