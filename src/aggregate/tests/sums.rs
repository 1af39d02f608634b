//! Properties of [`ExactSum`].

use proptest::prelude::*;

use super::oracle::{any_bits, assert_nearest, awkward, decimal, finite, mean, sum};
use crate::aggregate::ExactSum;

fn exact(values: &[f64]) -> ExactSum {
    values.iter().map(|&value| finite(value)).collect()
}

fn bytes(sum: &ExactSum) -> Vec<u8> {
    bincode::serialize(sum).unwrap()
}

/// Values, and how they are cut into groups.
fn grouped(value: impl Strategy<Value = f64>) -> impl Strategy<Value = (Vec<f64>, Vec<f64>, usize)> {
    prop::collection::vec(value, 1..60)
        .prop_flat_map(|values| (Just(values.clone()), Just(values).prop_shuffle(), 1usize..10))
}

fn check_regrouped((values, shuffled, group): (Vec<f64>, Vec<f64>, usize)) {
    let straight = exact(&values);
    let mut merged = ExactSum::default();
    for part in shuffled.chunks(group).rev() {
        merged.merge(&exact(part));
    }
    assert_eq!(straight, merged);
    assert_eq!(bytes(&straight), bytes(&merged));
    let back: ExactSum = bincode::deserialize(&bytes(&straight)).unwrap();
    assert_eq!(back, straight);
    assert_eq!(bytes(&back), bytes(&straight));
    let n = values.len() as u64;
    for read in [&straight, &merged, &back] {
        assert_nearest(read.to_f64(), &sum(&values));
        assert_nearest(read.mean(n).unwrap(), &mean(&values));
    }
}

proptest! {
    #[test]
    fn any_bits_sum_alike_in_any_order_and_grouping(input in grouped(any_bits())) {
        check_regrouped(input);
    }

    #[test]
    fn decimals_sum_alike_in_any_order_and_grouping(input in grouped(decimal())) {
        check_regrouped(input);
    }

    #[test]
    fn awkward_numbers_sum_alike_in_any_order_and_grouping(input in grouped(awkward())) {
        check_regrouped(input);
    }

    #[test]
    fn retracting_undoes_adding(
        kept in prop::collection::vec(awkward(), 0..20),
        passing in prop::collection::vec(awkward(), 0..20),
    ) {
        let expected = exact(&kept);
        let mut one_by_one = exact(&passing);
        one_by_one.merge(&expected);
        let mut at_once = one_by_one.clone();
        for &value in &passing {
            one_by_one.retract(finite(value));
        }
        at_once.unmerge(&exact(&passing));
        for sum in [one_by_one, at_once] {
            prop_assert_eq!(&sum, &expected);
            prop_assert_eq!(bytes(&sum), bytes(&expected));
        }
    }

    #[test]
    fn bytes_are_equal_only_for_equal_sums(
        a in prop::collection::vec(awkward(), 0..4),
        b in prop::collection::vec(awkward(), 0..4),
    ) {
        let alike = sum(&a) == sum(&b);
        prop_assert_eq!(exact(&a) == exact(&b), alike);
        prop_assert_eq!(bytes(&exact(&a)) == bytes(&exact(&b)), alike);
        prop_assert_eq!(exact(&a).is_zero(), sum(&a) == sum(&[]));
    }

    #[test]
    fn means_of_few_bits_round_like_the_quotient(value in awkward(), count in 1u64..) {
        let expected = sum(&[value]) / num_bigint::BigInt::from(count);
        assert_nearest(exact(&[value]).mean(count).unwrap(), &expected);
    }

    #[test]
    fn bytes_that_no_sum_makes_are_refused(noise in prop::collection::vec(any::<u8>(), 0..40)) {
        // Whatever is accepted has exactly that form.
        if let Ok(sum) = bincode::deserialize::<ExactSum>(&bincode::serialize(&noise).unwrap()) {
            prop_assert_eq!(bytes(&sum), bincode::serialize(&noise).unwrap());
        }
    }
}

#[test]
fn cancellation_leaves_the_small_number() {
    assert_eq!(exact(&[1e308, 1e-308, -1e308]).to_f64(), 1e-308);
    assert_eq!(exact(&[1e16, 1.0, -1e16]).to_f64(), 1.0);
}

#[test]
fn infinity_only_where_it_is_nearest() {
    assert_eq!(exact(&[f64::MAX, f64::MAX]).to_f64(), f64::INFINITY);
    assert_eq!(exact(&[f64::MIN, f64::MIN]).to_f64(), f64::NEG_INFINITY);
    assert_eq!(exact(&[f64::MAX, f64::MAX, f64::MIN]).to_f64(), f64::MAX);
    let half_a_unit = 2f64.powi(970);
    assert_eq!(exact(&[f64::MAX, half_a_unit]).to_f64(), f64::INFINITY);
    assert_eq!(exact(&[f64::MAX, half_a_unit.next_down()]).to_f64(), f64::MAX);
    assert_eq!(exact(&[f64::MAX, f64::MAX]).mean(2), Some(f64::MAX));
}

#[test]
fn ties_go_to_even() {
    let whole = 9007199254740992.0;
    assert_eq!(exact(&[whole, 1.0]).to_f64(), whole);
    assert_eq!(exact(&[whole, 1.0, 2.0]).to_f64(), whole + 4.0);
    assert_eq!(exact(&[whole, 1.0, f64::from_bits(1)]).to_f64(), whole + 2.0);
    assert_eq!(exact(&[f64::from_bits(1)]).mean(2), Some(0.0));
    assert_eq!(exact(&[f64::from_bits(3)]).mean(2), Some(f64::from_bits(2)));
    assert_eq!(exact(&[-f64::from_bits(1)]).mean(2).unwrap().to_bits(), 0, "no negative zero");
}

#[test]
fn nothing_and_zeros_are_zero() {
    assert_eq!(exact(&[]).to_f64().to_bits(), 0);
    assert_eq!(exact(&[-0.0, -0.0]).to_f64().to_bits(), 0);
    assert_eq!(exact(&[]).mean(0), None);
    assert_eq!(exact(&[-0.0]), exact(&[]));
}

#[test]
fn full_lane_goes_on_in_the_box() {
    let large = 2f64.powi(106) - 2f64.powi(53);
    for sign in [1.0, -1.0] {
        let values: Vec<f64> = (0..9).map(|i| sign * large + f64::from(i)).collect();
        let mut added = exact(&values);
        assert_nearest(added.to_f64(), &sum(&values));
        let mut doubled = added.clone();
        doubled.merge(&added);
        added.merge(&exact(&values));
        assert_eq!(added, doubled);
        doubled.unmerge(&added);
        assert!(doubled.is_zero());
        assert_eq!(bytes(&doubled), bytes(&exact(&[])));
    }
}

#[test]
fn ordinary_sums_are_small() {
    assert_eq!(size_of::<ExactSum>(), 32);
    let values: Vec<f64> = (0..1000).map(|i| 20.0 + f64::from(i) / 100.0).collect();
    // 8 are bincode's length.
    assert!(bytes(&exact(&values)).len() <= 8 + 11, "{}", bytes(&exact(&values)).len());
    assert!(exact(&values).total.is_narrow());
    assert!(exact(&[23.57, 1e-9, 2f64.powi(-84), 1e31, -1e31]).total.is_narrow());
}

#[test]
fn sums_cross_json() {
    let sum = exact(&[0.1, 1e300]);
    let back: ExactSum = serde_json::from_str(&serde_json::to_string(&sum).unwrap()).unwrap();
    assert_eq!(back, sum);
}
