//! The web server of a run: metrics, health, an API, and the page made of it.
//!
//! ```text
//! /metrics            Prometheus' text form, of this process
//! /livez /readyz      for whoever restarts or routes; without a password
//! /api/v1/…           JSON; docs/api.md
//! / /assets/…         the page, everything it needs within this program
//! ```
//!
//! It runs on one thread of its own and reads boards: it cannot slow a dataflow down by being asked, and its absence
//! changes nothing. On the loopback address it asks nobody who they are. Elsewhere it does not start without a token or a
//! password, nor without TLS, unless the settings say that something in front of it encrypts.

mod access;
mod api;
mod feed;
mod server;

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use serde_json::Value;
use thiserror::Error;
use tidegate::telemetry::Telemetry;

use self::access::Access;
use self::feed::Feed;
use crate::graph::Topology;

/// How many ports after the wanted one are tried before any free one is taken.
const MORE_PORTS: u16 = 64;

/// What is served, to whom.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Where; `None` for nowhere. Process p serves on the port plus p.
    pub address: Option<SocketAddr>,
    /// A file with the token that clients present as `Authorization: Bearer TOKEN`, or as the password of any user.
    pub token_file: Option<PathBuf>,
    /// A file with `user:password`, for basic authentication.
    pub password_file: Option<PathBuf>,
    /// The certificate chain, PEM; with `tls_key`.
    pub tls_certificate: Option<PathBuf>,
    /// The certificate's private key, PEM.
    pub tls_key: Option<PathBuf>,
    /// Something in front of it encrypts, or the network is nobody else's: TLS is not asked for.
    pub trusted_network: bool,
}

/// Why nothing can be served as configured. None of them concerns the run.
#[derive(Debug, Error)]
pub enum WebError {
    /// Whoever reaches the address could read everything.
    #[error("the web page would be open to everybody who reaches {address}: {missing}")]
    Open {
        /// The address.
        address: SocketAddr,
        /// What is missing.
        missing: &'static str,
    },
    /// A file that the settings name cannot be used.
    #[error("{what} {path:?} cannot be used: {cause}")]
    File {
        /// Which file.
        what: &'static str,
        /// Where.
        path: PathBuf,
        /// Why.
        cause: String,
    },
}

/// What requests are answered from.
struct Shared {
    telemetry: Arc<Telemetry>,
    access: Access,
    graphs: Mutex<BTreeMap<String, Value>>,
    feed: Feed,
}

/// A web server, until it is dropped.
pub struct Web {
    address: SocketAddr,
    scheme: &'static str,
    shared: Arc<Shared>,
    _stop: tokio::sync::oneshot::Sender<()>,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            address: Some(SocketAddr::from(([127, 0, 0, 1], 4040))),
            token_file: None,
            password_file: None,
            tls_certificate: None,
            tls_key: None,
            trusted_network: false,
        }
    }
}

impl Config {
    /// Reads what the files hold, and refuses what would be open to all.
    ///
    /// # Errors
    /// See [`WebError`].
    pub fn check(&self) -> Result<(), WebError> {
        let Some(address) = self.address else { return Ok(()) };
        let access = Access::of(self)?;
        server::acceptor(self)?;
        if address.ip().is_loopback() {
            return Ok(());
        }
        if access.is_open() {
            let missing = "set web.token_file or web.password_file, or serve on 127.0.0.1";
            return Err(WebError::Open { address, missing });
        }
        if self.tls_certificate.is_none() && !self.trusted_network {
            let missing =
                "set web.tls_certificate and web.tls_key, or web.trusted_network where a proxy encrypts";
            return Err(WebError::Open { address, missing });
        }
        Ok(())
    }
}

impl Web {
    /// Serves what `telemetry` shows, as process `process`; `None` when `config` says not to.
    ///
    /// # Errors
    /// When `config` cannot be followed, which is the user's to mend ([`WebError`]), or the system refuses a port, which
    /// is no reason for a run not to begin.
    pub fn start(
        config: &Config,
        process: usize,
        telemetry: Arc<Telemetry>,
    ) -> Result<Option<Result<Web, io::Error>>, WebError> {
        config.check()?;
        let Some(wanted) = config.address else { return Ok(None) };
        let (access, acceptor) = (Access::of(config)?, server::acceptor(config)?);
        let scheme = if acceptor.is_some() { "https" } else { "http" };
        let feed = Feed::new();
        let shared = Arc::new(Shared { telemetry, access, graphs: Mutex::default(), feed });
        let start = || {
            let listener = bind(wanted, u16::try_from(process).unwrap_or(0))?;
            let address = listener.local_addr()?;
            let stop = server::start(listener, acceptor, Arc::clone(&shared))?;
            Ok(Web { address, scheme, shared: Arc::clone(&shared), _stop: stop })
        };
        Ok(Some(start()))
    }

    /// Where the page is.
    pub fn url(&self) -> String {
        format!("{}://{}/", self.scheme, self.address)
    }

    /// Shows what a pipeline consists of.
    pub fn draw(&self, topology: &Topology) {
        if let Ok(mut graphs) = self.shared.graphs.lock() {
            graphs.insert(topology.pipeline.clone(), topology.to_json());
        }
    }
}

/// The wanted port, or the next that is free, or any.
fn bind(wanted: SocketAddr, process: u16) -> io::Result<TcpListener> {
    if wanted.port() == 0 {
        return TcpListener::bind(wanted);
    }
    let first = wanted.port().saturating_add(process);
    let mut refused = None;
    for port in first..=first.saturating_add(MORE_PORTS) {
        match TcpListener::bind(SocketAddr::new(wanted.ip(), port)) {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => refused = Some(error),
            bound => return bound,
        }
    }
    let any = TcpListener::bind(SocketAddr::new(wanted.ip(), 0));
    any.map_err(|error| refused.unwrap_or(error))
}

/// Whether a `Host` header names this machine's loopback: another name there is a page elsewhere that has been led here.
fn is_local(host: &str) -> bool {
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|b| b.is_ascii_digit()) => name,
        _ => host,
    };
    let name = name.trim_start_matches('[').trim_end_matches(']');
    name == "localhost" || name.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

#[cfg(test)]
mod tests;
