//! The settings of the web server.

use std::net::SocketAddr;
use std::path::PathBuf;

use super::kinds::{Kind, SWITCH};
use super::section::{Findings, Section};
use crate::web::Config;

/// `127.0.0.1:4040`, or `off`.
const ADDRESS: Kind<Option<SocketAddr>> = Kind {
    read: |text| address(text).map_err(|cause| (cause, "write 127.0.0.1:4040, or off".to_owned())),
    show: |address| address.map_or("off".to_owned(), |address| address.to_string()),
};

/// A file, or `none`.
const FILE: Kind<Option<PathBuf>> = Kind {
    read: |text| Ok((text != "none").then(|| text.into())),
    show: |path| path.as_ref().map_or("none".to_owned(), |path| path.display().to_string()),
};

/// The address in a text; `None` for `off`.
///
/// # Errors
/// What is wrong with it.
pub fn address(text: &str) -> Result<Option<SocketAddr>, String> {
    if text == "off" {
        return Ok(None);
    }
    let named = text.strip_prefix("localhost:").map(|port| format!("127.0.0.1:{port}"));
    let parsed = named.as_deref().unwrap_or(text).parse();
    parsed.map(Some).map_err(|_| format!("{text:?} is no address and port"))
}

/// Reads the section `web`.
pub(super) fn read(section: &mut Section<'_>, config: &mut Config, findings: &mut Findings) {
    section.read("address", &ADDRESS, &mut config.address, findings);
    section.read("token_file", &FILE, &mut config.token_file, findings);
    section.read("password_file", &FILE, &mut config.password_file, findings);
    let certificate = section.read("tls_certificate", &FILE, &mut config.tls_certificate, findings);
    let key = section.read("tls_key", &FILE, &mut config.tls_key, findings);
    if config.tls_certificate.is_some() != config.tls_key.is_some() {
        section.misfit(
            certificate.or(key),
            "tls_certificate and tls_key go together".to_owned(),
            "name both files, or none for neither",
            findings,
        );
    }
    section.read("trusted_network", &SWITCH, &mut config.trusted_network, findings);
}
