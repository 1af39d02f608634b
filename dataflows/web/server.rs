//! Connections and requests.

use std::convert::Infallible;
use std::io;
use std::net::TcpListener;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream::unfold;
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::header::{AUTHORIZATION, CACHE_CONTROL, CONTENT_TYPE, HOST, WWW_AUTHENTICATE};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use openssl::ssl::{Ssl, SslAcceptor, SslFiletype, SslMethod};
use tokio::sync::{Semaphore, oneshot};

use super::{Config, Shared, WebError, api, is_local};

/// Connections at a time; further ones wait.
const CONNECTIONS: usize = 128;

/// How long a client may take to say what it wants.
const PATIENCE: Duration = Duration::from_secs(10);

type Body = BoxBody<Bytes, Infallible>;

/// What TLS is spoken with, where the settings name a certificate.
pub(super) fn acceptor(config: &Config) -> Result<Option<SslAcceptor>, WebError> {
    let (certificate, key) = match (&config.tls_certificate, &config.tls_key) {
        (None, None) => return Ok(None),
        (Some(certificate), Some(key)) => (certificate, key),
        (Some(path), None) | (None, Some(path)) => {
            let cause = "the certificate and its key go together".to_owned();
            return Err(WebError::File {
                what: "web.tls_certificate or web.tls_key",
                path: path.clone(),
                cause,
            });
        }
    };
    let refuse = |what, path: &std::path::Path| {
        let path = path.to_owned();
        move |error: openssl::error::ErrorStack| WebError::File { what, path, cause: error.to_string() }
    };
    let builder = SslAcceptor::mozilla_intermediate_v5(SslMethod::tls_server());
    let mut builder = builder.map_err(refuse("web.tls_certificate", certificate))?;
    let chain = builder.set_certificate_chain_file(certificate);
    chain.map_err(refuse("web.tls_certificate", certificate))?;
    builder.set_private_key_file(key, SslFiletype::PEM).map_err(refuse("web.tls_key", key))?;
    builder.check_private_key().map_err(refuse("web.tls_key", key))?;
    Ok(Some(builder.build()))
}

/// Serves on a thread of its own until the answer is dropped.
pub(super) fn start(
    listener: TcpListener,
    acceptor: Option<SslAcceptor>,
    shared: Arc<Shared>,
) -> io::Result<oneshot::Sender<()>> {
    listener.set_nonblocking(true)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (stop, stopped) = oneshot::channel();
    let work = move || {
        runtime.block_on(async move {
            tokio::select! {
                _ = stopped => {}
                served = serve(listener, acceptor, shared) => {
                    if let Err(error) = served {
                        tracing::warn!(%error, "the web page is gone; the run goes on");
                    }
                }
            }
        });
    };
    std::thread::Builder::new().name("web".to_owned()).spawn(work)?;
    Ok(stop)
}

async fn serve(listener: TcpListener, acceptor: Option<SslAcceptor>, shared: Arc<Shared>) -> io::Result<()> {
    let listener = tokio::net::TcpListener::from_std(listener)?;
    let ticking = Arc::clone(&shared);
    tokio::spawn(async move {
        let mut seconds = tokio::time::interval(Duration::from_secs(1));
        seconds.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            seconds.tick().await;
            ticking.feed.tick(&ticking);
        }
    });
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        let Ok(place) = Arc::clone(&places).acquire_owned().await else { return Ok(()) };
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                // Out of file descriptors, say: that passes.
                tracing::debug!(%error, "a connection to the web page was not accepted");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let (shared, acceptor) = (Arc::clone(&shared), acceptor.clone());
        tokio::spawn(async move {
            // A client that breaks off has nobody to tell.
            match acceptor {
                None => drop(talk(stream, shared).await),
                Some(acceptor) => drop(talk_tls(stream, &acceptor, shared).await),
            }
            drop(place);
        });
    }
}

async fn talk_tls(
    stream: tokio::net::TcpStream,
    acceptor: &SslAcceptor,
    shared: Arc<Shared>,
) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let ssl = Ssl::new(acceptor.context())?;
    let mut stream = tokio_openssl::SslStream::new(ssl, stream)?;
    tokio::time::timeout(PATIENCE, std::pin::Pin::new(&mut stream).accept()).await??;
    talk(stream, shared).await
}

async fn talk<S>(stream: S, shared: Arc<Shared>) -> Result<(), Box<dyn std::error::Error + Send + Sync>>
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
{
    let answer = service_fn(move |request| {
        let shared = Arc::clone(&shared);
        async move { Ok::<_, Infallible>(answer(&shared, &request)) }
    });
    let mut server = http1::Builder::new();
    server.timer(TokioTimer::new()).header_read_timeout(PATIENCE);
    Ok(server.serve_connection(TokioIo::new(stream), answer).await?)
}

fn answer(shared: &Arc<Shared>, request: &Request<Incoming>) -> Response<Body> {
    let path = request.uri().path();
    if request.method() != Method::GET && request.method() != Method::HEAD {
        return plain(StatusCode::METHOD_NOT_ALLOWED, "this server is read only\n");
    }
    match path {
        "/livez" => return plain(StatusCode::OK, "alive\n"),
        "/readyz" => return ready(shared),
        _ => {}
    }
    let header = |name| request.headers().get(name).and_then(|value| value.to_str().ok());
    if !shared.access.admits(header(AUTHORIZATION)) {
        let mut refused = plain(StatusCode::UNAUTHORIZED, "a token or a password is needed\n");
        let asks = hyper::header::HeaderValue::from_static("Basic realm=\"tidegate\", charset=\"UTF-8\"");
        refused.headers_mut().insert(WWW_AUTHENTICATE, asks);
        return refused;
    }
    if shared.access.is_open() && !header(HOST).is_some_and(is_local) {
        return plain(StatusCode::FORBIDDEN, "ask for it as localhost or 127.0.0.1\n");
    }
    let json = |value: &serde_json::Value| typed("application/json", value.to_string());
    let latest = || serde_json::from_str(&shared.feed.listen().borrow()).unwrap_or_default();
    match path {
        "/metrics" => typed("text/plain; version=0.0.4; charset=utf-8", shared.telemetry.text()),
        "/api/v1/state" => json(&latest()),
        "/api/v1/history" => json(&shared.feed.history()),
        "/api/v1/events" => events(shared),
        "/" | "/index.html" => typed("text/html; charset=utf-8", include_str!("page/index.html")),
        "/assets/page.js" => typed("text/javascript; charset=utf-8", include_str!("page/page.js")),
        "/assets/page.css" => typed("text/css; charset=utf-8", include_str!("page/page.css")),
        "/assets/uPlot.js" => typed("text/javascript; charset=utf-8", include_str!("page/uPlot.iife.min.js")),
        "/assets/uPlot.css" => typed("text/css; charset=utf-8", include_str!("page/uPlot.min.css")),
        _ => match path.strip_prefix("/api/v1/pipelines") {
            Some("" | "/") => json(&latest()["pipelines"]),
            Some(name) => match api::pipeline(&latest(), name.trim_start_matches('/')) {
                Some(pipeline) => json(pipeline),
                None => plain(StatusCode::NOT_FOUND, "there is no such pipeline here\n"),
            },
            None => plain(StatusCode::NOT_FOUND, "there is nothing here\n"),
        },
    }
}

/// Ready is who runs pipelines, all of which go on.
fn ready(shared: &Shared) -> Response<Body> {
    let snapshots = shared.telemetry.snapshots();
    match snapshots.iter().find(|snapshot| snapshot.phase == "failed") {
        None if snapshots.is_empty() => plain(StatusCode::SERVICE_UNAVAILABLE, "nothing runs yet\n"),
        None => plain(StatusCode::OK, "ready\n"),
        Some(_) => plain(StatusCode::SERVICE_UNAVAILABLE, "a pipeline has failed\n"),
    }
}

/// The state, and every new one, as server-sent events.
fn events(shared: &Arc<Shared>) -> Response<Body> {
    let mut states = shared.feed.listen();
    states.mark_changed();
    let stream = unfold((states, true), |(mut states, first)| async move {
        states.changed().await.ok()?;
        let state = states.borrow_and_update().to_string();
        let retry = if first { "retry: 1000\n" } else { "" };
        let event = Bytes::from(format!("{retry}event: state\ndata: {state}\n\n"));
        Some((Ok(Frame::data(event)), (states, false)))
    });
    respond(StatusCode::OK, "text/event-stream", StreamBody::new(stream).boxed())
}

fn typed(kind: &'static str, body: impl Into<Bytes>) -> Response<Body> {
    respond(StatusCode::OK, kind, Full::new(body.into()).boxed())
}

fn plain(status: StatusCode, body: &'static str) -> Response<Body> {
    respond(status, "text/plain; charset=utf-8", Full::new(Bytes::from_static(body.as_bytes())).boxed())
}

fn respond(status: StatusCode, kind: &'static str, body: Body) -> Response<Body> {
    const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; \
        connect-src 'self'; img-src 'self' data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";
    let mut response = Response::new(body);
    *response.status_mut() = status;
    let headers = response.headers_mut();
    for (name, value) in [
        (CONTENT_TYPE, kind),
        (CACHE_CONTROL, "no-store"),
        (hyper::header::CONTENT_SECURITY_POLICY, POLICY),
        (hyper::header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (hyper::header::REFERRER_POLICY, "no-referrer"),
    ] {
        headers.insert(name, hyper::header::HeaderValue::from_static(value));
    }
    response
}
