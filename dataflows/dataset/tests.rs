use std::sync::mpsc::channel;

use proptest::prelude::*;

use super::*;

fn label(cooler: i64) -> Label {
    Label { cooler, valve: 100, pump_leakage: 0, accumulator: 130, stable_flag: 0 }
}

fn second(start_us: i64, value: Option<f64>) -> Second {
    Second::new(start_us, [value, Some(1.0)])
}

/// The training set after each step.
fn after(workers: usize, steps: Vec<Step>) -> Vec<(TrainingSet, Touched)> {
    let (send, receive) = channel();
    let mut set = TrainingSet::default();
    let mut steps = steps.into_iter();
    let mut begun = false;
    maintain(workers, move |changes| {
        let touched = set.apply(changes);
        if std::mem::replace(&mut begun, true) {
            send.send((set.clone(), touched)).unwrap();
        }
        steps.next()
    })
    .unwrap();
    receive.iter().collect()
}

fn values(row: &TrainingRow) -> Vec<Option<f64>> {
    row.statistics().take(4).collect()
}

#[test]
fn label_and_late_second_change_just_their_own_rows() {
    let seconds = |cycle: i64, count: i64| {
        (0..count).map(move |at| (cycle, second(60_000_000 * cycle + at, Some(at as f64)), 1))
    };
    let steps = vec![
        Step {
            seconds: seconds(0, 60).chain(seconds(1, 59)).chain(seconds(2, 60)).collect(),
            labels: vec![(0, label(3), 1), (1, label(20), 1), (9, label(100), 1)],
        },
        Step { labels: label_changes(&[(1, label(20))], &[(1, label(100))]), ..Step::default() },
        Step { seconds: vec![(1, second(60_000_059, None), 1)], ..Step::default() },
        Step { labels: vec![(2, label(3), 1)], ..Step::default() },
        Step::default(),
    ];
    for workers in [1, 2] {
        let states = after(workers, steps.clone());
        let touched: Vec<_> = states.iter().map(|(_, touched)| *touched).collect();
        let one = Touched { changed: 1, ..Touched::default() };
        let first = Touched { added: 3, ..Touched::default() };
        assert_eq!(touched, [first, one, one, one, Touched::default()]);
        let (set, _) = &states[0];
        assert_eq!((set.rows().len(), set.incomplete(60), set.unlabelled()), (3, 1, 1));
        let (set, _) = &states[4];
        assert_eq!((set.rows().len(), set.incomplete(60), set.unlabelled()), (3, 0, 0));
        let row = set.rows().nth(1).unwrap();
        assert_eq!((row.cycle, row.seconds, row.start_us, row.label), (1, 60, 60_000_000, Some(label(100))));
        assert_eq!(values(row)[..3], [Some(29.0), Some(0.0), Some(58.0)]);
        assert_eq!(values(set.rows().next().unwrap())[0], Some(29.5));
    }
}

#[test]
fn feature_that_is_null_throughout_has_null_statistics() {
    let steps = vec![Step {
        seconds: vec![(0, second(1, None), 1), (0, second(2, Some(f64::NAN)), 1)],
        ..Step::default()
    }];
    let states = after(1, steps);
    let row = states[0].0.rows().next().unwrap();
    assert_eq!(values(row), [None; 4]);
    assert_eq!(row.statistics().nth(7), Some(Some(0.0)), "the deviation of one value twice");
}

#[test]
fn files_hold_every_cycle_with_its_marks() {
    let dir = tempfile::tempdir().unwrap();
    let steps = vec![Step {
        seconds: vec![(0, second(0, Some(0.5)), 1), (0, second(1, Some(1.5)), 1), (1, second(2, None), 1)],
        labels: vec![(0, label(3), 1)],
    }];
    let states = after(1, steps);
    let features = ["a".to_owned(), "b".to_owned()];
    write(&states[0].0, &features, 2, &[Form::Parquet, Form::Csv], dir.path()).unwrap();
    let csv = std::fs::read_to_string(dir.path().join("training_set.csv")).unwrap();
    let expected = "cycle,start_time,seconds,complete,a_mean,a_min,a_max,a_std,b_mean,b_min,b_max,b_std,cooler,valve,\
                    pump_leakage,accumulator,stable_flag\n\
                    0,1970-01-01T00:00:00.000000Z,2,true,1,0.5,1.5,0.7071067811865476,1,1,1,0,3,100,0,130,0\n\
                    1,1970-01-01T00:00:00.000002Z,1,false,,,,,1,1,1,0,,,,,\n";
    assert_eq!(csv, expected);
    let bytes = std::fs::read(dir.path().join("training_set.parquet")).unwrap();
    let rows = tidegate::sink::lake::read_file(bytes, &|_| true).unwrap();
    assert_eq!(rows.schema.columns.len(), 17);
    assert_eq!(rows.batches.iter().map(|batch| batch.len()).sum::<usize>(), 2);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn steps_lead_where_one_step_with_all_would(
        events in prop::collection::vec((0_usize..4, 0_i64..4, 0_i64..6, -3_i32..4, any::<bool>()), 1..60),
        workers in 1_usize..3,
    ) {
        // (step, cycle, second or label, value, whether it is a label); a later one of the same place replaces it.
        let mut events = events;
        events.sort_by_key(|event| event.0);
        let mut steps = vec![Step::default(); 4];
        let (mut seconds, mut labels) = (BTreeMap::new(), BTreeMap::new());
        for (step, cycle, place, value, is_label) in events {
            if is_label {
                let new = label(i64::from(value));
                if let Some(old) = labels.insert(cycle, new) {
                    steps[step].labels.push((cycle, old, -1));
                }
                steps[step].labels.push((cycle, new, 1));
            } else {
                let new = second(place, Some(f64::from(value)));
                if let Some(old) = seconds.insert((cycle, place), new.clone()) {
                    steps[step].seconds.push((cycle, old, -1));
                }
                steps[step].seconds.push((cycle, new, 1));
            }
        }
        let states = after(workers, steps);
        let last: Vec<_> = states[3].0.rows().cloned().collect();
        let all = Step {
            seconds: seconds.iter().map(|((cycle, _), second)| (*cycle, second.clone(), 1)).collect(),
            labels: labels.iter().map(|(cycle, label)| (*cycle, *label, 1)).collect(),
        };
        let at_once: Vec<_> = after(1, vec![all])[0].0.rows().cloned().collect();
        prop_assert_eq!(&last, &at_once);
        // And a plain loop agrees about the seconds, the mean and the label.
        for row in &last {
            let mine: Vec<f64> = seconds.iter().filter(|((cycle, _), _)| *cycle == row.cycle)
                .map(|(_, second)| (-3..4).map(f64::from).find(|value| {
                    *second == Second::new(second.start_us, [Some(*value), Some(1.0)])
                }).unwrap()).collect();
            prop_assert_eq!(row.seconds as usize, mine.len());
            let sum: f64 = mine.iter().sum();
            prop_assert_eq!(values(row)[0], Some(sum / mine.len() as f64));
            prop_assert_eq!(row.label, labels.get(&row.cycle).copied());
        }
    }
}
