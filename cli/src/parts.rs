//! A file of which readers see some parts alone.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::ops::Range;

/// The parts of a file one after the other, as if there were nothing else.
pub(crate) struct Parts {
    file: File,
    ranges: Vec<Range<u64>>,
    /// The part that is read, its number, and what of it is left. The file is at its beginning.
    part: usize,
    left: u64,
}

impl Parts {
    /// The bytes `ranges` of `file`.
    pub(crate) fn new(file: File, ranges: Vec<Range<u64>>) -> io::Result<Self> {
        let mut parts = Self { file, ranges, part: 0, left: 0 };
        parts.rewind()?;
        Ok(parts)
    }

    /// Bytes of all.
    fn len(&self) -> u64 {
        self.ranges.iter().map(|range| range.end - range.start).sum()
    }

    /// Where the next byte is.
    fn position(&self) -> u64 {
        let passed = self.ranges.iter().take(self.part + 1);
        passed.map(|range| range.end - range.start).sum::<u64>() - self.left
    }

    fn go(&mut self, position: u64) -> io::Result<()> {
        let mut rest = position;
        (self.part, self.left) = (self.ranges.len(), 0);
        for (part, range) in self.ranges.iter().enumerate() {
            let length = range.end - range.start;
            if rest < length {
                (self.part, self.left) = (part, length - rest);
                self.file.seek(SeekFrom::Start(range.start + rest))?;
                break;
            }
            rest -= length;
        }
        Ok(())
    }
}

impl Read for Parts {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if self.left == 0 {
            let position = self.position();
            self.go(position)?;
        }
        let most = usize::try_from(self.left).unwrap_or(usize::MAX).min(out.len());
        let read = self.file.read(&mut out[..most])?;
        self.left -= read as u64;
        Ok(read)
    }
}

impl Seek for Parts {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let position = match to {
            SeekFrom::Start(position) => Some(position),
            SeekFrom::End(distance) => self.len().checked_add_signed(distance),
            SeekFrom::Current(distance) => self.position().checked_add_signed(distance),
        };
        let position = position.ok_or(io::ErrorKind::InvalidInput)?.min(self.len());
        self.go(position)?;
        Ok(position)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn only_the_parts_are_seen() {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(b"0123456789abcdef").unwrap();
        let mut parts = Parts::new(file, vec![2..5, 7..7, 9..12, 15..16]).unwrap();
        let mut all = String::new();
        parts.read_to_string(&mut all).unwrap();
        assert_eq!(all, "2349abf");
        for (to, position, rest) in [
            (SeekFrom::Start(3), 3, "9abf"),
            (SeekFrom::End(-1), 6, "f"),
            (SeekFrom::End(5), 7, ""),
            (SeekFrom::Start(0), 0, "2349abf"),
        ] {
            assert_eq!(parts.seek(to).unwrap(), position);
            let mut all = String::new();
            parts.read_to_string(&mut all).unwrap();
            assert_eq!(all, rest);
        }
        parts.seek(SeekFrom::Start(1)).unwrap();
        parts.read_exact(&mut [0; 3]).unwrap();
        assert_eq!(parts.stream_position().unwrap(), 4);
        assert_eq!(parts.seek(SeekFrom::Current(-2)).unwrap(), 2);
        assert!(parts.seek(SeekFrom::Current(-3)).is_err());
    }
}
