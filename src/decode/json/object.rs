//! JSON objects of which nothing is declared: judged as every record is, and taken apart at the top level.

use super::strict::Document;
use super::{Limits, RECORD_MAX_BYTES};
use crate::decode::{Reason, Rejected};
use crate::record::Value;

/// Reads objects; keeps its buffers between calls.
#[derive(Debug, Default)]
pub struct ObjectReader(Document);

/// An object, borrowed from its bytes.
#[derive(Clone, Copy, Debug)]
pub struct Object<'a> {
    document: &'a Document,
    source: &'a [u8],
}

impl ObjectReader {
    /// The object that `value` is.
    ///
    /// # Errors
    /// The first [`Reason`] that holds of `tombstone`, `too_large`, `not_utf8`, `not_json`.
    pub fn read<'a>(&'a mut self, value: Option<Value<'a>>, limits: &Limits) -> Result<Object<'a>, Rejected> {
        let source = present(value, limits)?;
        if let Err(error) = std::str::from_utf8(source) {
            let detail = format!("not UTF-8 at byte {}", error.valid_up_to());
            return Err(Rejected::new(Reason::NotUtf8, detail));
        }
        if let Err(fault) = self.0.read(source, &[]) {
            let detail = format!("{} at byte {}", fault.what, fault.at);
            return Err(Rejected::new(Reason::NotJson, detail));
        }
        Ok(Object { document: &self.0, source })
    }
}

/// The bytes of a value that is there and within the limits.
///
/// # Errors
/// `tombstone` or `too_large`.
pub fn present<'a>(value: Option<Value<'a>>, limits: &Limits) -> Result<&'a [u8], Rejected> {
    let Some(value) = value else {
        return Err(Rejected::new(Reason::Tombstone, "the record has no value"));
    };
    let source = value.bytes();
    if source.is_empty() {
        return Err(Rejected::new(Reason::Tombstone, "the record's value is empty"));
    }
    let (len, limit) = (source.len(), limits.max_record_bytes.min(RECORD_MAX_BYTES));
    if len > limit {
        let detail = format!("the value has {len} bytes, over the limit of {limit}");
        return Err(Rejected::new(Reason::TooLarge, detail));
    }
    Ok(source)
}

impl<'a> Object<'a> {
    /// The JSON text of the member called `name`.
    pub fn member(&self, name: &str) -> Option<&'a [u8]> {
        let named = |entry: &&super::strict::Entry| self.document.name(entry, self.source) == name.as_bytes();
        self.document.entries.iter().find(named).map(|entry| entry.value.of(self.source))
    }
}

/// The JSON texts of the elements of `array`, which is the text of one value out of a whole document; `None` when it
/// is not an array.
///
/// # Examples
/// ```
/// use tidegate::decode::json::elements;
/// assert_eq!(elements(br#"[1, {"a":"]"}]"#).unwrap(), [&b"1"[..], br#"{"a":"]"}"#]);
/// assert_eq!(elements(b"[ ]").unwrap(), [] as [&[u8]; 0]);
/// assert_eq!(elements(b"{}"), None);
/// ```
pub fn elements(array: &[u8]) -> Option<Vec<&[u8]>> {
    let inner = array.trim_ascii().strip_prefix(b"[")?.strip_suffix(b"]")?;
    let mut found = Vec::new();
    let (mut depth, mut start, mut at) = (0_usize, 0, 0);
    while let Some(byte) = inner.get(at) {
        match byte {
            // Most of what is written stands in texts, which are passed at once.
            b'"' => at = text_end(inner, at + 1),
            b'[' | b'{' => depth += 1,
            b']' | b'}' => depth = depth.saturating_sub(1),
            b',' if depth == 0 => {
                found.push(inner[start..at].trim_ascii());
                start = at + 1;
            }
            _ => {}
        }
        at += 1;
    }
    let last = inner[start..].trim_ascii();
    if !last.is_empty() {
        found.push(last);
    }
    Some(found)
}

/// Where the text that begins at `at`, behind its quote, has its closing quote; the end of `json` where it has none.
fn text_end(json: &[u8], mut at: usize) -> usize {
    while let Some(found) = json.get(at..).and_then(|rest| memchr::memchr2(b'"', b'\\', rest)) {
        at += found;
        if json[at] == b'"' {
            return at;
        }
        // What is escaped is passed with its backslash.
        at += 2;
    }
    json.len()
}
