//! What does exactness cost? Nanoseconds an input for the exact aggregates against their naive `f64` rivals.
//!
//! Data: 10,000 decimals as sensors send them (two places, around 50), all in the inline lane; and the same
//! with one value in ten outside it. Sketches take 10,000 distinct keys of 10 bytes.

use std::hint::black_box;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use tidegate::aggregate::{
    Aggregate, Avg, DistinctApprox, DistinctExact, ExactSum, Finite, Moments, Retract, StdDev,
};

const INPUTS: u64 = 10_000;

fn decimals() -> Vec<Finite> {
    (0..INPUTS)
        .map(|i| {
            Finite::new((i * 7919 % INPUTS) as f64 / 100.0 - 3.0)
                .expect("a quotient of small numbers is finite")
        })
        .collect()
}

fn mixed() -> Vec<Finite> {
    let tiny = Finite::new(1e-40).expect("a literal is finite");
    let mut values = decimals();
    values.iter_mut().step_by(10).for_each(|value| *value = tiny);
    values
}

/// Welford's recurrence: the careful way with plain `f64`, which depends on the order.
fn welford(values: &[Finite]) -> f64 {
    let (mut mean, mut squares) = (0.0, 0.0);
    for (n, value) in values.iter().enumerate() {
        let off = value.get() - mean;
        mean += off / (n + 1) as f64;
        squares += off * (value.get() - mean);
    }
    squares / (values.len() - 1) as f64
}

fn sums(c: &mut Criterion) {
    let mut group = c.benchmark_group("sum");
    group.throughput(Throughput::Elements(INPUTS));
    for (data, values) in [("decimals", decimals()), ("one in ten beyond the lane", mixed())] {
        group.bench_function(format!("f64, {data}"), |b| {
            b.iter(|| black_box(&values).iter().fold(0.0, |sum, value| sum + value.get()));
        });
        group.bench_function(format!("ExactSum, {data}"), |b| {
            b.iter(|| black_box(&values).iter().copied().collect::<ExactSum>());
        });
        group.bench_function(format!("Moments, {data}"), |b| {
            b.iter(|| {
                let mut moments = Moments::default();
                black_box(&values).iter().for_each(|&value| moments.add(value));
                moments
            });
        });
        group.bench_function(format!("Welford in f64, {data}"), |b| b.iter(|| welford(black_box(&values))));
    }
    group.finish();
}

fn rows(c: &mut Criterion) {
    let mut group = c.benchmark_group("row");
    let (mut mean, mut deviation, mut running) = (Avg::identity(), StdDev::identity(), StdDev::identity());
    for value in decimals() {
        mean.add(value);
        deviation.add(value);
    }
    group.bench_function("Avg, output", |b| b.iter(|| black_box(&mean).output()));
    group.bench_function("StdDev, output", |b| b.iter(|| black_box(&deviation).output()));
    group.bench_function("StdDev, merge", |b| b.iter(|| running.merge(black_box(&deviation))));
    group.bench_function("StdDev, enter and leave", |b| {
        b.iter(|| {
            StdDev::enter(&mut running, black_box(&deviation));
            StdDev::leave(&mut running, black_box(&deviation));
        });
    });
    group.bench_function("StdDev, serialise and read", |b| {
        b.iter(|| {
            let bytes = bincode::serialize(black_box(&deviation)).expect("memory does not fail");
            bincode::deserialize::<StdDev>(&bytes).expect("what was just written is whole")
        });
    });
    group.finish();
}

fn distinct(c: &mut Criterion) {
    let mut group = c.benchmark_group("distinct");
    group.throughput(Throughput::Elements(INPUTS));
    let keys: Vec<String> = (0..INPUTS).map(|i| format!("user-{:05}", i * 7919 % INPUTS)).collect();
    group.bench_function("DistinctExact", |b| {
        b.iter(|| {
            let mut set = DistinctExact::identity();
            keys.iter().for_each(|key| set.add(key.as_bytes()));
            set
        });
    });
    group.bench_function("DistinctApprox, empty at first", |b| {
        b.iter(|| {
            let mut sketch = DistinctApprox::<14>::identity();
            keys.iter().for_each(|key| sketch.add(key.as_bytes()));
            sketch
        });
    });
    let mut full = DistinctApprox::<14>::identity();
    keys.iter().for_each(|key| full.add(key.as_bytes()));
    group.bench_function("DistinctApprox, dense", |b| {
        b.iter_batched_ref(
            || full.clone(),
            |sketch| keys.iter().for_each(|key| sketch.add(key.as_bytes())),
            BatchSize::LargeInput,
        );
    });
    group.throughput(Throughput::Elements(1));
    group.bench_function("DistinctApprox, output", |b| b.iter(|| black_box(&full).output()));
    let mut running = Default::default();
    group.bench_function("DistinctApprox, enter and leave", |b| {
        b.iter(|| {
            DistinctApprox::<14>::enter(&mut running, black_box(&full));
            DistinctApprox::<14>::leave(&mut running, black_box(&full));
        });
    });
    group.finish();
}

criterion_group!(benches, sums, rows, distinct);
criterion_main!(benches);
