//! What a client says while it works: told once, and kept where an error needs a reason.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use rdkafka::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::ConsumerContext;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::producer::{DeliveryResult, NoCustomPartitioner, ProducerContext};

/// Hears a client.
#[derive(Debug, Default)]
pub(crate) struct Watch {
    /// Who the client is, in messages.
    who: String,
    down: AtomicBool,
    last: Mutex<Option<String>>,
}

impl Watch {
    pub(crate) fn new(who: impl Into<String>) -> Watch {
        Watch { who: who.into(), ..Watch::default() }
    }

    /// What the client said last, as the reason of a failure.
    pub(crate) fn reason(&self) -> Option<String> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Something came from a broker.
    pub(crate) fn hears_broker(&self) {
        if self.down.load(Ordering::Relaxed) && self.down.swap(false, Ordering::Relaxed) {
            tracing::info!("{}: the brokers answer again", self.who);
        }
    }

    /// Tells that the brokers are away, unless that is known.
    pub(crate) fn misses_broker(&self, reason: &str) {
        if !self.down.swap(true, Ordering::Relaxed) {
            tracing::warn!("{}: no broker answers, trying again until one does ({reason})", self.who);
        }
    }
}

impl ClientContext for Watch {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        // Failures come as errors too, and are told there, once; here they would come at every try.
        if facility.contains("CONFWARN") || (level as i32) <= RDKafkaLogLevel::Critical as i32 {
            tracing::warn!("{}: {message}", self.who);
        } else {
            tracing::debug!(target: "librdkafka", "{}: {facility} {message}", self.who);
        }
    }

    fn stats_raw(&self, _statistics: &[u8]) {}

    fn error(&self, error: KafkaError, reason: &str) {
        use RDKafkaErrorCode::{AllBrokersDown, BrokerTransportFailure, OperationTimedOut, Resolve};
        let code = error.rdkafka_error_code();
        let transport =
            matches!(code, Some(AllBrokersDown | BrokerTransportFailure | OperationTimedOut | Resolve));
        let news = {
            let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
            // That all are down says less than why the last one is.
            let keep = code == Some(AllBrokersDown) && last.is_some();
            let news = last.as_deref() != Some(reason);
            if !keep {
                *last = Some(reason.to_owned());
            }
            news
        };
        if transport {
            self.misses_broker(reason);
        } else if news {
            tracing::warn!("{}: {reason}", self.who);
        }
    }
}

impl ConsumerContext for Watch {}

/// Hears a producer, and keeps why the first record was not delivered that was not.
#[derive(Debug)]
pub(crate) struct Hears {
    watch: Watch,
    undelivered: Mutex<Option<KafkaError>>,
}

impl Hears {
    pub(crate) fn new(who: &str) -> Hears {
        Hears { watch: Watch::new(who), undelivered: Mutex::new(None) }
    }

    /// Why a record was not delivered, if one was not.
    pub(crate) fn undelivered(&self) -> Option<KafkaError> {
        self.undelivered.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What the client said last.
    pub(crate) fn reason(&self) -> Option<String> {
        self.watch.reason()
    }
}

impl ClientContext for Hears {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        self.watch.log(level, facility, message);
    }

    fn stats_raw(&self, _statistics: &[u8]) {}

    fn error(&self, error: KafkaError, reason: &str) {
        self.watch.error(error, reason);
    }
}

impl ProducerContext<NoCustomPartitioner> for Hears {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        match result {
            Ok(_) => self.watch.hears_broker(),
            Err((error, _)) => {
                let mut first = self.undelivered.lock().unwrap_or_else(PoisonError::into_inner);
                first.get_or_insert_with(|| error.clone());
            }
        }
    }
}
