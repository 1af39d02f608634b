//! A feed behind an address, asked again and again.

use std::io::Read;
use std::time::Duration;

use reqwest::header::{
    ACCEPT, ACCEPT_ENCODING, CONTENT_ENCODING, ETAG, HeaderMap, HeaderValue, IF_MODIFIED_SINCE,
    IF_NONE_MATCH, LAST_MODIFIED,
};
use reqwest::{Client, Response, StatusCode, Url};
use thiserror::Error;
use tidegate::causes::causes;
use tidegate::keys::key_hash;
use tokio::runtime::{Builder, Runtime};

/// No snapshot is larger, packed or not.
const LARGEST: usize = 256 << 20;

/// What is asked, and how.
#[derive(Debug)]
pub struct Request {
    /// The address. What it may hold of keys is in no message.
    pub url: Url,
    /// More headers.
    pub headers: HeaderMap,
    /// How long an answer may take, all in all.
    pub timeout: Duration,
}

/// Why a feed gave nothing.
#[derive(Debug, Error)]
pub enum FeedError {
    /// It cannot be asked at all.
    #[error("cannot ask for the feed: {0}")]
    Setup(String),
    /// No answer, a cut one, or one that says: later.
    #[error("{host} gives no snapshot: {cause}")]
    Away {
        /// Who was asked.
        host: String,
        /// What happened.
        cause: String,
    },
    /// It says no, and will again.
    #[error("{host} refuses: {cause}")]
    Refused {
        /// Who was asked.
        host: String,
        /// What it said.
        cause: String,
    },
}

impl FeedError {
    /// Whether it may give something the next time.
    pub fn is_retriable(&self) -> bool {
        matches!(self, FeedError::Away { .. })
    }
}

/// A feed that is polled.
pub struct Feed {
    runtime: Runtime,
    client: Client,
    request: Request,
    /// What the newest snapshot was known by.
    etag: Option<HeaderValue>,
    modified: Option<HeaderValue>,
    hash: Option<u64>,
}

/// A snapshot, and what it is known by.
pub struct Snapshot {
    /// Its bytes.
    pub bytes: Vec<u8>,
    etag: Option<HeaderValue>,
    modified: Option<HeaderValue>,
}

impl Feed {
    /// A feed that has not been asked.
    ///
    /// # Errors
    /// When there can be no client here.
    pub fn open(request: Request) -> Result<Self, FeedError> {
        let setup = |cause: String| FeedError::Setup(cause);
        let runtime = Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|error| setup(error.to_string()))?;
        let client = Client::builder().timeout(request.timeout).build();
        let client = client.map_err(|error| setup(error.to_string()))?;
        Ok(Feed { runtime, client, request, etag: None, modified: None, hash: None })
    }

    /// Who is asked.
    pub fn host(&self) -> String {
        let Request { url, .. } = &self.request;
        let host = url.host_str().unwrap_or_default();
        url.port().map_or(host.to_owned(), |port| format!("{host}:{port}"))
    }

    /// Asks for a snapshot; `None` where it is the one that was [taken](Feed::taken) last.
    ///
    /// # Errors
    /// [`FeedError`].
    pub fn poll(&self) -> Result<Option<Snapshot>, FeedError> {
        let snapshot = self.runtime.block_on(self.ask())?;
        Ok(snapshot.filter(|snapshot| Some(key_hash(&snapshot.bytes)) != self.hash))
    }

    /// The snapshot need not be given again.
    pub fn taken(&mut self, snapshot: Snapshot) {
        self.hash = Some(key_hash(&snapshot.bytes));
        (self.etag, self.modified) = (snapshot.etag, snapshot.modified);
    }

    async fn ask(&self) -> Result<Option<Snapshot>, FeedError> {
        let mut headers = HeaderMap::new();
        headers.insert(
            ACCEPT,
            HeaderValue::from_static("application/x-protobuf, application/json;q=0.5, */*;q=0.1"),
        );
        headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("gzip"));
        for (name, known) in [(IF_NONE_MATCH, &self.etag), (IF_MODIFIED_SINCE, &self.modified)] {
            if let Some(known) = known {
                headers.insert(name, known.clone());
            }
        }
        headers.extend(self.request.headers.clone());
        let asked = self.client.get(self.request.url.clone()).headers(headers).send().await;
        let answer = asked.map_err(|error| self.away(error))?;
        match answer.status() {
            StatusCode::NOT_MODIFIED => return Ok(None),
            StatusCode::OK => {}
            status if status.is_server_error() || later(status) => {
                return Err(FeedError::Away { host: self.host(), cause: status.to_string() });
            }
            status => return Err(FeedError::Refused { host: self.host(), cause: status.to_string() }),
        }
        let header = |name| answer.headers().get(name).cloned();
        let (etag, modified) = (header(ETAG), header(LAST_MODIFIED));
        let is_packed = header(CONTENT_ENCODING)
            .is_some_and(|encoding| encoding.as_bytes().eq_ignore_ascii_case(b"gzip"));
        let body = self.body(answer).await?;
        let bytes = if is_packed { self.unpack(&body)? } else { body };
        Ok(Some(Snapshot { bytes, etag, modified }))
    }

    async fn body(&self, mut answer: Response) -> Result<Vec<u8>, FeedError> {
        let mut body = Vec::new();
        while let Some(part) = answer.chunk().await.map_err(|error| self.away(error))? {
            if body.len() + part.len() > LARGEST {
                return Err(self.too_large());
            }
            body.extend_from_slice(&part);
        }
        Ok(body)
    }

    fn unpack(&self, body: &[u8]) -> Result<Vec<u8>, FeedError> {
        let mut bytes = Vec::new();
        let unpacked =
            flate2::read::MultiGzDecoder::new(body).take(LARGEST as u64 + 1).read_to_end(&mut bytes);
        match unpacked {
            Ok(_) if bytes.len() > LARGEST => Err(self.too_large()),
            Ok(_) => Ok(bytes),
            // Whatever cut it may be gone the next time.
            Err(error) => {
                Err(FeedError::Away { host: self.host(), cause: format!("its gzip is damaged: {error}") })
            }
        }
    }

    fn too_large(&self) -> FeedError {
        FeedError::Refused { host: self.host(), cause: format!("its snapshot has more than {LARGEST} bytes") }
    }

    /// An error without the address, which may hold a key.
    fn away(&self, error: reqwest::Error) -> FeedError {
        FeedError::Away { host: self.host(), cause: causes(&error.without_url()) }
    }
}

/// Answers that ask for patience.
fn later(status: StatusCode) -> bool {
    matches!(status, StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_EARLY | StatusCode::TOO_MANY_REQUESTS)
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader, Write};
    use std::net::TcpListener;
    use std::thread::JoinHandle;

    use super::*;

    /// A server that gives these answers, one a connection, and then tells what it was asked.
    fn server(answers: Vec<Vec<u8>>) -> (Url, JoinHandle<Vec<String>>) {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let url = format!("http://{}/feed?key=secret", listener.local_addr().expect("an address"));
        let thread = std::thread::spawn(move || {
            let mut asked = Vec::new();
            for answer in answers {
                let (stream, _) = listener.accept().expect("a connection");
                let mut lines = BufReader::new(&stream).lines().map_while(Result::ok);
                asked.push(lines.by_ref().take_while(|line| !line.is_empty()).collect::<Vec<_>>().join("\n"));
                (&stream).write_all(&answer).expect("somebody listens");
            }
            asked
        });
        (Url::parse(&url).expect("an address"), thread)
    }

    fn feed(url: Url) -> Feed {
        let headers =
            HeaderMap::from_iter([(reqwest::header::AUTHORIZATION, HeaderValue::from_static("Bearer t"))]);
        Feed::open(Request { url, headers, timeout: Duration::from_millis(500) }).expect("a client")
    }

    fn answer(head: &str, body: &[u8]) -> Vec<u8> {
        let length = body.len();
        let head = format!("HTTP/1.1 {head}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n");
        [head.as_bytes(), body].concat()
    }

    #[test]
    fn what_has_not_changed_is_not_given_again() {
        let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        packed.write_all(b"first").expect("memory");
        let packed = packed.finish().expect("memory");
        let (url, asked) = server(vec![
            answer(
                "200 OK\r\nETag: \"1\"\r\nLast-Modified: Thu, 01 Jan 2026 00:00:00 GMT\r\nContent-Encoding: gzip",
                &packed,
            ),
            b"HTTP/1.1 304 Not Modified\r\nConnection: close\r\n\r\n".to_vec(),
            answer("200 OK", b"first"),
            answer("200 OK", b"second"),
        ]);
        let mut feed = feed(url);
        let first = feed.poll().expect("an answer").expect("a snapshot");
        assert_eq!(first.bytes, b"first");
        feed.taken(first);
        assert!(feed.poll().expect("an answer").is_none());
        // A server that does not know what it gave gives it again.
        assert!(feed.poll().expect("an answer").is_none());
        assert_eq!(feed.poll().expect("an answer").expect("a snapshot").bytes, b"second");
        let asked: Vec<_> =
            asked.join().expect("no panic").iter().map(|asked| asked.to_lowercase()).collect();
        assert!(
            !asked[0].contains("if-none-match") && asked[0].contains("authorization: bearer t"),
            "{}",
            asked[0]
        );
        let knows = |asked: &str| {
            asked.contains("if-none-match: \"1\"")
                && asked.contains("if-modified-since: thu, 01 jan 2026 00:00:00 gmt")
        };
        assert!(knows(&asked[1]) && knows(&asked[3]), "{asked:?}");
    }

    #[test]
    fn errors_say_whether_to_come_again_and_never_the_key() {
        let cut = b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf".to_vec();
        let (url, asked) = server(vec![
            answer("500 Internal Server Error", b""),
            answer("429 Too Many Requests", b""),
            cut,
            answer("200 OK\r\nContent-Encoding: gzip", b"no gzip"),
            answer("403 Forbidden", b""),
        ]);
        let feed = feed(url.clone());
        for (what, again) in
            [("500", true), ("429", true), ("", true), ("gzip is damaged", true), ("403", false)]
        {
            let error = feed.poll().err().expect("an error");
            assert_eq!(error.is_retriable(), again, "{error}");
            let said = error.to_string();
            assert!(said.contains(what) && !said.contains("secret"), "{said}");
        }
        asked.join().expect("no panic");
        let error = feed.poll().err().expect("nobody is there");
        assert!(error.is_retriable() && !error.to_string().contains("secret"), "{error}");
    }

    #[test]
    fn slow_answer_is_given_up() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address");
        let feed = feed(Url::parse(&format!("http://{address}/")).expect("an address"));
        // The kernel takes the connection; nobody answers.
        let error = feed.poll().err().expect("an error");
        assert!(error.is_retriable(), "{error}");
        drop(listener);
    }
}
