//! One request over one connection. TLS is OpenSSL's, as the page's own is.

use std::pin::Pin;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Empty, LengthLimitError, Limited};
use hyper::client::conn::http1;
use hyper::header::{ACCEPT, AUTHORIZATION, CONNECTION, HOST, HeaderValue};
use hyper_util::rt::TokioIo;
use openssl::ssl::SslConnector;
use tidegate::causes::causes;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_openssl::SslStream;

use super::Answer;

/// How long the page may take to answer.
const PATIENCE: Duration = Duration::from_secs(4);
/// No answer that is of use is longer.
const LONGEST: usize = 16 << 20;

/// What is asked of whom.
pub(super) struct Request<'a> {
    /// `HOST:PORT`.
    pub(super) authority: &'a str,
    pub(super) path: &'a str,
    pub(super) authorization: Option<HeaderValue>,
    /// With what TLS is spoken; not at all without.
    pub(super) tls: Option<SslConnector>,
}

/// Why there is no answer.
pub(super) struct Silence {
    /// What came in between. Nothing that was presented is in it.
    pub(super) cause: String,
    /// Whether it is the certificate that is not believed.
    pub(super) is_distrust: bool,
}

impl Silence {
    fn of(error: &(dyn std::error::Error + 'static)) -> Silence {
        Silence { cause: causes(error), is_distrust: false }
    }
}

/// Asks, within [`PATIENCE`].
pub(super) fn ask(request: Request<'_>) -> Result<Answer, Silence> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| Silence::of(&error))?;
    let answer = runtime.block_on(async { tokio::time::timeout(PATIENCE, connect(request)).await });
    // A name server that does not answer has a thread of its own, which is not waited for.
    runtime.shutdown_background();
    answer.unwrap_or_else(|_| {
        let cause = format!("none within {} s", PATIENCE.as_secs());
        Err(Silence { cause, is_distrust: false })
    })
}

async fn connect(request: Request<'_>) -> Result<Answer, Silence> {
    let stream = TcpStream::connect(request.authority).await.map_err(|error| Silence::of(&error))?;
    let Some(connector) = &request.tls else { return talk(stream, &request).await };
    let host = request.authority.rsplit_once(':').map_or(request.authority, |(host, _)| host);
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let ssl = connector.configure().and_then(|configured| configured.into_ssl(host));
    let stream = ssl.and_then(|ssl| SslStream::new(ssl, stream));
    let mut stream = stream.map_err(|error| Silence::of(&error))?;
    if let Err(error) = Pin::new(&mut stream).connect().await {
        let verified = stream.ssl().verify_result();
        return Err(if verified == openssl::x509::X509VerifyResult::OK {
            Silence::of(&error)
        } else {
            Silence { cause: format!("its certificate is not believed: {verified}"), is_distrust: true }
        });
    }
    talk(stream, &request).await
}

async fn talk<S>(stream: S, request: &Request<'_>) -> Result<Answer, Silence>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let (mut sender, connection) =
        http1::handshake(TokioIo::new(stream)).await.map_err(|error| Silence::of(&error))?;
    // What goes wrong on the connection, the request hears as well.
    tokio::spawn(async move { drop(connection.await) });
    let mut asked = hyper::Request::get(request.path)
        .header(HOST, request.authority)
        .header(ACCEPT, "application/json, text/plain")
        .header(CONNECTION, "close");
    if let Some(value) = &request.authorization {
        asked = asked.header(AUTHORIZATION, value);
    }
    let asked = asked.body(Empty::<Bytes>::new()).map_err(|error| Silence::of(&error))?;
    let answer = sender.send_request(asked).await.map_err(|error| Silence::of(&error))?;
    let status = answer.status().as_u16();
    let body = Limited::new(answer.into_body(), LONGEST).collect().await.map_err(|error| {
        if error.is::<LengthLimitError>() {
            let cause = format!("its answer is longer than {} MiB", LONGEST >> 20);
            return Silence { cause, is_distrust: false };
        }
        Silence::of(&*error)
    })?;
    let body = String::from_utf8(body.to_bytes().to_vec()).map_err(|error| Silence::of(&error))?;
    Ok(Answer { status, body })
}
