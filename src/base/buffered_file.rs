#![forbid(unsafe_code)]
//! A file that is written through a buffer whose allocation can fail, which that of the standard
//! library's `BufWriter` cannot.

use std::fs::File;
use std::io::{self, Write};

/// Bytes that wait before they are written.
const CAPACITY: usize = 64 << 10;

/// A file with a buffer. Dropped before it is taken apart, it loses what waits.
#[derive(Debug)]
pub(crate) struct BufferedFile {
    file: File,
    waiting: Vec<u8>,
}

impl BufferedFile {
    /// # Errors
    /// `OutOfMemory`, if there is no room for the buffer.
    pub(crate) fn new(file: File) -> io::Result<Self> {
        let mut waiting = Vec::new();
        waiting.try_reserve_exact(CAPACITY).map_err(|_| io::ErrorKind::OutOfMemory)?;
        Ok(Self { file, waiting })
    }

    /// The file, with all of its bytes.
    pub(crate) fn into_inner(mut self) -> io::Result<File> {
        self.drain()?;
        Ok(self.file)
    }

    /// Writes what waits. Bytes that were written wait no more, even if later ones fail.
    fn drain(&mut self) -> io::Result<()> {
        let mut done = 0;
        let written = loop {
            if done == self.waiting.len() {
                break Ok(());
            }
            match self.file.write(&self.waiting[done..]) {
                Ok(0) => break Err(io::ErrorKind::WriteZero.into()),
                Ok(count) => done += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => break Err(error),
            }
        };
        self.waiting.drain(..done);
        written
    }
}

impl Write for BufferedFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.waiting.len() + bytes.len() > CAPACITY {
            self.drain()?;
        }
        if bytes.len() >= CAPACITY {
            return self.file.write(bytes);
        }
        self.waiting.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.drain()?;
        self.file.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_come_in_order_whatever_the_pieces() {
        let path = std::env::temp_dir().join(format!("vaekl-buffered-{}", std::process::id()));
        let mut file = BufferedFile::new(File::create(&path).unwrap()).unwrap();
        let mut expected = Vec::new();
        for (index, length) in [0, 1, CAPACITY - 1, 3, CAPACITY, 5 * CAPACITY, 7].iter().enumerate()
        {
            let bytes = vec![index as u8; *length];
            file.write_all(&bytes).unwrap();
            expected.extend(bytes);
        }
        assert!(file.waiting.capacity() < 2 * CAPACITY);
        file.into_inner().unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), expected);
        std::fs::remove_file(&path).unwrap();
    }

    #[test]
    fn a_full_disk_is_told_when_the_buffer_goes() {
        let Ok(full) = std::fs::OpenOptions::new().write(true).open("/dev/full") else {
            return; // Not on this system.
        };
        let mut file = BufferedFile::new(full).unwrap();
        file.write_all(b"waits").unwrap();
        let error = file.into_inner().unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::StorageFull);
    }
}
