//! The commands that look at what a run has left, and at what it will meet: dlq, late, tap, doctor, init, schema, man.

use std::fs;

use serde_json::Value;

mod place;
use place::{Place, free_address, tidegate};

/// A replay of 5,000 events, some of them late, and some lines that are no events.
fn replayed(place: &Place) {
    place.fixture("f", "--late-every 20 --partitions 2");
    let lines = [
        r#"{"topic":"user_activity","partition":0,"offset":900000,"tstype":"create","ts":1767225600000,"headers":["trace","t1"],"key":"k","payload":"no JSON"}"#,
        r#"{"topic":"user_activity","partition":1,"offset":900000,"tstype":"create","ts":1767225600000,"key":null,"payload":"{\"event_time\":\"2026-01-01T00:00:00Z\",\"user_id\":\"u\",\"page_url\":\"p\",\"event_type\":\"dance\"}"}"#,
    ];
    place.write("f/zz.jsonl", lines.join("\n") + "\n");
    place.run("replay activity --fixture f").is(0);
}

fn json(text: &str) -> Value {
    serde_json::from_str(text).expect("JSON")
}

#[test]
fn dead_letters_are_listed_shown_and_replayed() {
    let place = Place::new();
    replayed(&place);
    let list = place.run("dlq list").is(0).says(&["2 records (not_json 1, schema 1)"]).out;
    assert!(list.contains("user_activity.dlq-0@0  not_json") && list.contains("\"dance\""), "{list}");
    let list = json(&place.run("dlq list --json --reason schema").is(0).out);
    assert_eq!((&list["total"], &list["by_reason"]["schema"]), (&Value::from(1), &Value::from(1)));
    assert_eq!(list["records"][0]["offset"], 900_000);

    let shown = json(&place.run("dlq show user_activity.dlq-0@0 --json").is(0).out);
    assert_eq!((&shown["key"], &shown["payload"]), (&Value::from("k"), &Value::from("no JSON")));
    place.run("dlq show user_activity.dlq-0@7").is(1).says(&["no record at user_activity.dlq-0@7"]);

    place.run("dlq replay --dry-run").is(0).says(&["2 records", "nothing was written"]);
    place.run("dlq replay").is(2).says(&["where to?", "--to-fixture"]);
    place.run("dlq replay --reason schema --to-fixture again").is(0).says(&["1 records: again"]);
    let again = json(&place.run("tap user_activity --fixture again --json").is(0).out);
    assert_eq!((&again["partition"], &again["offset"], &again["key"]), (&1.into(), &0.into(), &Value::Null));
    assert_eq!(again["ts"], 1_767_225_600_000_i64, "its own Kafka timestamp");
    assert_eq!(again["headers"], serde_json::json!(["tidegate-replayed", "user_activity.dlq-1@0"]));
    // It is refused again, as nothing was mended, and only it.
    place.run("replay activity --fixture again --out second").is(0);
    assert_eq!(place.results("second")["rejected"]["schema"], 1);
}

#[test]
fn late_records_are_listed_and_make_a_fixture() {
    let place = Place::new();
    replayed(&place);
    let late = json(&place.run("late list --json --limit 1").is(0).out);
    let total = late["total"].as_u64().expect("a number");
    assert!(total > 100, "{total}");
    let first = &late["records"][0];
    assert!(first["late_by_ms"].as_i64() > Some(0) && first["outputs"].as_str().is_some(), "{first}");
    place.run("late replay --to-fixture again").is(0).says(&["records: again"]);
    // Alone they are a log of their own, in which most are on time.
    place.run("replay activity --fixture again --out second").is(0);
    assert_eq!(place.results("second")["read"], total);
}

#[test]
fn tap_shows_chosen_records_in_log_order() {
    let place = Place::new();
    place.fixture("f", "--partitions 2");
    let lines = place.run("tap user_activity --fixture f --json -c 3 --partition 1 --every 10").is(0).out;
    let offsets: Vec<Value> = lines.lines().map(|line| json(line)["offset"].clone()).collect();
    assert_eq!(offsets, [0, 10, 20].map(Value::from));
    let text = place.run("tap user_activity --fixture f -c 1 --holding session_start").is(0).out;
    assert!(
        text.starts_with("user_activity-") && text.contains("key user_") && text.contains("session_start"),
        "{text}"
    );
    place.run("tap clicks --fixture f").is(1).says(&["nothing of topic \"clicks\"", "mend:"]);
}

#[test]
fn tap_shows_rows_of_tables_and_of_lakes() {
    let place = Place::new();
    replayed(&place);
    let outputs = place.results("out")["outputs"].take();
    let rows = |line: &str| -> Vec<Value> {
        let out = place.run(&format!("tap {line} --json")).is(0).out;
        out.lines().map(json).collect()
    };
    for (what, output) in
        [("page_view_counts --out out", "page_view_counts"), ("out/lake/activity", "lake/activity")]
    {
        let all = rows(&format!("{what} -c 100000"));
        assert_eq!(outputs[output]["rows"], all.len(), "{what}");
        assert_eq!(rows(&format!("{what} -c 2 --every 10")), [all[0].clone(), all[10].clone()], "{what}");
    }
    let counts = rows("page_view_counts --out out");
    assert!(
        counts.len() == 10 && counts.iter().all(|row| row["view_count"].as_u64() > Some(0)),
        "{counts:?}"
    );
    let session = rows("out/lake/activity --holding session_start -c 1");
    assert_eq!((session.len(), &session[0]["event_type"]), (1, &"session_start".into()));
    assert!(session[0]["kafka_offset"].is_u64() && session[0]["event_time"].is_string(), "{session:?}");
    let text =
        place.run("tap page_view_counts --out out -c 1").is(0).says(&["1 rows of page_view_counts"]).out;
    assert!(text.contains("view_count ") && text.lines().count() == 1, "{text}");
    assert_eq!(rows("user_activity.dlq --out out").len(), 2);

    place.run("tap page_view_counts --out out --follow").is(2).says(&["mend:", "--follow"]);
    place.run("tap out/nothing").is(2).says(&["no lake and no Delta table"]);
    place.run("tap page_view_counts --out nowhere").is(1).says(&["mend:", "--out"]);
    place.run("tap clicks --out out").is(1).says(&["nothing of topic \"clicks\""]);
}

#[test]
fn doctor_finds_what_is_in_the_way() {
    let place = Place::new();
    let all = place.run("doctor --out results -w 64").is(0).out;
    for text in ["good     settings", "good     results", "warning  cores", "Kafka: not asked"] {
        assert!(all.contains(text), "{text:?} is not in:\n{all}");
    }
    assert!(!place.path("results").exists(), "it only looks");
    place.write("my.yaml", "activity: {delai: 2m}");
    let sick = place.run("doctor --config my.yaml --json").is(1).says(&["1 thing does not work"]);
    let findings = json(&sick.out)["findings"].take();
    let settings = findings.as_array().expect("a list").iter().find(|finding| finding["what"] == "settings");
    let settings = settings.expect("settings are looked at");
    assert_eq!(settings["grade"], "bad");
    assert!(
        settings["says"].as_str().is_some_and(|says| says.contains("did you mean \"delay\"?")),
        "{settings}"
    );
}

#[test]
fn services_that_are_away_are_told_without_passwords() {
    let place = Place::new();
    let mut command = place.command(tidegate(), "validate --connect activity");
    let (database, mongo) = (free_address(), free_address());
    command
        .env("DB_HOST", "127.0.0.1")
        .env("DB_PORT", database.port().to_string())
        .env("DB_PASSWORD", "hunter2");
    command.env("MONGO_URI", format!("mongodb://admin:hunter2@{mongo}/"));
    let ran = place::Ran::of(command.output().expect("starts")).is(1).says(&["2 things do not work"]);
    assert!(
        ran.out.contains("BAD      PostgreSQL at 127.0.0.1") && ran.out.contains("BAD      MongoDB at"),
        "{}",
        ran.out
    );
    assert!(!ran.out.contains("hunter2") && !ran.err.contains("hunter2"));
}

/// Answers one request with `answer`, and gives the request back.
fn page(answer: &'static str) -> (String, std::thread::JoinHandle<String>) {
    use std::io::{BufRead, BufReader, Write};
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("http://{}", listener.local_addr().expect("bound"));
    let served = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("a request");
        let lines = BufReader::new(stream.try_clone().expect("cloned")).lines();
        let request: Vec<String> = lines.map_while(Result::ok).take_while(|line| !line.is_empty()).collect();
        stream.write_all(answer.as_bytes()).expect("answered");
        request.join("\n")
    });
    (url, served)
}

#[test]
fn health_is_what_the_page_says() {
    let place = Place::new();
    place.write("token", "opensesame\n");
    let (url, served) = page("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nok\n");
    assert_eq!(place.run(&format!("health --url {url} --token-file token")).is(0).out, "ok\n");
    let request = served.join().expect("served");
    assert!(
        request.starts_with("GET /readyz HTTP/1.1") && request.contains("authorization: Bearer opensesame"),
        "{request}"
    );
    let (url, served) = page("HTTP/1.1 503 Service Unavailable\r\n\r\nthe watermark stands still");
    place.run(&format!("health --live --url {url}")).is(1).says(&[
        "(503)",
        "watermark stands still",
        "mend:",
    ]);
    assert!(served.join().expect("served").starts_with("GET /livez "));
    let (url, served) = page("HTTP/1.1 401 Unauthorized\r\n\r\n");
    place.run(&format!("health --url {url}")).is(2).says(&["--token-file"]);
    served.join().expect("served");
    // The password of a user who is named is in the environment, and in no message.
    let (url, served) = page("HTTP/1.1 401 Unauthorized\r\n\r\n");
    let mut asks = place.command(tidegate(), &format!("health --url {url} --user ann"));
    let ran = asks.env("TIDEGATE_WEB_PASSWORD", "opensesame").output().expect("starts");
    let said = place::Ran::of(ran).is(2).says(&["another token or password"]).err;
    assert!(!said.contains("opensesame"), "{said}");
    let request = served.join().expect("served");
    assert!(request.contains("authorization: Basic YW5uOm9wZW5zZXNhbWU="), "{request}");
    place
        .run(&format!("health --url {url} --user ann"))
        .is(2)
        .says(&["TIDEGATE_WEB_PASSWORD, which is not set"]);
    // An answer that breaks off is none.
    let (url, served) = page("HTTP/1.1 200 OK\r\nContent-Length: 99999999\r\n\r\n");
    place.run(&format!("health --url {url}")).is(1).says(&["no answer from"]);
    served.join().expect("served");
    // Nobody listens there any more.
    place.run(&format!("health --url {url}")).is(1).says(&["no answer from", "mend:"]);
    place.run("health --url 127.0.0.1:4040").is(2).says(&["http://HOST:PORT"]);
    place.run(&format!("health --url {}", url.replace("http", "https"))).is(1).says(&["no answer from"]);
    place.run("verify activity --out x --token-file token").is(2).says(&["--web URL"]);
}

#[test]
fn top_draws_the_state_of_a_run() {
    let place = Place::new();
    let state = concat!(
        "HTTP/1.1 200 OK\r\n\r\n",
        r#"{"taken_us":0,"process":{"resident_bytes":73400320,"uptime_seconds":61.2,"version":"0.1.0"},"pipelines":[{"#,
        r#""pipeline":"activity","phase":"running","records":1234567,"frontier_us":1767225600000000,"balanced":false,"#,
        r#""rates":{"input":1000.4,"processed":999.6,"late":0,"rejected":2},"epochs":{"decided":7,"checkpoint_bytes":4096},"#,
        r#""partitions":[{"topic":"user_activity","partition":3,"lag":12,"watermark_us":1767225600000000,"standing":"open","holds_frontier":true}],"#,
        r#""sinks":[{"name":"tables","rows":9,"retries":1,"trouble":"connection refused"}]}]}"#
    );
    let (url, served) = page(state);
    let text = place.run(&format!("top --url {url}")).is(0).out;
    assert!(served.join().expect("served").starts_with("GET /api/v1/state "));
    for part in [
        "activity  running  1,234,567 records  1,000/s in  1,000/s processed  event time 2026-01-01T00:00:00.000000Z",
        "epoch 7 decided",
        "NOT BALANCED",
        "user_activity-3  lag         12",
        "holds event time",
        "sink tables  9 rows  1 retries  connection refused",
        "70 MiB",
    ] {
        assert!(text.contains(part), "{part:?} is not in:\n{text}");
    }
    let (url, served) = page("HTTP/1.1 404 Not Found\r\n\r\n");
    place.run(&format!("top --url {url}")).is(1).says(&["answers 404"]);
    served.join().expect("served");
}

#[test]
fn init_writes_a_configuration_that_is_valid_and_overwrites_nothing() {
    let place = Place::new();
    place.write("mine/.gitignore", "thesis\n");
    let made = place.run("init mine").is(0).out;
    assert!(made.contains("mine/.gitignore  is there and stays as it is"), "{made}");
    assert_eq!(fs::read_to_string(place.path("mine/.gitignore")).expect("there"), "thesis\n");
    fs::copy(place.path("mine/.env.example"), place.path("mine/.env")).expect("copied");
    let mut validate = place.command(tidegate(), "validate");
    let ran = validate.current_dir(place.path("mine")).output().expect("starts");
    place::Ran::of(ran).is(0).says(&["the configuration is valid", "config/dev.yaml", ".env"]);
    let schema = fs::read_to_string(place.path("mine/config/tidegate.schema.json")).expect("there");
    assert_eq!(json(&schema), json(&place.run("schema").is(0).out));
}

#[test]
fn init_writes_a_pipeline_that_is_the_example_by_another_name() {
    let place = Place::new();
    place.write("clicks/.gitignore", "thesis\n");
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/..");
    let line = format!("init --pipeline my_clicks clicks --engine {root}");
    let made = place.run(&line).is(0).says(&["cargo run --release --manifest-path clicks/Cargo.toml"]).out;
    assert!(made.contains("clicks/.gitignore  is there and stays as it is"), "{made}");
    let read = |name: &str| fs::read_to_string(place.path("clicks").join(name)).expect("is there");
    let source = read("src/main.rs");
    assert!(source.contains("use tidegate::prelude::*;") && source.contains("\"my_clicks\""), "{source}");
    assert!(source.contains("`cargo run --release -- FIXTURE OUT WORKERS`"), "{source}");
    assert!(read("README.md").starts_with("# my_clicks\n") && !read("README.md").contains("NAME"));
    assert_eq!(read("fixture/meters.jsonl").lines().count(), 7);
    assert_eq!(read("build.rs"), fs::read_to_string(format!("{root}/build.rs")).expect("there"));
    // What cargo makes of it. Its source is compiled by the tests of the example, under the example's name.
    let mut cargo = place.command(env!("CARGO").as_ref(), "metadata --no-deps --offline --format-version 1");
    let ran = cargo.current_dir(place.path("clicks")).output().expect("cargo starts");
    let package = json(&place::Ran::of(ran).is(0).out)["packages"][0].take();
    let engine = &package["dependencies"][0];
    let kinds = package["targets"].as_array().expect("a list").iter().map(|target| &target["kind"][0]);
    assert!(kinds.into_iter().any(|kind| kind == "custom-build"), "{package}");
    assert_eq!((&package["name"], &engine["name"]), (&"my_clicks-pipeline".into(), &"tidegate".into()));
    let path = fs::canonicalize(engine["path"].as_str().expect("a path")).expect("there");
    assert_eq!(path, fs::canonicalize(root).expect("there"));

    place.run("init --pipeline My-Clicks").is(2).says(&["a-z"]);
    place.run("init --pipeline clicks --engine clicks").is(2).says(&["no checkout of tidegate", "mend:"]);
    place.run("init plain").is(0).says(&["--pipeline NAME"]);
}

#[test]
fn validate_and_checkpoints_speak_json() {
    let place = Place::new();
    let valid = json(&place.run("validate --json").is(0).out);
    let delay =
        valid["settings"].as_array().expect("a list").iter().find(|one| one["setting"] == "activity.delay");
    let delay = delay.expect("is listed");
    assert_eq!((&delay["value"], &delay["origin"]), (&"2m".into(), &"default".into()));
    assert_eq!(delay["variable"], "TIDEGATE_ACTIVITY_DELAY");
}

#[test]
fn validate_tells_programs_each_fault_and_where_it_is() {
    let place = Place::new();
    place.write("my.yaml", "activity:\n  delai: 2m\n");
    let mut validate = place.command(tidegate(), "validate --json --config my.yaml");
    let ran = validate.env("TIDEGATE_ACTIVITY_MAX_AHEAD", "much").output().expect("starts");
    let faults = json(&place::Ran::of(ran).is(2).says(&["2 faults"]).out)["faults"].take();
    assert_eq!((&faults[0]["origin"], &faults[0]["line"]), (&"my.yaml:2:3".into(), &2.into()));
    assert_eq!((&faults[0]["setting"], &faults[0]["column"]), (&"activity.delai".into(), &3.into()));
    assert!(faults[0]["mend"].as_str().is_some_and(|mend| mend.contains("\"delay\"")), "{faults}");
    let origin = "environment variable TIDEGATE_ACTIVITY_MAX_AHEAD";
    assert_eq!((&faults[1]["origin"], &faults[1]["line"]), (&origin.into(), &Value::Null));
}

#[test]
fn cycles_are_told_to_programs_as_to_people() {
    let place = Place::new();
    place.run("generate hydraulic --fixture rig --cycles 3 --high-rate 1").is(0);
    place.run("replay hydraulic --fixture rig").is(0);
    let text = place.run("cycles compare 0 1 --most 3").is(0).says(&["picture: cycles-0-1.svg"]).out;
    let compared = json(&place.run("cycles compare 0 1 --most 3 --json --picture other.svg").is(0).out);
    assert_eq!((&compared["a"]["cycle"], &compared["b"]["seconds"]), (&0.into(), &60.into()));
    let features = compared["features"].as_array().expect("a list");
    let named: Vec<&str> = text.lines().skip(2).filter_map(|line| line.split_whitespace().next()).collect();
    assert_eq!(features.iter().map(|one| &one["feature"]).collect::<Vec<_>>(), named);
    let (first, means) = (&features[0], ["a", "b"].map(|side| features[0][side]["mean"].as_f64()));
    assert_eq!(first["difference"].as_f64(), means[1].zip(means[0]).map(|(b, a)| b - a));
    assert!(first["deviations"].as_f64() >= features[2]["deviations"].as_f64(), "{compared}");
    assert!(compared["picture"] == "other.svg" && place.path("other.svg").is_file());

    let trend = json(&place.run("cycles trend pressure_mean --json").is(0).out);
    let cycles = trend["cycles"].as_array().expect("a list");
    assert_eq!(cycles.iter().map(|one| &one["cycle"]).collect::<Vec<_>>(), [0, 1, 2]);
    assert_eq!(cycles[0]["start"], "2025-11-08T14:30:00.000000Z");
    let values = ["min", "mean", "max"].map(|name| cycles[0]["values"][name].as_f64().expect("a number"));
    assert!(values.is_sorted() && trend["picture"] == "trend-pressure_mean.svg", "{trend}");
}

#[test]
fn delta_tables_are_looked_after_in_json() {
    let place = Place::new();
    place.run("generate transit --fixture feed --polls 20").is(0);
    place.run("replay transit --fixture feed").is(0);
    let table = "out/delta/vehicle_positions";
    let history = json(&place.run(&format!("delta history {table} --json")).is(0).out);
    let rows = history[0]["rows"].as_u64().expect("rows");
    assert!(rows > 0, "{history}");
    let tapped = place.run(&format!("tap {table} -c 100000 --json")).is(0).out;
    let positions: Vec<Value> = tapped.lines().map(json).collect();
    let outputs = place.summary("out")["pipelines"]["transit"]["outputs"].take();
    assert_eq!(outputs["vehicle_positions"]["rows"], positions.len());
    assert!(
        positions.iter().all(|row| row["event_date"].is_string() && row["kafka_offset"].is_u64()),
        "{tapped}"
    );
    // A replay has one epoch, so there is nothing to merge.
    let merged = json(&place.run(&format!("delta optimize {table} --json")).is(0).out);
    assert_eq!((&merged["version"], &merged["merged"]), (&Value::Null, &0.into()));
    let removed = json(&place.run(&format!("delta vacuum {table} --dry-run --json")).is(0).out);
    assert_eq!((&removed["removed"], &removed["files"]), (&false.into(), &serde_json::json!([])));
}

#[test]
fn manual_has_a_page_a_command() {
    let place = Place::new();
    assert!(place.run("man").is(0).out.contains(".TH tidegate 1"));
    place.run("man --dir pages").is(0);
    for page in ["tidegate.1", "tidegate-replay.1", "tidegate-dlq-replay.1", "tidegate-checkpoint-list.1"] {
        assert!(place.path("pages").join(page).is_file(), "{page}");
    }
    assert!(!place.run("--help").is(0).out.contains("man "), "it is for packagers, and hidden");
}

#[test]
fn no_color_and_no_terminal_mean_no_colours() {
    let place = Place::new();
    replayed(&place);
    for line in ["dlq list", "doctor", "tap user_activity --fixture f", "late show user_activity.late-0@0"] {
        let ran = place.run(line);
        assert!(!ran.out.contains('\u{1b}') && !ran.err.contains('\u{1b}'), "{line}");
    }
}
