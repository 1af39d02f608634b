//! Who may ask.

use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::{Config, WebError};

/// What a client must present. Secrets are compared in a time that does not tell how much of them fits.
#[derive(Debug, Default)]
pub(super) struct Access {
    token: Option<Secret>,
    /// `user:password`.
    password: Option<Secret>,
}

/// A secret that no message shows.
struct Secret(Vec<u8>);

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("(a secret)")
    }
}

impl Secret {
    fn read(what: &'static str, path: &Path) -> Result<Secret, WebError> {
        let refuse = |cause: String| WebError::File { what, path: path.to_owned(), cause };
        let bytes = std::fs::read(path).map_err(|error| refuse(error.to_string()))?;
        let secret = bytes.trim_ascii();
        if secret.len() < 8 {
            return Err(refuse("it holds fewer than 8 characters".to_owned()));
        }
        Ok(Secret(secret.to_vec()))
    }

    fn is(&self, presented: &[u8]) -> bool {
        self.0.len() == presented.len() && openssl::memcmp::eq(&self.0, presented)
    }
}

impl Access {
    pub(super) fn of(config: &Config) -> Result<Access, WebError> {
        let read = |what, path: &Option<std::path::PathBuf>| {
            path.as_deref().map(|path| Secret::read(what, path)).transpose()
        };
        let token = read("web.token_file", &config.token_file)?;
        let password = read("web.password_file", &config.password_file)?;
        if let (Some(secret), Some(path)) = (&password, &config.password_file)
            && !secret.0.contains(&b':')
        {
            let cause = "it does not hold user:password".to_owned();
            return Err(WebError::File { what: "web.password_file", path: path.clone(), cause });
        }
        Ok(Access { token, password })
    }

    /// Whether nobody has to present anything.
    pub(super) fn is_open(&self) -> bool {
        self.token.is_none() && self.password.is_none()
    }

    /// Whether the value of an `Authorization` header opens.
    pub(super) fn admits(&self, authorization: Option<&str>) -> bool {
        if self.is_open() {
            return true;
        }
        let Some((scheme, presented)) = authorization.and_then(|value| value.split_once(' ')) else {
            return false;
        };
        if scheme.eq_ignore_ascii_case("bearer") {
            return self.token.as_ref().is_some_and(|token| token.is(presented.trim().as_bytes()));
        }
        if !scheme.eq_ignore_ascii_case("basic") {
            return false;
        }
        let Ok(pair) = STANDARD.decode(presented.trim()) else { return false };
        // A browser has no bearer tokens: there the token is the password of any user.
        let as_token = pair.splitn(2, |b| *b == b':').nth(1);
        self.password.as_ref().is_some_and(|password| password.is(&pair))
            || as_token.is_some_and(|given| self.token.as_ref().is_some_and(|token| token.is(given)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_secret_opens_in_either_scheme() {
        let dir = tempfile::tempdir().unwrap();
        let file = |name: &str, text: &str| {
            let path = dir.path().join(name);
            std::fs::write(&path, text).unwrap();
            Some(path)
        };
        let config = Config {
            token_file: file("token", "s3cret-token\n"),
            password_file: file("password", "ann:pass:word"),
            ..Config::default()
        };
        let access = Access::of(&config).unwrap();
        let basic = |pair: &str| format!("Basic {}", STANDARD.encode(pair));
        for good in
            ["Bearer s3cret-token", "bearer s3cret-token", &basic("x:s3cret-token"), &basic("ann:pass:word")]
        {
            assert!(access.admits(Some(good)), "{good}");
        }
        for bad in [
            "Bearer s3cret-tokeN",
            "Bearer ",
            "s3cret-token",
            &basic("ann:pass"),
            &basic("s3cret-token"),
            "Basic !",
        ] {
            assert!(!access.admits(Some(bad)), "{bad}");
        }
        assert!(!access.admits(None));
        assert!(!format!("{access:?}").contains("s3cret"));
    }

    #[test]
    fn a_short_or_missing_secret_is_refused_and_not_shown() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("token");
        let config = Config { token_file: Some(path.clone()), ..Config::default() };
        assert!(Access::of(&config).is_err());
        std::fs::write(&path, "abc").unwrap();
        let error = Access::of(&config).unwrap_err().to_string();
        assert!(error.contains("fewer than 8") && !error.contains("abc"), "{error}");
    }
}
