//! The checkpoint of a deployment: whole, of these settings, fresh, and with a ledger that balances.

use std::sync::Arc;
use std::time::Duration;

use tidegate::checkpoint::{Found, Manifest, Store, survey};
use tidegate::summary::Summary;

use super::{Check, Deployment, settled, unreadable};
use crate::pipeline::Pipeline;
use crate::replay::summarise;
use crate::run::{Access, open_store};

/// Looks at it; gives the store with it, where there is something in it.
pub(super) fn look(of: &Deployment) -> (Vec<Check>, Option<Arc<dyn Store>>) {
    let store = match open_store(&of.checkpoint, &of.targets.credentials, Access::Look) {
        Ok(store) => store,
        Err(error) => return (vec![unreadable(&error)], None),
    };
    let checks = settled(|_| match survey(&*store) {
        Ok(found) => judge(of, &found),
        Err(error) => vec![unreadable(&error)],
    });
    let is_there = checks.iter().any(|check| check.what == SETTINGS);
    (checks, is_there.then_some(store))
}

const SETTINGS: &str = "settings of the checkpoint";

fn judge(of: &Deployment, found: &[Found]) -> Vec<Check> {
    let place = &of.checkpoint;
    if found.is_empty() {
        let says = format!("there is none in {place}: no epoch was ever decided");
        let mend = "start the run, or name the place that it was given, with --checkpoint";
        return vec![Check::wrong("checkpoint", says, mend)];
    }
    let mut checks = vec![whole(place, found)];
    if let Some(newest) = found.iter().find_map(|found| found.manifest.as_ref().ok()) {
        checks.push(settings(&*of.pipeline, newest));
        checks.push(freshness(newest, of.clock.now_us(), of.fresh));
        checks.extend(ledger(&*of.pipeline, newest));
    }
    checks
}

fn whole(place: &dyn std::fmt::Display, found: &[Found]) -> Check {
    let mut damages = Vec::new();
    for found in found {
        damages.extend(found.manifest.as_ref().err().map(|damage| format!("{}: {damage}", found.name)));
        let state = found.state.iter();
        damages.extend(state.filter_map(|(name, state)| Some(format!("{name}: {}", state.as_ref().err()?))));
    }
    // Several manifests may need one file.
    damages.sort();
    damages.dedup();
    if damages.is_empty() {
        let newest = found.first().map_or(0, |found| found.epoch);
        let says = format!("{} in {place} are whole, the newest of epoch {newest}", found.len());
        return Check::good("checkpoints", says);
    }
    let says = format!("{} damaged files in {place}: {}", damages.len(), damages.join("; "));
    let mend = "a run goes on from the newest that is whole, and repeats from there what is decided; see to the disk";
    Check::wrong("checkpoints", says, mend)
}

fn settings(pipeline: &dyn Pipeline, newest: &Manifest) -> Check {
    let name = pipeline.name();
    if newest.pipeline != name {
        let says = format!("it is of pipeline {:?}, not {name:?}", newest.pipeline);
        return Check::wrong(SETTINGS, says, "name the checkpoint of this pipeline, with --checkpoint");
    }
    if newest.schema != pipeline.state_schema() {
        let says = "it was made with other windows, delays or topics than these settings name: a start would be refused";
        let mend = "look at both: tidegate checkpoint show, tidegate validate; set them back, or begin anew";
        return Check::wrong(SETTINGS, says, mend);
    }
    Check::good(SETTINGS, format!("generation {} of {name}, with these settings", newest.generation))
}

fn freshness(newest: &Manifest, now_us: i64, fresh: Duration) -> Check {
    let epoch = newest.epoch;
    if newest.finished {
        return Check::good(
            "freshness",
            format!("its input ended with epoch {epoch}: nothing more will come"),
        );
    }
    let age = u64::try_from(now_us.saturating_sub(newest.decided_us)).unwrap_or(0);
    let seconds = Duration::from_secs(age / 1_000_000);
    let age = humantime::format_duration(seconds);
    // A run decides epochs whether or not there is something to read.
    if seconds > fresh {
        let says = format!("epoch {epoch} was decided {age} ago, and none since");
        let mend = "see that the run is under way (tidegate health), and in its log which sink it waits for";
        return Check::wrong("freshness", says, mend);
    }
    Check::good("freshness", format!("epoch {epoch} was decided {age} ago"))
}

fn ledger(pipeline: &dyn Pipeline, newest: &Manifest) -> Option<Check> {
    // Of other settings: there are other outputs.
    if newest.tallies.len() != pipeline.outputs().len() || newest.pipeline != pipeline.name() {
        return None;
    }
    let figures = summarise(pipeline, &newest.counts, &newest.tallies);
    let (read, accepted) = (figures.read, figures.accepted);
    let mut summary = Summary::default();
    summary.pipelines.insert(pipeline.name().to_owned(), figures);
    Some(match summary.check() {
        Ok(()) => {
            let says = format!("of {read} records read {accepted} were accepted, and each is accounted for");
            Check::good("ledger", says)
        }
        Err(error) => {
            Check::wrong("ledger", error.to_string(), "this is a defect of tidegate: please report it")
        }
    })
}

#[cfg(test)]
mod tests {
    use tidegate::checkpoint::Damage;

    use super::super::tests::manifest;
    use super::*;

    #[test]
    fn freshness_is_by_the_newest_epoch() {
        let (now_us, fresh) = (1_000_000_000, Duration::from_secs(300));
        let at = |decided_us, finished| Manifest { decided_us, finished, ..manifest(3, &[]) };
        assert!(freshness(&at(now_us - 300_000_000, false), now_us, fresh).ok);
        let stale = freshness(&at(now_us - 301_000_000, false), now_us, fresh);
        assert!(!stale.ok && stale.says.contains("5m 1s ago"), "{}", stale.says);
        assert!(freshness(&at(0, true), now_us, fresh).ok);
        // A clock that is behind.
        assert!(freshness(&at(now_us + 5_000_000, false), now_us, fresh).ok);
    }

    #[test]
    fn every_damaged_file_is_named() {
        let found = |epoch, state: Result<u64, Damage>| Found {
            epoch,
            name: format!("manifest-{epoch}"),
            manifest: Ok(manifest(epoch, &[])),
            copies: Vec::new(),
            state: vec![(format!("state-{epoch}"), state)],
        };
        let good = whole(&"here", &[found(4, Ok(1)), found(3, Ok(1))]);
        assert!(good.ok && good.says.contains("epoch 4"), "{}", good.says);
        let bad = whole(&"here", &[found(4, Ok(1)), found(3, Err(Damage::Damaged("cut".to_owned())))]);
        assert!(!bad.ok && bad.says.contains("state-3"), "{}", bad.says);
    }

    #[test]
    fn ledger_that_does_not_balance_is_wrong() {
        let pipeline = crate::pipeline::Pipelines::default().called("activity");
        let tallies = vec![Default::default(); pipeline.outputs().len()];
        let mut newest = Manifest { pipeline: "activity".to_owned(), tallies, ..manifest(1, &[]) };
        assert!(ledger(&*pipeline, &newest).unwrap().ok);
        newest.counts.read = 1;
        let found = ledger(&*pipeline, &newest).unwrap();
        assert!(!found.ok && found.says.contains("read 1"), "{}", found.says);
        newest.pipeline = "iot".to_owned();
        assert_eq!(ledger(&*pipeline, &newest), None);
    }
}
