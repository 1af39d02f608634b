//! The exporter's way to the network: the client that is here anyway.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use opentelemetry_http::{Bytes, HttpClient, HttpError, Request, Response};
use tidegate::causes::causes;
use tokio::runtime::Handle;
use tracing::{info, warn};

/// How long a collector may take, as OpenTelemetry's exporters wait.
const PATIENCE: Duration = Duration::from_secs(10);
/// No answer that is of use is longer.
const LONGEST: usize = 4 << 20;

/// Sends batches, and says once when that fails and once when it works again.
#[derive(Debug)]
pub(super) struct Client {
    client: reqwest::Client,
    runtime: Handle,
    fails: AtomicBool,
}

impl Client {
    pub(super) fn new(runtime: Handle) -> Result<Client, String> {
        // Keys in headers are for the collector that was named, and nobody that it points to.
        let stays = reqwest::redirect::Policy::none();
        let client = reqwest::Client::builder()
            .timeout(PATIENCE)
            .redirect(stays)
            .build()
            .map_err(|error| error.to_string())?;
        Ok(Client { client, runtime, fails: AtomicBool::new(false) })
    }

    fn tell(&self, sent: &Result<Response<Bytes>, HttpError>) {
        let cause = match sent {
            Ok(response) if response.status().is_success() => None,
            Ok(response) => Some(format!("it answers {}", response.status())),
            Err(error) => Some(causes(&**error)),
        };
        match cause {
            Some(cause) if !self.fails.swap(true, Ordering::Relaxed) => {
                warn!(cause, "traces are lost until the collector takes them");
            }
            None if self.fails.swap(false, Ordering::Relaxed) => info!("the collector takes traces again"),
            _ => {}
        }
    }
}

#[async_trait]
impl HttpClient for Client {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let client = self.client.clone();
        // The exporter's thread has no reactor.
        let sent = self.runtime.spawn(async move { send(&client, request).await }).await?;
        self.tell(&sent);
        sent
    }
}

async fn send(client: &reqwest::Client, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
    let request = reqwest::Request::try_from(request)?;
    // Its address is the operator's, and may hold a key.
    let mut answer = client.execute(request).await.map_err(reqwest::Error::without_url)?;
    let mut body = Vec::new();
    while let Some(chunk) = answer.chunk().await.map_err(reqwest::Error::without_url)? {
        if body.len() + chunk.len() > LONGEST {
            return Err(format!("the collector answers more than {LONGEST} bytes").into());
        }
        body.extend_from_slice(&chunk);
    }
    let mut response = Response::new(Bytes::from(body));
    *response.status_mut() = answer.status();
    *response.headers_mut() = std::mem::take(answer.headers_mut());
    Ok(response)
}
