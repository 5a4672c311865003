#![forbid(unsafe_code)]
//! Reads the header of a file in order, wherever its bytes are.

use super::contents::Contents;
use crate::base::alloc;
use crate::base::error::{Error, Result};

/// Bytes that are read at a time: enough for the names and shapes of many tensors, and little
/// beside the data that a reader skips.
const CHUNK: u64 = 8 << 10;

/// A place in contents, from which numbers and texts are read.
pub(super) struct Reader<'a> {
    contents: &'a Contents,
    length: u64,
    at: u64,
    /// Bytes from `start` on that were read already.
    buffer: Vec<u8>,
    start: u64,
}

impl<'a> Reader<'a> {
    /// The beginning of `contents`.
    pub(super) fn new(contents: &'a Contents) -> Self {
        Self { contents, length: contents.len(), at: 0, buffer: Vec::new(), start: 0 }
    }

    /// Distance from the beginning in bytes.
    pub(super) fn position(&self) -> u64 {
        self.at
    }

    /// Bytes from here to the end.
    pub(super) fn left(&self) -> u64 {
        self.length - self.at
    }

    /// The next `length` bytes, unread.
    ///
    /// # Errors
    /// `Format`, naming `what` is there, if fewer are left.
    pub(super) fn part(&mut self, length: u64, what: &str) -> Result<Contents> {
        self.check(length, what)?;
        let part = self.contents.slice(self.at..self.at + length).expect("in bounds");
        self.at += length;
        Ok(part)
    }

    /// The next `N` bytes.
    ///
    /// # Errors
    /// `Format` if fewer are left, `Io` if the file cannot be read.
    pub(super) fn array<const N: usize>(&mut self, what: &str) -> Result<[u8; N]> {
        let mut bytes = [0; N];
        self.fill(&mut bytes, what)?;
        Ok(bytes)
    }

    /// The next 4 bytes as a little-endian number.
    pub(super) fn u32(&mut self, what: &str) -> Result<u32> {
        self.array(what).map(u32::from_le_bytes)
    }

    /// The next 8 bytes as a little-endian number.
    pub(super) fn u64(&mut self, what: &str) -> Result<u64> {
        self.array(what).map(u64::from_le_bytes)
    }

    /// The next `length` bytes as UTF-8. The caller has bounded `length`.
    ///
    /// # Errors
    /// `Format` if fewer are left or they are not UTF-8, `Io` if the file cannot be read.
    pub(super) fn text(&mut self, length: u64, what: &str) -> Result<String> {
        self.check(length, what)?;
        let mut bytes = alloc::filled(0, length as usize, what)?;
        self.fill(&mut bytes, what)?;
        String::from_utf8(bytes)
            .map_err(|_| Error::format(format!("corrupt: {what} that is not UTF-8")))
    }

    fn check(&self, length: u64, what: &str) -> Result<()> {
        if length > self.left() {
            let (at, left) = (self.at, self.left());
            return Err(Error::format(format!(
                "truncated or corrupt: {what} of {length} bytes at byte {at}, {left} bytes left"
            )));
        }
        Ok(())
    }

    fn fill(&mut self, out: &mut [u8], what: &str) -> Result<()> {
        self.check(out.len() as u64, what)?;
        let mut filled = 0;
        while filled < out.len() {
            let skipped = self.at.checked_sub(self.start).filter(|&n| n < self.buffer.len() as u64);
            let Some(skipped) = skipped else {
                let end = self.length.min(self.at + CHUNK);
                let chunk = self.contents.slice(self.at..end).expect("in bounds");
                let bytes = chunk.read()?;
                self.buffer.clear();
                alloc::reserve(&mut self.buffer, bytes.len(), "a part of a header")?;
                self.buffer.extend_from_slice(&bytes);
                self.start = self.at;
                continue;
            };
            let there = &self.buffer[skipped as usize..];
            let count = there.len().min(out.len() - filled);
            out[filled..filled + count].copy_from_slice(&there[..count]);
            filled += count;
            self.at += count as u64;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::buffer::Bytes;

    #[test]
    fn reads_across_its_buffer_and_never_past_the_end() {
        let bytes: Vec<u8> = (0..3 * CHUNK).map(|i| (i % 251) as u8).collect();
        let contents = Contents::Memory(Bytes::new(bytes.clone()));
        let mut reader = Reader::new(&contents);
        reader.part(CHUNK - 2, "a part").unwrap();
        let at = CHUNK as usize - 2;
        assert_eq!(reader.array::<4>("an array").unwrap(), bytes[at..at + 4]);
        let mut long = vec![0; CHUNK as usize + 5];
        reader.fill(&mut long, "much").unwrap();
        assert_eq!(long, bytes[at + 4..at + 9 + CHUNK as usize]);
        let (left, position) = (reader.left(), reader.position());
        assert_eq!(left + position, 3 * CHUNK);
        for length in [left + 1, u64::MAX] {
            let error = reader.text(length, "a text").unwrap_err();
            assert!(error.message().contains(&format!("a text of {length} bytes")), "{error}");
        }
        reader.part(left, "the rest").unwrap();
        let error = reader.array::<1>("a byte").unwrap_err();
        assert!(error.message().ends_with("0 bytes left"), "{error}");
    }
}
