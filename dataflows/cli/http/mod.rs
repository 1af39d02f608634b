//! A request to the page of a run that is under way: where the page is, and what it wants to hear.

mod client;

use std::env::VarError;
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use clap::Args;
use hyper::Uri;
use hyper::header::HeaderValue;
use hyper::http::uri::Scheme;
use openssl::ssl::{SslConnector, SslMethod};

use self::client::Request;
use super::failure::Failure;

/// Where the password of `--user` is.
const PASSWORD: &str = "TIDEGATE_WEB_PASSWORD";

/// A run's page, and what it wants to hear.
#[derive(Args, Clone, Debug)]
pub(crate) struct Page {
    /// The run's page: http://HOST:PORT, or https://HOST:PORT where it has a certificate.
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:4040")]
    pub(crate) url: String,
    #[command(flatten)]
    pub(crate) access: Access,
}

/// What opens a page. The files are those that the run's own settings name, or copies of them.
#[derive(Args, Clone, Debug, Default)]
pub(crate) struct Access {
    /// A file with the token that the page wants, as web.token_file of its settings.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["password_file", "user"])]
    pub(crate) token_file: Option<PathBuf>,
    /// A file with user:password, as web.password_file of its settings.
    #[arg(long, value_name = "FILE", conflicts_with = "user")]
    pub(crate) password_file: Option<PathBuf>,
    /// The user, where the environment has the password: in TIDEGATE_WEB_PASSWORD.
    #[arg(long, value_name = "NAME")]
    pub(crate) user: Option<String>,
    /// Certificates that are believed besides the system's, PEM: the page's own, or that of the CA which signed it.
    #[arg(long, value_name = "FILE")]
    pub(crate) ca_file: Option<PathBuf>,
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
    /// When nobody answers, or not by HTTP, or what is presented does not open.
    pub(crate) fn get(&self, path: &str) -> Result<Answer, Failure> {
        let url = &self.url;
        let Target { has_tls, authority } = target(url)?;
        let authorization = self.access.authorization()?;
        let tls = if has_tls { Some(self.access.tls()?) } else { None };
        let presented = authorization.is_some();
        let answer = client::ask(Request { authority: &authority, path, authorization, tls });
        let answer = answer.map_err(|error| {
            Failure::running(format!("no answer from {url}: {}", error.cause)).mend(if error.is_distrust {
                "name the certificate that signed the page's with --ca-file, and the page by a name that its certificate has"
            } else if has_tls {
                "see that a run is under way there, and name its page with --url: http:// where it has no certificate"
            } else {
                "see that a run is under way there, and name its page with --url: https:// where it has a certificate"
            })
        })?;
        match answer.status {
            401 if presented => Err(Failure::usage("the page takes another token or password")
                .mend("see which file its run names: web.token_file or web.password_file of its settings")),
            401 => Err(Failure::usage("the page wants a token or a password")
                .mend("name its file with --token-file or --password-file, or the user with --user")),
            403 => Err(Failure::usage(format!("the page refuses: {}", answer.body.trim()))
                .mend("ask for it from its own machine, as http://127.0.0.1:PORT")),
            _ => Ok(answer),
        }
    }
}

/// What an address names.
#[derive(Debug, PartialEq, Eq)]
struct Target {
    has_tls: bool,
    /// `HOST:PORT`.
    authority: String,
}

fn target(url: &str) -> Result<Target, Failure> {
    // Whatever stands before an @ may be a password: such an address is not shown.
    if url.contains('@') {
        return Err(Failure::usage("the address of a page holds no user and no password")
            .mend("write https://HOST:PORT, and --user or --password-file"));
    }
    let refused = || {
        Failure::usage(format!("{url:?} is no address of a page"))
            .mend("write http://HOST:PORT, or https://HOST:PORT")
    };
    let uri = Uri::from_str(url).map_err(|_| refused())?;
    let scheme = uri.scheme().ok_or_else(refused)?;
    let has_tls = *scheme == Scheme::HTTPS;
    let authority = uri.authority().filter(|authority| !authority.host().is_empty()).ok_or_else(refused)?;
    if !(has_tls || *scheme == Scheme::HTTP) || uri.path() != "/" || uri.query().is_some() {
        return Err(refused());
    }
    let port = authority.port_u16().unwrap_or(if has_tls { 443 } else { 80 });
    Ok(Target { has_tls, authority: format!("{}:{port}", authority.host()) })
}

impl Access {
    /// Whether anything is presented, or believed.
    pub(crate) fn is_given(&self) -> bool {
        self.token_file.is_some()
            || self.password_file.is_some()
            || self.user.is_some()
            || self.ca_file.is_some()
    }

    /// The value of the header `Authorization`.
    fn authorization(&self) -> Result<Option<HeaderValue>, Failure> {
        let basic = |pair: &str| format!("Basic {}", STANDARD.encode(pair));
        let value = if let Some(path) = &self.token_file {
            format!("Bearer {}", read("token", path)?)
        } else if let Some(path) = &self.password_file {
            let pair = read("password", path)?;
            if !pair.contains(':') {
                let text = format!("the password file {} does not hold user:password", path.display());
                return Err(
                    Failure::usage(text).mend("write user:password into it, or name the user with --user")
                );
            }
            basic(&pair)
        } else if let Some(user) = &self.user {
            basic(&format!("{user}:{}", password(user)?))
        } else {
            return Ok(None);
        };
        let mut value = HeaderValue::from_str(&value)
            .map_err(|_| Failure::usage("the token holds characters that no header takes"))?;
        value.set_sensitive(true);
        Ok(Some(value))
    }

    fn tls(&self) -> Result<SslConnector, Failure> {
        let mut builder = SslConnector::builder(SslMethod::tls_client()).map_err(Failure::running)?;
        if let Some(path) = &self.ca_file {
            builder.set_ca_file(path).map_err(|error| {
                Failure::usage(format!("cannot read the CA file {}: {error}", path.display()))
                    .mend("name a file of certificates, PEM")
            })?;
        }
        Ok(builder.build())
    }
}

fn read(what: &str, path: &Path) -> Result<String, Failure> {
    let text = fs::read_to_string(path).map_err(|error| {
        Failure::usage(format!("cannot read the {what} in {}: {error}", path.display()))
            .mend("name a file that is there and may be read")
    })?;
    Ok(text.trim().to_owned())
}

fn password(user: &str) -> Result<String, Failure> {
    if user.contains(':') {
        return Err(
            Failure::usage("a user's name has no colon").mend("write --user NAME, and the password apart")
        );
    }
    let refused = |cause: &dyn fmt::Display| {
        Failure::usage(format!("--user takes the password from {PASSWORD}, {cause}"))
            .mend("set it, or name a file with user:password by --password-file")
    };
    match std::env::var(PASSWORD) {
        Ok(password) => Ok(password),
        Err(VarError::NotPresent) => Err(refused(&"which is not set")),
        Err(VarError::NotUnicode(_)) => Err(refused(&"which is not UTF-8")),
    }
}

#[cfg(test)]
mod tests;
