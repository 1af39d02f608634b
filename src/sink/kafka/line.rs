//! A staged line read back as a record to be sent.

use std::borrow::Cow;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;

/// A line as [`kcat_line`](crate::sink::kcat::kcat_line) makes it.
#[derive(Debug, Deserialize)]
struct Line<'a> {
    #[serde(borrow)]
    topic: Cow<'a, str>,
    partition: i32,
    ts: i64,
    #[serde(borrow, default)]
    headers: Vec<Option<Cow<'a, str>>>,
    #[serde(borrow, default)]
    key: Option<Cow<'a, str>>,
    #[serde(default)]
    key_base64: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    payload: Option<Cow<'a, str>>,
    #[serde(default)]
    payload_base64: Option<Cow<'a, str>>,
}

/// A record to be sent.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Outgoing<'a> {
    pub(super) topic: Cow<'a, str>,
    pub(super) partition: i32,
    /// Milliseconds since the epoch, `None` where the record has none.
    pub(super) timestamp_ms: Option<i64>,
    pub(super) headers: Vec<(Cow<'a, str>, Option<Cow<'a, str>>)>,
    pub(super) key: Option<Cow<'a, [u8]>>,
    pub(super) payload: Option<Cow<'a, [u8]>>,
}

impl<'a> Outgoing<'a> {
    /// The bytes of its key, payload and headers.
    pub(super) fn size(&self) -> usize {
        let header = |(name, value): &(Cow<'_, str>, Option<Cow<'_, str>>)| {
            name.len() + value.as_ref().map_or(0, |value| value.len())
        };
        let [key, payload] =
            [&self.key, &self.payload].map(|part| part.as_ref().map_or(0, |part| part.len()));
        key + payload + self.headers.iter().map(header).sum::<usize>()
    }

    /// Reads a line, or says what is wrong with it.
    pub(super) fn parse(line: &'a [u8]) -> Result<Outgoing<'a>, String> {
        let line: Line<'a> = serde_json::from_slice(line).map_err(|error| error.to_string())?;
        if !line.headers.len().is_multiple_of(2) {
            return Err("a header without a value".to_owned());
        }
        let mut headers = Vec::with_capacity(line.headers.len() / 2);
        let mut rest = line.headers.into_iter();
        while let (Some(name), Some(value)) = (rest.next(), rest.next()) {
            headers.push((name.ok_or("a header without a name")?, value));
        }
        Ok(Outgoing {
            topic: line.topic,
            partition: line.partition,
            timestamp_ms: (line.ts >= 0).then_some(line.ts),
            headers,
            key: bytes(line.key, line.key_base64)?,
            payload: bytes(line.payload, line.payload_base64)?,
        })
    }
}

fn bytes<'a>(
    text: Option<Cow<'a, str>>,
    base64: Option<Cow<'a, str>>,
) -> Result<Option<Cow<'a, [u8]>>, String> {
    match (text, base64) {
        (None, Some(base64)) => STANDARD
            .decode(base64.as_bytes())
            .map(|bytes| Some(bytes.into()))
            .map_err(|error| error.to_string()),
        (Some(Cow::Borrowed(text)), _) => Ok(Some(text.as_bytes().into())),
        (Some(Cow::Owned(text)), _) => Ok(Some(text.into_bytes().into())),
        (None, None) => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::record::KafkaTime;
    use crate::sink::kcat::{self, kcat_line};

    proptest! {
        #[test]
        fn what_is_written_is_read(
            key in prop::option::of(prop::collection::vec(any::<u8>(), 0..20)),
            payload in prop::option::of("[\\x00-\\x7f\"\\\\äß€𝄞]{0,100}"),
            header in prop::option::of((".{0,9}", ".{0,40}")),
            ms in prop::option::of(0..i64::MAX),
            partition in 0..9,
        ) {
            let headers: Vec<(&str, &[u8])> =
                header.iter().map(|(name, value)| (name.as_str(), value.as_bytes())).collect();
            let line = kcat::Line {
                topic: "t.x",
                partition,
                offset: 7,
                kafka_time: ms.map_or(KafkaTime::None, KafkaTime::Create),
                headers: &headers,
                key: key.as_deref(),
                payload: payload.as_ref().map(|text| text.as_bytes()),
            };
            let mut text = Vec::new();
            kcat_line(&mut text, &line);
            let read = Outgoing::parse(&text[..text.len() - 1]).unwrap();
            let expected = Outgoing {
                topic: "t.x".into(),
                partition,
                timestamp_ms: ms,
                headers: header.iter().map(|(n, v)| (n.as_str().into(), Some(v.as_str().into()))).collect(),
                key: key.as_deref().map(Cow::from),
                payload: payload.as_ref().map(|text| Cow::from(text.as_bytes())),
            };
            prop_assert_eq!(read, expected);
        }
    }

    #[test]
    fn null_header_is_kept_and_a_lone_name_is_refused() {
        let line = |headers: &str| {
            format!(r#"{{"topic":"t","partition":0,"ts":-1,"headers":{headers},"key":null}}"#)
        };
        let null = line(r#"["a",null]"#);
        assert_eq!(Outgoing::parse(null.as_bytes()).unwrap().headers, [("a".into(), None)]);
        assert!(Outgoing::parse(line(r#"["a"]"#).as_bytes()).is_err());
        assert!(Outgoing::parse(line("[null,null]").as_bytes()).is_err());
    }
}
