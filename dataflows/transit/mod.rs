//! `transit`: a feed of vehicles, trips and alerts becomes tables, activity by route and the runs of vehicles.
//!
//! ```text
//!                                       ┌─► vehicle_positions, trip_updates, alerts, events (Delta)
//! dev_topic ─► entities ─► judge each ──┼─► by route, 5-minute tumbling ──────────────────────────► route_activity
//!                            │   │      ├─► counts by route ─► totals ────────────────────────────► route_totals
//!                            │   └ .late└─► by vehicle ─► sessions ───────────────────────────────► vehicle_sessions
//!                            └─ .dlq
//! ```
//!
//! A record may hold a whole feed. Its entities are judged one by one, by the watermark before the record, and the
//! counts of the summary are counts of entities.

mod config;
mod event;
mod fronts;
mod gtfs;
mod metrics;
mod tables;
mod topology;

#[cfg(test)]
mod tests;

use std::sync::Arc;

use tidegate::delivery::{TableChanges, TableRows};
use tidegate::ingest::{Ingested, RowsBlock, RowsFront};
use tidegate::operators::keyed::{KeyedRouter, ToOwners};
use tidegate::operators::keyed_window::{CloseWindows, WindowFront};
use tidegate::operators::net_changes::NetChanges;
use tidegate::operators::session::Sessions;
use tidegate::operators::totals::TotalByKey;
use tidegate::sink::lake::LakeBatch;
use tidegate::tick::micros;
use tidegate::topic_lines::TopicLines;
use timely::dataflow::operators::Concatenate;

use crate::parts::Site;
pub use config::{Config, Format, TimeUnit};
pub use event::{Entity, TransitDecoder, TransitEvent};
use fronts::{ByRoute, ByVehicle, FeedRows, RouteCounts};
pub use metrics::METRICS;
/// How many outputs records meet.
pub use tables::JUDGED;
pub use tables::{DATE, DELTA, OUTPUTS, TABLES, feed_schemas, outputs, table_schemas, topics};
use tables::{DEAD, FEED, JUDGED_NAMES, LATE, ROUTE_ACTIVITY, ROUTE_TOTALS, VEHICLE_SESSIONS};
pub use topology::topology;

/// Builds the pipeline's dataflow on one worker.
pub fn build(at: Site<'_, '_>, config: &Config) {
    let settings =
        at.settings(config.delay, config.max_ahead, &[config.windows.pane_us()], config.update_every);
    let names = topics(&config.topic);
    let lines = |output: usize| {
        let (_, name) = &names[output - LATE];
        TopicLines::new([(Arc::from(config.topic.as_str()), (output as u32, Arc::clone(name)))])
    };
    let peers = at.scope.peers();
    let feed_schemas = feed_schemas(config.keep_unknown);
    let fronts = (
        WindowFront::new(config.windows, ByRoute, ROUTE_ACTIVITY, peers),
        ByVehicle(KeyedRouter::new(peers)),
        RouteCounts::default(),
        RowsFront::new(FeedRows { keep_unknown: config.keep_unknown }, feed_schemas.to_vec()),
    );
    let side = at.side(&JUDGED_NAMES, lines(LATE), lines(DEAD));
    let decoder = TransitDecoder::new(config).watched(at.run.board());
    let Ingested { streams, side } = at.ingest(settings, decoder, fronts, side);
    let (by_route, by_vehicle, counts, rows) = streams;
    let [route_activity, vehicle_sessions, route_totals] = table_schemas();

    // Vehicles by route, 5-minute tumbling.
    let mode = at.mode(config.update_every);
    let activity =
        by_route.close_windows("RouteActivity", config.windows, mode, at.state()).table_rows_fired(
            ROUTE_ACTIVITY as u32,
            route_activity,
            |closed| closed.firing,
            tables::route_activity,
        );
    // The runs of vehicles, which are no output that judges.
    let sessions = by_vehicle
        .to_owners()
        .sessions(
            "VehicleSessions",
            micros(config.session_gap),
            config.update_sessions,
            None,
            at.state(),
            |event| Some(*event),
        )
        .table_rows_fired(
            VEHICLE_SESSIONS as u32,
            vehicle_sessions,
            |block| block.firing,
            tables::vehicle_sessions,
        );
    // Observations by route, over the whole run.
    let totals = counts.total_by_key("RouteTotals", at.state()).net_changes().table_changes(
        ROUTE_TOTALS as u32,
        route_totals,
        tables::route_totals,
    );

    at.deliver_tables(at.scope.concatenate([activity, sessions, totals]));
    at.deliver(
        rows,
        "Delta",
        1,
        &at.outputs.lake,
        |block: &RowsBlock| (FEED + block.table as usize, block.rows.len() as i64, &block.digest),
        move |block| LakeBatch {
            partition_dir: block.directory,
            writer_partition: 0,
            schema: Arc::clone(&feed_schemas[block.table as usize]),
            rows: block.rows,
        },
    );
    at.deliver_topics(side, LATE);
}
