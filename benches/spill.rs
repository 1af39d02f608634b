//! Does abomonation pay where tidegate uses it? Both spill codecs on the same elements, in the same frames.
//!
//! Data: 48-byte partials (key, window, count, exact sum's lane), in blocks of 64 KiB as `SortedRuns` writes
//! them. "codec" is encoding and decoding alone, in memory; "frame" adds checksum, header and the file;
//! "merge" is the whole way of 16 sorted runs to disk and back in order. The file lies in the temporary
//! directory, so mostly in the page cache.

use std::hint::black_box;

use abomonation::Abomonation;
use bytemuck::{Pod, Zeroable};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use tidegate::spill::{Codec, SortedRuns, SpillFile};

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Pod, Zeroable)]
#[repr(C)]
struct Partial {
    key: u64,
    window_end_us: i64,
    count: u64,
    sum: [u64; 3],
}

impl Abomonation for Partial {}

const BLOCK: usize = 64 * 1024 / size_of::<Partial>();
const CODECS: [(&str, Codec); 2] = [("abomonation", Codec::Abomonation), ("bytemuck", Codec::Bytemuck)];

fn partials(count: usize) -> Vec<Partial> {
    (0..count as u64)
        .map(|i| Partial {
            key: i.wrapping_mul(0x9e37_79b9_7f4a_7c15),
            window_end_us: 60,
            count: i,
            sum: [i; 3],
        })
        .collect()
}

fn codec(c: &mut Criterion) {
    let mut group = c.benchmark_group("codec");
    group.throughput(Throughput::Elements(BLOCK as u64));
    let elements = partials(BLOCK);
    for (name, codec) in CODECS {
        let mut scratch = Vec::new();
        group.bench_function(format!("{name}, encode"), |b| {
            b.iter(|| {
                let bytes = codec.encode(black_box(&elements), &mut scratch).expect("partials are plain");
                black_box(bytes).len()
            });
        });
        let mut read = elements.clone();
        group.bench_function(format!("{name}, decode and sum"), |b| {
            b.iter(|| {
                codec.decode(black_box(&mut read)).expect("partials are plain");
                read.iter().fold(0u64, |sum, partial| sum.wrapping_add(partial.count))
            });
        });
    }
    group.finish();
}

fn frame(c: &mut Criterion) {
    let mut group = c.benchmark_group("frame");
    const BLOCKS: usize = 64;
    group.throughput(Throughput::Elements((BLOCKS * BLOCK) as u64));
    group.sample_size(20);
    let elements = partials(BLOCK);
    for (name, codec) in CODECS {
        let directory = std::env::temp_dir();
        group.bench_function(format!("{name}, write {BLOCKS} blocks"), |b| {
            b.iter(|| {
                let mut file =
                    SpillFile::create(&directory, codec).expect("the temporary directory is writable");
                (0..BLOCKS).for_each(|_| {
                    file.append(black_box(&elements)).expect("the disk has room");
                });
            });
        });
        let mut file = SpillFile::create(&directory, codec).expect("the temporary directory is writable");
        let blocks = [(); BLOCKS].map(|()| file.append(&elements).expect("the disk has room"));
        let mut read = Vec::new();
        group.bench_function(format!("{name}, read {BLOCKS} blocks"), |b| {
            b.iter(|| {
                let mut sum = 0u64;
                for block in blocks {
                    file.read(block, &mut read).expect("what was just written is whole");
                    sum = read.iter().fold(sum, |sum, partial| sum.wrapping_add(partial.count));
                }
                sum
            });
        });
    }
    group.finish();
}

fn merge(c: &mut Criterion) {
    let mut group = c.benchmark_group("merge");
    const ELEMENTS: usize = 1 << 18;
    group.throughput(Throughput::Elements(ELEMENTS as u64));
    group.sample_size(10);
    let mut elements = partials(ELEMENTS);
    elements.chunks_mut(ELEMENTS / 16).for_each(<[Partial]>::sort);
    for (name, codec) in CODECS {
        group.bench_function(format!("{name}, 16 runs through 2 MiB"), |b| {
            b.iter(|| {
                let mut runs = SortedRuns::create(&std::env::temp_dir(), codec, 2 << 20)
                    .expect("the temporary directory is writable");
                elements.chunks(ELEMENTS / 16).for_each(|run| runs.push(run).expect("the disk has room"));
                let merged = runs.merge().expect("what was just written is whole");
                merged.map(|partial| partial.expect("it stays whole").count).fold(0, u64::wrapping_add)
            });
        });
    }
    group.finish();
}

criterion_group!(benches, codec, frame, merge);
criterion_main!(benches);
