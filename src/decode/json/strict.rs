//! The tokenizer that judges every document: RFC 8259 for the whole of it, wanted or not.
//!
//! Beyond the grammar it refuses lone surrogates in any string, nesting over [`MAX_DEPTH`], a member
//! twice at the top level (names compared unescaped) and numbers beyond `f64`. It leaves behind where
//! the top level's members stand; their values are looked at by `schema`.

use super::members::Field;
use super::number::{self, NotANumber};
use crate::decode::simd;

/// The deepest nesting allowed; the outer object is level 1.
pub(super) const MAX_DEPTH: u32 = 128;

/// More members than this at the top level are compared for duplicates by sorting.
const COMPARE_IN_PAIRS: usize = 16;

/// A range of bytes; of which buffer, the holder says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Span {
    pub(super) start: u32,
    pub(super) end: u32,
}

impl Span {
    #[inline(always)]
    pub(super) fn new(start: usize, end: usize) -> Self {
        // Documents are at most 1 GiB, and so is what they unescape to.
        Span { start: start as u32, end: end as u32 }
    }

    #[inline(always)]
    pub(super) fn of(self, bytes: &[u8]) -> &[u8] {
        bytes.get(self.start as usize..self.end as usize).unwrap_or_default()
    }

    #[inline(always)]
    pub(super) fn len(self) -> usize {
        (self.end - self.start) as usize
    }
}

/// What kind of value stands there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Token {
    /// A string, and whether it has escapes.
    Text { escaped: bool },
    /// A number with neither fraction nor exponent.
    Integer,
    /// Any other number.
    Fraction,
    /// `true` or `false`.
    Truth,
    /// `null`.
    Null,
    /// An object.
    Object,
    /// An array.
    Array,
}

/// A member of the top level.
#[derive(Clone, Copy, Debug)]
pub(super) struct Entry {
    /// Where it begins: its name's opening quote.
    pub(super) start: u32,
    /// Its name without quotes: in the document, or unescaped in [`Document::unescaped_names`].
    pub(super) name: Span,
    pub(super) name_escaped: bool,
    /// The declared member it is.
    pub(super) field: Option<u32>,
    /// Its value's text in the document, with quotes.
    pub(super) value: Span,
    pub(super) token: Token,
}

/// What is wrong with a document, and at which byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Fault {
    pub(super) what: &'static str,
    pub(super) at: usize,
}

/// The members of one document's top level; reused from document to document.
#[derive(Clone, Debug, Default)]
pub(super) struct Document {
    /// In document order.
    pub(super) entries: Vec<Entry>,
    /// For each declared member, its entry.
    pub(super) found: Vec<Option<u32>>,
    /// Names that are written with escapes.
    pub(super) unescaped_names: Vec<u8>,
    /// How many entries are no declared member.
    pub(super) others: usize,
}

impl Document {
    /// Reads all of `bytes`, which are UTF-8.
    pub(super) fn read(&mut self, bytes: &[u8], fields: &[Field]) -> Result<(), Fault> {
        self.entries.clear();
        self.found.clear();
        self.found.resize(fields.len(), None);
        self.unescaped_names.clear();
        self.others = 0;

        let mut cursor = Cursor { bytes, at: 0 };
        cursor.space();
        if cursor.peek() != Some(b'{') {
            return Err(cursor.fault("expected an object"));
        }
        cursor.at += 1;
        cursor.space();
        if cursor.peek() == Some(b'}') {
            cursor.at += 1;
        } else {
            self.members(&mut cursor, fields)?;
        }
        cursor.space();
        if cursor.at < bytes.len() {
            return Err(cursor.fault("expected nothing behind the object"));
        }
        if self.others > COMPARE_IN_PAIRS { self.no_name_twice(bytes) } else { Ok(()) }
    }

    fn members(&mut self, cursor: &mut Cursor<'_>, fields: &[Field]) -> Result<(), Fault> {
        let mut likely = 0;
        loop {
            let (name, escaped) = cursor.name()?;
            let at = name.start as usize - 1;
            let (name, field) = self.identify(cursor.bytes, name, escaped, fields, likely);
            match field {
                Some(field) if self.found[field].is_some() => return Err(Fault { what: TWICE, at }),
                Some(field) => {
                    self.found[field] = Some(self.entries.len() as u32);
                    likely = field + 1;
                }
                None => {
                    self.others += 1;
                    if self.others <= COMPARE_IN_PAIRS && self.knows(name, escaped, cursor.bytes) {
                        return Err(Fault { what: TWICE, at });
                    }
                }
            }
            let start = cursor.at;
            let token = cursor.value()?;
            self.entries.push(Entry {
                start: at as u32,
                name,
                name_escaped: escaped,
                field: field.map(|field| field as u32),
                value: Span::new(start, cursor.at),
                token,
            });
            cursor.space();
            match cursor.peek() {
                Some(b',') => cursor.at += 1,
                Some(b'}') => break,
                _ => return Err(cursor.fault("expected a comma or the end of the object")),
            }
            cursor.space();
        }
        cursor.at += 1;
        Ok(())
    }

    /// The name in its final form, and which declared member it is; `likely` is looked at first.
    #[inline]
    fn identify(
        &mut self,
        bytes: &[u8],
        name: Span,
        escaped: bool,
        fields: &[Field],
        likely: usize,
    ) -> (Span, Option<usize>) {
        let mut name = name;
        if escaped {
            let start = self.unescaped_names.len();
            unescape(name.of(bytes), &mut self.unescaped_names);
            name = Span::new(start, self.unescaped_names.len());
        }
        let text = name.of(if escaped { &self.unescaped_names } else { bytes });
        let is = |field: &Field| field.name.as_bytes() == text;
        let field = match fields.get(likely) {
            Some(field) if is(field) => Some(likely),
            _ => fields.iter().position(is),
        };
        (name, field)
    }

    /// Whether an entry that is no declared member has this name.
    fn knows(&self, name: Span, escaped: bool, bytes: &[u8]) -> bool {
        let name = name.of(if escaped { &self.unescaped_names } else { bytes });
        self.entries.iter().any(|entry| entry.field.is_none() && self.name(entry, bytes) == name)
    }

    /// The unescaped name of an entry.
    #[inline]
    pub(super) fn name<'a>(&'a self, entry: &Entry, bytes: &'a [u8]) -> &'a [u8] {
        entry.name.of(if entry.name_escaped { &self.unescaped_names } else { bytes })
    }

    /// What pairwise comparison does for few members, for many.
    #[cold]
    fn no_name_twice(&self, bytes: &[u8]) -> Result<(), Fault> {
        let mut sorted: Vec<&Entry> = self.entries.iter().collect();
        sorted.sort_by(|a, b| self.name(a, bytes).cmp(self.name(b, bytes)));
        let repeated =
            sorted.windows(2).filter(|pair| self.name(pair[0], bytes) == self.name(pair[1], bytes));
        match repeated.map(|pair| pair[1].start as usize).min() {
            Some(at) => Err(Fault { what: TWICE, at }),
            None => Ok(()),
        }
    }
}

const TWICE: &str = "a member stands twice";

/// Where the value that begins at `at` ends, if it is one; it is nested in the top-level object.
pub(super) fn end_of_value(bytes: &[u8], at: usize) -> Option<usize> {
    let mut cursor = Cursor { bytes, at };
    cursor.value().ok()?;
    Some(cursor.at)
}

/// A place in a document.
struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Cursor<'_> {
    #[inline(always)]
    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    #[cold]
    fn fault(&self, what: &'static str) -> Fault {
        Fault { what, at: self.at }
    }

    #[inline(always)]
    fn space(&mut self) {
        while let Some(b' ' | b'\t' | b'\n' | b'\r') = self.peek() {
            self.at += 1;
        }
    }

    /// A name and its colon, up to the value.
    #[inline]
    fn name(&mut self) -> Result<(Span, bool), Fault> {
        if self.peek() != Some(b'"') {
            return Err(self.fault("expected a member's name"));
        }
        let start = self.at + 1;
        let escaped = self.string()?;
        let name = Span::new(start, self.at - 1);
        self.space();
        if self.peek() != Some(b':') {
            return Err(self.fault("expected a colon"));
        }
        self.at += 1;
        self.space();
        Ok((name, escaped))
    }

    /// A member's value at the top level.
    #[inline]
    fn value(&mut self) -> Result<Token, Fault> {
        match self.peek() {
            Some(b'{') => self.nested().map(|()| Token::Object),
            Some(b'[') => self.nested().map(|()| Token::Array),
            _ => self.scalar(),
        }
    }

    #[inline]
    fn scalar(&mut self) -> Result<Token, Fault> {
        match self.peek() {
            Some(b'"') => self.string().map(|escaped| Token::Text { escaped }),
            Some(b'-' | b'0'..=b'9') => self.number(),
            Some(b't') => self.word(b"true", Token::Truth),
            Some(b'f') => self.word(b"false", Token::Truth),
            Some(b'n') => self.word(b"null", Token::Null),
            _ => Err(self.fault("expected a value")),
        }
    }

    fn word(&mut self, word: &[u8], token: Token) -> Result<Token, Fault> {
        if !self.bytes[self.at..].starts_with(word) {
            return Err(self.fault("expected a value"));
        }
        self.at += word.len();
        Ok(token)
    }

    fn number(&mut self) -> Result<Token, Fault> {
        match number::shape(self.bytes, self.at) {
            Ok(shape) => {
                self.at = shape.end;
                Ok(if shape.integer { Token::Integer } else { Token::Fraction })
            }
            Err(NotANumber::Malformed(at)) => Err(Fault { what: "expected a digit", at }),
            Err(NotANumber::Overflow) => Err(self.fault("a number is beyond a double")),
        }
    }

    /// An object or array, with all that is in it; the kinds of the open ones are bits of a word.
    fn nested(&mut self) -> Result<(), Fault> {
        let (mut depth, mut objects) = (1, 0_u128);
        loop {
            let open = self.peek();
            if let Some(b'{' | b'[') = open {
                if depth == MAX_DEPTH {
                    return Err(self.fault("nesting is over 128"));
                }
                depth += 1;
                self.at += 1;
                let object = open == Some(b'{');
                objects = objects << 1 | u128::from(object);
                self.space();
                if self.peek() != Some(if object { b'}' } else { b']' }) {
                    if object {
                        self.name()?;
                    }
                    continue;
                }
                self.at += 1;
                depth -= 1;
                objects >>= 1;
            } else {
                self.scalar()?;
            }
            while depth > 1 {
                self.space();
                let object = objects & 1 == 1;
                match self.peek() {
                    Some(b',') => break,
                    Some(b'}') if object => {}
                    Some(b']') if !object => {}
                    _ => return Err(self.fault("expected a comma or the end of an object or array")),
                }
                self.at += 1;
                depth -= 1;
                objects >>= 1;
            }
            if depth == 1 {
                return Ok(());
            }
            self.at += 1;
            self.space();
            if objects & 1 == 1 {
                self.name()?;
            }
        }
    }

    /// A string, from its opening quote to behind its closing one; whether it has escapes.
    #[inline]
    fn string(&mut self) -> Result<bool, Fault> {
        self.at += 1;
        let mut escaped = false;
        loop {
            self.plain();
            match self.peek() {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(escaped);
                }
                Some(b'\\') => {
                    escaped = true;
                    self.escape()?;
                }
                Some(_) => return Err(self.fault("a control character stands in a string")),
                None => return Err(self.fault("a string has no end")),
            }
        }
    }

    /// Passes over what a string can hold as it is.
    #[inline]
    fn plain(&mut self) {
        while let Some(block) = self.bytes.get(self.at..).and_then(|rest| rest.first_chunk::<16>()) {
            let stop = simd::not_plain(block);
            if stop != 0 {
                self.at += stop.trailing_zeros() as usize;
                return;
            }
            self.at += 16;
        }
        while let Some(byte) = self.peek() {
            if byte < 0x20 || byte == b'"' || byte == b'\\' {
                return;
            }
            self.at += 1;
        }
    }

    fn escape(&mut self) -> Result<(), Fault> {
        match read_escape(&self.bytes[self.at..]) {
            Some((_, len)) => {
                self.at += len;
                Ok(())
            }
            None => Err(self.fault("an escape is malformed or half a surrogate pair")),
        }
    }
}

/// The character that an escape stands for, and how long the escape is; `bytes` begins with its backslash.
fn read_escape(bytes: &[u8]) -> Option<(char, usize)> {
    let plain = match bytes.get(1)? {
        b'"' => '"',
        b'\\' => '\\',
        b'/' => '/',
        b'b' => '\u{8}',
        b'f' => '\u{c}',
        b'n' => '\n',
        b'r' => '\r',
        b't' => '\t',
        b'u' => {
            let unit = hex(bytes.get(2..6)?)?;
            if !(0xd800..0xdc00).contains(&unit) {
                // `from_u32` refuses the second half of a pair standing alone.
                return char::from_u32(unit).map(|c| (c, 6));
            }
            let low = hex(bytes.get(6..)?.strip_prefix(b"\\u")?.get(..4)?)?;
            let low = low.checked_sub(0xdc00).filter(|low| *low < 0x400)?;
            return char::from_u32(0x10000 + ((unit - 0xd800) << 10 | low)).map(|c| (c, 12));
        }
        _ => return None,
    };
    Some((plain, 2))
}

fn hex(digits: &[u8]) -> Option<u32> {
    digits.iter().try_fold(0, |value, digit| Some(value << 4 | char::from(*digit).to_digit(16)?))
}

/// Appends the text of a string that was found valid; `inner` is what stands between its quotes.
pub(super) fn unescape(inner: &[u8], out: &mut Vec<u8>) {
    let mut rest = inner;
    while let Some(at) = memchr::memchr(b'\\', rest) {
        out.extend_from_slice(&rest[..at]);
        let Some((character, len)) = read_escape(&rest[at..]) else { return };
        out.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
        rest = &rest[at + len..];
    }
    out.extend_from_slice(rest);
}
