//! A request to the page of a run that is under way, and no more of HTTP than that takes.

use std::fs;
use std::io::{Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use super::failure::Failure;

/// How long the page may take to answer.
const PATIENCE: Duration = Duration::from_secs(4);
/// No answer that is of use is longer.
const LONGEST: u64 = 16 << 20;

/// Where a run's page is, and what it wants to hear.
#[derive(Args, Clone, Debug)]
pub(crate) struct Page {
    /// The run's page.
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:4040")]
    pub(crate) url: String,
    /// A file with the token that the page wants.
    #[arg(long, value_name = "FILE")]
    pub(crate) token_file: Option<PathBuf>,
}

/// An answer.
#[derive(Debug)]
pub(crate) struct Answer {
    /// HTTP's status.
    pub(crate) status: u16,
    /// What came with it.
    pub(crate) body: String,
}

impl Page {
    /// Asks for `path`.
    ///
    /// # Errors
    /// When nobody answers, or not by HTTP.
    pub(crate) fn get(&self, path: &str) -> Result<Answer, Failure> {
        let url = &self.url;
        let unreachable = |cause: String| {
            Failure::running(format!("no answer from {url}: {cause}"))
                .mend("see that a run is under way there, and name its page with --url")
        };
        let host = host_of(url).ok_or_else(|| {
            Failure::usage(format!("{url:?} is no address of a page"))
                .mend("write http://HOST:PORT; a page behind TLS is for a browser or curl")
        })?;
        let token = match &self.token_file {
            None => String::new(),
            Some(path) => {
                let text = fs::read_to_string(path).map_err(|error| {
                    Failure::usage(format!("cannot read the token in {}: {error}", path.display()))
                })?;
                format!("Authorization: Bearer {}\r\n", text.trim())
            }
        };
        let mut stream = connect(host).map_err(unreachable)?;
        let request = format!(
            "GET {path} HTTP/1.1\r\nHost: {host}\r\n{token}Accept: application/json, text/plain\r\nConnection: close\r\n\r\n"
        );
        let mut bytes = Vec::new();
        stream
            .write_all(request.as_bytes())
            .and_then(|()| stream.take(LONGEST).read_to_end(&mut bytes))
            .map_err(|error| unreachable(error.to_string()))?;
        parse(&bytes).ok_or_else(|| unreachable("it does not speak HTTP".to_owned()))
    }
}

fn host_of(url: &str) -> Option<&str> {
    let authority = url.strip_prefix("http://")?.trim_end_matches('/');
    let is_plain = !authority.is_empty() && !authority.contains(['/', '@', ' ', '\r', '\n']);
    is_plain.then_some(authority)
}

fn connect(host: &str) -> Result<TcpStream, String> {
    let with_port = if host.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok()) {
        host.to_owned()
    } else {
        format!("{host}:80")
    };
    let addresses = with_port.to_socket_addrs().map_err(|error| error.to_string())?;
    let mut last = "the name has no address".to_owned();
    for address in addresses {
        let connected = TcpStream::connect_timeout(&address, PATIENCE)
            .and_then(|stream| stream.set_read_timeout(Some(PATIENCE)).map(|()| stream));
        match connected {
            Ok(stream) => return Ok(stream),
            Err(error) => last = error.to_string(),
        }
    }
    Err(last)
}

/// Reads an answer that ends with its connection.
fn parse(bytes: &[u8]) -> Option<Answer> {
    let end = find(bytes, b"\r\n\r\n")?;
    let head = std::str::from_utf8(&bytes[..end]).ok()?;
    let mut lines = head.split("\r\n");
    let status = lines.next()?.strip_prefix("HTTP/1.")?.split(' ').nth(1)?.parse().ok()?;
    let is_chunked = lines.any(|line| {
        line.split_once(':').is_some_and(|(name, value)| {
            name.eq_ignore_ascii_case("transfer-encoding") && value.trim().eq_ignore_ascii_case("chunked")
        })
    });
    let body = &bytes[end + 4..];
    let body = if is_chunked { unchunk(body)? } else { body.to_vec() };
    Some(Answer { status, body: String::from_utf8(body).ok()? })
}

fn find(bytes: &[u8], what: &[u8]) -> Option<usize> {
    bytes.windows(what.len()).position(|window| window == what)
}

fn unchunk(mut bytes: &[u8]) -> Option<Vec<u8>> {
    let mut whole = Vec::new();
    loop {
        let line = find(bytes, b"\r\n")?;
        let size = std::str::from_utf8(&bytes[..line]).ok()?.split(';').next()?;
        let size = usize::from_str_radix(size.trim(), 16).ok()?;
        let chunk = bytes.get(line + 2..)?;
        if size == 0 {
            return Some(whole);
        }
        whole.extend_from_slice(chunk.get(..size)?);
        bytes = chunk.get(size + 2..)?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_read_whole_and_in_chunks() {
        let whole =
            parse(b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 3\r\n\r\nno\n").expect("an answer");
        assert_eq!((whole.status, whole.body.as_str()), (503, "no\n"));
        let chunks = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\nA;x=y\r\n0123456789\r\n0\r\n\r\n";
        assert_eq!(parse(chunks).expect("an answer").body, "abc0123456789");
        for bad in [
            &b"SSH-2.0"[..],
            b"HTTP/1.1 x\r\n\r\n",
            b"HTTP/1.1 200\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        ] {
            assert!(parse(bad).is_none(), "{bad:?}");
        }
    }

    #[test]
    fn only_plain_addresses_are_asked() {
        assert_eq!(host_of("http://127.0.0.1:4040/"), Some("127.0.0.1:4040"));
        for bad in ["https://x", "http://", "http://user:secret@x", "http://x/y", "x:4040", "http://x\r\ny"] {
            assert_eq!(host_of(bad), None, "{bad:?}");
        }
    }
}
