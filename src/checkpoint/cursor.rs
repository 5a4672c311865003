#![forbid(unsafe_code)]
//! Little-endian numbers out of bytes, each checked against their end.

use crate::base::error::{Error, Result};

/// A place in bytes, from which numbers and strings are taken one after the other.
pub(super) struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Cursor<'a> {
    /// A cursor at `at`, which is in bounds.
    pub(super) fn new(bytes: &'a [u8], at: usize) -> Self {
        Self { bytes, at }
    }

    /// Offset of the next byte.
    pub(super) fn at(&self) -> usize {
        self.at
    }

    /// Bytes that are left.
    pub(super) fn left(&self) -> usize {
        self.bytes.len() - self.at
    }

    /// The next `count` bytes.
    ///
    /// # Errors
    /// `Format` if fewer are left.
    pub(super) fn take(&mut self, count: u64) -> Result<&'a [u8]> {
        let left = self.left();
        if count > left as u64 {
            return Err(Error::format(format!(
                "truncated or corrupt: {count} bytes expected at offset {}, {left} found",
                self.at
            )));
        }
        let start = self.at;
        self.at += count as usize;
        Ok(&self.bytes[start..self.at])
    }

    /// The bytes up to the next line feed, which is passed.
    ///
    /// # Errors
    /// `Format` if there is none among the next `most` bytes.
    pub(super) fn line(&mut self, most: usize) -> Result<&'a [u8]> {
        let rest = &self.bytes[self.at..];
        let Some(end) = rest.iter().take(most + 1).position(|&byte| byte == b'\n') else {
            let at = self.at;
            return Err(Error::format(format!("truncated or corrupt: no line at offset {at}")));
        };
        self.at += end + 1;
        Ok(&rest[..end])
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        Ok(self.take(N as u64)?.try_into().expect("N bytes"))
    }

    pub(super) fn u8(&mut self) -> Result<u8> {
        Ok(self.array::<1>()?[0])
    }

    pub(super) fn u16(&mut self) -> Result<u16> {
        self.array().map(u16::from_le_bytes)
    }

    pub(super) fn u32(&mut self) -> Result<u32> {
        self.array().map(u32::from_le_bytes)
    }

    pub(super) fn i32(&mut self) -> Result<i32> {
        self.array().map(i32::from_le_bytes)
    }

    pub(super) fn u64(&mut self) -> Result<u64> {
        self.array().map(u64::from_le_bytes)
    }
}
