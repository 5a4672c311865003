#![forbid(unsafe_code)]
//! MessagePack, <https://github.com/msgpack/msgpack/blob/master/spec.md>: a tree of values whose
//! bytes stay in the file.

use super::contents::Contents;
use super::limits::{
    MOST_MSGPACK_DEPTH, MOST_MSGPACK_TEXT, MOST_MSGPACK_TEXTS, MOST_MSGPACK_VALUES,
};
use super::reader::Reader;
use crate::base::alloc;
use crate::base::error::{Error, Result};

/// A value.
pub(super) enum Value {
    Natural(u64),
    Text(String),
    Bytes(Contents),
    List(Vec<Value>),
    /// In the order of the file.
    Map(Vec<(Value, Value)>),
    /// A value of an application's type, by its number.
    Extension(i8, Contents),
    /// What no checkpoint needs: the kind of it.
    Other(&'static str),
}

impl Value {
    /// The kind of the value, for messages.
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Self::Natural(_) => "a whole number",
            Self::Text(_) => "a text",
            Self::Bytes(_) => "bytes",
            Self::List(_) => "a list",
            Self::Map(_) => "a map",
            Self::Extension(..) => "an extension",
            Self::Other(kind) => kind,
        }
    }
}

/// The one value that `contents` are.
///
/// # Errors
/// `Format` if they are not a value, or exceed a limit; `Io` if the file cannot be read.
pub(super) fn read(contents: &Contents) -> Result<Value> {
    let mut walk = Walk { reader: Reader::new(contents), values: 0, texts: 0, depth: 0 };
    let value = walk.value()?;
    match walk.reader.left() {
        0 => Ok(value),
        left => Err(Error::format(format!("corrupt: {left} bytes after the end of the msgpack"))),
    }
}

struct Walk<'a> {
    reader: Reader<'a>,
    /// Values that were announced.
    values: u64,
    /// Bytes of texts so far.
    texts: u64,
    /// Lists and maps around the next value.
    depth: usize,
}

impl Walk<'_> {
    fn value(&mut self) -> Result<Value> {
        let [first] = self.reader.array("a value")?;
        Ok(match first {
            0x00..=0x7f => Value::Natural(first.into()),
            0x80..=0x8f => self.map(u64::from(first & 15))?,
            0x90..=0x9f => self.list(u64::from(first & 15))?,
            0xa0..=0xbf => self.text(u64::from(first & 31))?,
            0xc0 => Value::Other("nil"),
            0xc1 => return Err(Error::format("corrupt: the byte 0xc1, which msgpack never has")),
            0xc2 | 0xc3 => Value::Other("a truth value"),
            0xc4..=0xc6 => {
                let length = self.number(1 << (first - 0xc4))?;
                Value::Bytes(self.reader.part(length, "bytes")?)
            }
            0xc7..=0xc9 => {
                let length = self.number(1 << (first - 0xc7))?;
                self.extension(length)?
            }
            0xca => self.skip(4, "a float")?,
            0xcb => self.skip(8, "a float")?,
            0xcc..=0xcf => Value::Natural(self.number(1 << (first - 0xcc))?),
            0xd0..=0xd3 => {
                let size = 1 << (first - 0xd0);
                let number = self.number(size)?;
                match number >> (8 * size - 1) {
                    0 => Value::Natural(number),
                    _ => Value::Other("a negative number"),
                }
            }
            0xd4..=0xd8 => self.extension(1 << (first - 0xd4))?,
            0xd9..=0xdb => {
                let length = self.number(1 << (first - 0xd9))?;
                self.text(length)?
            }
            0xdc | 0xdd => {
                let count = self.number(2 << (first - 0xdc))?;
                self.list(count)?
            }
            0xde | 0xdf => {
                let count = self.number(2 << (first - 0xde))?;
                self.map(count)?
            }
            0xe0..=0xff => Value::Other("a negative number"),
        })
    }

    /// A big-endian number of `size` bytes, at most 8.
    fn number(&mut self, size: usize) -> Result<u64> {
        let mut number = 0;
        for _ in 0..size {
            let [byte] = self.reader.array("a number")?;
            number = number << 8 | u64::from(byte);
        }
        Ok(number)
    }

    fn skip(&mut self, length: u64, what: &'static str) -> Result<Value> {
        self.reader.part(length, what)?;
        Ok(Value::Other(what))
    }

    fn text(&mut self, length: u64) -> Result<Value> {
        if length > MOST_MSGPACK_TEXT {
            return Err(Error::format(format!(
                "a text of at most {MOST_MSGPACK_TEXT} bytes expected, {length} found"
            )));
        }
        self.texts += length;
        if self.texts > MOST_MSGPACK_TEXTS {
            return Err(Error::format(format!(
                "texts of over {MOST_MSGPACK_TEXTS} bytes together"
            )));
        }
        Ok(Value::Text(self.reader.text(length, "a text")?))
    }

    fn extension(&mut self, length: u64) -> Result<Value> {
        let [kind] = self.reader.array("an extension")?;
        Ok(Value::Extension(kind as i8, self.reader.part(length, "an extension")?))
    }

    fn list(&mut self, count: u64) -> Result<Value> {
        self.enter(count)?;
        let mut values = alloc::with_capacity(count as usize, "a list of msgpack")?;
        for _ in 0..count {
            values.push(self.value()?);
        }
        self.depth -= 1;
        Ok(Value::List(values))
    }

    fn map(&mut self, count: u64) -> Result<Value> {
        self.enter(2 * count)?;
        let mut pairs = alloc::with_capacity(count as usize, "a map of msgpack")?;
        for _ in 0..count {
            pairs.push((self.value()?, self.value()?));
        }
        self.depth -= 1;
        Ok(Value::Map(pairs))
    }

    /// Begins a list or map of `count` values, each of which has at least one byte.
    fn enter(&mut self, count: u64) -> Result<()> {
        let left = self.reader.left();
        if count > left {
            return Err(Error::format(format!(
                "truncated or corrupt: {count} values in {left} bytes"
            )));
        }
        self.values += count;
        self.depth += 1;
        if self.values > MOST_MSGPACK_VALUES {
            return Err(Error::format(format!("over {MOST_MSGPACK_VALUES} msgpack values")));
        }
        if self.depth > MOST_MSGPACK_DEPTH {
            return Err(Error::format(format!(
                "over {MOST_MSGPACK_DEPTH} msgpack values in each other"
            )));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::buffer::Bytes;

    fn tree(bytes: &[u8]) -> Result<Value> {
        read(&Contents::Memory(Bytes::new(bytes.to_vec())))
    }

    /// The value in one line.
    fn shown(value: &Value) -> String {
        let all = |values: &[Value]| values.iter().map(shown).collect::<Vec<_>>().join(" ");
        match value {
            Value::Natural(number) => number.to_string(),
            Value::Text(text) => format!("'{text}'"),
            Value::Bytes(bytes) => format!("b{:?}", bytes.read().unwrap()),
            Value::List(values) => format!("[{}]", all(values)),
            Value::Map(pairs) => {
                let pair = |(k, v): &(Value, Value)| format!("{}: {}", shown(k), shown(v));
                format!("{{{}}}", pairs.iter().map(pair).collect::<Vec<_>>().join(", "))
            }
            Value::Extension(kind, bytes) => format!("x{kind}{:?}", bytes.read().unwrap()),
            Value::Other(kind) => (*kind).into(),
        }
    }

    #[test]
    fn every_type_is_read() {
        let text = |head: &[u8]| [head, b"abc"].concat();
        let list = |head: &[u8]| [head, &[1, 2]].concat();
        let map = |head: &[u8]| [head, &[0xa1, b'k', 7]].concat();
        for (bytes, expected) in [
            (vec![0x00], "0"),
            (vec![0x7f], "127"),
            (vec![0xe0], "a negative number"),
            (vec![0xc0], "nil"),
            (vec![0xc2], "a truth value"),
            (vec![0xc3], "a truth value"),
            (vec![0xca, 1, 2, 3, 4], "a float"),
            (vec![0xcb, 1, 2, 3, 4, 5, 6, 7, 8], "a float"),
            (vec![0xcc, 200], "200"),
            (vec![0xcd, 1, 2], "258"),
            (vec![0xce, 1, 0, 0, 2], "16777218"),
            (vec![0xcf, 0x80, 0, 0, 0, 0, 0, 0, 1], "9223372036854775809"),
            (vec![0xd0, 0xff], "a negative number"),
            (vec![0xd1, 0x7f, 0xff], "32767"),
            (vec![0xd2, 0x80, 0, 0, 0], "a negative number"),
            (vec![0xd3, 0, 0, 0, 0, 0, 0, 0, 9], "9"),
            (text(&[0xa3]), "'abc'"),
            (text(&[0xd9, 3]), "'abc'"),
            (text(&[0xda, 0, 3]), "'abc'"),
            (text(&[0xdb, 0, 0, 0, 3]), "'abc'"),
            (vec![0xc4, 1, 5], "b[5]"),
            (vec![0xc5, 0, 1, 5], "b[5]"),
            (vec![0xc6, 0, 0, 0, 1, 5], "b[5]"),
            (vec![0xc7, 1, 3, 5], "x3[5]"),
            (vec![0xc8, 0, 1, 0xff, 5], "x-1[5]"),
            (vec![0xc9, 0, 0, 0, 1, 1, 5], "x1[5]"),
            (vec![0xd4, 1, 5], "x1[5]"),
            (vec![0xd5, 1, 5, 6], "x1[5, 6]"),
            (vec![0xd6, 1, 5, 6, 7, 8], "x1[5, 6, 7, 8]"),
            (list(&[0x92]), "[1 2]"),
            (list(&[0xdc, 0, 2]), "[1 2]"),
            (list(&[0xdd, 0, 0, 0, 2]), "[1 2]"),
            (map(&[0x81]), "{'k': 7}"),
            (map(&[0xde, 0, 1]), "{'k': 7}"),
            (map(&[0xdf, 0, 0, 0, 1]), "{'k': 7}"),
        ] {
            assert_eq!(shown(&tree(&bytes).unwrap()), expected, "{bytes:x?}");
            for length in 0..bytes.len() {
                assert!(tree(&bytes[..length]).is_err(), "{length} of {bytes:x?}");
            }
            let error = tree(&[&bytes[..], &[0]].concat()).err().unwrap();
            assert!(error.message().contains("1 bytes after the end"), "{bytes:x?}: {error}");
        }
        for (kind, length) in [(0xd7, 8), (0xd8, 16)] {
            let bytes = [&[kind, 1][..], &vec![0; length]].concat();
            assert!(matches!(tree(&bytes), Ok(Value::Extension(1, b)) if b.len() == length as u64));
        }
    }

    #[test]
    fn what_is_too_much_is_refused() {
        let nested = |depth: usize| [vec![0x91; depth], vec![0]].concat();
        tree(&nested(MOST_MSGPACK_DEPTH)).unwrap();
        let many = 1 + MOST_MSGPACK_VALUES as u32;
        let many = [vec![0xdd], many.to_be_bytes().to_vec(), vec![0; many as usize]].concat();
        for (bytes, part) in [
            (nested(MOST_MSGPACK_DEPTH + 1), "in each other"),
            (many, "values"),
            (vec![0xdd, 0xff, 0xff, 0xff, 0xff, 0], "4294967295 values in 1 bytes"),
            (vec![0xdf, 0xff, 0xff, 0xff, 0xff, 0], "8589934590 values in 1 bytes"),
            (vec![0xc6, 0xff, 0xff, 0xff, 0xff, 0], "bytes of 4294967295 bytes"),
            (vec![0xdb, 0xff, 0xff, 0xff, 0xff, 0], "at most 1024"),
            (vec![0xa1, 0xff], "UTF-8"),
            (vec![0xc1], "0xc1"),
        ] {
            let error = tree(&bytes).err().unwrap();
            assert!(error.message().contains(part), "{part}: {error}");
        }
    }
}
