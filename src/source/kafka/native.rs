//! The one place where records are read from librdkafka's memory.
//!
//! A [`Log`] is one partition being read. librdkafka's threads fetch and unpack; [`Log::fill`] takes what is
//! there, many messages a call, and [`Log::peek`] shows a message where it lies, without a copy.
//!
//! # Safety argument
//!
//! * Every native object has one owner, `Log`, which destroys it in `drop`: messages first, then consumption is
//!   stopped, then queue and topic handle go. The client outlives them, since a `Log` holds an [`Arc`] of it.
//! * A message is destroyed only through `&mut self` ([`Log::pop`], [`Log::restart`], `drop`), while a shown
//!   record borrows the `Log`. So no slice into a message outlives it.
//! * Pointers in a message are either null or valid for the given length as long as the message lives: that is
//!   librdkafka's contract for a consumed message.
//! * Of a message that lies as the broker sent it, the byte behind the value is read too ([`is_bare`] says why it can be).

use std::ffi::{CStr, CString, c_char, c_void};
use std::ptr::{null, null_mut};
use std::slice;
use std::sync::Arc;

use rdkafka::bindings as ffi;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::RDKafkaErrorCode;
use rdkafka::types::RDKafkaRespErr;

use crate::kafka::Watch;
use crate::record::{Headers, KafkaTime, Record, Value};

/// The last version of librdkafka of which it is known how a message lies in memory: 2.12.
const KNOWN: i32 = 0x020c_ffff;

/// No page of memory is smaller.
const PAGE: usize = 4096;

/// What stands next in a partition.
pub(super) enum Next<'a> {
    /// A record, in librdkafka's memory.
    Record(Record<'a>),
    /// All records before this offset have been read, and nothing stands behind them.
    End(i64),
    /// librdkafka cannot go on by itself with this partition, or tells that it had to try again.
    Trouble(RDKafkaErrorCode, String),
}

/// A partition that is being read.
pub(super) struct Log {
    client: Arc<BaseConsumer<Watch>>,
    name: CString,
    topic: *mut ffi::rd_kafka_topic_t,
    number: i32,
    queue: *mut ffi::rd_kafka_queue_t,
    messages: Vec<*mut ffi::rd_kafka_message_t>,
    /// The next message to show; those before it are destroyed.
    at: usize,
    /// The shown record's headers in wire form.
    wire: Vec<u8>,
    /// Whether this librdkafka's messages lie as [`is_bare`] expects.
    is_known: bool,
}

impl Log {
    /// Begins to read partition `number` of `topic` at `offset`.
    pub(super) fn start(
        client: &Arc<BaseConsumer<Watch>>,
        topic: &str,
        number: i32,
        offset: i64,
    ) -> Result<Log, RDKafkaErrorCode> {
        let name = CString::new(topic).map_err(|_| RDKafkaErrorCode::InvalidArgument)?;
        let rk = client.client().native_ptr();
        // SAFETY: `rk` is live; the name outlives the call, and a null configuration means the client's own.
        let topic = unsafe { ffi::rd_kafka_topic_new(rk, name.as_ptr(), null_mut()) };
        if topic.is_null() {
            // SAFETY: no preconditions.
            return Err(unsafe { ffi::rd_kafka_last_error() }.into());
        }
        let client = Arc::clone(client);
        let (messages, wire) = (Vec::new(), Vec::new());
        // SAFETY: no preconditions.
        let is_known = unsafe { ffi::rd_kafka_version() } <= KNOWN;
        let mut log = Log { client, name, topic, number, queue: null_mut(), messages, at: 0, wire, is_known };
        log.consume(offset)?;
        Ok(log)
    }

    fn consume(&mut self, offset: i64) -> Result<(), RDKafkaErrorCode> {
        // SAFETY: the client is live, so a queue can be made; topic and queue are ours and live, and the queue
        // is destroyed only after consumption into it has been stopped.
        unsafe {
            let queue = ffi::rd_kafka_queue_new(self.client.client().native_ptr());
            if ffi::rd_kafka_consume_start_queue(self.topic, self.number, offset, queue) != 0 {
                let error = ffi::rd_kafka_last_error();
                ffi::rd_kafka_queue_destroy(queue);
                return Err(error.into());
            }
            self.queue = queue;
        }
        Ok(())
    }

    /// Ends reading; nothing is shown any more.
    fn stop(&mut self) {
        for message in self.messages.drain(self.at.min(self.messages.len())..) {
            // SAFETY: messages from `at` on are not destroyed yet.
            unsafe { ffi::rd_kafka_message_destroy(message) }
        }
        self.messages.clear();
        self.at = 0;
        if !self.queue.is_null() {
            // SAFETY: the topic handle and the queue are live, and the queue is forgotten after this.
            unsafe {
                ffi::rd_kafka_consume_stop(self.topic, self.number);
                ffi::rd_kafka_queue_destroy(self.queue);
            }
            self.queue = null_mut();
        }
    }

    /// Goes on at `offset`; what was fetched is thrown away.
    pub(super) fn restart(&mut self, offset: i64) -> Result<(), RDKafkaErrorCode> {
        self.stop();
        self.consume(offset)
    }

    /// Takes at most `max` messages that have been fetched, without waiting; whether there is one.
    ///
    /// What was taken before must have been popped.
    pub(super) fn fill(&mut self, max: usize) -> bool {
        debug_assert!(self.at == self.messages.len());
        if self.queue.is_null() {
            return false;
        }
        self.at = 0;
        self.messages.clear();
        self.messages.reserve(max);
        // SAFETY: the vector has room for `max` pointers; the call writes as many as it returns, and −1 (an
        // error that is not about a message) writes none.
        unsafe {
            let taken = ffi::rd_kafka_consume_batch_queue(self.queue, 0, self.messages.as_mut_ptr(), max);
            self.messages.set_len(usize::try_from(taken).unwrap_or(0));
        }
        !self.messages.is_empty()
    }

    /// Whether a message that was taken has not been popped.
    pub(super) fn is_empty(&self) -> bool {
        self.at == self.messages.len()
    }

    /// Shows the next message that was taken.
    pub(super) fn peek(&mut self) -> Option<Next<'_>> {
        let &message = self.messages.get(self.at)?;
        // SAFETY: messages from `at` on are live, and the result borrows `self`.
        Some(unsafe { show(message, &mut self.wire, self.is_known) })
    }

    /// Gives the next message back to librdkafka.
    pub(super) fn pop(&mut self) {
        if let Some(&message) = self.messages.get(self.at) {
            self.at += 1;
            // SAFETY: it was live, and lies before `at` from now on.
            unsafe { ffi::rd_kafka_message_destroy(message) }
        }
    }

    /// The offset behind the partition's last record, by the last answer to a fetch.
    pub(super) fn high_watermark(&self) -> Option<i64> {
        let (mut low, mut high) = (-1, -1);
        let rk = self.client.client().native_ptr();
        // SAFETY: the client is live, the name is a C string, and both numbers are written before the return.
        let code = unsafe {
            ffi::rd_kafka_get_watermark_offsets(rk, self.name.as_ptr(), self.number, &mut low, &mut high)
        };
        (code == RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR && high >= 0).then_some(high)
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        self.stop();
        // SAFETY: made in `start`, used nowhere after this.
        unsafe { ffi::rd_kafka_topic_destroy(self.topic) }
    }
}

/// # Safety
/// `message` is live for `'a`.
#[inline]
unsafe fn show<'a>(
    message: *const ffi::rd_kafka_message_t,
    wire: &'a mut Vec<u8>,
    is_known: bool,
) -> Next<'a> {
    // SAFETY: a live message can be read; its key and payload are null or valid for their lengths. It is as the broker sent it
    // where it has an epoch.
    unsafe {
        let raw = &*message;
        if raw.err != RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR {
            return trouble(message);
        }
        let mut kind = ffi::rd_kafka_timestamp_type_t::RD_KAFKA_TIMESTAMP_NOT_AVAILABLE;
        let ms = ffi::rd_kafka_message_timestamp(message, &mut kind);
        let kafka_time = match kind {
            _ if ms < 0 => KafkaTime::None,
            ffi::rd_kafka_timestamp_type_t::RD_KAFKA_TIMESTAMP_CREATE_TIME => KafkaTime::Create(ms),
            ffi::rd_kafka_timestamp_type_t::RD_KAFKA_TIMESTAMP_LOG_APPEND_TIME => KafkaTime::LogAppend(ms),
            _ => KafkaTime::None,
        };
        Next::Record(Record {
            offset: raw.offset,
            kafka_time,
            key: bytes(raw.key, raw.key_len),
            value: bytes(raw.payload, raw.len).map(Value::exact),
            headers: if is_known && is_bare(message) { Headers::default() } else { headers(message, wire) },
        })
    }
}

/// # Safety
/// `start` is null or valid for `len` bytes during `'a`.
#[inline(always)]
unsafe fn bytes<'a>(start: *const c_void, len: usize) -> Option<&'a [u8]> {
    // SAFETY: the caller's promise.
    (!start.is_null()).then(|| unsafe { slice::from_raw_parts(start.cast(), len) })
}

/// Whether a message certainly has no headers: librdkafka makes a buffer for each message that is asked for them, which is a sixth of
/// what a record costs here, to find that their number is 0.
///
/// In a record batch of version 2 ([KIP-98]) a value is followed by the number of the record's headers, and librdkafka leaves both in the
/// buffer that they came in, or were unpacked to. Batches of other versions have no leader epoch. A broker that sent a record without
/// that number would have us read a byte of somebody else, which is on the value's own page, so that it can be read.
///
/// [KIP-98]: https://cwiki.apache.org/confluence/display/KAFKA/KIP-98+-+Exactly+Once+Delivery+and+Transactional+Messaging
///
/// # Safety
/// `message` is live and carries no error.
#[inline]
unsafe fn is_bare(message: *const ffi::rd_kafka_message_t) -> bool {
    // SAFETY: a live message can be read. The byte is read where the value has a byte before it on the same page; volatile, since
    // nothing else may be concluded of it.
    unsafe {
        let raw = &*message;
        if raw.payload.is_null() || raw.len == 0 || ffi::rd_kafka_message_leader_epoch(message) < 0 {
            return false;
        }
        let behind = raw.payload.cast::<u8>().wrapping_add(raw.len);
        !behind.addr().is_multiple_of(PAGE) && behind.read_volatile() == 0
    }
}

/// Writes a message's headers in the form that [`Headers`] reads.
///
/// # Safety
/// `message` is live.
#[inline]
unsafe fn headers<'a>(message: *const ffi::rd_kafka_message_t, wire: &'a mut Vec<u8>) -> Headers<'a> {
    let mut list = null_mut();
    // SAFETY: the list belongs to the message and lives as long; names are C strings, values null or valid for
    // their lengths.
    unsafe {
        let code = ffi::rd_kafka_message_headers(message, &mut list);
        if code != RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR {
            return Headers::default();
        }
        wire.clear();
        let (mut name, mut value, mut len): (*const c_char, *const c_void, usize) = (null(), null(), 0);
        let mut count = 0;
        while ffi::rd_kafka_header_get_all(list, count as usize, &mut name, &mut value, &mut len)
            == RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR
        {
            Headers::append(wire, CStr::from_ptr(name).to_bytes(), bytes(value, len));
            count += 1;
        }
        Headers::from_wire(count, wire)
    }
}

/// # Safety
/// `message` is live and carries an error.
#[cold]
unsafe fn trouble<'a>(message: *const ffi::rd_kafka_message_t) -> Next<'a> {
    // SAFETY: the message is live, and the text of its error is a C string or null.
    unsafe {
        let raw = &*message;
        if raw.err == RDKafkaRespErr::RD_KAFKA_RESP_ERR__PARTITION_EOF {
            return Next::End(raw.offset);
        }
        let text = ffi::rd_kafka_message_errstr(message);
        let text = if text.is_null() { String::new() } else { CStr::from_ptr(text).to_string_lossy().into() };
        Next::Trouble(raw.err.into(), text)
    }
}
