//! A record as a line of an embedded topic: what `kcat -C -J` prints, so that kcat's friends can read it, and
//! tidegate itself as a fixture.
//!
//! A line is made for every record that passes through a pipeline: there is no allocation in it, and strings
//! are escaped a vector at a time ([`write_string`]).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::decode::text::write_string;
use crate::digest::{encode_header, encode_line};
use crate::record::KafkaTime;

/// A record of an embedded topic.
#[derive(Clone, Copy, Debug)]
pub struct Line<'a> {
    /// The topic's name.
    pub topic: &'a str,
    /// The partition's number.
    pub partition: i32,
    /// The offset in the partition.
    pub offset: i64,
    /// Kafka's timestamp.
    pub kafka_time: KafkaTime,
    /// Names and values, in their order. A value that is not UTF-8 is written with U+FFFD where it is not.
    pub headers: &'a [(&'a str, &'a [u8])],
    /// The key, `None` when null.
    pub key: Option<&'a [u8]>,
    /// The value, `None` for a tombstone.
    pub payload: Option<&'a [u8]>,
}

impl Line<'_> {
    /// Appends the canonical encoding of the line as a row, for [`Digest::add_encoded`](crate::digest::Digest).
    pub fn encode(&self, out: &mut Vec<u8>) {
        encode_line(out, self.partition, self.offset, self.kafka_time, self.key, self.payload);
        for (name, value) in self.headers {
            encode_header(out, name.as_bytes(), String::from_utf8_lossy(value).as_bytes());
        }
    }
}

/// Appends the line, with its newline.
///
/// ```text
/// {"topic":"t","partition":0,"offset":12,"tstype":"create","ts":1706443200000,"headers":["n","v"],"key":"k","payload":"…"}
/// ```
///
/// Members stand in kcat's order. `headers` is left out where there are none; a null key or value is `null`;
/// one that is not UTF-8 stands as `key_base64` or `payload_base64` in its place. Without a Kafka timestamp,
/// `tstype` is `unknown` and `ts` is −1.
pub fn kcat_line(out: &mut Vec<u8>, line: &Line<'_>) {
    out.extend_from_slice(b"{\"topic\":");
    write_string(line.topic.as_bytes(), out);
    out.extend_from_slice(b",\"partition\":");
    push_int(out, i64::from(line.partition));
    out.extend_from_slice(b",\"offset\":");
    push_int(out, line.offset);
    let (kind, ms): (&[u8], _) = match line.kafka_time {
        KafkaTime::None => (b",\"tstype\":\"unknown\",\"ts\":", -1),
        KafkaTime::Create(ms) => (b",\"tstype\":\"create\",\"ts\":", ms),
        KafkaTime::LogAppend(ms) => (b",\"tstype\":\"logappend\",\"ts\":", ms),
    };
    out.extend_from_slice(kind);
    push_int(out, ms);
    if !line.headers.is_empty() {
        out.extend_from_slice(b",\"headers\":[");
        for (i, (name, value)) in line.headers.iter().enumerate() {
            out.extend_from_slice(if i == 0 { b"" } else { b"," });
            write_string(name.as_bytes(), out);
            out.push(b',');
            write_string(String::from_utf8_lossy(value).as_bytes(), out);
        }
        out.push(b']');
    }
    push_bytes(out, b",\"key", line.key);
    push_bytes(out, b",\"payload", line.payload);
    out.extend_from_slice(b"}\n");
}

/// Appends a member whose value is text, or base64 under another name, or null.
#[inline]
fn push_bytes(out: &mut Vec<u8>, member: &[u8], value: Option<&[u8]>) {
    out.extend_from_slice(member);
    match value {
        None => out.extend_from_slice(b"\":null"),
        Some(text) if std::str::from_utf8(text).is_ok() => {
            out.extend_from_slice(b"\":");
            write_string(text, out);
        }
        Some(bytes) => {
            out.extend_from_slice(b"_base64\":\"");
            out.extend_from_slice(STANDARD.encode(bytes).as_bytes());
            out.push(b'"');
        }
    }
}

/// Appends an integer in decimal.
#[inline]
pub(crate) fn push_int(out: &mut Vec<u8>, value: i64) {
    let mut digits = [0; 20];
    let mut at = digits.len();
    let mut rest = value.unsigned_abs();
    loop {
        at -= 1;
        digits[at] = b'0' + (rest % 10) as u8;
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    if value < 0 {
        at -= 1;
        digits[at] = b'-';
    }
    out.extend_from_slice(&digits[at..]);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const LINE: Line<'_> = Line {
        topic: "t",
        partition: 0,
        offset: 12,
        kafka_time: KafkaTime::Create(1_706_443_200_000),
        headers: &[("name", b"value")],
        key: Some(b"k"),
        payload: Some("{\"ö\":\"\u{1}\n\"}".as_bytes()),
    };

    fn text(line: &Line<'_>) -> String {
        let mut out = b"before ".to_vec();
        kcat_line(&mut out, line);
        String::from_utf8(out).unwrap().strip_prefix("before ").unwrap().to_owned()
    }

    #[test]
    fn line_is_as_kcat_prints_it() {
        let expected = concat!(
            r#"{"topic":"t","partition":0,"offset":12,"tstype":"create","ts":1706443200000,"#,
            r#""headers":["name","value"],"key":"k","payload":"{\"ö\":\"\u0001\n\"}"}"#,
            "\n"
        );
        assert_eq!(text(&LINE), expected);
    }

    #[test]
    fn what_is_absent_or_not_utf8_is_told_apart() {
        let line =
            Line { kafka_time: KafkaTime::None, headers: &[], key: None, payload: Some(b"\xff\x00"), ..LINE };
        let expected = concat!(
            r#"{"topic":"t","partition":0,"offset":12,"tstype":"unknown","ts":-1,"key":null,"payload_base64":"/wA="}"#,
            "\n"
        );
        assert_eq!(text(&line), expected);
        let line = Line { key: Some(b"\xf0"), payload: None, partition: 7, offset: i64::MAX, ..line };
        assert!(text(&line).ends_with("\"key_base64\":\"8A==\",\"payload\":null}\n"));
        let line = Line { key: Some(b""), payload: Some(b""), kafka_time: KafkaTime::LogAppend(0), ..line };
        assert!(text(&line).ends_with("\"tstype\":\"logappend\",\"ts\":0,\"key\":\"\",\"payload\":\"\"}\n"));
    }

    #[test]
    fn integers_are_written_in_decimal() {
        for value in [0, 7, -7, 10, 99, 100, i64::MAX, i64::MIN] {
            let mut out = Vec::new();
            push_int(&mut out, value);
            assert_eq!(String::from_utf8(out).unwrap(), value.to_string());
        }
    }

    proptest! {
        #[test]
        fn line_reads_back(
            key in prop::option::of(prop::collection::vec(any::<u8>(), 0..40)),
            payload in prop::option::of("[\\x00-\\x7f\"\\\\äß€𝄞]{0,200}"),
            name in ".{0,9}",
            value in ".{0,40}",
            ms in 0..i64::MAX,
        ) {
            let headers = [(name.as_str(), value.as_bytes())];
            let line = Line {
                kafka_time: KafkaTime::LogAppend(ms),
                headers: &headers,
                key: key.as_deref(),
                payload: payload.as_ref().map(String::as_bytes),
                ..LINE
            };
            let back: serde_json::Value = serde_json::from_str(&text(&line)).unwrap();
            prop_assert_eq!(&back["ts"], ms);
            prop_assert_eq!(&back["headers"], &serde_json::json!([name, value]));
            prop_assert_eq!(&back["payload"], &serde_json::json!(payload));
            let text_key = key.as_deref().map(std::str::from_utf8);
            match text_key {
                None => prop_assert!(back["key"].is_null()),
                Some(Ok(key)) => prop_assert_eq!(&back["key"], key),
                Some(Err(_)) => {
                    let bytes = STANDARD.decode(back["key_base64"].as_str().unwrap()).unwrap();
                    prop_assert_eq!(Some(bytes), key);
                }
            }
        }
    }
}
