//! Properties of [`Moments`].

use proptest::prelude::*;

use super::oracle::{any_bits, assert_nearest, awkward, decimal, finite, mean, variance};
use crate::aggregate::Moments;

pub(super) fn moments(values: &[f64]) -> Moments {
    let mut moments = Moments::default();
    values.iter().for_each(|&value| moments.add(finite(value)));
    moments
}

/// Checks the mean, and the deviation as far as its square tells: the variance is read before the root is
/// taken.
fn check(moments: &Moments, values: &[f64]) {
    assert_eq!(moments.count(), values.len() as u64);
    assert_nearest(moments.mean().unwrap(), &mean(values));
    if values.len() > 1 {
        assert_nearest(moments.variance().unwrap(), &variance(values));
    }
    let root = moments.variance().unwrap().sqrt();
    assert_eq!(moments.deviation().unwrap().to_bits(), root.to_bits());
}

fn check_regrouped((values, shuffled, group): (Vec<f64>, Vec<f64>, usize)) {
    let straight = moments(&values);
    let mut merged = Moments::default();
    shuffled.chunks(group).for_each(|part| merged.merge(&moments(part)));
    assert_eq!(straight, merged);
    let bytes = bincode::serialize(&straight).unwrap();
    assert_eq!(bytes, bincode::serialize(&merged).unwrap());
    let back: Moments = bincode::deserialize(&bytes).unwrap();
    assert_eq!(back, straight);
    check(&straight, &values);
    check(&merged, &values);
    check(&back, &values);
}

fn grouped(value: impl Strategy<Value = f64>) -> impl Strategy<Value = (Vec<f64>, Vec<f64>, usize)> {
    prop::collection::vec(value, 1..40)
        .prop_flat_map(|values| (Just(values.clone()), Just(values).prop_shuffle(), 1usize..10))
}

proptest! {
    #[test]
    fn any_bits_deviate_alike_in_any_order_and_grouping(input in grouped(any_bits())) {
        check_regrouped(input);
    }

    #[test]
    fn decimals_deviate_alike_in_any_order_and_grouping(input in grouped(decimal())) {
        check_regrouped(input);
    }

    #[test]
    fn awkward_numbers_deviate_alike_in_any_order_and_grouping(input in grouped(awkward())) {
        check_regrouped(input);
    }

    #[test]
    fn retracting_undoes_adding(
        kept in prop::collection::vec(awkward(), 0..12),
        passing in prop::collection::vec(awkward(), 0..12),
    ) {
        let expected = moments(&kept);
        let mut one_by_one = moments(&passing);
        one_by_one.merge(&expected);
        let mut at_once = one_by_one.clone();
        for &value in &passing {
            one_by_one.retract(finite(value));
        }
        at_once.unmerge(&moments(&passing));
        prop_assert_eq!(&one_by_one, &expected);
        prop_assert_eq!(&at_once, &expected);
        prop_assert_eq!(bincode::serialize(&one_by_one).unwrap(), bincode::serialize(&expected).unwrap());
        prop_assert_eq!(one_by_one.deviation(), expected.deviation());
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    #[test]
    fn thousands_of_decimals_are_right_to_the_last_bit(
        values in prop::collection::vec(decimal(), 1000..4000),
    ) {
        check(&moments(&values), &values);
    }

    #[test]
    fn close_values_far_from_zero_are_right_to_the_last_bit(
        base in decimal(),
        steps in prop::collection::vec(0u8..4, 1000..3000),
    ) {
        // What floating point gets wrong: a deviation of a few units in the last place.
        let values: Vec<f64> =
            steps.iter().map(|&step| (0..step).fold(base * 1e6, |value, _| value.next_up())).collect();
        check(&moments(&values), &values);
    }
}

#[test]
fn one_value_and_equal_values_do_not_deviate() {
    assert_eq!(moments(&[]).deviation(), None);
    assert_eq!(moments(&[]).mean(), None);
    assert_eq!(moments(&[23.57]).deviation(), Some(0.0));
    assert_eq!(moments(&[0.1; 1000]).deviation(), Some(0.0));
    assert_eq!(moments(&[0.1; 1000]).mean(), Some(0.1));
    assert_eq!(moments(&[1.0, 2.0, 3.0]).deviation(), Some(1.0));
}

#[test]
fn variance_beyond_f64_is_infinite() {
    assert_eq!(moments(&[f64::MAX, f64::MIN]).deviation(), Some(f64::INFINITY));
    assert_eq!(moments(&[f64::MAX, f64::MIN]).mean(), Some(0.0));
}

#[test]
fn retracting_what_was_never_added_does_not_panic() {
    let mut moments = moments(&[3.0, 4.0, 5.0]);
    moments.retract(finite(100.0));
    assert_eq!(moments.deviation(), Some(0.0));
    moments.unmerge(&self::moments(&[1.0, 2.0, 3.0, 4.0]));
    assert!(moments.deviation().is_some());
}

#[test]
fn ordinary_moments_are_small() {
    assert_eq!(size_of::<Moments>(), 80);
    let values: Vec<f64> = (0..6000).map(|i| 20.0 + f64::from(i) / 100.0).collect();
    assert!(bincode::serialize(&moments(&values)).unwrap().len() < 60);
}
