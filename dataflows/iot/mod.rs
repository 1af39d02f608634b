//! `iot`: readings of sensors are validated, and become aggregates by sensor.
//!
//! ```text
//! iot_data ─► judge ─► validate ─┬─► aggregates by sensor, 5-minute tumbling ─► real_time_aggregates
//!                                ├─► validated_iot_data      ├─► iot_data.late
//!                                └─► data_quality            └─► iot_data.dlq
//! ```
//!
//! In a replay both stages are one dataflow; live they are two, `iot-validate` and `iot`. That gives the same rows: a
//! refused record moves no watermark here and is not in `validated_iot_data` there, so the second stage sees the same
//! records before each. A record that states a watermark is no reading, but moves it, so the first of two stages hands
//! it on.

mod config;
mod event;
mod fronts;
mod metrics;
mod rules;
mod tables;
mod topology;
mod validation;

use std::sync::Arc;

use tidegate::delivery::{TableChanges, TableRows};
use tidegate::ingest::{Ingested, QualityCounts, QualityFront, TopicFront, Unchanged};
use tidegate::operators::keyed_window::{CloseWindows, WindowFront};
use tidegate::operators::net_changes::NetChanges;
use tidegate::operators::totals::TotalByKey;
use tidegate::topic_lines::TopicLines;
use timely::dataflow::operators::{Concat, Inspect};

use crate::parts::Site;
pub use config::{Config, Ranges};
pub use event::{Reading, ReadingDecoder};
use fronts::BySensor;
pub use metrics::METRICS;
pub use rules::{Check, MemberType, Order, Rule};
/// How many outputs records meet.
pub use tables::JUDGED;
use tables::{DATA_QUALITY, DEAD, JUDGED_NAMES, LATE, REAL_TIME_AGGREGATES, VALIDATED};
pub use tables::{OUTPUTS, TABLES, outputs, table_schemas, topics};
pub use topology::topology;
use validation::Validation;

/// Where in the pipeline the input enters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Stage {
    /// Readings as they come: both stages.
    #[default]
    Both,
    /// Readings as they come: validation only.
    Validate,
    /// Readings that passed validation: the aggregates only.
    Aggregates,
}

impl Config {
    /// The topic that is read where the input enters at `stage`.
    pub fn input(&self, stage: Stage) -> &str {
        match stage {
            Stage::Both | Stage::Validate => &self.topic,
            Stage::Aggregates => &self.validated_topic,
        }
    }
}

/// Builds the pipeline's dataflow on one worker.
pub fn build(at: Site<'_, '_>, config: &Config, stage: Stage) {
    let settings =
        at.settings(config.delay, config.max_ahead, &[config.windows.pane_us()], config.update_every);
    let (validates, aggregates) = (stage != Stage::Aggregates, stage != Stage::Validate);
    let quality = QualityCounts::default();
    let validator = validates.then(|| Validation::new(config, quality.clone(), at.state().is_kept()));
    let names = topics(config, stage);
    let first_topic = names.first().map_or(0, |(output, _)| *output);
    let lines = |output: usize| {
        let (_, name) = &names[output - first_topic];
        TopicLines::new([(Arc::from(config.input(stage)), (output as u32, Arc::clone(name)))])
    };
    let fronts = (
        aggregates
            .then(|| WindowFront::new(config.windows, BySensor, REAL_TIME_AGGREGATES, at.scope.peers())),
        validates.then(|| match TopicFront::new(Unchanged, lines(VALIDATED)) {
            // The aggregates then judge lateness by what the second topic holds.
            front if stage == Stage::Validate => front.hand_watermarks_on(),
            front => front,
        }),
        QualityFront::new(quality),
    );
    let side = at.side(&JUDGED_NAMES, lines(LATE), lines(DEAD));
    let decoder = ReadingDecoder::new(config.limits);
    let Ingested { streams, side } = at.ingest_validated(settings, decoder, validator, fronts, side);
    let (by_sensor, validated, breaches) = streams;
    let [aggregates_schema, quality_schema] = table_schemas();

    // Readings by sensor, 5-minute tumbling.
    let epochs = at.epochs.clone();
    let aggregates = by_sensor
        .close_windows("RealTimeAggregates", config.windows, at.mode(config.update_every), at.state())
        .table_rows_fired(
            REAL_TIME_AGGREGATES as u32,
            aggregates_schema,
            |window| window.firing,
            move |window, rows| tables::aggregates(window, epochs.wall_us(), rows),
        );
    // Broken rules by sensor, over the whole run.
    let breaches = breaches.inspect(metrics::breaches(at.run.board(), at.scope.peers()));
    let quality = breaches.total_by_key("DataQuality", at.state()).net_changes().table_changes(
        DATA_QUALITY as u32,
        quality_schema,
        tables::data_quality,
    );

    at.deliver_tables(aggregates.concat(quality));
    at.deliver_topics(validated.concat(side), first_topic);
}
