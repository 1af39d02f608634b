use std::io::{Read, Write};
use std::net::TcpStream;

use tidegate::record::Partition;
use tidegate::runtime::SystemClock;
use tidegate::telemetry::{Board, Identity};

use super::*;

fn loopback() -> Config {
    Config { address: Some("127.0.0.1:0".parse().unwrap()), ..Config::default() }
}

fn started(config: &Config) -> Web {
    let telemetry = Arc::new(Telemetry::new(Arc::new(SystemClock), &[]));
    let board = Arc::new(Board::default());
    board.identify(Identity { pipeline: "activity".to_owned(), workers: 1, ..Identity::default() });
    board.partition(&Partition::new("clicks", 0)).batch(42, 41, 1_000_000);
    telemetry.show(&board);
    let web = Web::start(config, 0, telemetry).unwrap().unwrap().unwrap();
    let mut topology = Topology::new("activity");
    let input = topology.input("clicks", "");
    topology.output(input, "counts", "", crate::graph::Class::Table, "tables.sqlite");
    web.draw(&topology);
    web
}

/// Asks, and reads until `enough` holds of the answer.
fn ask(web: &Web, request: &str, enough: impl Fn(&str) -> bool) -> String {
    let mut stream = TcpStream::connect(web.address).unwrap();
    stream.set_read_timeout(Some(std::time::Duration::from_secs(20))).unwrap();
    stream.write_all(request.replace('\n', "\r\n").as_bytes()).unwrap();
    let (mut answer, mut chunk) = (Vec::new(), [0; 4096]);
    loop {
        let text = String::from_utf8_lossy(&answer).into_owned();
        if enough(&text) {
            return text;
        }
        match stream.read(&mut chunk).unwrap() {
            0 => return text,
            n => answer.extend_from_slice(&chunk[..n]),
        }
    }
}

fn get(web: &Web, path: &str, more: &str) -> String {
    let request = format!("GET {path} HTTP/1.1\nHost: localhost\nConnection: close\n{more}\n");
    ask(web, &request, |_| false)
}

#[test]
fn metrics_page_health_and_api_are_served() {
    let web = started(&loopback());
    let metrics = get(&web, "/metrics", "");
    let line =
        "tidegate_source_records_read_total{pipeline=\"activity\",topic=\"clicks\",partition=\"0\"} 42\n";
    assert!(metrics.contains(line), "{metrics}");
    let page = get(&web, "/", "").to_ascii_lowercase();
    assert!(page.contains("<!doctype html>") && page.contains("content-security-policy: default-src 'none'"));
    assert!(get(&web, "/livez", "").ends_with("alive\n"));
    assert!(get(&web, "/readyz", "").starts_with("HTTP/1.1 200"));
    assert!(get(&web, "/nowhere", "").starts_with("HTTP/1.1 404"));
    let posted = ask(&web, "POST / HTTP/1.1\nHost: localhost\nConnection: close\n\n", |_| false);
    assert!(posted.starts_with("HTTP/1.1 405"), "{posted}");
}

#[test]
fn a_listener_hears_the_state_again_and_again() {
    let web = started(&loopback());
    let request = "GET /api/v1/events HTTP/1.1\nHost: localhost\n\n";
    // The first may be from before the pipeline was drawn.
    let heard = ask(&web, request, |heard| heard.matches("event: state").count() >= 2);
    assert!(heard.contains("\"records\":42") && heard.contains("retry: 1000"), "{heard}");
    let pipeline = get(&web, "/api/v1/pipelines/activity", "");
    assert!(
        pipeline.contains("\"name\":\"clicks\"") && pipeline.contains("\"holds_frontier\":true"),
        "{pipeline}"
    );
    assert!(get(&web, "/api/v1/pipelines/other", "").starts_with("HTTP/1.1 404"));
    assert!(get(&web, "/api/v1/history", "").contains("\"activity\":[{"));
}

#[test]
fn a_page_elsewhere_that_was_led_here_is_refused() {
    let web = started(&loopback());
    let asked = |host: &str| {
        ask(&web, &format!("GET /metrics HTTP/1.1\nHost: {host}\nConnection: close\n\n"), |_| false)
    };
    assert!(asked("evil.example:4040").starts_with("HTTP/1.1 403"));
    for host in ["localhost:4040", "127.0.0.1", "[::1]:4040"] {
        assert!(asked(host).starts_with("HTTP/1.1 200"), "{host}");
    }
}

#[test]
fn a_taken_port_is_the_next_free_one() {
    let first = started(&loopback());
    let second = started(&Config { address: Some(first.address), ..Config::default() });
    assert_ne!(first.address, second.address);
    assert!(get(&second, "/livez", "").starts_with("HTTP/1.1 200"));
}

#[test]
fn beyond_loopback_nothing_is_served_to_whoever_comes() {
    let dir = tempfile::tempdir().unwrap();
    let token = dir.path().join("token");
    std::fs::write(&token, "0123456789abcdef").unwrap();
    let open = Config { address: Some("0.0.0.0:0".parse().unwrap()), ..Config::default() };
    let refused = |config: &Config| config.check().unwrap_err().to_string();
    assert!(refused(&open).contains("web.token_file"));
    let guarded = Config { token_file: Some(token), ..open };
    assert!(refused(&guarded).contains("web.tls_certificate"));
    let trusted = Config { trusted_network: true, ..guarded };
    assert!(trusted.check().is_ok());
    let web = started(&trusted);
    let refused = get(&web, "/metrics", "");
    assert!(refused.starts_with("HTTP/1.1 401") && !refused.contains("tidegate_"), "{refused}");
    assert!(get(&web, "/metrics", "Authorization: Bearer 0123456789abcdef\n").contains("tidegate_"));
    assert!(get(&web, "/livez", "").starts_with("HTTP/1.1 200"), "who restarts has no token");
}

#[test]
fn the_documentation_of_metrics_is_that_of_the_program() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/metrics.md");
    let all: Vec<_> = tidegate::telemetry::families::ALL.to_vec();
    let engine = tidegate::telemetry::describe(&all);
    let own = tidegate::telemetry::describe(crate::pipeline::METRICS);
    let text = format!("{METRICS_HEAD}\n## Of every run\n\n{engine}\n## Of pipelines\n\n{own}");
    if std::env::var_os("UPDATE_EXPECTED").is_some() {
        std::fs::write(path, &text).unwrap();
    }
    let found = std::fs::read_to_string(path).unwrap();
    assert!(found == text, "docs/metrics.md is not what the program has; UPDATE_EXPECTED=1 writes it anew");
}

const METRICS_HEAD: &str = "\
# Metrics

Made from the program's declarations; a test compares. A run serves them at `/metrics` (see [the API](api.md)) in Prometheus'
text form. With several processes each serves its own: sum them over instances. What only process 0 knows (epochs,
checkpoints, sinks, outputs, state, the ledger, the latency) is served by process 0 alone.

Counters begin at 0 when a process starts. The ledger and the rows of outputs are those of the run from its first start on.
What belongs to a label that others choose is bounded: beyond 2,000 partitions in a process the rest share the topic
`(others)`.

The old name `spark_streaming_processed_records_total` is kept alive by a recording rule in
`docker/monitoring/rules/recording.yml`.
";
