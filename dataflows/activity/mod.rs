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
use tidegate::ingest::{Ingested, LakeFront, TopicFront};
use tidegate::operators::distinct::DistinctKeys;
use tidegate::operators::keyed::{KeyedRouter, ToOwners};
use tidegate::operators::keyed_window::{CloseWindows, WindowFront};
use tidegate::operators::latest::LatestByKey;
use tidegate::operators::net_changes::NetChanges;
use tidegate::operators::session::{SessionBlock, Sessions};
use tidegate::tick::micros;
use tidegate::topic_lines::TopicLines;
use tidegate::window::{ClosedWindow, FirstWindows};
use timely::dataflow::operators::vec::Map;
use timely::dataflow::operators::{Concat, Concatenate};

use crate::parts::Site;
pub use config::{Config, DistinctMode, Selection};
pub use event::{ActivityDecoder, ActivityEvent, EventType};
use fronts::{ActivityRow, AllUsers, Enriched, PageViews, UserEvent, UserEvents};
use tables::{
    ACTIVE_USERS, DEAD, ENRICHED, JUDGED, LAKE_OUTPUT, LATE, PAGE_VIEW_COUNTS, SESSION_HISTORY, USER_SESSIONS,
};
pub use tables::{JUDGED as JUDGED_OUTPUTS, LAKE, OUTPUTS, TABLES, lake_schema, table_schemas, topics};
pub use topology::topology;

/// Builds the pipeline's dataflow on one worker.
pub fn build(at: Site<'_, '_>, config: &Config) {
    let panes_us = [config.page_view_windows.pane_us(), config.active_user_windows.pane_us()];
    let settings = at.settings(config.delay, config.max_ahead, &panes_us, config.update_every);
    let decoder = ActivityDecoder::new(config.limits);
    let (peers, on) = (at.scope.peers(), config.outputs);
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
            first: FirstWindows::default(),
            sessions: on.sessions,
            router: KeyedRouter::new(peers),
        }),
        approximate.then(|| WindowFront::new(config.active_user_windows, AllUsers, ACTIVE_USERS, peers)),
        on.lake.then(|| LakeFront::new(ActivityRow, lake_schema())),
        on.enriched.then(|| TopicFront::new(Enriched::new(at.epochs), lines(ENRICHED))),
    );
    let side = at.side(&OUTPUTS[..JUDGED], lines(LATE), lines(DEAD));
    let Ingested { streams, side } = at.ingest(settings, decoder, fronts, side);
    let (views, by_user, sketches, lake, enriched) = streams;
    let [page_view_counts, active_users, user_sessions, session_history] = table_schemas();

    let mode = || at.mode(config.update_every);
    let mut rows = Vec::new();

    // Page views by page, 1-minute tumbling.
    if on.page_views {
        let views = views.close_windows("PageViewCounts", config.page_view_windows, mode(), at.state());
        if at.plan.count_only {
            count(views, PAGE_VIEW_COUNTS, at.epochs, &at.outputs.tallies, |closed| closed.values.len());
        } else {
            let firing = |closed: &ClosedWindow<u64>| closed.firing;
            let table = PAGE_VIEW_COUNTS as u32;
            rows.push(views.table_rows_fired(table, page_view_counts, firing, tables::page_views));
        }
    }

    // Distinct users, 5 minutes sliding by 1 minute.
    let by_user = by_user.to_owners();
    let spec = config.active_user_windows;
    if on.active_users {
        let counted = by_user
            .clone()
            .distinct_keys("ActiveUsers", spec, mode(), at.state(), move |event| event.windows(&spec))
            .map(move |count| tables::ActiveUsers::of(&spec, count));
        let estimated = sketches
            .close_windows("ActiveUsersApprox", spec, mode(), at.state())
            .map(tables::ActiveUsers::estimated);
        let (active, firing) = (counted.concat(estimated), |row: &tables::ActiveUsers| row.firing);
        rows.push(active.table_rows_fired(ACTIVE_USERS as u32, active_users, firing, tables::active_users));
    }

    // Sessions by user, and the last one of each.
    if on.sessions {
        let gap_us = micros(config.session_gap);
        let sessions = by_user.sessions(
            "Sessions",
            gap_us,
            config.update_sessions,
            Some((at.ledger.clone(), USER_SESSIONS)),
            at.state(),
            UserEvent::session,
        );
        // Open ones too, where they are given: of one session the longest is the last, and that is how it ends.
        let by_user = sessions.clone().flat_map(tables::by_user);
        let latest = by_user.latest_by_key("UserSessions", at.state()).net_changes();
        rows.push(latest.table_changes(USER_SESSIONS as u32, user_sessions, tables::user_session));
        if at.plan.count_only {
            count(sessions, SESSION_HISTORY, at.epochs, &at.outputs.tallies, |block| block.sessions.len());
        } else {
            let (table, firing) = (SESSION_HISTORY as u32, |block: &SessionBlock| block.firing);
            rows.push(sessions.table_rows_fired(table, session_history, firing, tables::session_history));
        }
    }

    at.deliver_tables(at.scope.concatenate(rows));
    if on.lake {
        at.deliver_lake(lake, LAKE_OUTPUT, tables::lake_batch());
    }
    at.deliver_topics(enriched.concat(side), ENRICHED);
}
