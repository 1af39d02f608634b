use std::fs;
use std::time::Duration;

use tempfile::TempDir;

use super::*;
use crate::activity::{Config, DistinctMode};

struct Fixture {
    dir: TempDir,
    layers: Layers,
}

impl Fixture {
    fn new() -> Fixture {
        let dir = tempfile::tempdir().unwrap();
        let layers = Layers { dir: dir.path().to_owned(), ..Layers::default() };
        Fixture { dir, layers }
    }

    fn default_file(self, text: &str) -> Fixture {
        fs::create_dir_all(self.dir.path().join("config")).unwrap();
        fs::write(self.dir.path().join(DEFAULT_FILE), text).unwrap();
        self
    }

    fn config(mut self, text: &str) -> Fixture {
        let path = self.dir.path().join("my.yaml");
        fs::write(&path, text).unwrap();
        self.layers.config = Some(path);
        self
    }

    fn env_file(self, text: &str) -> Fixture {
        fs::write(self.dir.path().join(ENV_FILE), text).unwrap();
        self
    }

    fn variable(mut self, name: &str, value: &str) -> Fixture {
        self.layers.environment.push((name.into(), value.into()));
        self
    }

    fn load(&self) -> Settings {
        self.layers.load().unwrap()
    }

    /// The faults, with the directory taken off their places.
    fn faults(&self) -> Vec<String> {
        let dir = format!("{}/", self.dir.path().display());
        self.layers.load().unwrap_err().0.iter().map(|fault| fault.to_string().replace(&dir, "")).collect()
    }
}

#[test]
fn nothing_set_gives_the_defaults() {
    let settings = Fixture::new().load();
    assert_eq!(format!("{:?}", settings.pipelines.activity), format!("{:?}", Config::default()));
    assert_eq!(format!("{:?}", settings.pipelines.iot), format!("{:?}", crate::iot::Config::default()));
    assert!(settings.files.is_empty());
    assert!(settings.effective.iter().all(|effective| effective.origin.is_none()));
}

#[test]
fn shipped_file_states_every_default() {
    let text = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../config/dev.yaml")).unwrap();
    let settings = Fixture::new().default_file(&text).load();
    assert_eq!(format!("{:?}", settings.pipelines.activity), format!("{:?}", Config::default()));
    assert_eq!(format!("{:?}", settings.pipelines.iot), format!("{:?}", crate::iot::Config::default()));
    assert_eq!(
        format!("{:?}", settings.pipelines.hydraulic),
        format!("{:?}", crate::hydraulic::Config::default())
    );
    for effective in settings.effective {
        assert!(effective.origin.is_some(), "config/dev.yaml does not state {}", effective.setting);
    }
}

#[test]
fn later_layers_win() {
    let mut fixture =
        Fixture::new().default_file("activity: {delay: 1s, max_ahead: 1s, topic: one, distinct: hll}");
    assert_eq!(fixture.load().pipelines.activity.delay, Duration::from_secs(1));
    fixture = fixture.config("activity: {delay: 2s, max_ahead: 2s, topic: two}");
    assert_eq!(fixture.load().pipelines.activity.delay, Duration::from_secs(2));
    fixture = fixture.env_file("TIDEGATE_ACTIVITY_DELAY=3s\nTIDEGATE_ACTIVITY_MAX_AHEAD=3s\n");
    assert_eq!(fixture.load().pipelines.activity.delay, Duration::from_secs(3));
    let settings = fixture.variable("TIDEGATE_ACTIVITY_DELAY", "4s").load();
    assert_eq!(settings.pipelines.activity.delay, Duration::from_secs(4));
    assert_eq!(settings.pipelines.activity.max_ahead, Duration::from_secs(3));
    assert_eq!(settings.pipelines.activity.topic, "two");
    assert_eq!(settings.pipelines.activity.distinct, DistinctMode::Hll);
    assert_eq!(settings.files.len(), 3);
    let delay = settings.effective.iter().find(|effective| effective.setting == "activity.delay").unwrap();
    assert_eq!(delay.origin.as_ref().unwrap().to_string(), "environment variable TIDEGATE_ACTIVITY_DELAY");
}

#[test]
fn every_fault_is_reported_at_once_with_place_cause_and_mend() {
    let faults = Fixture::new()
        .config(
            "activity:\n  delai: 2m\n  max_ahead: 90\n  distinct: some\n  windows:\n    active_users:\n      \
             size: 1m\n      slide: 5m\n  outputs:\n    lake: perhaps\n    tables: true\nspark: 1\n",
        )
        .variable("TIDEGATE_ACTIVITY_SESSION_GAP", "0s")
        .faults();
    let expected = [
        "my.yaml:2:3: activity.delai: there is no setting \"delai\" in activity\n    mend: did you mean \"delay\"?",
        "my.yaml:3:14: activity.max_ahead: \"90\" has no unit\n    mend: write numbers with units",
        "my.yaml:4:13: activity.distinct: \"some\" is no way of counting",
        "my.yaml:8:14: activity.windows.active_users: a window needs 0 < slide <= size",
        "my.yaml:10:11: activity.outputs.lake: \"perhaps\" is neither true nor false",
        "my.yaml:11:5: activity.outputs.tables: there is no setting \"tables\" in activity.outputs",
        "my.yaml:12:1: spark: there is no setting \"spark\" at the top\n    mend: there are: data, checkpoint, memory_limit,",
        "environment variable TIDEGATE_ACTIVITY_SESSION_GAP: activity.session_gap: must be more than 0",
    ];
    assert_eq!(faults.len(), expected.len(), "{faults:#?}");
    for (fault, expected) in faults.iter().zip(expected) {
        assert!(fault.starts_with(expected), "{fault}\nis not\n{expected}");
    }
}

#[test]
fn replaced_value_is_judged_too() {
    let faults =
        Fixture::new().default_file("activity: {delay: soon}").config("activity: {delay: 1m}").faults();
    assert_eq!(faults.len(), 1);
    assert!(
        faults[0].starts_with("config/dev.yaml:1:19: activity.delay: \"soon\" is not a duration"),
        "{faults:?}"
    );
}

#[test]
fn size_alone_keeps_tumbling_windows_tumbling() {
    let settings = Fixture::new().config("activity: {windows: {page_view_counts: {size: 10s}}}").load();
    assert!(settings.pipelines.activity.page_view_windows.is_tumbling());
    assert_eq!(settings.pipelines.activity.page_view_windows.size_us(), 10_000_000);
}

#[test]
fn sections_and_values_are_not_each_other() {
    let faults = Fixture::new().config("activity:\n  delay: {a: 1}\n  windows: 5\n  topic:\n").faults();
    assert_eq!(faults.len(), 3, "{faults:?}");
    assert!(faults[0].contains("activity.delay: this is a value"));
    assert!(faults[1].contains("activity.windows: this is a section"));
    assert!(faults[2].contains("activity.topic: the value is missing"));
    let faults = Fixture::new().config("activity: 5\n").faults();
    assert_eq!(faults.len(), 1, "{faults:?}");
}

#[test]
fn config_that_is_not_there_is_a_fault() {
    let mut fixture = Fixture::new();
    fixture.layers.config = Some(fixture.dir.path().join("no.yaml"));
    let faults = fixture.faults();
    assert_eq!(faults.len(), 1);
    assert!(faults[0].starts_with("no.yaml: cannot be read:"), "{faults:?}");
}

#[test]
fn default_file_named_again_is_read_once() {
    let mut fixture = Fixture::new().default_file("activity: {delay: 1s}");
    fixture.layers.config = Some(fixture.dir.path().join("config/../config/dev.yaml"));
    assert_eq!(fixture.load().files.len(), 1);
}

#[test]
fn variables_of_settings_are_distinct() {
    let mut variables: Vec<String> = names().iter().map(|name| variable_of(name)).collect();
    variables.sort();
    let all = variables.len();
    variables.dedup();
    assert_eq!(variables.len(), all);
}
