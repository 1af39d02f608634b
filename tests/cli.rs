//! The command line as people and scripts meet it: exit codes, messages, files. Each test runs the program in
//! an empty directory of its own, without settings from the environment.

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use serde_json::Value;

mod place;
use place::{Place, Ran, free_address, tidegate};

#[test]
fn wrong_usage_exits_with_2_and_says_what_to_do() {
    let place = Place::new();
    for (line, says) in [
        ("replai", "similar"),
        ("replay activty", "activity"),
        ("replay --fixtur x", "--fixture"),
        ("replay --speed fast", "1x, 10x"),
        ("replay --speed 0x", "1x, 10x"),
        ("replay -w 0", "at least 1"),
        ("replay -w many", "invalid"),
        ("replay --fixture x -n 2 -p 2", "0 to 1"),
        ("replay --fixture x -p 1", "0 to 0"),
        ("replay --idle FILE --fixture x", "cannot read FILE"),
        ("generate", "activity"),
        ("generate activity", "--fixture DIR"),
        ("generate activity --bootstrap-servers localhost:9092 --fixture x", "cannot be used with"),
        ("record --out x", "--topic"),
        ("record --out x --topic t --until soon", "end"),
        ("generate activity --fixture x --codec lz4", "--form segments"),
        ("generate activity --fixture x --users 0", "users must be at least 1"),
        ("generate activity --fixture x --start yesterday", "2026-01-01"),
        ("generate activity --fixture x --span 1h --rate 5", "cannot be used with"),
        ("generate activity --fixture x --start 9999-12-31T23:59:59Z", "years 0001 to 9999"),
        ("generate hydraulic --fixture x --interval 1s", "cannot be used with"),
        ("generate transit --fixture x --rate 5", "cannot be used with"),
        ("generate hydraulic --fixture x --events 10 --cycles 1", "cannot be used with"),
        ("generate transit --fixture x --events 10 --polls 1", "cannot be used with"),
        ("generate activity --fixture x --marks nowhere/faults.json", "no directory for nowhere/faults.json"),
        ("validate --connect", "KAFKA_BOOTSTRAP_SERVERS"),
        ("validate --bootstrap-servers x", "--connect"),
        ("dlq list", "no output directory"),
        ("dlq show here --out .", "topic, partition and offset"),
        ("late list --bootstrap-servers localhost:9092", "--topic TOPIC"),
        ("tap t", "KAFKA_BOOTSTRAP_SERVERS"),
        ("record --out x --topic t", "KAFKA_BOOTSTRAP_SERVERS"),
        ("graph --format png", "mermaid"),
        ("prove", "PIPELINE"),
        ("--log-format xml", "json"),
        ("--config nowhere.yaml validate", "nowhere.yaml"),
    ] {
        let ran = place.run(line).is(2).says(&[says]);
        assert_eq!(ran.out, "", "{line}");
    }
    assert_eq!(fs::read_dir(place.path(".")).expect("readable").count(), 0, "wrong usage leaves nothing");
}

#[test]
fn help_teaches_and_leaves_h_to_timely() {
    let place = Place::new();
    let help = place.run("--help").is(0).out;
    for text in ["Examples:", "-w, --workers", "-h, --hostfile", "Exit codes", "sqlite3"] {
        assert!(help.contains(text), "{text:?} is not in:\n{help}");
    }
    for command in ["replay", "generate activity", "prove", "validate", "graph", "completions"] {
        assert!(place.run(&format!("{command} --help")).is(0).out.contains("Usage: tidegate"), "{command}");
    }
    assert!(place.run("help replay").is(0).out.contains("--fixture"));
    place.run("validate -h").is(2).says(&["--hostfile"]);
    assert!(place.run("--version").is(0).out.starts_with("tidegate "));
}

#[test]
fn missing_fixture_exits_with_1_and_leaves_no_output() {
    let place = Place::new();
    place.run("replay --fixture nowhere").is(1).says(&["nowhere", "mend:", "--fixture DIR"]);
    assert!(!place.path("out").exists());
}

#[test]
fn damaged_lines_are_an_error_with_file_and_line() {
    let place = Place::new();
    place.fixture("f", "--partitions 1");
    let file = place.path("f/user_activity.0.jsonl");
    let text = fs::read_to_string(&file).expect("readable");
    let cut: Vec<&str> = text.lines().take(99).chain([&text[..40]]).chain(text.lines().skip(100)).collect();
    fs::write(&file, cut.join("\n")).expect("written");
    place.run("replay --fixture f").is(1).says(&["user_activity.0.jsonl", "damaged at line 100", "mend:"]);
    assert!(!place.path("out/summary.json").exists());
}

#[test]
fn damaged_segment_is_an_error_with_file_and_byte() {
    let place = Place::new();
    place.fixture("f", "--partitions 1 --form segments");
    let file = place.path("f/user_activity-0/00000000000000000000.log");
    let mut bytes = fs::read(&file).expect("readable");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&file, bytes).expect("written");
    place.run("replay --fixture f").is(1).says(&["00000000000000000000.log", "damaged at byte ", "mend:"]);
    assert!(!place.path("out/summary.json").exists());
}

#[test]
fn fixture_of_other_topics_is_an_error_that_names_them() {
    let place = Place::new();
    place.write("my.yaml", "activity: {topic: clicks}");
    place.fixture("f", "--config my.yaml");
    place.run("replay --fixture f").is(1).says(&["user_activity", "clicks"]);
    place.run("replay --fixture f --config my.yaml").is(0);
    assert_eq!(place.results("out")["read"], 5_000);
}

#[test]
fn directory_that_holds_something_else_is_refused() {
    let place = Place::new();
    place.fixture("f", "");
    place.write("mine/diary.txt", "dear diary");
    place.run("replay --fixture f --out mine").is(2).says(&["mine", "mend:"]);
    assert_eq!(fs::read_to_string(place.path("mine/diary.txt")).expect("still there"), "dear diary");
    assert_eq!(fs::read_dir(place.path("mine")).expect("readable").count(), 1);
}

#[test]
fn replay_writes_everything_and_tells_where_to_look() {
    let place = Place::new();
    place.fixture("f", "");
    let ran = place.run("replay activity --fixture f --out results -w 2").is(0).says(&[
        "user_activity",
        "page_view_counts",
        "exactly once",
        "delay 2m",
        "never dropped",
    ]);
    for text in [
        "page_view_counts",
        "5,000",
        "sqlite3 results/tables.sqlite",
        "results/summary.json",
        "results/lake/activity",
    ] {
        assert!(ran.out.contains(text), "{text:?} is not in:\n{}", ran.out);
    }
    assert!(!ran.out.contains('\u{1b}') && !ran.err.contains('\u{1b}'), "colours belong on a terminal");
    for file in ["tables.sqlite", "topics/enriched_activity.jsonl", "topics/user_activity.late.jsonl"] {
        assert!(place.path("results").join(file).is_file(), "{file}");
    }
    let results = place.results("results");
    assert_eq!(results["read"], 5_000);
    let views = &results["outputs"]["page_view_counts"];
    let sum: u64 =
        ["counted", "filtered", "late", "idle"].iter().filter_map(|name| views[*name].as_u64()).sum();
    assert_eq!(sum, 5_000);
    // A replay starts afresh, also where an earlier one has been.
    place.run("replay activity --fixture f --out results -w 3").is(0);
    assert_eq!(place.results("results"), results);
}

#[test]
fn no_command_replays_fixtures_into_out() {
    let place = Place::new();
    place.fixture("fixtures/activity", "--form kcat-zst");
    place.run("-w 2").is(0);
    assert_eq!(place.results("out")["read"], 5_000);
}

#[test]
fn no_command_without_fixtures_says_so() {
    let place = Place::new();
    // Away from the workspace, whose fixtures would be found. Another process copies: a program that a thread of this one still
    // holds open for writing, or a child that is just being started, cannot be executed.
    let program = place.path("tidegate");
    assert!(
        Command::new("cp")
            .args([tidegate().as_ref(), program.as_os_str()])
            .status()
            .expect("starts")
            .success()
    );
    let ran = Ran::of(place.command(&program, "-w 2").output().expect("starts"));
    ran.is(2).says(&["fixtures/", "--fixture DIR"]);
}

#[test]
fn settings_of_all_layers_are_in_effect() {
    let place = Place::new();
    place.fixture("f", "");
    place.write("config/dev.yaml", "activity:\n  outputs: {lake: false}\n  delay: 1s\n");
    place.write("my.yaml", "activity: {delay: 2s, session_gap: 1m}");
    place.write(".env", "TIDEGATE_ACTIVITY_SESSION_GAP=2m\n");
    let mut command = place.command(tidegate(), "validate --config my.yaml");
    let out = Ran::of(command.env("TIDEGATE_ACTIVITY_MAX_AHEAD", "30m").output().expect("starts")).is(0).out;
    let effective = |setting: &str| {
        let line = out.lines().find(|line| line.starts_with(setting)).expect("is listed");
        line.split_whitespace().skip(1).collect::<Vec<_>>().join(" ")
    };
    assert_eq!(effective("activity.outputs.lake "), "false config/dev.yaml:2:19");
    assert_eq!(effective("activity.delay "), "2s my.yaml:1:19");
    assert_eq!(effective("activity.session_gap "), "2m .env:1:1");
    assert_eq!(effective("activity.max_ahead "), "30m environment variable TIDEGATE_ACTIVITY_MAX_AHEAD");
    assert_eq!(effective("activity.topic "), "user_activity default");
    place.run("replay --fixture f").is(0);
    let results = place.results("out");
    assert_eq!(results["outputs"]["lake/activity"]["rows"], 0);
    assert!(
        results["outputs"]["page_view_counts"]["late"].as_u64() > Some(0),
        "a delay of 1 s makes many late"
    );
}

#[test]
fn output_that_is_off_has_no_rows_and_is_not_missed() {
    let place = Place::new();
    place.fixture("f", "");
    place.write("my.yaml", "activity: {outputs: {active_users: false, sessions: false}}");
    place.run("replay --fixture f --config my.yaml").is(0);
    let outputs = &place.results("out")["outputs"];
    for off in ["active_users", "user_sessions"] {
        assert_eq!(
            (&outputs[off]["rows"], &outputs[off]["counted"]),
            (&Value::from(0), &Value::Null),
            "{off}"
        );
    }
    assert!(outputs["page_view_counts"]["counted"].as_u64() > Some(0));
}

#[test]
fn validate_reports_every_fault_at_once() {
    let place = Place::new();
    place.write(
        "my.yaml",
        "activity:\n  delai: 2m\n  max_ahead: 90\n  outputs:\n    lake: maybe\nspark: {}\n",
    );
    let ran = place.run("validate --config my.yaml").is(2).says(&[
        "4 faults",
        "my.yaml:2:3: activity.delai",
        "did you mean \"delay\"?",
        "my.yaml:3:14: activity.max_ahead: \"90\" has no unit",
        "my.yaml:5:11: activity.outputs.lake",
        "my.yaml:6:1: spark",
    ]);
    assert_eq!(ran.err.matches("mend:").count(), 4);
    // What is wrong is wrong for every command, before it does anything.
    for command in
        ["replay --fixture x", "graph", "prove activity --fixture x", "generate activity --fixture x"]
    {
        place.run(&format!("{command} --config my.yaml")).is(2).says(&["4 faults"]);
    }
    assert!(!place.path("x").exists());
}

#[test]
fn graph_is_drawn_in_three_forms_with_the_settings_in_effect() {
    let place = Place::new();
    place.write("my.yaml", "activity: {windows: {active_users: {size: 10m}}, outputs: {sessions: false}}");
    let text = place.run("graph activity --config my.yaml").is(0).out;
    assert!(
        text.contains("10m sliding by 1m") && text.contains("└─ ") && !text.contains("session_history"),
        "{text}"
    );
    // The sinks in effect too, and what they promise.
    place.write("sinks.yaml", "activity: {sinks: {tables: 'postgres, console', lake: none}}");
    let text = place.run("graph activity --config sinks.yaml").is(0).out;
    assert!(
        text.contains("active_users → PostgreSQL localhost:5432/")
            && text.contains(", console (at least once)\n"),
        "{text}"
    );
    assert!(
        text.contains("every accepted event → nowhere\n") && text.contains("→ Kafka (exactly once)\n"),
        "{text}"
    );
    let json = place.run("graph activity --config sinks.yaml --json").is(0).out;
    let json: Value = serde_json::from_str(&json).unwrap();
    let node =
        |name: &str| json[0]["nodes"].as_array().unwrap().iter().find(|node| node["name"] == name).unwrap();
    assert_eq!(node("lake/activity")["place"], "");
    assert_eq!(node("active_users")["guarantee"], "exactly once, at least once");
    assert!(
        json[0]["edges"].as_array().unwrap().iter().all(|edge| edge["from"].as_u64() < edge["to"].as_u64())
    );
    assert!(place.run("graph --format mermaid").is(0).out.starts_with("flowchart LR\n"));
    assert!(place.run("graph --format dot").is(0).out.starts_with("digraph \"activity\" {\n"));
}

#[test]
fn rig_is_generated_and_replayed_with_rules_of_ones_own() {
    let place = Place::new();
    place
        .run("generate hydraulic --fixture rig --cycles 3 --high-rate 1 --form kcat-zst")
        .is(0)
        .says(&["17 topics", "faults.json"]);
    place.write(
        "my.yaml",
        "hydraulic:\n  rules:\n    warm: {kind: threshold, value: TS2_avg - TS1_avg, limit: 1}\n",
    );
    let ran = place.run("replay hydraulic --fixture rig --config my.yaml -w 2").is(0).out;
    assert!(ran.contains("synchronized_features") && ran.contains("topics of late and unusable"), "{ran}");
    let results = place.summary("out")["pipelines"]["hydraulic"].take();
    assert_eq!(results["outputs"]["synchronized_features"]["rows"], 180);
    assert_eq!(
        results["outputs"]["lake/hydraulic"]["digest"],
        results["outputs"]["synchronized_features"]["digest"]
    );
    assert!(results["outputs"]["anomalies"]["rows"].as_u64() >= Some(180), "every second is warm: {results}");
    place.write("bad.yaml", "hydraulic: {rules: {warm: {value: TS9_avg}, zscore: {limit: much}}}");
    place.run("validate --config bad.yaml").is(2).says(&["must say its kind", "TS9_avg", "\"much\""]);
    place.run("generate hydraulic --fixture x --high-rate 30").is(2).says(&["high rate"]);
}

/// Every file below `dir`, by its path there.
fn files(dir: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut found = Vec::new();
    let mut dirs = vec![dir.to_owned()];
    while let Some(next) = dirs.pop() {
        for entry in fs::read_dir(next).expect("readable") {
            let path = entry.expect("readable").path();
            if path.is_dir() {
                dirs.push(path);
            } else {
                let name = path.strip_prefix(dir).expect("below").to_owned();
                found.push((name, fs::read(&path).expect("readable")));
            }
        }
    }
    found.sort();
    found
}

#[test]
fn generated_fixture_is_decided_by_its_seed() {
    let place = Place::new();
    for form in ["kcat", "kcat-gz", "kcat-zst", "segments", "ndjson"] {
        let flags = format!("--form {form}");
        place.fixture(&format!("{form}/a"), &flags);
        place.fixture(&format!("{form}/b"), &flags);
        place.fixture(&format!("{form}/c"), &format!("{flags} --seed 2"));
        let files = |name: &str| files(&place.path(&format!("{form}/{name}")));
        assert_eq!(files("a").len(), 8, "{form}");
        assert_eq!(files("a"), files("b"), "{form}");
        assert_ne!(files("a"), files("c"), "{form}");
    }
    place.run("generate activity --fixture kcat/a --records 1").is(2).says(&["not empty", "new directory"]);
}

#[test]
fn rules_are_scored_by_the_faults_that_were_marked() {
    let place = Place::new();
    place.run("generate hydraulic --fixture rig --cycles 12 --high-rate 10 --seed 7 --late-every 200").is(0);
    place.run("replay hydraulic --fixture rig -w 2").is(0);
    let line = "cycles score --marks rig/faults.json --out out";
    let scores: Value = serde_json::from_str(&place.run(&format!("{line} --json")).is(0).out).expect("JSON");
    let of = |rule: &str, name: &str| scores["rules"][rule][name].as_f64();
    for rule in ["high_pressure", "high_temperature", "pressure_spike", "sudden_change", "correlation"] {
        assert_eq!((of(rule, "precision"), of(rule, "recall")), (Some(1.0), Some(1.0)), "{rule}: {scores}");
    }
    // As docs/hydraulic.md says it.
    assert_eq!((of("zscore", "in_faults"), of("zscore", "anomalies")), (Some(34.0), Some(36.0)));
    assert_eq!((of("zscore", "recall"), of("pattern", "recall")), (Some(1.0), None));
    assert_eq!((of("pattern", "in_faults"), of("pattern", "anomalies")), (Some(79.0), Some(254.0)));
    let marks: Value =
        serde_json::from_slice(&fs::read(place.path("rig/faults.json")).expect("there")).expect("JSON");
    assert_eq!(scores["all"]["faults"].as_u64(), marks.as_array().map(|all| all.len() as u64));
    assert_eq!(scores["all"]["recall"], 1.0);
    let table = place.run(line).is(0).out;
    assert!(table.starts_with("rule ") && table.contains("\nall "), "{table}");

    place.run("cycles score --marks rig/faults.json").is(2).says(&["--out"]);
    place.run("cycles score --marks nowhere.json --out out").is(1).says(&["nowhere.json", "mend:"]);
    place.run("cycles score --marks rig/faults.json --out nowhere").is(1).says(&["mend:"]);
    place.write("marks.json", "[{\"kind\": \"too_hot\"}]");
    place.run("cycles score --marks marks.json --out out").is(1).says(&["marks.json", "rule"]);
}

/// The records of the kcat files whose names end so, below `dir`.
fn records(dir: &Path, ending: &str) -> Vec<Value> {
    let of_topic = |(name, _): &(PathBuf, _)| name.to_string_lossy().ends_with(ending);
    let texts = files(dir).into_iter().filter(of_topic).map(|(_, bytes)| bytes);
    let lines = texts.flat_map(|text| {
        String::from_utf8(text).expect("text").lines().map(str::to_owned).collect::<Vec<_>>()
    });
    lines.map(|line| serde_json::from_str(&line).expect("JSON")).collect()
}

/// A header of such a record.
fn header(record: &Value, name: &str) -> Option<String> {
    let headers = record["headers"].as_array()?;
    headers.chunks(2).find(|pair| pair[0] == name).map(|pair| pair[1].as_str().expect("text").to_owned())
}

#[test]
fn what_is_faulty_is_marked_and_says_so_and_is_what_a_replay_refuses() {
    for (pipeline, events, flags) in [
        ("activity", 3_000, "--fault-every 40"),
        ("iot", 3_000, "--fault-every 40"),
        ("transit", 3_000, "--fault-every 40"),
        // Its first minute and a half is without faults: 2,100 readings a minute.
        ("hydraulic", 9_000, "--fault-every 5 --high-rate 1"),
    ] {
        let place = Place::new();
        let generate = format!("generate {pipeline} --events {events} --late-every 0 {flags}");
        let count = format!("{},000 records", events / 1_000);
        place.run(&format!("{generate} --fixture f")).is(0).says(&[&count, "faults in faults.json"]);
        place
            .run(&format!("{generate} --fixture g --marks marks.json"))
            .is(0)
            .says(&["faults in marks.json"]);
        let marks = fs::read(place.path("f/faults.json")).expect("there");
        assert_eq!(fs::read(place.path("marks.json")).expect("there"), marks, "{pipeline}");
        assert!(!place.path("g/faults.json").exists(), "{pipeline}");
        let marks: Vec<Value> = serde_json::from_slice(&marks).expect("JSON");

        let made = records(&place.path("f"), ".jsonl");
        assert_eq!(made.len(), events, "{pipeline}");
        let faulty: Vec<&Value> = made.iter().filter(|record| header(record, "fault").is_some()).collect();
        let kinds = |texts: Vec<String>| texts.into_iter().collect::<BTreeSet<String>>();
        let told = faulty.iter().filter_map(|record| header(record, "fault"));
        let told =
            kinds(told.flat_map(|all| all.split(',').map(str::to_owned).collect::<Vec<_>>()).collect());
        let marked = marks.iter().map(|mark| mark["kind"].as_str().expect("text").to_owned()).collect();
        assert_eq!(told, kinds(marked), "{pipeline}");
        assert!(told.len() >= 3, "{pipeline}: {told:?}");
        if pipeline == "hydraulic" {
            // Its faults are in what is measured, and no record is refused.
            continue;
        }
        let places = |of: &[&Value]| -> BTreeSet<(i64, i64)> {
            of.iter().filter_map(|at| Some((at["partition"].as_i64()?, at["offset"].as_i64()?))).collect()
        };
        let marked = places(&marks.iter().collect::<Vec<_>>());
        assert_eq!(places(&faulty), marked, "{pipeline}");
        place.run(&format!("replay {pipeline} --fixture f")).is(0);
        let number = |record: &Value, name: &str| header(record, name).and_then(|text| text.parse().ok());
        let refused = records(&place.path("out/topics"), ".dlq.jsonl");
        let refused = refused
            .iter()
            .filter_map(|record| Some((number(record, "partition")?, number(record, "offset")?)));
        assert_eq!(refused.collect::<BTreeSet<(i64, i64)>>(), marked, "{pipeline}");
    }
}

#[test]
fn rules_of_ones_own_are_named_where_they_are_broken_repeats_too() {
    let place = Place::new();
    place.run("generate iot --fixture f --events 3000 --late-every 0 --fault-every 40 --partitions 1").is(0);
    place.write(
        "my.yaml",
        "iot:\n  rules:\n    sent_twice: {kind: duplicate}\n    has_battery: {member: battery, kind: required}\n",
    );
    place.run("replay iot --fixture f --config my.yaml").is(0);
    let refused = records(&place.path("out/topics"), ".dlq.jsonl");
    let named = |rule: &str| {
        let details = refused.iter().filter_map(|record| header(record, "detail"));
        details.filter(|detail| detail.split("; ").any(|part| part.starts_with(&format!("{rule}: ")))).count()
    };
    let marks: Vec<Value> =
        serde_json::from_slice(&fs::read(place.path("f/faults.json")).expect("there")).expect("JSON");
    let repeats = marks.iter().filter(|mark| mark["kind"] == "repeated").count();
    // No reading has a battery, so none is accepted that another could repeat.
    assert_eq!((refused.len(), named("sent_twice"), named("duplicate")), (3_000, 0, 0));
    assert!(named("has_battery") > 2_900);
    place.write("my.yaml", "iot: {rules: {sent_twice: {kind: duplicate}}}");
    place.run("replay iot --fixture f --config my.yaml").is(0);
    let refused = records(&place.path("out/topics"), ".dlq.jsonl");
    let twice = refused.iter().filter_map(|record| header(record, "detail"));
    assert_eq!(twice.filter(|detail| detail.starts_with("sent_twice: ")).count(), repeats);
    assert!(repeats > 0);

    place.write("bad.yaml", "iot: {rules: {a: {kind: duplicate}, b: {kind: duplicate}, c: {kind: range}}}");
    place.run("validate --config bad.yaml").is(2).says(&["second of kind duplicate", "must say its member"]);
}

#[test]
fn every_form_of_a_fixture_replays_to_the_same_results() {
    let place = Place::new();
    let forms = ["--form kcat", "--form kcat-gz", "--form segments", "--form segments --codec snappy"];
    let results: Vec<Value> = forms
        .iter()
        .enumerate()
        .map(|(i, form)| {
            place.fixture(&format!("f{i}"), form);
            place.run(&format!("replay --fixture f{i} --out o{i} -w {}", i + 1)).is(0);
            place.results(&format!("o{i}"))
        })
        .collect();
    assert!(results.iter().all(|other| *other == results[0]), "{results:#?}");
}

#[test]
fn rate_and_interval_space_the_events() {
    let place = Place::new();
    place.run("generate activity --fixture a --records 100 --rate 0.5 --late-every 0").is(0);
    place.run("generate activity --fixture b --records 100 --interval 2s --late-every 0").is(0);
    place.run("generate activity --fixture c --records 100 --span 200s --late-every 0").is(0);
    assert_eq!(files(&place.path("a")), files(&place.path("b")));
    assert_eq!(files(&place.path("a")), files(&place.path("c")));
}

#[test]
fn prove_finds_one_digest_on_a_tiny_fixture() {
    let place = Place::new();
    place.fixture("f", "");
    let ran = place.run("prove activity --fixture f --quick --scratch scratch").is(0).says(&[
        "-w 8",
        "-n 2",
        "killed 2 times",
    ]);
    let digest = ran.out.lines().find_map(|line| line.strip_prefix("digest ")).expect("a digest");
    assert!(digest.len() == 64 && digest.chars().all(|c| c.is_ascii_hexdigit()), "{digest}");
    assert!(ran.out.starts_with("proven: 7 runs"), "{}", ran.out);
    assert_eq!(fs::read_dir(place.path("scratch")).expect("there").count(), 0, "nothing is left behind");
    let again = place.run("prove activity --fixture f --quick --seed 99 --json").is(0).out;
    let again: Value = serde_json::from_str(&again).expect("JSON");
    assert_eq!(again["digest"], digest, "other interleavings, the same digest");
    assert_eq!((&again["pipeline"], &again["runs"]), (&"activity".into(), &7.into()));
}

#[test]
fn prove_shows_what_a_failing_run_said() {
    let place = Place::new();
    place.run("prove activity --fixture nowhere --quick").is(1).says(&[
        "-w 1 -n 1",
        "cannot read \"nowhere\"",
        "exit status: 1",
    ]);
    place.fixture("f", "");
    let ran = place.run("prove activity --fixture f --quick --timeout 0s").is(1);
    ran.says(&["was killed", "--timeout"]);
}

#[test]
fn prove_that_is_told_to_stop_leaves_nothing_behind() {
    let place = Place::new();
    place.fixture("f", "");
    let mut command = place.command(tidegate(), "prove activity --fixture f --scratch scratch");
    let mut child = command.stderr(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("starts");
    let said = signal_when(&mut child, "run  2 of", "-TERM");
    assert_eq!(child.wait().expect("ends").code(), Some(1), "{said}");
    assert!(said.contains("nothing is proven"), "{said}");
    assert_eq!(fs::read_dir(place.path("scratch")).expect("there").count(), 0);
}

/// Reads what `child` says, sends it `signal` when that holds `text`, and reads the rest.
fn signal_when(child: &mut Child, text: &str, signal: &str) -> String {
    let mut err = BufReader::new(child.stderr.take().expect("piped"));
    let mut said = String::new();
    while !said.contains(text) {
        assert!(err.read_line(&mut said).expect("readable") > 0, "it ended early:\n{said}");
    }
    let pid = child.id().to_string();
    assert!(Command::new("kill").args([signal, &pid]).status().expect("kill starts").success());
    while err.read_line(&mut said).expect("readable") > 0 {}
    said
}

#[test]
fn json_log_is_one_object_a_line() {
    let place = Place::new();
    place.fixture("f", "");
    let ran = place.run("replay --fixture f --log-format json").is(0);
    let objects: Vec<Value> =
        ran.err.lines().map(|line| serde_json::from_str(line).expect("an object")).collect();
    assert_eq!(objects[0]["message"], "replay");
    assert_eq!(objects[0]["partitions"], 8);
    let ran = place.run("replay --fixture nowhere --log-format json").is(1);
    let last: Value = serde_json::from_str(ran.err.lines().last().expect("a line")).expect("an object");
    assert_eq!((&last["level"], &last["exit_code"]), (&Value::from("ERROR"), &Value::from(1)));
}

#[test]
fn each_epoch_tells_the_rows_of_outputs_and_of_sinks() {
    let place = Place::new();
    place.fixture("f", "");
    let run = "run activity --fixture f --speed 3000x --epoch 100ms --out live --web off --log-format json";
    let ran = place.run(run).is(0);
    let lines = ran.err.lines().map(|line| serde_json::from_str::<Value>(line).expect("an object"));
    let epochs: Vec<Value> = lines.filter(|line| line["message"] == "epoch").collect();
    // `lake 12, tables 3`
    let counted = |line: &Value, list: &str, name: &str| -> u64 {
        let list = line[list].as_str().expect("a list");
        let rows = list.split(", ").find_map(|one| one.strip_prefix(name)?.strip_prefix(' '));
        rows.map_or(0, |rows| rows.parse().expect("a number"))
    };
    let mut all = 0;
    for line in &epochs {
        let lake = counted(line, "sinks", "lake");
        assert_eq!(lake, counted(line, "rows", "lake/activity"), "{line}");
        all += lake;
    }
    assert_eq!(place.summary("live")["pipelines"]["activity"]["outputs"]["lake/activity"]["rows"], all);
    assert!(epochs.iter().any(|line| counted(line, "sinks", "tables") > 0));
}

#[test]
fn replay_that_is_told_to_stop_shows_nothing_and_exits_with_1() {
    let place = Place::new();
    place.fixture("f", "");
    for signal in ["-TERM", "-INT"] {
        let mut command = place.command(tidegate(), "replay --fixture f --speed 1x -w 2");
        let mut child = command.stderr(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("starts");
        // The banner's last line: the run has begun.
        let said = signal_when(&mut child, "never dropped", signal);
        let output = child.wait_with_output().expect("ends");
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(said.contains("stopped before the end") && output.stdout.is_empty(), "{said}");
        assert!(!place.path("out/summary.json").exists());
    }
    // The next one is none the worse.
    place.run("replay --fixture f").is(0);
    assert_eq!(place.results("out")["read"], 5_000);
}

#[test]
fn two_processes_make_one_run() {
    let place = Place::new();
    place.fixture("f", "");
    place.run("replay --fixture f --out one").is(0);
    place.write("hosts", format!("{}\n{}\n", free_address(), free_address()));
    let line = "replay --fixture f --out two -h hosts -n 2 -w 2";
    let mut other = place.command(tidegate(), &format!("{line} -p 1"));
    let other = other.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("starts");
    place.run(&format!("{line} -p 0")).is(0);
    let other = Ran::of(other.wait_with_output().expect("ends")).is(0);
    // timely says on standard output that it waits for process 0; the results, only process 0 tells.
    assert!(!other.out.contains("page_view_counts"), "{}", other.out);
    assert_eq!(place.results("one"), place.results("two"));
}

#[test]
fn one_process_of_two_that_is_told_to_stop_ends_both() {
    let place = Place::new();
    place.fixture("f", "");
    place.write("hosts", format!("{}\n{}\n", free_address(), free_address()));
    let start = |process: usize| {
        let line = format!("replay --fixture f --speed 1x -h hosts -n 2 -p {process}");
        let mut command = place.command(tidegate(), &line);
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("starts")
    };
    let (mut first, other) = (start(0), start(1));
    // The first line of progress: both are connected.
    let said = signal_when(&mut first, "activity: ", "-TERM");
    assert_eq!(first.wait().expect("ends").code(), Some(1), "{said}");
    assert!(said.contains("stopped before the end"), "{said}");
    let other = Ran::of(other.wait_with_output().expect("ends"));
    assert_ne!(other.code, Some(0), "{}", other.err);
    assert!(!place.path("out/summary.json").exists());
}

#[test]
fn completions_are_scripts() {
    let place = Place::new();
    for shell in ["bash", "zsh", "fish", "powershell", "elvish"] {
        assert!(place.run(&format!("completions {shell}")).is(0).out.contains("tidegate"), "{shell}");
    }
}
