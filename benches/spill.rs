//! Does abomonation pay where tidegate uses it? Both spill codecs on the same elements, in the same frames.
//!
//! Data: the words in which panes are spilt, in blocks of 128 KiB as `window::cold` writes them: a key of 24 bytes and a count are
//! seven of them. "codec" is encoding and decoding alone, in memory; "frame" adds checksum, header and the file, which lies in
//! the temporary directory, so mostly in the page cache.

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use tidegate::spill::{Codec, SpillFile, Word};

const BLOCK: usize = 16 << 10;
const CODECS: [(&str, Codec); 2] = [("abomonation", Codec::Abomonation), ("bytemuck", Codec::Bytemuck)];

fn pane(count: usize) -> Vec<Word> {
    let mut words = Vec::new();
    for key in 0..count as u64 / 7 {
        words.extend([Word(key.wrapping_mul(0x9e37_79b9_7f4a_7c15)), Word(24), Word(8)]);
        Word::push_bytes(&mut words, format!("/catalogue/page/{key:08}").as_bytes());
        Word::push_bytes(&mut words, &key.to_le_bytes());
    }
    words
}

fn codec(c: &mut Criterion) {
    let mut group = c.benchmark_group("codec");
    group.throughput(Throughput::Elements(BLOCK as u64));
    let elements = pane(BLOCK);
    for (name, codec) in CODECS {
        let mut scratch = Vec::new();
        group.bench_function(format!("{name}, encode"), |b| {
            b.iter(|| {
                let bytes = codec.encode(black_box(&elements), &mut scratch).expect("words are plain");
                black_box(bytes).len()
            });
        });
        let mut read = elements.clone();
        group.bench_function(format!("{name}, decode and sum"), |b| {
            b.iter(|| {
                codec.decode(black_box(&mut read)).expect("words are plain");
                read.iter().fold(0u64, |sum, word| sum.wrapping_add(word.0))
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
    let elements = pane(BLOCK);
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
                    sum = read.iter().fold(sum, |sum, word| sum.wrapping_add(word.0));
                }
                sum
            });
        });
    }
    group.finish();
}

criterion_group!(benches, codec, frame);
criterion_main!(benches);
