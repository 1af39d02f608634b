//! A topic made from a pipeline's records, one line a record.

use super::Decode;
use super::front::{Edge, Front, Position, Verdicts, unreadable};
use super::partition::{WATERMARK_HEADER, stated_watermark};
use crate::record::{Partition, Record};
use crate::state::StateError;
use crate::topic_lines::{TopicBlock, TopicLines};

/// Renders the payload of a record's line.
pub trait Render<D: Decode>: 'static {
    /// Appends the payload made from an accepted event to `out`, which is empty.
    fn render(&mut self, at: &Position<'_>, event: &D::Event<'_>, out: &mut Vec<u8>);
}

/// The payload as it came.
#[derive(Clone, Copy, Debug, Default)]
pub struct Unchanged;

impl<D: Decode> Render<D> for Unchanged {
    #[inline]
    fn render(&mut self, at: &Position<'_>, _event: &D::Event<'_>, out: &mut Vec<u8>) {
        if let Some(value) = at.record.value {
            out.extend_from_slice(value.bytes());
        }
    }
}

/// The near end of a topic that has one line for each accepted record, late ones too.
pub struct TopicFront<R> {
    render: R,
    lines: TopicLines,
    payload: Vec<u8>,
    hands_watermarks_on: bool,
}

impl<R> TopicFront<R> {
    /// Lines with the payload that `render` makes go to `lines`.
    pub fn new(render: R, lines: TopicLines) -> Self {
        TopicFront { render, lines, payload: Vec::new(), hands_watermarks_on: false }
    }

    /// Hands on the records that state a watermark too, with the time that they state and in their place: for a topic that another
    /// pipeline reads, whose records are then late where they would be late here.
    pub fn hand_watermarks_on(mut self) -> Self {
        self.hands_watermarks_on = true;
        self
    }
}

impl<D: Decode, R: Render<D>> Front<D> for TopicFront<R> {
    type Item = TopicBlock;

    fn observe(&mut self, at: &Position<'_>, event: &D::Event<'_>, _verdicts: &mut Verdicts<'_>) {
        self.payload.clear();
        self.render.render(at, event, &mut self.payload);
        self.lines.push(at.place.rank, &at.place.partition, at.record, &[], Some(&self.payload));
    }

    fn stated(&mut self, rank: u32, partition: &Partition, record: &Record<'_>) {
        if let (true, Some(time_us)) = (self.hands_watermarks_on, stated_watermark(record)) {
            let payload = record.value.map(|value| value.bytes());
            let mut text = itoa::Buffer::new();
            let header = (WATERMARK_HEADER, text.format(time_us).as_bytes());
            self.lines.push(rank, partition, record, &[header], payload);
        }
    }

    fn drain(&mut self, edge: Edge, send: &mut dyn FnMut(TopicBlock)) {
        self.lines.drain(edge, send);
    }

    fn save(&self, rank: u32) -> Vec<u8> {
        self.lines.next_offset(rank).to_le_bytes().to_vec()
    }

    fn restore(&mut self, rank: u32, partition: &Partition, saved: &[u8]) -> Result<(), StateError> {
        if saved.is_empty() {
            // Of a partition, or an output, that was not there.
            return Ok(());
        }
        let bytes = saved.try_into().map_err(|_| unreadable(partition, "an offset has 8 bytes"))?;
        self.lines.go_on(rank, partition, i64::from_le_bytes(bytes));
        Ok(())
    }
}
