//! `tidegate sync`.

use std::time::Instant;

use tidegate::sink::SinkError;
use tidegate::sink::retry::{Backoff, retry};
use tidegate_dataflows::sync::{Options, Round, Sync, SyncError};

use super::args::{Global, SyncArgs};
use super::failure::Failure;
use super::signals::Signals;
use super::ui::Ui;
use super::{check_mongo, settings};

/// Brings PostgreSQL up to MongoDB, once or again and again.
pub(crate) fn run(ui: &Ui, global: &Global, args: &SyncArgs) -> Result<(), Failure> {
    let settings = settings(global)?;
    let sinks = settings.sinks_of("iot");
    check_mongo(&settings, &sinks)?;
    let options = Options {
        mongo: sinks.mongo.config(&settings.secrets),
        collection: sinks.mongo.collection.clone(),
        postgres: settings.database_of("iot"),
    };
    let signals = Signals::listen(ui, 1)?;
    let stop = || signals.asked();
    let mut sync = Sync::open(&options).map_err(failure)?;
    // Once, somebody waits for the end; again and again, the next time may be better.
    let attempts = if args.every.is_none() { Some(5) } else { None };
    let backoff = Backoff { attempts, seed: u64::from(std::process::id()), ..Backoff::default() };
    loop {
        let began = Instant::now();
        // What can be tried again is an error of an end; whatever else ends a round goes past the tries.
        let tried = retry(&backoff, &stop, || match sync.round(&stop) {
            Err(SyncError::Sink(error)) => Err(error),
            round => Ok(round),
        });
        let round = match tried {
            Err(SinkError::Unavailable { .. }) if stop() => return Ok(()),
            tried => tried.map_err(failure)?.map_err(behind)?,
        };
        tell(ui, &round);
        let Some(every) = args.every else { return Ok(()) };
        if !signals.pause(every.saturating_sub(began.elapsed())) {
            return Ok(());
        }
    }
}

fn tell(ui: &Ui, round: &Round) {
    let Round { read, changed, refused, first_refused, epoch } = round;
    let epoch = epoch.map_or("none".to_owned(), |epoch| epoch.to_string());
    ui.note(format_args!("sync: read {read} documents, changed {changed} rows, epoch {epoch}"));
    if let Some(first) = first_refused {
        ui.note(format_args!("sync: {refused} documents stay in MongoDB, the first: {first}"));
    }
}

fn failure(error: SinkError) -> Failure {
    Failure::running(error)
        .mend("look at MONGO_URI, POSTGRES_HOST, POSTGRES_PORT, POSTGRES_USER, POSTGRES_PASSWORD")
}

fn behind(error: SyncError) -> Failure {
    match error {
        SyncError::Sink(error) => failure(error),
        SyncError::Behind { ref mend, .. } => {
            let mend = mend.clone();
            Failure::running(error).mend(mend)
        }
    }
}
