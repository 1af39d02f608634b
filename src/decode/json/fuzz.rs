//! The promise that the scanner changes nothing, as one check for fuzzing and property tests.

use super::{JsonDecoder, Kind, Limits, Member};
use crate::decode::Rejected;
use crate::decode::simd::Level;
use crate::record::Value;

/// Everything that can be asked of a decoded document.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Answer {
    pub(super) event_time_us: i64,
    /// Text and bits of each declared member.
    pub(super) members: Vec<(Vec<u8>, i64)>,
    pub(super) others: Vec<(Vec<u8>, Vec<u8>)>,
}

/// What `decoder` says to `value`, owned.
pub(super) fn ask<const N: usize>(
    decoder: &mut JsonDecoder<N>,
    value: Option<Value<'_>>,
) -> Result<Answer, Rejected> {
    let decoded = decoder.decode(value)?;
    if let Some(value) = value {
        assert_eq!(decoded.source(), value.bytes());
    }
    let members: Vec<_> = (0..N).map(|i| (decoded.text(i).to_vec(), decoded.integer(i))).collect();
    for (i, member) in decoder_members(&decoded).iter().enumerate() {
        assert!(std::str::from_utf8(&members[i].0).is_ok(), "a text must be UTF-8");
        if member.kind == Kind::Number {
            assert!(decoded.number(i).is_finite(), "a number must be finite");
            assert!(
                decoded.number(i) != 0.0 || decoded.number(i).is_sign_positive(),
                "-0.0 must read as 0.0"
            );
        }
    }
    let others: Vec<_> = decoded.others().map(|(name, raw)| (name.to_vec(), raw.to_vec())).collect();
    assert_eq!(decoded.has_others(), !others.is_empty());
    Ok(Answer { event_time_us: decoded.event_time_us(), members, others })
}

fn decoder_members<'a, const N: usize>(decoded: &super::Decoded<'a, N>) -> &'a [Member; N] {
    decoded.decoder.members()
}

/// Small limits, so that inputs reach them.
const LIMITS: Limits = Limits { max_record_bytes: 1_000, max_string_bytes: 70 };

/// Members that are all texts but for the time, one of them of a closed list.
pub(super) const EVENT: [Member; 4] = [
    Member::new("event_time", Kind::Time),
    Member::new("user_id", Kind::Text),
    Member::new("page_url", Kind::Text),
    Member::new("event_type", Kind::Choice(&["page_view", "click", "session_start", "session_end"])),
];

/// A member of each type.
pub(super) const READING: [Member; 5] = [
    Member::new("sensor", Kind::Choice(&["PS1", "EPS1", "a sensor with a long name"])),
    Member::new("cycle", Kind::Integer),
    Member::new("timestamp", Kind::Time),
    Member::new("value", Kind::Number),
    Member::new("place", Kind::Text),
];

/// Documents that decoders are shown first, so that there are layouts to mistake an input for.
const SHOWN: [&str; 7] = [
    r#"{"event_time":"2024-01-28T12:00:00.000Z","user_id":"u1","page_url":"/home","event_type":"click"}"#,
    r#"{ "user_id" : "u1" , "event_type":"click","page_url":"/home" ,"event_time": 1706443200000 }"#,
    r#"{"event_time":"2024-01-28T12:00:00","user_id":"u1","page_url":"/home","event_type":"click","x":[1]}"#,
    r#"{"sensor":"PS1","cycle":1,"timestamp":"2024-01-28T12:00:00.000Z","value":1.5,"place":"hall"}"#,
    r#"{"value":-3,"cycle":12345678,"sensor":"EPS1","timestamp":1706443200000,"place":"hall","y":"z"}"#,
    r#"{"a name that is longer than what is compared at once":0,"sensor":"PS1","cycle":1,"timestamp":0,"value":2,"place":"x"}"#,
    "{\n\t\"place\": \"hall\",\n\t\"cycle\": 7,\n\t\"sensor\": \"PS1\",\n\t\"timestamp\": 0,\n\t\"value\": 1e3\n}\n",
];

/// Asserts that scanner and tokenizer agree about `value`, on every instruction set, whatever lies behind the
/// value, and also after its own layout was learned; and, by being called, that nothing panics.
pub fn fuzz_decode(value: &[u8]) {
    agree(EVENT, LIMITS, value, &[]);
    agree(READING, LIMITS, value, &[]);
}

/// [`fuzz_decode`] for one declaration. `value` is judged after the documents `before`, by a decoder that learned
/// from them; then some changed forms of it are.
pub(super) fn agree<const N: usize>(members: [Member; N], limits: Limits, value: &[u8], before: &[&[u8]]) {
    let mut strict = JsonDecoder::strict(members, limits);
    for level in Level::all() {
        let mut decoder = JsonDecoder::at_level(members, limits, Some(level));
        let shown = SHOWN.iter().map(|text| text.as_bytes());
        for document in shown.chain(before.iter().copied()).chain([value]) {
            let expected = ask(&mut strict, Some(Value::exact(document)));
            assert_eq!(ask(&mut decoder, Some(Value::exact(document))), expected, "{level:?}");
        }
        // Cut short, with the rest readable behind it.
        let slab = [value, &[0; 100]].concat();
        for len in value.len().saturating_sub(40)..value.len() {
            let expected = ask(&mut strict, Some(Value::exact(&value[..len])));
            assert_eq!(ask(&mut decoder, Some(Value::within(&slab, len))), expected, "{level:?}");
        }
        let mut changed = value.to_vec();
        for turn in 0..8 {
            let expected = ask(&mut strict, Some(Value::exact(&changed)));
            for behind in [
                &b""[..],
                &[b'"'; 100],
                &[0xff; 100],
                // What stands behind a record of a log segment.
                b"\x00\x84\x02\x00\x00\x9c\x01\x01\xf2\x01{\"event_time\":\"2026-01-15T10:00:00Z\",",
                b"}\"},\"}\n \"event_type\":\"click\"}0123456789012345678901234567890",
            ] {
                let slab = [&changed, behind].concat();
                let value = Some(Value::within(&slab, changed.len()));
                assert_eq!(ask(&mut decoder, value), expected, "{level:?}");
            }
            let Some(at) = changed.len().checked_sub(1 + turn * 7) else { break };
            changed[at] = changed[at].wrapping_mul(31).wrapping_add(turn as u8);
        }
    }
}
