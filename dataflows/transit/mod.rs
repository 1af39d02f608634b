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
mod tables;
mod topology;

#[cfg(test)]
mod tests;

use std::sync::Arc;

use tidegate::delivery::{TableChanges, TableRows, deliver};
use tidegate::ingest::{Ingested, Ledger, RowsBlock, RowsFront, Settings, SideTopics, ingest};
use tidegate::operators::keyed::{KeyedRouter, ToOwners};
use tidegate::operators::keyed_window::{CloseWindows, Mode, WindowFront};
use tidegate::operators::net_changes::NetChanges;
use tidegate::operators::session::Sessions;
use tidegate::operators::totals::TotalByKey;
use tidegate::runtime::{Epochs, Run};
use tidegate::sink::lake::LakeBatch;
use tidegate::tick::Tick;
use tidegate::topic_lines::TopicLines;
use timely::dataflow::Scope;
use timely::dataflow::operators::Concatenate;

use crate::outputs::{Outputs, Plan};
use crate::parts::{deliver_tables, deliver_topics, micros, step_us};
pub use config::{Config, Format, TimeUnit};
pub use event::{Entity, TransitDecoder, TransitEvent};
use fronts::{ByRoute, ByVehicle, FeedRows, RouteCounts};
/// How many outputs records meet.
pub use tables::JUDGED;
pub use tables::{DATE, DELTA, OUTPUTS, TABLES, feed_schemas, outputs, table_schemas, topics};
use tables::{DEAD, FEED, JUDGED_NAMES, LATE, ROUTE_ACTIVITY, ROUTE_TOTALS, VEHICLE_SESSIONS};
pub use topology::topology;

/// A worker this far ahead of the others in event time waits for them.
const MAX_SKEW_US: i64 = 600_000_000;

/// Builds the pipeline's dataflow on one worker.
pub fn build(
    scope: Scope<'_, Tick>,
    config: &Config,
    plan: &Plan,
    run: &Arc<Run>,
    ledger: &Ledger,
    epochs: &Epochs,
    outputs: &Outputs,
) {
    let settings = Settings {
        delay_us: micros(config.delay),
        max_ahead_us: micros(config.max_ahead),
        batch: plan.batch,
        interleave: plan.interleave,
        step_us: step_us(&[config.windows.pane_us()]),
        max_skew_us: MAX_SKEW_US,
    };
    let names = topics(&config.topic);
    let lines = |output: usize| {
        let (_, name) = &names[output - LATE];
        TopicLines::new([(Arc::from(config.topic.as_str()), (output as u32, Arc::clone(name)))])
    };
    let peers = scope.peers();
    let feed_schemas = feed_schemas();
    let fronts = (
        WindowFront::new(config.windows, ByRoute, ROUTE_ACTIVITY, peers),
        ByVehicle(KeyedRouter::new(peers)),
        RouteCounts::default(),
        RowsFront::new(FeedRows, feed_schemas.to_vec()),
    );
    let side = SideTopics::new(Arc::from(JUDGED_NAMES), lines(LATE), lines(DEAD)).count_only(plan.count_only);
    let decoder = TransitDecoder::new(config);
    let Ingested { streams, side } =
        ingest(scope, run, settings, decoder, fronts, ledger.clone(), side, epochs);
    let (by_route, by_vehicle, counts, rows) = streams;
    let [route_activity, vehicle_sessions, route_totals] = table_schemas();

    // Vehicles by route, 5-minute tumbling.
    let activity = by_route
        .close_windows("RouteActivity", config.windows, Mode::Final, epochs.hub())
        .table_rows(ROUTE_ACTIVITY as u32, route_activity, tables::route_activity);
    // The runs of vehicles. No marker ends one, so nothing is ever refiled.
    let sessions = by_vehicle
        .to_owners()
        .sessions(
            "VehicleSessions",
            micros(config.session_gap),
            ledger.clone(),
            ROUTE_ACTIVITY,
            epochs.hub(),
            |event| Some(*event),
        )
        .table_rows(VEHICLE_SESSIONS as u32, vehicle_sessions, tables::vehicle_sessions);
    // Observations by route, over the whole run.
    let totals = counts.total_by_key("RouteTotals", epochs.hub()).net_changes().table_changes(
        ROUTE_TOTALS as u32,
        route_totals,
        tables::route_totals,
    );

    deliver_tables(scope.concatenate([activity, sessions, totals]), plan, run, epochs, outputs);
    deliver(
        rows,
        "Delta",
        plan.cluster.sink_worker(1),
        run,
        epochs,
        &outputs.tallies,
        outputs.lake.clone(),
        |block: &RowsBlock| (FEED + block.table as usize, block.rows.len() as i64, &block.digest),
        move |block| LakeBatch {
            partition_dir: block.directory,
            writer_partition: 0,
            schema: Arc::clone(&feed_schemas[block.table as usize]),
            rows: block.rows,
        },
    );
    deliver_topics(side, LATE, plan, run, epochs, outputs);
}
