//! `activity`: a clickstream becomes page views, active users and sessions.
//!
//! ```text
//!                        ┌─► page views by page, 1-minute tumbling ──────────────► page_view_counts
//! user_activity ─► judge ┼─► events by user ─┬─► distinct, 5 min sliding by 1 ───► active_users
//!                        │                   └─► sessions ─┬─────────────────────► session_history
//!                        │                                 └─► latest by user ───► user_sessions
//!                        ├─► lake/activity          ├─► user_activity.late
//!                        └─► enriched_activity      └─► user_activity.dlq
//! ```

mod config;
mod event;
mod fronts;
mod tables;

use std::sync::Arc;

use tidegate::delivery::{OutputTally, Tallies, TableBlock, TableRows, deliver};
use tidegate::ingest::{
    Ingested, Interleave, LakeBlock, LakeFront, Ledger, Settings, SideTopics, TopicFront, ingest,
};
use tidegate::operators::distinct::DistinctKeys;
use tidegate::operators::keyed::ToOwners;
use tidegate::operators::keyed_window::{CloseWindows, Mode, WindowFront};
use tidegate::operators::latest::LatestByKey;
use tidegate::operators::net_changes::NetChanges;
use tidegate::operators::session::Sessions;
use tidegate::runtime::{Cluster, Run};
use tidegate::sink::Sink;
use tidegate::tick::Tick;
use tidegate::topic_lines::{TopicBlock, TopicLines};
use timely::dataflow::Scope;

pub use config::{Config, DistinctMode, Selection};
pub use event::{ActivityDecoder, ActivityEvent, EventType};
pub use tables::{LAKE, OUTPUTS, TABLES, lake_schema, table_schemas, topics};
