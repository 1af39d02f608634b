use super::*;

fn met(counted: u64, filtered: u64, late: u64, idle: u64) -> OutputSummary {
    OutputSummary {
        counted: Some(counted),
        filtered: Some(filtered),
        late: Some(late),
        idle: Some(idle),
        rows: 7,
        digest: "ab".into(),
    }
}

fn example() -> Summary {
    let named = |name: &str, count| (name.to_owned(), count);
    let made_from_rows = OutputSummary { rows: 3, digest: "cd".into(), ..OutputSummary::default() };
    let pipeline = PipelineSummary {
        read: 1_234_567,
        duplicate_offsets: 7,
        rejected: [named("not_json", 2), named("ahead", 3)].into_iter().collect(),
        accepted: 1_234_555,
        seconds: 0.5,
        outputs: [
            ("page_view_counts".to_owned(), met(1_234_500, 50, 4, 1)),
            ("user_activity.late".to_owned(), made_from_rows),
        ]
        .into_iter()
        .collect(),
    };
    let mut summary = Summary::default();
    summary.pipelines.insert("activity".to_owned(), pipeline);
    summary
}

#[test]
fn json_is_as_the_contract_says_and_reads_back() {
    let json = serde_json::to_string(&example()).unwrap();
    let expected = concat!(
        r#"{"contract":1,"pipelines":{"activity":{"read":1234567,"duplicate_offsets":7,"#,
        r#""rejected":{"not_json":2,"ahead":3},"accepted":1234555,"seconds":0.5,"outputs":{"#,
        r#""page_view_counts":{"counted":1234500,"filtered":50,"late":4,"idle":1,"rows":7,"digest":"ab"},"#,
        r#""user_activity.late":{"rows":3,"digest":"cd"}}}}}"#
    );
    assert_eq!(json, expected);
    assert_eq!(serde_json::from_str::<Summary>(&json).unwrap(), example());
}

#[test]
fn file_reads_back_and_one_of_another_contract_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    assert!(Summary::read(dir.path()).is_err());
    example().write(dir.path()).unwrap();
    assert_eq!(Summary::read(dir.path()).unwrap(), example());
    Summary { contract: 2, ..example() }.write(dir.path()).unwrap();
    assert!(Summary::read(dir.path()).unwrap_err().to_string().contains("contract 2"));
}

#[test]
fn equations_hold_or_the_error_names_the_figures() {
    assert_eq!(example().check(), Ok(()));
    let changed = |change: fn(&mut PipelineSummary)| {
        let mut pipeline = example().pipelines.get("activity").unwrap().clone();
        change(&mut pipeline);
        let mut summary = Summary::default();
        summary.pipelines.insert("activity".to_owned(), pipeline);
        summary.check().unwrap_err().to_string()
    };
    let error = changed(|pipeline| pipeline.read += 1);
    assert!(error.contains("read 1234568") && error.contains("make 1234567"), "{error}");
    let error = changed(|pipeline| pipeline.outputs.insert("page_view_counts".into(), met(1, 2, 3, 4)));
    assert!(error.contains("page_view_counts") && error.contains("makes 10"), "{error}");
    let error = changed(|pipeline| {
        let partial = OutputSummary { late: None, ..met(1_234_500, 50, 4, 1) };
        pipeline.outputs.insert("page_view_counts".into(), partial);
    });
    assert!(error.contains("lacks"), "{error}");
    let error = changed(|pipeline| pipeline.rejected.insert("schema".into(), u64::MAX));
    assert!(error.contains("read 1234567"), "{error}");
}

#[test]
fn table_says_how_much_how_fast_and_where() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join("topics")).unwrap();
    std::fs::write(dir.path().join("topics/user_activity.late.jsonl"), "").unwrap();
    let elsewhere = example().table(dir.path());
    assert!(elsewhere.contains("4     1  as the settings say\n"), "{elsewhere}");
    std::fs::write(dir.path().join("tables.sqlite"), "").unwrap();
    let text = example().table(dir.path());
    let shown = text.replace(&*dir.path().to_string_lossy(), "out");
    let expected = "\
pipeline    records   accepted  rejected  duplicates  late  seconds   events/s
activity  1,234,567  1,234,555         5           7     3     0.50  2,469,134

activity rejected: not_json 2, ahead 3

activity output     rows    counted  late  idle  where
page_view_counts       7  1,234,500     4     1  out/tables.sqlite
user_activity.late     3                         out/topics/user_activity.late.jsonl

Digests and all figures: out/summary.json
";
    assert_eq!(shown, expected);
    // A topic that is not here is in no table.
    std::fs::remove_file(dir.path().join("topics/user_activity.late.jsonl")).unwrap();
    let text = example().table(dir.path());
    assert!(
        text.contains("user_activity.late     3                         as the settings say\n"),
        "{text}"
    );
}
