//! The first stage: which readings may go on.
//!
//! Rules have names, which stand in the detail of a dead letter and in the table `data_quality`. A reading that
//! breaks several names them all; the reason of its dead letter is that of the first.

use std::fmt::Write;

use tidegate::decode::{Reason, Rejected};
use tidegate::ingest::{BadState, Dedup, Position, QualityCounts, Range, Validate};

use super::config::Config;
use super::event::{Reading, ReadingDecoder};
use super::rules::{Check, Rule};

type Take = for<'r, 'a> fn(&'r Reading<'a>) -> f64;

/// A named range of one member.
struct RangeRule {
    name: &'static str,
    member: &'static str,
    take: Take,
    range: Range,
}

/// The rule that a repeat breaks, where nobody gives it another name.
const DUPLICATE: &str = "duplicate";

/// Ranges, declared rules, then duplicates.
pub(super) struct Validation {
    ranges: [RangeRule; 3],
    rules: Vec<Rule>,
    duplicate: String,
    dedup: Dedup,
    quality: QualityCounts,
}

impl Validation {
    /// The rules of `config`; breaches are counted in `quality`. What is remembered is saved where `is_kept`.
    pub(super) fn new(config: &Config, quality: QualityCounts, is_kept: bool) -> Self {
        let rule = |name, member, take: Take, range| RangeRule { name, member, take, range };
        let ranges = &config.ranges;
        let dedup = Dedup::new(config.windows);
        let (named, rules): (Vec<Rule>, Vec<Rule>) =
            config.rules.iter().cloned().partition(|rule| matches!(rule.check, Check::Duplicate));
        let duplicate = named.into_iter().next().map_or(DUPLICATE.to_owned(), |rule| rule.name);
        Validation {
            ranges: [
                rule("temperature_range", "temperature", |reading| reading.temperature(), ranges.temperature),
                rule("humidity_range", "humidity", |reading| reading.humidity(), ranges.humidity),
                rule(
                    "energy_range",
                    "energy_consumption",
                    |reading| reading.energy_consumption(),
                    ranges.energy,
                ),
            ],
            dedup: if is_kept { dedup.saved() } else { dedup },
            rules,
            duplicate,
            quality,
        }
    }

    /// Tells of each declared rule that the reading breaks.
    fn declared(&self, at: &Position<'_>, event: &Reading<'_>, tell: &mut dyn FnMut(&Rule, &str)) {
        if let (false, Some(value)) = (self.rules.is_empty(), at.record.value) {
            Rule::broken(&self.rules, event, value.bytes(), tell);
        }
    }

    /// What is wrong with a reading that breaks a rule.
    #[cold]
    fn rejection(&self, at: &Position<'_>, event: &Reading<'_>, repeats: bool) -> Rejected {
        let mut detail = String::new();
        let mut reason = None;
        for rule in self.ranges.iter().filter(|rule| !rule.range.holds((rule.take)(event))) {
            self.quality.count(event.sensor_id(), rule.name);
            reason = Some(Reason::Range);
            let RangeRule { name, member, range, .. } = rule;
            // Writing to a string does not fail.
            write!(detail, "{name}: {member} is {} and must be in {range}; ", (rule.take)(event)).ok();
        }
        self.declared(at, event, &mut |rule, why| {
            self.quality.count(event.sensor_id(), &rule.name);
            reason = Some(Reason::Range);
            write!(detail, "{}: {why}; ", rule.name).ok();
        });
        if repeats {
            let name = &self.duplicate;
            self.quality.count(event.sensor_id(), name);
            write!(detail, "{name}: the partition holds this sensor's reading of this instant; ").ok();
        }
        detail.truncate(detail.trim_end_matches("; ").len());
        Rejected::new(reason.unwrap_or(Reason::Duplicate), detail)
    }
}

impl Validate<ReadingDecoder> for Validation {
    fn check(&mut self, at: &Position<'_>, event: &Reading<'_>) -> Result<(), Rejected> {
        let repeats = self.dedup.is_repeat(at.place.rank, event.sensor_id(), at.time_us, at.watermark_us);
        let mut breaks = repeats || self.ranges.iter().any(|rule| !rule.range.holds((rule.take)(event)));
        self.declared(at, event, &mut |_, _| breaks = true);
        if breaks {
            return Err(self.rejection(at, event, repeats));
        }
        self.dedup.remember(at.place.rank, event.sensor_id(), at.time_us, at.watermark_us);
        Ok(())
    }

    fn refused(&mut self, event: Option<&Reading<'_>>, why: &Rejected) {
        let sensor = event.map_or(&b""[..], |event| event.sensor_id());
        self.quality.count(sensor, why.reason.as_str());
    }

    fn save(&mut self, rank: u32, each: &mut dyn FnMut(i64, &[u8])) {
        self.dedup.save(rank, each);
    }

    fn restore(&mut self, rank: u32, remembered: &[u8]) -> Result<(), BadState> {
        self.dedup.restore(rank, remembered)
    }
}
