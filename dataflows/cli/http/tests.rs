use std::io::{Read, Write};
use std::net::TcpListener;
use std::sync::Arc;

use openssl::asn1::Asn1Time;
use openssl::bn::BigNum;
use openssl::hash::MessageDigest;
use openssl::pkey::{PKey, Private};
use openssl::rsa::Rsa;
use openssl::x509::extension::{BasicConstraints, SubjectAlternativeName};
use openssl::x509::{X509, X509Name};
use tempfile::TempDir;
use tidegate::runtime::SystemClock;
use tidegate::telemetry::Telemetry;
use tidegate_dataflows::web::{Config, Web};

use super::super::failure::{RUNNING, USAGE};
use super::*;

const TOKEN: &str = "Sesam-oeffne-Dich";
const PAIR: &str = "ann:Sesam:oeffne:Dich";

/// A certificate of `name` for `address`, signed by `issuer` or by itself, as `openssl req -x509` makes one.
fn certificate(name: &str, address: &str, issuer: Option<&(X509, PKey<Private>)>) -> (X509, PKey<Private>) {
    let key = PKey::from_rsa(Rsa::generate(2048).unwrap()).unwrap();
    let mut subject = X509Name::builder().unwrap();
    subject.append_entry_by_text("CN", name).unwrap();
    let subject = subject.build();
    let mut builder = X509::builder().unwrap();
    builder.set_version(2).unwrap();
    let serial = BigNum::from_u32(name.len() as u32).unwrap().to_asn1_integer().unwrap();
    builder.set_serial_number(&serial).unwrap();
    builder.set_subject_name(&subject).unwrap();
    builder.set_issuer_name(issuer.map_or(&subject, |(issuer, _)| issuer.subject_name())).unwrap();
    builder.set_pubkey(&key).unwrap();
    builder.set_not_before(&Asn1Time::days_from_now(0).unwrap()).unwrap();
    builder.set_not_after(&Asn1Time::days_from_now(2).unwrap()).unwrap();
    if issuer.is_none() {
        builder.append_extension(BasicConstraints::new().critical().ca().build().unwrap()).unwrap();
    }
    let named = SubjectAlternativeName::new().ip(address).build(&builder.x509v3_context(None, None)).unwrap();
    builder.append_extension(named).unwrap();
    builder.sign(issuer.map_or(&key, |(_, key)| key), MessageDigest::sha256()).unwrap();
    (builder.build(), key)
}

/// A page behind TLS that wants a token or a password, and the files of who may ask.
struct Guarded {
    dir: TempDir,
    web: Web,
}

impl Guarded {
    /// With a certificate for `address`, signed by a CA or by itself.
    fn start(address: &str, is_signed: bool) -> Guarded {
        let dir = tempfile::tempdir().unwrap();
        let write = |name: &str, bytes: &[u8]| {
            let path = dir.path().join(name);
            fs::write(&path, bytes).unwrap();
            Some(path)
        };
        let ca = certificate("a CA", address, None);
        let own = if is_signed { certificate("page", address, Some(&ca)) } else { ca.clone() };
        write("ca.pem", &ca.0.to_pem().unwrap());
        let config = Config {
            address: Some("127.0.0.1:0".parse().unwrap()),
            token_file: write("token", format!("{TOKEN}\n").as_bytes()),
            password_file: write("password", format!("{PAIR}\n").as_bytes()),
            tls_certificate: write("page.pem", &own.0.to_pem().unwrap()),
            tls_key: write("page.key", &own.1.private_key_to_pem_pkcs8().unwrap()),
            ..Config::default()
        };
        let telemetry = Arc::new(Telemetry::new(Arc::new(SystemClock), &[]));
        let web = Web::start(&config, 0, telemetry).unwrap().unwrap().unwrap();
        Guarded { dir, web }
    }

    fn file(&self, name: &str) -> Option<PathBuf> {
        Some(self.dir.path().join(name))
    }

    fn page(&self, access: Access) -> Page {
        Page { url: self.web.url(), access: Access { ca_file: self.file("ca.pem"), ..access } }
    }
}

fn refusal(page: &Page, path: &str) -> (u8, String) {
    let failure = page.get(path).expect_err("it is refused");
    (failure.code, failure.to_string())
}

#[test]
fn a_page_behind_tls_opens_to_its_token_and_to_its_password() {
    for is_signed in [true, false] {
        let guarded = Guarded::start("127.0.0.1", is_signed);
        let token = Access { token_file: guarded.file("token"), ..Access::default() };
        let password = Access { password_file: guarded.file("password"), ..Access::default() };
        for access in [token, password] {
            let answer = guarded.page(access).get("/api/v1/state").unwrap();
            assert_eq!(answer.status, 200, "{}", answer.body);
            assert!(answer.body.starts_with('{'), "{}", answer.body);
        }
        // Whether it lives, it tells everybody who believes it.
        assert_eq!(guarded.page(Access::default()).get("/livez").unwrap().body, "alive\n");
    }
}

#[test]
fn what_does_not_open_is_told_and_not_shown() {
    let guarded = Guarded::start("127.0.0.1", true);
    let (code, said) = refusal(&guarded.page(Access::default()), "/api/v1/state");
    assert!(code == USAGE && said.contains("--token-file or --password-file"), "{said}");
    // The one for the other.
    for (name, text) in [("other", "Sesam-bleib-zu".to_owned()), ("short", PAIR.replace("ann", "bob"))] {
        fs::write(guarded.dir.path().join(name), text).unwrap();
    }
    let token = Access { token_file: guarded.file("other"), ..Access::default() };
    let password = Access { password_file: guarded.file("short"), ..Access::default() };
    for access in [token, password] {
        let (code, said) = refusal(&guarded.page(access), "/api/v1/state");
        assert!(code == USAGE && said.contains("another token or password"), "{said}");
        assert!(!said.contains("Sesam"), "{said}");
    }
    fs::write(guarded.dir.path().join("pair"), "Sesam").unwrap();
    let pair = Access { password_file: guarded.file("pair"), ..Access::default() };
    let (code, said) = refusal(&guarded.page(pair), "/livez");
    assert!(
        code == USAGE && said.contains("does not hold user:password") && !said.contains("Sesam"),
        "{said}"
    );
    let nowhere = Access { token_file: guarded.file("nowhere"), ..Access::default() };
    assert_eq!(refusal(&guarded.page(nowhere), "/livez").0, USAGE);
    fs::write(guarded.dir.path().join("token"), "Sesam\noeffne").unwrap();
    let broken = Access { token_file: guarded.file("token"), ..Access::default() };
    let (code, said) = refusal(&guarded.page(broken), "/livez");
    assert!(code == USAGE && !said.contains("Sesam"), "{said}");
}

#[test]
fn a_certificate_that_nobody_signed_or_that_names_another_is_not_believed() {
    let guarded = Guarded::start("127.0.0.1", true);
    let unknown = Page { url: guarded.web.url(), access: Access::default() };
    let (code, said) = refusal(&unknown, "/livez");
    assert!(code == RUNNING && said.contains("not believed") && said.contains("--ca-file"), "{said}");
    let other = Guarded::start("127.0.0.2", true);
    let (code, said) = refusal(&other.page(Access::default()), "/livez");
    assert!(code == RUNNING && said.contains("not believed"), "{said}");
    let none = Access { ca_file: guarded.file("nowhere.pem"), ..Access::default() };
    let (code, said) = refusal(&Page { url: guarded.web.url(), access: none }, "/livez");
    assert!(code == USAGE && said.contains("CA file"), "{said}");
    // The wrong scheme, either way.
    let plain = Page { url: guarded.web.url().replace("https", "http"), access: Access::default() };
    let (code, said) = refusal(&plain, "/livez");
    assert!(code == RUNNING && said.contains("https:// where it has a certificate"), "{said}");
}

#[test]
fn an_answer_without_end_is_not_read_to_it() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let served = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        // An answer before the question is none.
        assert!(stream.read(&mut [0; 1 << 12]).unwrap() > 0);
        stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").unwrap();
        while stream.write_all(&[b'x'; 1 << 16]).is_ok() {}
    });
    let (code, said) = refusal(&Page { url, access: Access::default() }, "/livez");
    assert!(code == RUNNING && said.contains("longer than 16 MiB"), "{said}");
    served.join().unwrap();
}

#[test]
fn only_addresses_of_pages_are_asked() {
    let plain = |url: &str| target(url).map(|Target { authority, .. }| authority).ok();
    assert_eq!(plain("http://127.0.0.1:4040/").as_deref(), Some("127.0.0.1:4040"));
    assert_eq!(plain("http://[::1]").as_deref(), Some("[::1]:80"));
    assert_eq!(plain("https://page").as_deref(), Some("page:443"));
    for bad in ["", "http://", "http://x/y", "http://x?y", "ftp://x", "x:4040", "http://x\r\ny", "http://:1"]
    {
        assert_eq!(plain(bad), None, "{bad:?}");
    }
    let said = target("http://ann:Sesam@x").expect_err("it is refused").to_string();
    assert!(said.contains("--user") && !said.contains("Sesam"), "{said}");
}
