//! JSON text for what leaves: values made compact, bytes put into strings, a member appended to an object.

use super::json::find_member;
use super::simd::not_plain;

/// Bytes looked at together when a string is written, and copied together whatever is needed of them.
const BLOCK: usize = 32;

/// What a block may become, each byte `\u00xx`, and a copy too wide behind it.
const BLOCK_ROOM: usize = 6 * BLOCK + BLOCK;

/// Appends the JSON value `raw` to `out` without insignificant white space; every token stays as it is written.
///
/// Text that is not JSON comes out with the white space removed that stands outside of quotes.
///
/// # Examples
/// ```
/// let mut out = Vec::new();
/// tidegate::decode::text::compact(br#"{ "a b" : [ 1.0, "\u0041" ] }"#, &mut out);
/// assert_eq!(out, br#"{"a b":[1.0,"\u0041"]}"#);
/// ```
pub fn compact(raw: &[u8], out: &mut Vec<u8>) {
    out.reserve(raw.len());
    let (mut kept, mut at) = (0, 0);
    while let Some(byte) = raw.get(at) {
        match byte {
            b'"' => at = end_of_string(raw, at),
            b' ' | b'\t' | b'\n' | b'\r' => {
                out.extend_from_slice(&raw[kept..at]);
                at += 1;
                kept = at;
            }
            _ => at += 1,
        }
    }
    out.extend_from_slice(&raw[kept..]);
}

/// The position behind the string whose opening quote is at `start`, or the end of the text.
fn end_of_string(raw: &[u8], start: usize) -> usize {
    let mut at = start + 1;
    while let Some(skip) = raw.get(at..).and_then(|rest| memchr::memchr2(b'"', b'\\', rest)) {
        at += skip;
        if raw[at] == b'"' {
            return at + 1;
        }
        at += 2;
    }
    raw.len()
}

/// Appends `bytes` to `out` as a JSON string, with quotes. Escaped is what must be: quotes, backslashes and
/// control characters, the latter in their short form where there is one.
///
/// The result is JSON if `bytes` is UTF-8; whether it is, is the caller's to know.
///
/// # Examples
/// ```
/// let mut out = Vec::new();
/// tidegate::decode::text::write_string("say \"é\"\n\u{1}".as_bytes(), &mut out);
/// assert_eq!(out, "\"say \\\"é\\\"\\n\\u0001\"".as_bytes());
/// ```
pub fn write_string(bytes: &[u8], out: &mut Vec<u8>) {
    let mut end = out.len();
    // Room for text with a quote in every other place; a block that needs more makes it.
    out.resize(end + bytes.len() + bytes.len() / 2 + BLOCK_ROOM + 2, 0);
    out[end] = b'"';
    end += 1;
    let mut at = 0;
    while let Some(window) = bytes.get(at..).and_then(|rest| rest.first_chunk()) {
        end = write_block(window, BLOCK, out, end);
        at += BLOCK;
    }
    // Less than a window is left: at most two blocks.
    let rest = &bytes[at..];
    let mut padded = [0; 3 * BLOCK];
    padded[..rest.len()].copy_from_slice(rest);
    for (from, len) in [(0, rest.len().min(BLOCK)), (BLOCK, rest.len().saturating_sub(BLOCK))] {
        if let Some(window) = padded[from..].first_chunk()
            && len > 0
        {
            end = write_block(window, len, out, end);
        }
    }
    out[end] = b'"';
    out.truncate(end + 1);
}

/// Writes the first `len` bytes of `window`, at most a block, to `out` at `end`; the new end.
///
/// What stands between bytes to be escaped is copied a whole block wide, and what is too much overwritten next:
/// no length, which nobody can foresee, decides how it is done.
#[inline(always)]
fn write_block(window: &[u8; 2 * BLOCK], len: usize, out: &mut Vec<u8>, end: usize) -> usize {
    if out.len() < end + BLOCK_ROOM + 1 {
        out.resize(end + 8 * BLOCK_ROOM, 0);
    }
    let room = &mut out[end..end + BLOCK_ROOM];
    let mut stops = u32::MAX >> (BLOCK - len);
    let (quarters, _) = window.as_chunks::<16>();
    stops &= not_plain(&quarters[0]) | not_plain(&quarters[1]) << 16;
    let (mut copied, mut written) = (0, 0);
    while stops != 0 {
        let stop = stops.trailing_zeros() as usize;
        stops &= stops - 1;
        room[written..written + BLOCK].copy_from_slice(&window[copied..copied + BLOCK]);
        written += stop - copied;
        copied = stop + 1;
        let byte = window[stop];
        if matches!(byte, b'"' | b'\\') {
            room[written..written + 2].copy_from_slice(&[b'\\', byte]);
            written += 2;
        } else {
            written += write_control(byte, &mut room[written..]);
        }
    }
    room[written..written + BLOCK].copy_from_slice(&window[copied..copied + BLOCK]);
    end + written + len - copied
}

/// Writes the escape of a control character; how long it is.
#[cold]
fn write_control(byte: u8, room: &mut [u8]) -> usize {
    let short = match byte {
        0x08 => b'b',
        0x09 => b't',
        0x0a => b'n',
        0x0c => b'f',
        0x0d => b'r',
        _ => {
            let hex = |nibble: u8| b"0123456789abcdef"[usize::from(nibble & 15)];
            room[..6].copy_from_slice(&[b'\\', b'u', b'0', b'0', hex(byte >> 4), hex(byte)]);
            return 6;
        }
    };
    room[..2].copy_from_slice(&[b'\\', short]);
    2
}

/// Appends to `out` the JSON `object` with the member `name` of value `raw_value` behind its last one.
///
/// [`MemberAppender`] says what exactly; it is the form for the same name over and over.
///
/// # Examples
/// ```
/// use tidegate::decode::text::with_member;
/// let mut out = Vec::new();
/// assert!(with_member(br#"{"at":1, "a": [2] }"#, "at", b"\"now\"", &mut out));
/// assert_eq!(out, br#"{"a": [2],"at":"now" }"#);
/// ```
pub fn with_member(object: &[u8], name: &str, raw_value: &[u8], out: &mut Vec<u8>) -> bool {
    MemberAppender::new(name).write(object, raw_value, out)
}

/// Appends a member to objects.
#[derive(Clone, Debug)]
pub struct MemberAppender {
    name: String,
    /// Looks for the name in an object.
    finder: memchr::memmem::Finder<'static>,
    /// The name as JSON, and a colon.
    head: Vec<u8>,
}

impl MemberAppender {
    /// An appender of members called `name`.
    pub fn new(name: &str) -> Self {
        let mut head = Vec::new();
        write_string(name.as_bytes(), &mut head);
        head.push(b':');
        let finder = memchr::memmem::Finder::new(name.as_bytes()).into_owned();
        MemberAppender { name: name.to_owned(), finder, head }
    }

    /// Appends to `out` the JSON `object` with the member of value `raw_value` behind its last one.
    ///
    /// A member of that name at the top level, however it is spelled, is removed together with the comma and
    /// the white space between it and its neighbour. All other bytes stay as they stand.
    ///
    /// Returns whether `object` is an object; if it is not, nothing is written. Of what [`JsonDecoder`] accepted
    /// it is true. What is not JSON may not be noticed.
    ///
    /// [`JsonDecoder`]: super::json::JsonDecoder
    pub fn write(&self, object: &[u8], raw_value: &[u8], out: &mut Vec<u8>) -> bool {
        if object.trim_ascii_start().first() != Some(&b'{') {
            return false;
        }
        out.reserve(object.len() + self.head.len() + raw_value.len() + 1);
        // Few objects have the name anywhere, and fewer have escapes that could hide it.
        if memchr::memchr(b'\\', object).is_some() || self.finder.find(object).is_some() {
            return self.replace(object, raw_value, out);
        }
        let Some(before_brace) = object.trim_ascii_end().strip_suffix(b"}") else { return false };
        let inner = before_brace.trim_ascii_end();
        out.extend_from_slice(inner);
        self.write_member(raw_value, inner.last() != Some(&b'{'), out);
        out.extend_from_slice(&object[inner.len()..]);
        true
    }

    /// [`write`](Self::write) for an object that may have the member.
    #[cold]
    fn replace(&self, object: &[u8], raw_value: &[u8], out: &mut Vec<u8>) -> bool {
        let Some((members, found)) = find_member(object, &self.name) else { return false };
        let Some((_, last_end)) = members.last().copied() else {
            let inner = object.iter().position(|b| *b == b'{').map_or(0, |at| at + 1);
            out.extend_from_slice(&object[..inner]);
            self.write_member(raw_value, false, out);
            out.extend_from_slice(&object[inner..]);
            return true;
        };
        let (keep_to, go_on_at) = match found {
            None => (last_end, last_end),
            Some(i) => match (members.get(i + 1), i.checked_sub(1).map(|before| members[before])) {
                // Up to the next member's name, or from the end of the member before.
                (Some((next, _)), _) => (members[i].0, *next),
                (None, Some((_, end_before))) => (end_before, last_end),
                (None, None) => (members[i].0, last_end),
            },
        };
        out.extend_from_slice(&object[..keep_to]);
        out.extend_from_slice(&object[go_on_at..last_end]);
        self.write_member(raw_value, members.len() > usize::from(found.is_some()), out);
        out.extend_from_slice(&object[last_end..]);
        true
    }

    #[inline]
    fn write_member(&self, raw_value: &[u8], comma: bool, out: &mut Vec<u8>) {
        if comma {
            out.push(b',');
        }
        out.extend_from_slice(&self.head);
        out.extend_from_slice(raw_value);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::Value as Json;

    use super::*;

    fn compacted(raw: &str) -> String {
        let mut out = b"before".to_vec();
        compact(raw.as_bytes(), &mut out);
        String::from_utf8(out).unwrap().strip_prefix("before").unwrap().to_owned()
    }

    fn string_of(text: &str) -> String {
        let mut out = b"before".to_vec();
        write_string(text.as_bytes(), &mut out);
        String::from_utf8(out).unwrap().strip_prefix("before").unwrap().to_owned()
    }

    fn member_in(object: &str, name: &str, raw: &str) -> Option<String> {
        let mut out = b"before".to_vec();
        let done = with_member(object.as_bytes(), name, raw.as_bytes(), &mut out);
        let out = String::from_utf8(out).unwrap().strip_prefix("before").unwrap().to_owned();
        assert!(done || out.is_empty());
        done.then_some(out)
    }

    #[test]
    fn tokens_stay_as_they_are_written() {
        assert_eq!(compacted("  \t\r\n"), "");
        assert_eq!(compacted(" 1.50e+3 "), "1.50e+3");
        assert_eq!(
            compacted(r#"{ "a \" b" : "\\" , "c":[ true , null ] }"#),
            r#"{"a \" b":"\\","c":[true,null]}"#
        );
        assert_eq!(compacted("\"no end \\"), "\"no end \\");
        assert_eq!(compacted("\"no end  "), "\"no end  ");
    }

    #[test]
    fn only_what_must_be_is_escaped() {
        assert_eq!(string_of(""), r#""""#);
        assert_eq!(string_of("a/é\u{7f}\u{2028}"), "\"a/é\u{7f}\u{2028}\"");
        assert_eq!(string_of("\"\\\u{8}\t\n\u{c}\r\0\u{1f}"), r#""\"\\\b\t\n\f\r\u0000\u001f""#);
        let controls = "\u{1}".repeat(1_000);
        assert_eq!(string_of(&controls), format!("\"{}\"", "\\u0001".repeat(1_000)));
        let quotes = "\"".repeat(1_000);
        assert_eq!(string_of(&quotes), format!("\"{}\"", "\\\"".repeat(1_000)));
    }

    #[test]
    fn a_member_is_appended() {
        assert_eq!(member_in("{}", "t", "1").unwrap(), r#"{"t":1}"#);
        assert_eq!(member_in(" { } ", "t", "1").unwrap(), r#" {"t":1 } "#);
        assert_eq!(member_in(r#"{"a":1}"#, "t", "\"x\"").unwrap(), r#"{"a":1,"t":"x"}"#);
        assert_eq!(member_in("{ \"a\" : 1\n}\n", "t", "1").unwrap(), "{ \"a\" : 1,\"t\":1\n}\n");
        assert_eq!(
            member_in(r#"{"a":"t","b":{"t":0}}"#, "t", "1").unwrap(),
            r#"{"a":"t","b":{"t":0},"t":1}"#
        );
        assert_eq!(member_in(r#"{"a":"\\"}"#, "t", "1").unwrap(), r#"{"a":"\\","t":1}"#);
        assert_eq!(member_in("{}", "\"", "1").unwrap(), r#"{"\"":1}"#);
    }

    #[test]
    fn a_member_of_that_name_is_removed() {
        assert_eq!(member_in(r#"{"t":0}"#, "t", "1").unwrap(), r#"{"t":1}"#);
        assert_eq!(member_in(r#" { "t" : 0 } "#, "t", "1").unwrap(), r#" { "t":1 } "#);
        assert_eq!(member_in(r#"{"t":0, "a":2}"#, "t", "1").unwrap(), r#"{"a":2,"t":1}"#);
        assert_eq!(member_in(r#"{"a":2 , "t":{"t":3} }"#, "t", "1").unwrap(), r#"{"a":2,"t":1 }"#);
        assert_eq!(member_in(r#"{"a":2, "t":0 , "b":3}"#, "t", "1").unwrap(), r#"{"a":2, "b":3,"t":1}"#);
        assert_eq!(member_in(r#"{"a":2,"\u0074":0}"#, "t", "1").unwrap(), r#"{"a":2,"t":1}"#);
    }

    #[test]
    fn what_is_no_object_is_left() {
        for text in ["", " ", "[]", "\"t\"", "1", "{", "}", "{\"t\"", "x{}", "[{\"t\":1}]"] {
            assert_eq!(member_in(text, "t", "1"), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn strings_are_those_of_serde_json(text in prop_oneof![".{0,60}", "[\\x00-\\x24\\\\a]{0,80}", "[a-z\"]{0,200}"]) {
            prop_assert_eq!(string_of(&text), serde_json::to_string(&text).unwrap());
        }

        #[test]
        fn compact_is_what_serde_json_writes(
            keys in prop::collection::btree_map("[a-z \"\\\\]{0,5}", prop_oneof![
                any::<i32>().prop_map(Json::from), "[ \"\\\\\n]{0,6}".prop_map(Json::from),
                prop::collection::vec(any::<bool>(), 0..3).prop_map(Json::from),
            ], 0..5),
        ) {
            let json = serde_json::to_value(keys).unwrap();
            prop_assert_eq!(compacted(&serde_json::to_string_pretty(&json).unwrap()), json.to_string());
        }

        #[test]
        fn the_member_is_the_last_and_the_only_one_of_its_name(
            members in prop::collection::btree_map("[a-d]{1,2}", "[a-d\"\\\\]{0,3}", 0..5),
            name in "[a-d]{1,2}",
            space in prop::sample::select(vec!["", " ", "\n"]),
            escape: bool,
        ) {
            let name_of = |text: &String| match text.strip_prefix('a') {
                Some(rest) if escape => format!("\"\\u0061{rest}\""),
                _ => format!("\"{text}\""),
            };
            let written = |(key, value): (&String, &String)| {
                format!("{space}{}{space}:{}{space}", name_of(key), serde_json::to_string(value).unwrap())
            };
            let object = format!("{{{}}}", members.iter().map(written).collect::<Vec<_>>().join(","));
            let out = member_in(&object, &name, "7").unwrap();
            let tail = format!("\"{name}\":7");
            prop_assert!(out.trim_end_matches('}').trim_end().ends_with(&tail), "{}", out);
            let mut expected = serde_json::to_value(&members).unwrap();
            expected[&name] = Json::from(7);
            prop_assert_eq!(serde_json::from_str::<Json>(&out).unwrap(), expected);
            let again = member_in(&out, &name, "7").unwrap();
            prop_assert_eq!(serde_json::from_str::<Json>(&again).unwrap(), serde_json::from_str::<Json>(&out).unwrap());
        }

        #[test]
        fn any_bytes_are_taken_without_panic(bytes in prop::collection::vec(any::<u8>(), 0..100), name in ".{0,2}") {
            let mut out = Vec::new();
            compact(&bytes, &mut out);
            write_string(&bytes, &mut out);
            with_member(&bytes, &name, b"1", &mut out);
            with_member(&[b"{", &bytes[..], b"}"].concat(), &name, b"1", &mut out);
        }
    }
}
