//! The settings of traces.

use super::kinds::Kind;
use super::section::{Findings, Section};
use crate::traces::Config;

/// An address, or `none`.
const ENDPOINT: Kind<Option<String>> = Kind {
    read: |text| match text {
        "none" => Ok(None),
        _ => match reqwest::Url::parse(text) {
            Ok(url) if is_bare(&url) => Ok(Some(text.to_owned())),
            _ => Err((
                "this is no address of a collector".to_owned(),
                "write http://localhost:4318, or none; keys go into OTEL_EXPORTER_OTLP_HEADERS".to_owned(),
            )),
        },
    },
    show: |endpoint| endpoint.clone().unwrap_or_else(|| "none".to_owned()),
};

/// Whether it says where the collector is and nothing else, which might be a key.
fn is_bare(url: &reqwest::Url) -> bool {
    let is_named = url.username().is_empty() && url.password().is_none();
    matches!(url.scheme(), "http" | "https") && is_named && url.query().is_none() && url.fragment().is_none()
}

/// Reads the section `traces`.
pub(super) fn read(section: &mut Section<'_>, config: &mut Config, findings: &mut Findings) {
    section.read("endpoint", &ENDPOINT, &mut config.endpoint, findings);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_is_an_address_and_holds_no_key() {
        let read = |text| (ENDPOINT.read)(text);
        assert_eq!(read("none"), Ok(None));
        for good in ["http://localhost:4318", "https://traces.example/otlp"] {
            assert_eq!(read(good), Ok(Some(good.to_owned())));
        }
        for bad in [
            "localhost:4318",
            "ftp://x",
            "http://ann@x",
            "http://:secret@x",
            "http://x?key=secret",
            "http://x#y",
        ] {
            let (what, mend) = read(bad).expect_err(bad);
            assert!(!what.contains("secret") && !mend.contains("secret"), "{bad}");
        }
    }
}
