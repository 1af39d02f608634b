//! The laws of [`Aggregate`] and [`Retract`], checked of every aggregate against a plain loop over the
//! inputs.

use std::collections::{BTreeSet, VecDeque};
use std::fmt::Debug;

use proptest::prelude::*;

use super::oracle::{assert_nearest, awkward, finite, mean, sum, variance};
use crate::aggregate::{
    Aggregate, AnyValue, Avg, Count, Describe, DistinctApprox, DistinctExact, Finite, Max, Min, Origin,
    Retract, StdDev, Sum,
};

/// What one record gives to any of the aggregates.
#[derive(Clone, Debug)]
struct Reading {
    value: f64,
    name: String,
    origin: Origin,
}

fn reading() -> impl Strategy<Value = Reading> {
    (awkward(), "[a-d]{0,3}", 0i64..4, 0u64..3, 0i64..4).prop_map(
        |(value, name, event_time_us, partition, offset)| Reading {
            value,
            name,
            origin: Origin { event_time_us, partition, offset },
        },
    )
}

/// The readings of some panes, each cut into partials.
fn panes() -> impl Strategy<Value = Vec<Vec<Reading>>> {
    prop::collection::vec(prop::collection::vec(reading(), 0..6), 1..12)
}

fn partial<A: Aggregate>(readings: &[Reading], add: impl Fn(&mut A, &Reading)) -> A {
    let mut partial = A::identity();
    readings.iter().for_each(|reading| add(&mut partial, reading));
    partial
}

fn bytes<A: Aggregate>(partial: &A) -> Vec<u8> {
    bincode::serialize(partial).unwrap()
}

/// Checks the laws with `panes` as groups, and slides a window of `width` panes over them.
fn check<A>(panes: &[Vec<Reading>], width: usize, add: impl Fn(&mut A, &Reading))
where
    A: Retract<Output: PartialEq + Debug> + PartialEq + Debug,
{
    let all: Vec<Reading> = panes.concat();
    let straight = partial(&all, &add);
    let partials: Vec<A> = panes.iter().map(|pane| partial(pane, &add)).collect();
    let merged = |partials: &mut dyn Iterator<Item = &A>| {
        let mut merged = A::identity();
        partials.for_each(|partial| merged.merge(partial));
        merged
    };
    for regrouped in [merged(&mut partials.iter()), merged(&mut partials.iter().rev())] {
        assert_eq!(regrouped, straight);
        assert_eq!(bytes(&regrouped), bytes(&straight));
        assert_eq!(regrouped.output(), straight.output());
    }
    let back: A = bincode::deserialize(&bytes(&straight)).unwrap();
    assert_eq!(back, straight);
    assert_eq!(back.output(), straight.output());
    let json: A = serde_json::from_str(&serde_json::to_string(&straight).unwrap()).unwrap();
    assert_eq!(json, straight);
    assert_eq!(straight.is_identity(), all.is_empty());
    assert!(A::identity().is_identity());

    let mut running = A::Running::default();
    let mut within = VecDeque::new();
    for partial in &partials {
        A::enter(&mut running, partial);
        within.push_back(partial);
        if within.len() > width {
            A::leave(&mut running, within.pop_front().unwrap());
        }
        assert_eq!(A::read(&running), merged(&mut within.iter().copied()).output());
        assert_eq!(A::is_empty(&running), within.iter().all(|partial| partial.is_identity()));
    }
    // In another order than they came.
    within.iter().rev().for_each(|partial| A::leave(&mut running, partial));
    assert!(A::is_empty(&running));
    assert_eq!(A::read(&running), A::identity().output());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn every_aggregate_keeps_the_laws(panes in panes(), width in 1usize..6) {
        let value = |reading: &Reading| finite(reading.value);
        check::<Count>(&panes, width, |to, _| to.add(()));
        check::<Sum>(&panes, width, |to, r| to.add(value(r)));
        check::<Avg>(&panes, width, |to, r| to.add(value(r)));
        check::<StdDev>(&panes, width, |to, r| to.add(value(r)));
        check::<Describe>(&panes, width, |to, r| to.add(value(r)));
        check::<Min<Finite>>(&panes, width, |to, r| to.add(value(r)));
        check::<Max<i64>>(&panes, width, |to, r| to.add(r.origin.event_time_us));
        check::<AnyValue<str>>(&panes, width, |to, r| to.add((r.origin, &r.name)));
        check::<AnyValue<[u8]>>(&panes, width, |to, r| to.add((r.origin, r.name.as_bytes())));
        check::<AnyValue<i64>>(&panes, width, |to, r| to.add((r.origin, &r.origin.offset)));
        check::<DistinctExact>(&panes, width, |to, r| to.add(r.name.as_bytes()));
        check::<DistinctApprox<4>>(&panes, width, |to, r| to.add(r.name.as_bytes()));
        check::<DistinctApprox>(&panes, width, |to, r| to.add(r.name.as_bytes()));
        check::<(Count, Avg, Max<Finite>, AnyValue<str>)>(&panes, width, |to, r| {
            to.add(((), value(r), value(r), (r.origin, &r.name)));
        });
    }

    #[test]
    fn outputs_are_those_of_a_plain_loop(readings in prop::collection::vec(reading(), 1..40)) {
        let values: Vec<f64> = readings.iter().map(|reading| reading.value).collect();
        type All = (Count, Sum, Avg, Describe, Min<Finite>, Max<Finite>, AnyValue<str>, DistinctExact);
        let all: All = partial(&readings, |to: &mut All, r| {
            let x = finite(r.value);
            to.add(((), x, x, x, x, x, (r.origin, &r.name), r.name.as_bytes()));
        });
        let (count, total, average, described, least, most, any, distinct) = all.output();
        prop_assert_eq!(count, values.len() as u64);
        assert_nearest(total.unwrap(), &sum(&values));
        assert_nearest(average.unwrap(), &mean(&values));
        let described = described.unwrap();
        prop_assert_eq!((described.count, described.sum, described.mean), (count, total.unwrap(), average.unwrap()));
        if values.len() > 1 {
            let rounded = super::moments::moments(&values).variance().unwrap();
            assert_nearest(rounded, &variance(&values));
            prop_assert_eq!(described.deviation, rounded.sqrt());
        }
        prop_assert_eq!(least.unwrap().get(), values.iter().copied().fold(f64::INFINITY, f64::min) + 0.0);
        prop_assert_eq!(most.unwrap().get(), values.iter().copied().fold(f64::NEG_INFINITY, f64::max) + 0.0);
        let first = readings.iter().min_by_key(|r| (r.origin, &r.name)).unwrap();
        prop_assert_eq!(any.as_ref(), Some(&first.name));
        let names: BTreeSet<&str> = readings.iter().map(|r| r.name.as_str()).collect();
        prop_assert_eq!(distinct, names.len() as u64);
    }

    #[test]
    fn damaged_sets_are_refused_or_are_another_set(noise in prop::collection::vec(0u8..8, 0..12)) {
        let noise = bincode::serialize(&noise).unwrap();
        if let Ok(set) = bincode::deserialize::<DistinctExact>(&noise) {
            prop_assert_eq!(bytes(&set), noise);
        }
    }
}

#[test]
fn sum_of_opposites_is_not_nothing() {
    let one = finite(1.0);
    let minus_one = finite(-1.0);
    let mut sum = Sum::identity();
    sum.add(one);
    sum.add(minus_one);
    assert!(!sum.is_identity());
    assert_eq!(sum.output(), Some(0.0));
    let mut running = Sum::default();
    Sum::enter(&mut running, &sum);
    assert!(!Sum::is_empty(&running));
}

#[test]
fn leaving_without_entering_does_not_panic() {
    let partial = partial::<(Count, DistinctExact, DistinctApprox, Min<i64>)>(
        &[Reading {
            value: 1.0,
            name: "a".into(),
            origin: Origin { event_time_us: 1, partition: 0, offset: 0 },
        }],
        |to, r| to.add(((), r.name.as_bytes(), r.name.as_bytes(), 3)),
    );
    let mut running = Default::default();
    Retract::leave(&mut running, &partial);
    <(Count, DistinctExact, DistinctApprox, Min<i64>)>::read(&running);
}

#[test]
fn approximate_count_is_pinned_to_its_seed() {
    let mut distinct = DistinctApprox::<14>::identity();
    (0..50_000u64).for_each(|user| distinct.add(format!("user-{user}").as_bytes()));
    assert_eq!(distinct.output(), 49_985);
}
