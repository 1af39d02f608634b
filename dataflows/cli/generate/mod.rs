//! `tidegate generate`.

mod activity;
mod hydraulic;
mod iot;
mod place;
mod transit;

use std::time::Duration;

use serde::Serialize;

use super::args::{Generate, GenerateArgs, Global, Span};
use super::failure::Failure;
use super::ui::Ui;

/// Where a fixture begins: 2026-01-01T00:00:00Z.
const START_MS: i64 = 1_767_225_600_000;

/// Writes synthetic records to a fixture or to Kafka.
pub(crate) fn run(ui: &Ui, global: &Global, args: &GenerateArgs) -> Result<(), Failure> {
    match &args.what {
        Generate::Activity(args) => activity::run(ui, global, args),
        Generate::Iot(args) => iot::run(ui, global, args),
        Generate::Hydraulic(args) => hydraulic::run(ui, global, args),
        Generate::Transit(args) => transit::run(ui, global, args),
    }
}

/// Faults as they are told; `None` where there are none.
fn told<F: Serialize>(faults: &[F]) -> Option<(usize, Vec<u8>)> {
    let json = || serde_json::to_vec_pretty(faults).unwrap_or_default();
    (!faults.is_empty()).then(|| (faults.len(), json()))
}

/// Over how much time so many records arrive; `default` where nothing says so.
///
/// Too long a span is refused with the other impossible ones.
fn span(args: &Span, records: u64, default: Duration) -> Duration {
    let by_rate = |rate| Duration::try_from_secs_f64(records as f64 / rate).unwrap_or(Duration::MAX);
    let by_interval = |interval: Duration| {
        let nanos = interval.as_nanos().saturating_mul(u128::from(records));
        u64::try_from(nanos).map_or(Duration::MAX, Duration::from_nanos)
    };
    args.span.or(args.rate.map(by_rate)).or(args.interval.map(by_interval)).unwrap_or(default)
}
