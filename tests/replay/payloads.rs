//! Values that hurt, each with what becomes of it.

use tidegate::source::memory::OwnedRecord;

use crate::harness::Outcome::{self, Accepted};
use crate::harness::{event, judge, judge_record, log_of, record, replayed_one};

fn dead(reason: &str) -> Outcome {
    Outcome::Dead(reason.to_owned())
}

fn good() -> String {
    event(0, "u", "/p", "click")
}

/// The good event with one more member, given as JSON text.
fn with(member: &str) -> String {
    format!("{},{member}}}", good().trim_end_matches('}'))
}

/// The good event with a member's value given as JSON text.
fn set(name: &str, value: &str) -> String {
    let rest = good();
    let start = rest.find(&format!("\"{name}\":")).expect("a member") + name.len() + 3;
    let end = start + rest[start..].find([',', '}']).expect("an end");
    // The time's own text holds no comma or brace, nor do the others'.
    format!("{}{value}{}", &rest[..start], &rest[end..])
}

/// The good event without a member.
fn without(name: &str) -> String {
    set(name, "\0").split(['{', ',', '}']).filter(|part| !part.is_empty() && !part.ends_with('\0')).fold(
        String::new(),
        |all, part| if all.is_empty() { format!("{{{part}") } else { format!("{all},{part}") },
    ) + "}"
}

/// `levels` arrays in one another.
fn nested(levels: usize) -> String {
    "[".repeat(levels) + &"]".repeat(levels)
}

/// The good event with white space before it, `len` bytes long.
fn padded(len: usize) -> Vec<u8> {
    format!("{}{}", " ".repeat(len - good().len()), good()).into_bytes()
}

/// The good event with bytes in the middle of its page.
fn spliced(bytes: &[u8]) -> Vec<u8> {
    let good = good();
    let (front, back) = good.split_at(good.find("/p").expect("the page"));
    [front.as_bytes(), bytes, back.as_bytes()].concat()
}

macro_rules! judged {
    ($($name:ident: $value:expr => $outcome:expr;)*) => {
        $(#[test] fn $name() { assert_eq!(judge($value), $outcome); })*
    };
}

judged! {
    a_good_event_is_accepted: good() => Accepted;

    // Nothing there, or too much.
    value_of_0_bytes_is_a_tombstone: "" => dead("tombstone");
    value_of_one_blank_is_not_json: " " => dead("not_json");
    value_of_1_mib_is_accepted: padded(1 << 20) => Accepted;
    value_of_1_mib_and_a_byte_is_too_large: padded((1 << 20) + 1) => dead("too_large");
    value_of_10_mb_is_too_large: vec![b'x'; 10_000_000] => dead("too_large");
    too_large_stands_before_not_utf8: vec![0xff; (1 << 20) + 1] => dead("too_large");

    // Not UTF-8.
    stray_continuation_is_not_utf8: spliced(b"\x80") => dead("not_utf8");
    cut_sequence_is_not_utf8: spliced(b"\xe2\x82") => dead("not_utf8");
    overlong_slash_is_not_utf8: spliced(b"\xc0\xaf") => dead("not_utf8");
    surrogate_in_bytes_is_not_utf8: spliced(b"\xed\xa0\x80") => dead("not_utf8");
    code_point_beyond_unicode_is_not_utf8: spliced(b"\xf4\x90\x80\x80") => dead("not_utf8");
    utf16_is_not_utf8: [&b"\xff\xfe"[..], good().as_bytes()].concat() => dead("not_utf8");
    not_utf8_stands_before_not_json: &b"{\xff"[..] => dead("not_utf8");
    noncharacter_and_emoji_are_utf8: spliced("\u{ffff}\u{1f600}".as_bytes()) => Accepted;

    // Not one JSON object.
    truncated_json_is_not_json: &good()[..good().len() - 1] => dead("not_json");
    json_cut_in_a_text_is_not_json: &good()[..good().len() - 3] => dead("not_json");
    byte_order_mark_is_not_json: format!("\u{feff}{}", good()) => dead("not_json");
    two_objects_are_not_json: good() + &good() => dead("not_json");
    array_around_the_event_is_not_json: format!("[{}]", good()) => dead("not_json");
    bare_text_is_not_json: "\"page_view\"" => dead("not_json");
    bare_null_is_not_json: "null" => dead("not_json");
    comma_at_the_end_is_not_json: with("") => dead("not_json");
    nul_after_the_object_is_not_json: good() + "\0" => dead("not_json");
    raw_control_character_is_not_json: with("\"a\":\"\u{1}\"") => dead("not_json");
    white_space_around_is_json: format!("\r\n\t {}\n ", good()) => Accepted;

    // Members twice.
    own_member_twice_is_not_json: with(r#""user_id":"u""#) => dead("not_json");
    own_member_twice_in_escapes_is_not_json: with(r#""\u0075ser_id":"u""#) => dead("not_json");
    foreign_member_twice_is_not_json: with(r#""a":1,"a":1"#) => dead("not_json");
    member_twice_below_the_top_is_json: with(r#""a":{"b":1,"b":2}"#) => Accepted;

    // Depth: the event itself is the first level.
    nesting_of_128_is_json: with(&format!("\"a\":{}", nested(127))) => Accepted;
    nesting_of_129_is_not_json: with(&format!("\"a\":{}", nested(128))) => dead("not_json");
    depth_bomb_of_arrays_is_not_json: "[".repeat(1 << 20) => dead("not_json");
    depth_bomb_in_a_member_is_not_json: with(&format!("\"a\":{}", nested(100_000))) => dead("not_json");
    depth_bomb_of_objects_is_not_json: "{\"a\":".repeat(100_000) => dead("not_json");

    // Numbers.
    number_1e400_is_not_json: with("\"a\":1e400") => dead("not_json");
    number_1e400_below_the_top_is_not_json: with("\"a\":[{\"b\":-1e400}]") => dead("not_json");
    number_of_400_digits_is_not_json: with(&format!("\"a\":{}", "9".repeat(400))) => dead("not_json");
    largest_double_is_json: with("\"a\":1.7976931348623157e308") => Accepted;
    number_that_underflows_is_json: with("\"a\":1e-400") => Accepted;
    number_004_is_not_json: with("\"a\":004") => dead("not_json");
    number_2_to_the_63_is_json: with("\"a\":9223372036854775808") => Accepted;
    number_minus_zero_is_json: with("\"a\":-0.0") => Accepted;
    number_in_hex_is_not_json: with("\"a\":0x10") => dead("not_json");
    number_with_a_plus_is_not_json: with("\"a\":+1") => dead("not_json");
    literal_nan_is_not_json: with("\"a\":NaN") => dead("not_json");
    literal_infinity_is_not_json: with("\"a\":Infinity") => dead("not_json");
    literal_minus_infinity_is_not_json: with("\"a\":-Infinity") => dead("not_json");
    text_nan_is_a_text: set("user_id", "\"NaN\"") => Accepted;
    text_infinity_is_a_text: set("user_id", "\"-Infinity\"") => Accepted;

    // Escapes.
    lone_high_surrogate_is_not_json: with(r#""a":"\ud800""#) => dead("not_json");
    lone_low_surrogate_is_not_json: with(r#""a":"\udc00""#) => dead("not_json");
    surrogate_pair_is_json: with(r#""a":"\ud83d\ude00""#) => Accepted;
    unknown_escape_is_not_json: with(r#""a":"\x41""#) => dead("not_json");
    escaped_member_and_choice_are_read: good().replace("event_type", r"event\u005ftype").replace("click", r"cl\u0069ck")
        => Accepted;

    // The schema.
    empty_object_lacks_members: "{}" => dead("schema");
    missing_time_is_schema: without("event_time") => dead("schema");
    missing_user_is_schema: without("user_id") => dead("schema");
    missing_page_is_schema: without("page_url") => dead("schema");
    missing_type_is_schema: without("event_type") => dead("schema");
    null_time_is_schema: set("event_time", "null") => dead("schema");
    null_user_is_schema: set("user_id", "null") => dead("schema");
    null_page_is_schema: set("page_url", "null") => dead("schema");
    null_type_is_schema: set("event_type", "null") => dead("schema");
    number_as_user_is_schema: set("user_id", "7") => dead("schema");
    truth_value_as_user_is_schema: set("user_id", "true") => dead("schema");
    array_as_page_is_schema: set("page_url", "[]") => dead("schema");
    object_as_type_is_schema: set("event_type", "{}") => dead("schema");
    empty_user_is_schema: set("user_id", "\"\"") => dead("schema");
    empty_page_is_schema: set("page_url", "\"\"") => dead("schema");
    unknown_type_is_schema: set("event_type", "\"purchase\"") => dead("schema");
    type_in_capitals_is_schema: set("event_type", "\"CLICK\"") => dead("schema");
    member_names_in_capitals_are_other_members: good().replace("user_id", "USER_ID") => dead("schema");
    schema_stands_before_time: set("event_time", "\"now\"").replace("click", "purchase") => dead("schema");
    user_of_2048_bytes_is_accepted: set("user_id", &format!("\"{}\"", "x".repeat(2048))) => Accepted;
    user_of_2049_bytes_is_schema: set("user_id", &format!("\"{}\"", "x".repeat(2049))) => dead("schema");
    length_is_counted_in_bytes: set("page_url", &format!("\"{}x\"", "é".repeat(1024))) => dead("schema");
    length_is_counted_after_unescaping: set("page_url", &format!("\"{}\"", r"\u0041".repeat(2048))) => Accepted;
    user_of_1_mb_is_schema: set("user_id", &format!("\"{}\"", "x".repeat(1_000_000))) => dead("schema");
    user_with_nul_is_schema: set("user_id", r#""a\u0000b""#) => dead("schema");
    nul_in_a_foreign_member_is_accepted: with(r#""a":"\u0000""#) => Accepted;

    // Hostile texts are texts.
    sql_in_the_user_is_a_text: set("user_id", "\"'; DROP TABLE user_sessions; --\"") => Accepted;
    path_in_the_user_is_a_text: set("user_id", "\"../../../etc/passwd\"") => Accepted;
    dots_and_dollars_are_a_text: set("page_url", "\"$set.a..b\"") => Accepted;
    blank_user_is_a_text: set("user_id", "\" \"") => Accepted;
    new_line_in_the_user_is_a_text: set("user_id", r#""a\nb""#) => Accepted;
    extra_field_is_accepted: with(r#""referrer":{"host":"x","depth":[1,2.5,null]}"#) => Accepted;
    hostile_names_of_extra_fields_are_accepted: with(r#""; DROP TABLE x; --":1,"../..":2,"":3,"$a.b":4"#) => Accepted;
    extra_field_named_like_a_column_is_accepted: with(r#""kafka_offset":-1,"late":true"#) => Accepted;
}

#[test]
fn null_value_is_a_tombstone() {
    let tombstone = OwnedRecord { value: None, key: Some(b"k".to_vec()), ..record(1, 0, "") };
    assert_eq!(judge_record(tombstone), dead("tombstone"));
}

#[test]
fn a_type_that_changes_in_mid_stream_costs_only_the_records_that_have_it() {
    let answer = replayed_one(vec![
        record(0, 0, good()),
        record(1, 0, set("user_id", "17")),
        record(2, 0, set("user_id", "{\"id\":\"u\"}")),
        record(3, 0, good()),
    ]);
    assert_eq!(answer.reasons(), ["schema", "schema"]);
    assert_eq!(answer.table("session_history"), ["u 0s 0s 0 0 open 2 0"]);
}

#[test]
fn a_dead_letter_names_the_member() {
    let answer = replayed_one(vec![record(0, 0, set("page_url", "null"))]);
    assert!(answer.dead[0].header("detail").contains("page_url"));
}

#[test]
fn extra_fields_reach_the_lake_as_compact_json() {
    let value = with(r#""a": { "b" : [ 1, "x y" ] } ,"c":null"#);
    let answer = replayed_one(vec![record(0, 0, value), record(1, 0, good())]);
    let text = |name: &str, text: &str| (name.to_owned(), text.to_owned());
    assert_eq!(answer.lake[0].extras[0], text("x_a", r#"{"b":[1,"x y"]}"#));
    assert_eq!(answer.lake[1].extras, []);
}

#[test]
fn composed_and_decomposed_letters_are_two_users() {
    let answer = replayed_one(log_of(&[(0, "\u{e9}", "/p", "click"), (0, "e\u{301}", "/p", "click")]));
    assert_eq!(answer.table("user_sessions").len(), 2);
}
