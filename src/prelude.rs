//! What a pipeline of one's own usually names.
//!
//! ```
//! use tidegate::prelude::*;
//!
//! let minutes = WindowSpec::tumbling(60_000_000)?;
//! assert_eq!(minutes.pane_us(), 60_000_000);
//! # Ok::<_, Box<dyn std::error::Error>>(())
//! ```

pub use crate::aggregate::{Aggregate, AnyValue, Avg, Count, Finite, Max, Min, Sum};
pub use crate::decode::json::{Decoded, JsonDecoder, Kind, Limits, Member};
pub use crate::delivery::{TableChanges, TableRows};
pub use crate::ingest::{Decode, Front, Position, Validate, Verdict};
pub use crate::operators::keyed_window::{CloseWindows, Measure, Mode, WindowFront};
pub use crate::record::Record;
pub use crate::replay::{Flow, Replay, Replayed};
pub use crate::rows::{Cell, ColumnType, RowBatch, Schema};
pub use crate::sink::Durability;
pub use crate::sink::console::{Console, ConsoleFormat};
#[cfg(feature = "sqlite")]
pub use crate::sink::sqlite::SqliteTables;
pub use crate::source::fixture::FixtureSource;
pub use crate::window::{ClosedWindow, WindowSpec};
