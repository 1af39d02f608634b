//! Event time: microseconds since the epoch in UTC, as text and back.
