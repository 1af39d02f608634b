//! What the Kafka source and the Kafka sink share: a client's properties, what it says while it works, and
//! questions about topics.
//!
//! The client is librdkafka. What it reports is sorted here into two kinds. A broker that is away is told once
//! and waited for, since librdkafka connects again by itself. What no waiting mends (a wrong password, a topic
//! that is gone, a log that was replaced) ends the run with an error that says what to do.

mod leader_change;
mod properties;
mod topics;
mod watch;
mod writer;

pub use properties::Properties;
pub(crate) use properties::explain;
pub(crate) use topics::describe;
pub use topics::{NewTopicSpec, TopicInfo, add_partitions, create_topic, describe_topics, topic_settings};
pub(crate) use watch::{Hears, Watch};
pub use writer::{WriteError, Writer};
