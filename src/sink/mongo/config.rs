//! Where the server is, and how it is reached.

use std::fmt;
use std::time::Duration;

use mongodb::options::ClientOptions;

/// A connection string; it may hold a password, and is never shown whole.
#[derive(Clone, PartialEq, Eq)]
pub struct Uri(String);

impl From<String> for Uri {
    fn from(text: String) -> Self {
        Uri(text)
    }
}

impl fmt::Debug for Uri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.hosts())
    }
}

impl Uri {
    /// The servers, without user, password and options.
    pub fn hosts(&self) -> &str {
        let behind_scheme = self.0.split_once("://").map_or("", |(_, rest)| rest);
        // A password that is written wrongly may hold '@' and '/': whatever stands before the last '@' is hidden.
        let hosts = behind_scheme.rsplit_once('@').map_or(behind_scheme, |(_, rest)| rest);
        hosts.split(['/', '?']).next().unwrap_or_default()
    }

    /// Takes what stands between the scheme and the servers out of a text.
    pub(super) fn hide_in(&self, text: &str) -> String {
        let behind_scheme = self.0.split_once("://").map_or("", |(_, rest)| rest);
        let Some((secret, _)) = behind_scheme.rsplit_once('@') else { return text.to_owned() };
        let password = secret.split_once(':').map_or("", |(_, password)| password);
        let hide = |text: String, part: &str| if part.is_empty() { text } else { text.replace(part, "…") };
        let text = hide(hide(text.to_owned(), secret), password);
        // Of a password with characters that should be escaped the driver takes a part for something else, and names it.
        password.split(['/', '?', '#', '@', ':', ',']).fold(text, hide)
    }
}

/// A database and how it is reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// `mongodb://user:password@host:port/?options`; authentication, TLS and replica sets as the options say.
    pub uri: Uri,
    /// Database.
    pub database: String,
    /// How long one command may take, the wait for a server included.
    pub patience: Duration,
    /// Documents in one command, at most; at least 1.
    pub batch: usize,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            uri: "mongodb://localhost:27017/".to_owned().into(),
            database: "test".to_owned(),
            patience: Duration::from_secs(60),
            batch: 1000,
        }
    }
}

impl Config {
    /// For errors: what is meant, without the password.
    pub(super) fn place(&self) -> String {
        format!("{}/{}", self.uri.hosts(), self.database)
    }

    /// Whether the connection string can be read; no server is asked.
    ///
    /// # Errors
    /// What is wrong with it, without what it keeps secret.
    pub fn check(&self) -> Result<(), String> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|error| format!("cannot start a thread for MongoDB: {error}"))?;
        runtime.block_on(self.options()).map(drop)
    }

    /// The driver's options; an error names what is wrong with the connection string.
    pub(super) async fn options(&self) -> Result<ClientOptions, String> {
        if self.uri.0.starts_with("mongodb+srv://") {
            let cause = "mongodb+srv:// needs a look-up in DNS that is not built in: write mongodb:// with all servers";
            return Err(cause.to_owned());
        }
        let parsed = ClientOptions::parse(&self.uri.0).await;
        let mut options = parsed.map_err(|error| {
            let error = self.uri.hide_in(&error.to_string());
            format!("the connection string cannot be read: {error}; write mongodb://user:password@host:port/")
        })?;
        options.app_name.get_or_insert_with(|| "tidegate".to_owned());
        options.server_selection_timeout.get_or_insert(Duration::from_secs(10));
        Ok(options)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(uri: &str) -> Config {
        Config { uri: uri.to_owned().into(), ..Config::default() }
    }

    #[test]
    fn password_is_never_shown() {
        for uri in [
            "mongodb://admin:ge@h/eim7@db:1/?tls=true",
            "mongodb://a:geheim7@db:1",
            "mongodb+srv://x:geheim7@db:1/y",
        ] {
            let config = of(uri);
            assert_eq!(config.uri.hosts(), "db:1", "{uri}");
            assert!(!format!("{config:?} {}", config.place()).contains("eim7"), "{uri}");
            assert!(!config.uri.hide_in(&format!("bad: {uri}")).contains("eim7"), "{uri}");
        }
        // What the driver says of this one: it ends the servers at the question mark.
        let said =
            of("mongodb://a:geheim7?x@db:1/").uri.hide_in("invalid server address a:geheim7: got geheim7");
        assert!(!said.contains("eim7"), "{said}");
        assert_eq!(of("mongodb://a,b:2/x").place(), "a,b:2/test");
        assert_eq!(of("nonsense").uri.hosts(), "");
    }

    #[test]
    fn connection_strings_are_judged() {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let options = |uri: &str| runtime.block_on(of(uri).options());
        let read = options("mongodb://admin:p%40ss@localhost:1/?authSource=admin").unwrap();
        assert_eq!(read.credential.and_then(|credential| credential.password).as_deref(), Some("p@ss"));
        assert!(options("mongodb+srv://x").unwrap_err().contains("write mongodb://"));
        assert!(options("http://x").is_err());
    }
}
