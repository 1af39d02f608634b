//! OpenTelemetry traces of a run: a trace an epoch, sent by OTLP over HTTP to whoever collects them.
//!
//! ```text
//! epoch ─┬─ read                       while it took records
//!        ├─ prepare, one a sink        rows made durable, out of sight
//!        ├─ save                       the operators' state
//!        ├─ decide                     the manifest
//!        └─ commit, one a sink         rows made visible
//! ```
//!
//! The process that leads tells them; what failed and was tried again is an event of the epoch's span. The client is
//! OpenTelemetry's own, with its queue and its environment variables
//! (<https://opentelemetry.io/docs/specs/otel/protocol/exporter/>): what the collector does not take in time is dropped and
//! never holds the run up.

mod client;
mod epochs;

use std::sync::Arc;
use std::time::Duration;

use opentelemetry::KeyValue;
use opentelemetry_otlp::{SpanExporter, WithExportConfig, WithHttpConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{BatchSpanProcessor, SpanProcessor};
use thiserror::Error;
use tidegate::telemetry::Board;

use self::client::Client;
use self::epochs::Epochs;

/// What an endpoint of a collector is followed by, for traces.
const PATH: &str = "/v1/traces";
/// Name the endpoint where the settings do not, the first as it is and the second without [`PATH`].
const VARIABLES: [&str; 2] = ["OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT"];
/// How long the end of a run waits for what is not sent yet.
const PATIENCE: Duration = Duration::from_secs(5);

/// Whether traces are sent, and to whom.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Config {
    /// The collector, as `http://localhost:4318`; `None`: as OpenTelemetry's variables say, and without them nowhere.
    pub endpoint: Option<String>,
}

impl Config {
    /// The address that traces are sent to, if they are.
    fn address(&self, variable: impl Fn(&str) -> Option<String>) -> Option<String> {
        let set = |name| variable(name).filter(|value| !value.is_empty());
        if set("OTEL_SDK_DISABLED").is_some_and(|value| value.eq_ignore_ascii_case("true")) {
            return None;
        }
        let below = |base: &str| format!("{}{PATH}", base.trim_end_matches('/'));
        let configured = self.endpoint.as_deref().map(below);
        configured.or_else(|| set(VARIABLES[0])).or_else(|| set(VARIABLES[1]).as_deref().map(below))
    }
}

/// Why no traces can be sent as configured.
#[derive(Debug, Error)]
pub enum TracesError {
    /// The exporter does not take the address, which may hold a key and is not shown.
    #[error("the settings or OTEL_EXPORTER_OTLP_ENDPOINT name no address of a collector")]
    Address,
    /// There can be no client.
    #[error("traces cannot be sent: {0}")]
    Client(String),
}

/// Sends the traces of a process's runs until it is dropped, which sends what is left.
#[derive(Debug)]
pub struct Traces {
    processor: Arc<BatchSpanProcessor>,
    /// Where requests are made.
    runtime: Option<tokio::runtime::Runtime>,
}

impl Traces {
    /// Starts to send, as `config` and the environment say; `None` where nobody wants it.
    ///
    /// A collector that is away is no error: it is tried with every batch.
    ///
    /// # Errors
    /// When the address is none.
    pub fn start(config: &Config, process: usize) -> Result<Option<Traces>, TracesError> {
        let Some(to) = config.address(|name| std::env::var(name).ok()) else { return Ok(None) };
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("traces")
            .enable_all()
            .build()
            .map_err(|error| TracesError::Client(error.to_string()))?;
        let client = Client::new(runtime.handle().clone()).map_err(TracesError::Client)?;
        let exporter =
            SpanExporter::builder().with_http().with_endpoint(&to).with_http_client(client).build();
        let exporter = exporter.map_err(|_| TracesError::Address)?;
        Ok(Some(Traces { processor: processor(exporter, process), runtime: Some(runtime) }))
    }

    /// Sends a trace of every epoch of the pipeline that `board` is of.
    pub fn follow(&self, pipeline: &str, board: &Board) {
        board.traced_by(Box::new(Epochs::new(pipeline, Arc::clone(&self.processor))));
    }
}

impl Drop for Traces {
    fn drop(&mut self) {
        if let Err(error) = self.processor.shutdown_with_timeout(PATIENCE) {
            tracing::warn!(%error, "the last traces are lost");
        }
        // A request may still wait for a name server.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

fn processor<E>(exporter: E, process: usize) -> Arc<BatchSpanProcessor>
where
    E: opentelemetry_sdk::trace::SpanExporter + 'static,
{
    let mut resource = Resource::builder().with_attributes([
        KeyValue::new("service.version", env!("CARGO_PKG_VERSION")),
        KeyValue::new("tidegate.process", i64::try_from(process).unwrap_or(i64::MAX)),
    ]);
    if std::env::var_os("OTEL_SERVICE_NAME").is_none() {
        resource = resource.with_service_name("tidegate");
    }
    let mut processor = BatchSpanProcessor::builder(exporter).build();
    processor.set_resource(&resource.build());
    Arc::new(processor)
}

#[cfg(test)]
mod tests;
