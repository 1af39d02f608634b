//! The settings of traces.

use super::kinds::Kind;
use super::section::{Findings, Section};
use crate::traces::Config;

/// An address, or `none`.
const ENDPOINT: Kind<Option<String>> = Kind {
    read: |text| match text {
        "none" => Ok(None),
        _ => match reqwest::Url::parse(text) {
            Ok(url) if matches!(url.scheme(), "http" | "https") && url.username().is_empty() => {
                Ok(Some(text.to_owned()))
            }
            _ => Err((
                "this is no address of a collector".to_owned(),
                "write http://localhost:4318, or none; keys go into OTEL_EXPORTER_OTLP_HEADERS".to_owned(),
            )),
        },
    },
    show: |endpoint| endpoint.clone().unwrap_or_else(|| "none".to_owned()),
};

/// Reads the section `traces`.
pub(super) fn read(section: &mut Section<'_>, config: &mut Config, findings: &mut Findings) {
    section.read("endpoint", &ENDPOINT, &mut config.endpoint, findings);
}
