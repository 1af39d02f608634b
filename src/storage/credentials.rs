//! What only the environment says of S3: keys, and where the server is.

use std::collections::BTreeMap;
use std::fmt;

/// The variables that are looked at.
pub const VARIABLES: [&str; 10] = [
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "AWS_ENDPOINT_URL",
    "AWS_REGION",
    "AWS_DEFAULT_REGION",
    "AWS_ALLOW_HTTP",
    "MINIO_ROOT_USER",
    "MINIO_ROOT_PASSWORD",
    "MINIO_ENDPOINT",
];

/// The values of [`VARIABLES`]; never shown.
#[derive(Clone, Default)]
pub struct Credentials(BTreeMap<&'static str, String>);

impl Credentials {
    /// What `lookup` says of each variable; empty says nothing.
    pub fn of(lookup: impl Fn(&str) -> Option<String>) -> Self {
        let set = VARIABLES.iter().filter_map(|name| Some((*name, lookup(name)?)));
        Credentials(set.filter(|(_, value)| !value.is_empty()).collect())
    }

    /// What the process's environment says.
    pub fn of_process() -> Self {
        Credentials::of(|name| std::env::var(name).ok())
    }

    #[cfg(feature = "s3")]
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_not_shown() {
        let credentials = Credentials::of(|name| Some(format!("geheim of {name}")));
        assert!(!format!("{credentials:?}").contains("geheim"));
    }
}
