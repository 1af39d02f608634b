//! Where the database is, and how it is reached.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use openssl::ssl::{SslConnector, SslMethod, SslVerifyMode};
use postgres_openssl::MakeTlsConnector;
use tokio_postgres::config::SslMode;

/// A password: it is never shown.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Password(String);

impl From<String> for Password {
    fn from(text: String) -> Self {
        Password(text)
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(hidden)")
    }
}

/// How far the connection is protected, in libpq's terms.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TlsMode {
    /// No TLS.
    Disable,
    /// TLS where the server has it; nothing is verified.
    #[default]
    Prefer,
    /// TLS; the server's certificate is verified where a CA file is given.
    Require,
    /// TLS, and the server's certificate comes from the CA.
    VerifyCa,
    /// TLS, the certificate comes from the CA, and it names the host.
    VerifyFull,
}

impl std::str::FromStr for TlsMode {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "disable" => Ok(TlsMode::Disable),
            "prefer" => Ok(TlsMode::Prefer),
            "require" => Ok(TlsMode::Require),
            "verify-ca" => Ok(TlsMode::VerifyCa),
            "verify-full" => Ok(TlsMode::VerifyFull),
            _ => Err("write disable, prefer, require, verify-ca or verify-full".to_owned()),
        }
    }
}

/// A database and how it is reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Host name or address.
    pub host: String,
    /// TCP port.
    pub port: u16,
    /// Role.
    pub user: String,
    /// The role's password.
    pub password: Password,
    /// Database.
    pub database: String,
    /// The schema of the tables and of tidegate's marks. It must exist.
    pub schema: String,
    /// How far the connection is protected.
    pub tls: TlsMode,
    /// Certificates of the CAs that are believed, PEM; the system's where none is given.
    pub ca_file: Option<PathBuf>,
    /// How long a connection may take to come about.
    pub connect_timeout: Duration,
    /// How long one statement may take; 0 is without end.
    pub statement_timeout: Duration,
    /// How long a statement may wait for another writer's locks.
    pub lock_timeout: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            host: "localhost".to_owned(),
            port: 5432,
            user: "postgres".to_owned(),
            password: Password::default(),
            database: "postgres".to_owned(),
            schema: "public".to_owned(),
            tls: TlsMode::default(),
            ca_file: None,
            connect_timeout: Duration::from_secs(10),
            statement_timeout: Duration::from_secs(300),
            lock_timeout: Duration::from_secs(30),
        }
    }
}

impl Config {
    /// For errors: what is meant, without the password.
    pub(super) fn place(&self) -> String {
        format!("{}:{}/{}", self.host, self.port, self.database)
    }

    pub(super) fn client(&self) -> tokio_postgres::Config {
        let mut config = tokio_postgres::Config::new();
        config.host(&self.host).port(self.port).user(&self.user).dbname(&self.database);
        config.password(&self.password.0).application_name("tidegate");
        config.connect_timeout(self.connect_timeout);
        config.keepalives_idle(Duration::from_secs(30));
        config.ssl_mode(match self.tls {
            TlsMode::Disable => SslMode::Disable,
            TlsMode::Prefer => SslMode::Prefer,
            TlsMode::Require | TlsMode::VerifyCa | TlsMode::VerifyFull => SslMode::Require,
        });
        config
    }

    /// What makes the TLS of a connection; an error names what is wrong with the CA file.
    pub(super) fn tls(&self) -> Result<MakeTlsConnector, String> {
        let mut builder = SslConnector::builder(SslMethod::tls()).map_err(|error| error.to_string())?;
        if let Some(path) = &self.ca_file {
            builder
                .set_ca_file(path)
                .map_err(|error| format!("cannot read the CA file {path:?}: {error}"))?;
        }
        let verify = match self.tls {
            TlsMode::Disable | TlsMode::Prefer => false,
            TlsMode::Require => self.ca_file.is_some(),
            TlsMode::VerifyCa | TlsMode::VerifyFull => true,
        };
        if !verify {
            builder.set_verify(SslVerifyMode::NONE);
        }
        let mut tls = MakeTlsConnector::new(builder.build());
        let names_host = self.tls == TlsMode::VerifyFull;
        tls.set_callback(move |connection, _| {
            connection.set_verify_hostname(names_host);
            Ok(())
        });
        Ok(tls)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn password_is_never_shown() {
        let config = Config { password: "geheim7".to_owned().into(), ..Config::default() };
        assert!(!format!("{config:?} {}", config.place()).contains("geheim7"));
        assert!(!format!("{:?}", config.client()).contains("geheim7"));
    }
}
