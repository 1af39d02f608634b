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
mod topology;

use std::sync::Arc;

use tidegate::delivery::{TableChanges, TableRows, count};
use tidegate::ingest::{Ingested, LakeFront, Ledger, Settings, SideTopics, TopicFront, ingest};
use tidegate::operators::distinct::DistinctKeys;
use tidegate::operators::keyed::{KeyedRouter, ToOwners};
use tidegate::operators::keyed_window::{CloseWindows, Mode, WindowFront};
use tidegate::operators::latest::LatestByKey;
use tidegate::operators::net_changes::NetChanges;
use tidegate::operators::session::Sessions;
use tidegate::runtime::{Epochs, Run};
use tidegate::tick::Tick;
use tidegate::topic_lines::TopicLines;
use timely::dataflow::Scope;
use timely::dataflow::operators::vec::Map;
use timely::dataflow::operators::{Concat, Concatenate};

use crate::outputs::{Outputs, Plan};
use crate::parts::{deliver_lake, deliver_tables, deliver_topics, micros, step_us};
pub use config::{Config, DistinctMode, Selection};
pub use event::{ActivityDecoder, ActivityEvent, EventType};
use fronts::{ActivityRow, AllUsers, Enriched, PageViews, UserEvent, UserEvents};
use tables::{
    ACTIVE_USERS, DEAD, ENRICHED, JUDGED, LAKE_OUTPUT, LATE, PAGE_VIEW_COUNTS, SESSION_HISTORY, USER_SESSIONS,
};
pub use tables::{JUDGED as JUDGED_OUTPUTS, LAKE, OUTPUTS, TABLES, lake_schema, table_schemas, topics};
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
        step_us: step_us(&[config.page_view_windows.pane_us(), config.active_user_windows.pane_us()]),
        max_skew_us: MAX_SKEW_US,
    };
    let decoder = ActivityDecoder::new(config.limits);
    let (peers, on) = (scope.peers(), config.outputs);
    let exact = on.active_users && config.distinct == DistinctMode::Exact;
    let approximate = on.active_users && config.distinct == DistinctMode::Hll;
    let names = topics(&config.topic);
    let lines = |output: usize| {
        let (_, name) = &names[output - ENRICHED];
        TopicLines::new([(Arc::from(config.topic.as_str()), (output as u32, Arc::clone(name)))])
    };
    let fronts = (
        on.page_views.then(|| WindowFront::new(config.page_view_windows, PageViews, PAGE_VIEW_COUNTS, peers)),
        (exact || on.sessions).then(|| UserEvents {
            windows: exact.then_some(config.active_user_windows),
            sessions: on.sessions,
            router: KeyedRouter::new(peers),
        }),
        approximate.then(|| WindowFront::new(config.active_user_windows, AllUsers, ACTIVE_USERS, peers)),
        on.lake.then(|| LakeFront::new(ActivityRow, lake_schema())),
        on.enriched.then(|| TopicFront::new(Enriched::default(), lines(ENRICHED))),
    );
    let side =
        SideTopics::new(Arc::from(&OUTPUTS[..JUDGED]), lines(LATE), lines(DEAD)).count_only(plan.count_only);
    let Ingested { streams, side } =
        ingest(scope, run, settings, decoder, fronts, ledger.clone(), side, epochs);
    let (views, by_user, sketches, lake, enriched) = streams;
    let [page_view_counts, active_users, user_sessions, session_history] = table_schemas();

    let mut rows = Vec::new();

    // Page views by page, 1-minute tumbling.
    if on.page_views {
        let views =
            views.close_windows("PageViewCounts", config.page_view_windows, Mode::Final, epochs.hub());
        if plan.count_only {
            count(views, PAGE_VIEW_COUNTS, epochs, &outputs.tallies, |closed| closed.values.len());
        } else {
            rows.push(views.table_rows(PAGE_VIEW_COUNTS as u32, page_view_counts, tables::page_views));
        }
    }

    // Distinct users, 5 minutes sliding by 1 minute.
    let by_user = by_user.to_owners();
    let spec = config.active_user_windows;
    if on.active_users {
        let counted = by_user
            .clone()
            .distinct_keys("ActiveUsers", spec, epochs.hub(), move |event| event.windows(&spec))
            .map(move |(window, users)| (spec.start(window), spec.end(window), users));
        let estimated = sketches
            .close_windows("ActiveUsersApprox", spec, Mode::Final, epochs.hub())
            .map(|closed| (closed.start_us, closed.end_us, closed.values[0]));
        let active = counted.concat(estimated);
        rows.push(active.table_rows(ACTIVE_USERS as u32, active_users, tables::active_users));
    }

    // Sessions by user, and the last one of each.
    if on.sessions {
        let gap_us = micros(config.session_gap);
        let sessions = by_user.sessions(
            "Sessions",
            gap_us,
            ledger.clone(),
            USER_SESSIONS,
            epochs.hub(),
            UserEvent::session,
        );
        let by_user = sessions.clone().flat_map(tables::by_user);
        let latest = by_user.latest_by_key("UserSessions", epochs.hub()).net_changes();
        rows.push(latest.table_changes(USER_SESSIONS as u32, user_sessions, tables::user_session));
        rows.push(sessions.table_rows(SESSION_HISTORY as u32, session_history, tables::session_history));
    }

    deliver_tables(scope.concatenate(rows), plan, run, epochs, outputs);
    if on.lake {
        deliver_lake(lake, LAKE_OUTPUT, tables::lake_batch(), plan, run, epochs, outputs);
    }
    deliver_topics(enriched.concat(side), ENRICHED, plan, run, epochs, outputs);
}
