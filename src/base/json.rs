#![forbid(unsafe_code)]
//! JSON (RFC 8259) read in order: what a caller does not take is checked and passed over, never
//! built. A text of any kind takes no memory beside itself, except for the strings that are taken.

use std::borrow::Cow;

use super::alloc;
use super::error::{Error, Result};

/// Lists and objects in one another, as in Python's and Rust's usual readers; one for each bit of
/// what [`Reader::value`] remembers them by.
const MOST_DEPTH: u32 = u128::BITS;

/// A place in a text, from which values are taken one after the other.
pub(crate) struct Reader<'a> {
    text: &'a str,
    at: usize,
    /// What is said of a text that is wrong.
    otherwise: &'static str,
}

/// What a value is, told by its first letter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Object,
    List,
    Text,
    Number,
    /// `true`, `false` or `null`.
    Word,
}

impl<'a> Reader<'a> {
    /// The beginning of `text`. Errors begin with `otherwise`.
    pub(crate) fn new(text: &'a str, otherwise: &'static str) -> Self {
        Self { text, at: 0, otherwise }
    }

    /// The error for something else than `expected` at this place.
    pub(crate) fn wrong(&self, expected: &str) -> Error {
        let before = &self.text.as_bytes()[..self.at];
        let line = 1 + before.iter().filter(|&&byte| byte == b'\n').count();
        let column = 1 + before.iter().rev().take_while(|&&byte| byte != b'\n').count();
        let otherwise = self.otherwise;
        Error::format(format!("{otherwise}: {expected} expected at line {line} column {column}"))
    }

    /// What the next value is.
    ///
    /// # Errors
    /// `Format` if there is none.
    pub(crate) fn kind(&mut self) -> Result<Kind> {
        self.space();
        match self.peek() {
            Some(b'{') => Ok(Kind::Object),
            Some(b'[') => Ok(Kind::List),
            Some(b'"') => Ok(Kind::Text),
            Some(b'-' | b'0'..=b'9') => Ok(Kind::Number),
            Some(b't' | b'f' | b'n') => Ok(Kind::Word),
            _ => Err(self.wrong("a value")),
        }
    }

    /// Calls `each` with every key of an object; it takes the value.
    ///
    /// # Errors
    /// `Format` if no object is next or it is malformed; those of `each`.
    pub(crate) fn object(
        &mut self,
        mut each: impl FnMut(&mut Self, Cow<'a, str>) -> Result<()>,
    ) -> Result<()> {
        self.begin(b'{', "an object")?;
        if self.passes(b'}') {
            return Ok(());
        }
        loop {
            let key = self.text()?;
            self.colon()?;
            each(self, key)?;
            if self.passes(b'}') {
                return Ok(());
            }
            self.begin(b',', "a comma or a closing brace")?;
        }
    }

    /// Calls `each` for every item of a list; it takes the item.
    ///
    /// # Errors
    /// `Format` if no list is next or it is malformed; those of `each`.
    pub(crate) fn list(&mut self, mut each: impl FnMut(&mut Self) -> Result<()>) -> Result<()> {
        self.begin(b'[', "a list")?;
        if self.passes(b']') {
            return Ok(());
        }
        loop {
            each(self)?;
            if self.passes(b']') {
                return Ok(());
            }
            self.begin(b',', "a comma or a closing bracket")?;
        }
    }

    /// Takes a string, which is copied only if it has escapes.
    ///
    /// # Errors
    /// `Format` if none is next or it is malformed, `OutOfMemory` if it cannot be copied.
    pub(crate) fn text(&mut self) -> Result<Cow<'a, str>> {
        self.space();
        let (inside, escaped) = self.raw_text()?;
        if !escaped {
            return Ok(Cow::Borrowed(inside));
        }
        // No escape is shorter than what it stands for.
        let mut text = alloc::with_capacity(inside.len(), "a text of JSON")?;
        let mut rest = inside;
        while let Some((plain, escape)) = rest.split_once('\\') {
            text.extend_from_slice(plain.as_bytes());
            let (letter, after) = self.unescaped(escape)?;
            text.extend_from_slice(letter.encode_utf8(&mut [0; 4]).as_bytes());
            rest = after;
        }
        text.extend_from_slice(rest.as_bytes());
        String::from_utf8(text).map(Cow::Owned).map_err(|_| self.wrong("UTF-8"))
    }

    /// Takes a whole number from 0.
    ///
    /// # Errors
    /// `Format` if none is next, or it has more than 64 bits.
    pub(crate) fn natural(&mut self) -> Result<u64> {
        self.space();
        let start = self.at;
        let number = self.raw_number().ok().and_then(|number| number.parse().ok());
        number.ok_or_else(|| {
            self.at = start;
            self.wrong("a whole number from 0")
        })
    }

    /// Takes any value and gives its text.
    ///
    /// # Errors
    /// `Format` if none is next, it is malformed or nested too deeply.
    pub(crate) fn value(&mut self) -> Result<&'a str> {
        self.space();
        // The lists and objects around: a bit for each, the innermost lowest, set for an object.
        let (start, mut around, mut depth) = (self.at, 0_u128, 0);
        loop {
            match self.kind()? {
                Kind::Text => _ = self.raw_text()?,
                Kind::Number => _ = self.raw_number()?,
                Kind::Word => self.word()?,
                kind => {
                    if depth == MOST_DEPTH {
                        return Err(self.wrong(&format!("no more than {MOST_DEPTH} levels")));
                    }
                    let is_object = kind == Kind::Object;
                    self.at += 1;
                    (around, depth) = (around << 1 | u128::from(is_object), depth + 1);
                    if !self.passes(closing(is_object)) {
                        if is_object {
                            self.key()?;
                        }
                        continue;
                    }
                    (around, depth) = (around >> 1, depth - 1);
                }
            }
            while depth > 0 {
                let is_object = around & 1 == 1;
                if self.passes(b',') {
                    if is_object {
                        self.key()?;
                    }
                    break;
                }
                let what = ["a comma or a closing bracket", "a comma or a closing brace"];
                self.begin(closing(is_object), what[usize::from(is_object)])?;
                (around, depth) = (around >> 1, depth - 1);
            }
            if depth == 0 {
                return Ok(&self.text[start..self.at]);
            }
        }
    }

    /// Checks that nothing but space is left.
    ///
    /// # Errors
    /// `Format` if there is more.
    pub(crate) fn end(&mut self) -> Result<()> {
        self.space();
        if self.at < self.text.len() { Err(self.wrong("the end")) } else { Ok(()) }
    }

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn space(&mut self) {
        let rest = &self.text.as_bytes()[self.at..];
        let is_space = |byte: &&u8| matches!(byte, b' ' | b'\n' | b'\r' | b'\t');
        self.at += rest.iter().take_while(is_space).count();
    }

    /// Passes the next byte and space before it if it is `byte`.
    fn passes(&mut self, byte: u8) -> bool {
        self.space();
        let is_next = self.peek() == Some(byte);
        self.at += usize::from(is_next);
        is_next
    }

    fn begin(&mut self, byte: u8, what: &str) -> Result<()> {
        if self.passes(byte) { Ok(()) } else { Err(self.wrong(what)) }
    }

    fn colon(&mut self) -> Result<()> {
        self.begin(b':', "a colon")
    }

    fn key(&mut self) -> Result<()> {
        self.space();
        self.raw_text()?;
        self.colon()
    }

    fn word(&mut self) -> Result<()> {
        let rest = &self.text[self.at..];
        let word = ["true", "false", "null"].into_iter().find(|word| rest.starts_with(word));
        self.at += word.ok_or_else(|| self.wrong("a value"))?.len();
        Ok(())
    }

    /// The inside of a string, and whether it has escapes.
    fn raw_text(&mut self) -> Result<(&'a str, bool)> {
        if self.peek() != Some(b'"') {
            return Err(self.wrong("a string"));
        }
        let (start, mut escaped) = (self.at + 1, false);
        self.at = start;
        loop {
            match self.peek() {
                Some(b'"') => break,
                Some(b'\\') => {
                    escaped = true;
                    self.at += 1;
                    match self.peek() {
                        Some(b'u') if hex(&self.text[self.at + 1..]).is_some() => self.at += 5,
                        Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => {
                            self.at += 1;
                        }
                        _ => return Err(self.wrong("an escape")),
                    }
                }
                Some(0x20..) => self.at += 1,
                Some(_) => return Err(self.wrong("no control character")),
                None => return Err(self.wrong("a closing quote")),
            }
        }
        self.at += 1;
        Ok((&self.text[start..self.at - 1], escaped))
    }

    /// The letter that `escape`, the text after a backslash, stands for, and what follows.
    fn unescaped(&self, escape: &'a str) -> Result<(char, &'a str)> {
        let letter = match escape.as_bytes().first() {
            Some(b'b') => '\u{8}',
            Some(b'f') => '\u{c}',
            Some(b'n') => '\n',
            Some(b'r') => '\r',
            Some(b't') => '\t',
            Some(b'u') => return self.unescaped_unit(&escape[1..]),
            Some(&byte) => char::from(byte),
            None => return Err(self.wrong("an escape")),
        };
        Ok((letter, &escape[1..]))
    }

    /// The letter of one escape, `u` and four digits, or of two that are a surrogate pair.
    fn unescaped_unit(&self, digits: &'a str) -> Result<(char, &'a str)> {
        let wrong = || self.wrong("a Unicode letter before here");
        let first = hex(digits).ok_or_else(wrong)?;
        let rest = &digits[4..];
        let (unit, rest) = match (first, rest.strip_prefix("\\u")) {
            (0xd800..0xdc00, Some(second)) => {
                let low = hex(second).filter(|unit| (0xdc00..0xe000).contains(unit));
                let low = low.ok_or_else(wrong)?;
                (0x1_0000 + ((first - 0xd800) << 10) + (low - 0xdc00), &second[4..])
            }
            _ => (first, rest),
        };
        Ok((char::from_u32(unit).ok_or_else(wrong)?, rest))
    }

    fn raw_number(&mut self) -> Result<&'a str> {
        let start = self.at;
        self.at += usize::from(self.peek() == Some(b'-'));
        let leading = self.at;
        let whole = self.digits()?;
        if whole > 1 && self.text.as_bytes()[leading] == b'0' {
            self.at = leading + 1;
            return Err(self.wrong("no digit after a leading 0"));
        }
        if self.peek() == Some(b'.') {
            self.at += 1;
            self.digits()?;
        }
        if let Some(b'e' | b'E') = self.peek() {
            self.at += 1;
            self.at += usize::from(matches!(self.peek(), Some(b'+' | b'-')));
            self.digits()?;
        }
        Ok(&self.text[start..self.at])
    }

    /// Passes digits, at least one; how many.
    fn digits(&mut self) -> Result<usize> {
        let rest = &self.text.as_bytes()[self.at..];
        let count = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
        self.at += count;
        if count == 0 { Err(self.wrong("a digit")) } else { Ok(count) }
    }
}

fn closing(is_object: bool) -> u8 {
    if is_object { b'}' } else { b']' }
}

/// The number of the four hexadecimal digits that `text` begins with.
fn hex(text: &str) -> Option<u32> {
    let digits = text.get(..4)?;
    let all = digits.bytes().all(|byte| byte.is_ascii_hexdigit());
    u32::from_str_radix(digits, 16).ok().filter(|_| all)
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    fn whole(text: &str) -> Result<&str> {
        let mut reader = Reader::new(text, "not valid JSON");
        let value = reader.value()?;
        reader.end()?;
        Ok(value)
    }

    /// What another reader takes is taken, what it refuses is refused.
    #[test]
    fn texts_are_valid_where_another_reader_says_so() {
        let texts = [
            "{}",
            "[]",
            " [ ] ",
            "{\"a\":[1,2.5,-3e+7,{}],\"b\":{\"c\":null}}",
            "true",
            "\"\"",
            "",
            "[",
            "[1,]",
            "{,}",
            "{\"a\"}",
            "{\"a\":}",
            "{\"a\":1,}",
            "[1 2]",
            "[1}",
            "{]",
            "01",
            "-",
            "1.",
            ".5",
            "1e",
            "1e+",
            "-0",
            "0.0",
            "1E5",
            "nul",
            "nulll",
            "tru",
            "\"\n\"",
            "\"\\x\"",
            "\"\\u12\"",
            "\"\\u12g4\"",
            "\"\\u00e9\"",
            "\"\\\"\"",
            "\"",
            "\"\\",
            "[]]",
            "{\"a\":1}{",
            "\u{feff}[]",
            "[\t1\r\n,2 ]",
            "[[[[[]]]],{}]",
            "{\"\":{\"\":{}}}",
            "\"ä\\n\\/\"",
            "+1",
            "NaN",
            "'a'",
            "{1:2}",
            "[1,,2]",
            "\"\\u+123\"",
            "/**/1",
        ];
        for text in texts {
            let expected = serde_json::from_str::<Value>(text).is_ok();
            assert_eq!(whole(text).is_ok(), expected, "{text:?}: {:?}", whole(text));
        }
        for (depth, is_taken) in [(128, true), (129, false), (100_000, false)] {
            let lists = "[".repeat(depth) + &"]".repeat(depth);
            let objects = "{\"\":".repeat(depth) + "0" + &"}".repeat(depth);
            for text in [lists, objects] {
                assert_eq!(whole(&text).is_ok(), is_taken, "{depth}");
            }
        }
    }

    #[test]
    fn strings_are_those_of_another_reader() {
        let texts = [
            r#""plain ä""#,
            r#""\"\\\/\b\f\n\r\t""#,
            r#""\u00e9\u0041x""#,
            r#""\ud83d\ude00!""#,
            r#""\ud83d""#,
            r#""\ude00""#,
            r#""\ud83d\u0041""#,
            r#""\ud83dx""#,
            r#""\uD83D\uDE00""#,
        ];
        for text in texts {
            let expected: Option<String> = serde_json::from_str(text).ok();
            let found = Reader::new(text, "").text().ok();
            assert_eq!(found.as_deref(), expected.as_deref(), "{text}");
        }
    }

    #[test]
    fn objects_and_lists_are_walked() {
        let text = r#" {"a": [1, 2], "b\u0063": {"x": []}, "d": "e"} "#;
        let (mut keys, mut sum) = (Vec::new(), 0);
        let mut reader = Reader::new(text, "wrong");
        let each = |reader: &mut Reader<'_>, key: Cow<'_, str>| {
            keys.push(key.into_owned());
            match reader.kind()? {
                Kind::List => reader.list(|reader| {
                    sum += reader.natural()?;
                    Ok(())
                }),
                _ => reader.value().map(|_| ()),
            }
        };
        reader.object(each).unwrap();
        reader.end().unwrap();
        assert_eq!((keys.join(" "), sum), ("a bc d".into(), 3));
        for (text, said) in [
            ("{\"a\": [1,\n -2]}", "wrong: a whole number from 0 expected at line 2 column 2"),
            ("{\"a\": [1.0]}", "wrong: a whole number from 0 expected at line 1 column 8"),
            ("{\"a\": [18446744073709551616]}", "wrong: a whole number from 0 expected"),
            ("[]", "wrong: an object expected at line 1 column 1"),
            ("{\"a\": [1", "wrong: a comma or a closing bracket expected"),
        ] {
            let each = |reader: &mut Reader<'_>, _: Cow<'_, str>| {
                reader.list(|reader| reader.natural().map(|_| ()))
            };
            let error = Reader::new(text, "wrong").object(each).unwrap_err();
            assert!(error.message().starts_with(said), "{error}");
        }
    }
}
