#![forbid(unsafe_code)]
//! The scratch file: holds spilled activations, for which memory has no room.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};

use super::error::{Error, Result};
use super::hidden;
use crate::os;

/// A nameless file that vanishes with its last user, even after a crash.
#[derive(Debug)]
pub(crate) struct ScratchFile {
    file: File,
    folder: PathBuf,
}

impl ScratchFile {
    /// Makes a file of `bytes` in `folder` and reserves its disk space.
    ///
    /// # Errors
    /// `Io`, naming the folder: it does not exist, is not writable, or lacks space.
    pub(crate) fn create(folder: &Path, bytes: u64) -> Result<Self> {
        let failed = |error: io::Error| {
            let room =
                if full(&error) { format!(" ({bytes} bytes needed)") } else { String::new() };
            Error::io(format_args!("scratch folder {}{room}", folder.display()), error)
        };
        let file = os::nameless_scratch(folder).map_or_else(|| unnamed(folder), Ok);
        let file = file.map_err(failed)?;
        os::reserve(&file, bytes).map_err(failed)?;
        Ok(Self { file, folder: folder.to_owned() })
    }

    /// A part of the file.
    pub(crate) fn region(&self, range: Range<u64>) -> FileRegion<'_> {
        FileRegion { file: self, range }
    }

    fn failed(&self, error: io::Error) -> Error {
        Error::io(format_args!("scratch file in {}", self.folder.display()), error)
    }
}

/// A part of a scratch file.
#[derive(Clone, Debug)]
pub(crate) struct FileRegion<'a> {
    file: &'a ScratchFile,
    range: Range<u64>,
}

impl FileRegion<'_> {
    /// Reads `bytes.len()` bytes of the part, from byte `at` on.
    ///
    /// # Errors
    /// `Io` if the system fails, `Internal` if the part is shorter.
    pub(crate) fn read(&self, at: u64, bytes: &mut [u8]) -> Result<()> {
        let at = self.position(at, bytes.len())?;
        os::read_at(&self.file.file, bytes, at).map_err(|error| self.file.failed(error))
    }

    /// Writes `bytes` to the part, from byte `at` on.
    ///
    /// # Errors
    /// `Io` if the system fails, `Internal` if the part is shorter.
    pub(crate) fn write(&self, at: u64, bytes: &[u8]) -> Result<()> {
        let at = self.position(at, bytes.len())?;
        os::write_at(&self.file.file, bytes, at).map_err(|error| self.file.failed(error))
    }

    fn position(&self, at: u64, bytes: usize) -> Result<u64> {
        let position = self.range.start + at;
        if position + bytes as u64 > self.range.end {
            return Err(Error::internal(format!(
                "{bytes} bytes at {at} are not in {:?}",
                self.range
            )));
        }
        Ok(position)
    }
}

/// For file systems whose files begin with a name: one that nobody can foresee, for a moment.
fn unnamed(folder: &Path) -> io::Result<File> {
    hidden::with_name(folder, os::unnamed_file).map(|(file, _)| file)
}

fn full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::base::error::ErrorKind;

    #[test]
    fn regions_have_what_was_written_and_the_folder_stays_empty() {
        let folder =
            std::env::temp_dir().join(format!("vaekl-scratch-test-{}", std::process::id()));
        fs::create_dir(&folder).unwrap();
        let without_names = ScratchFile::create(&folder, 100).unwrap();
        let file = unnamed(&folder).unwrap();
        os::reserve(&file, 100).unwrap();
        for file in [without_names, ScratchFile { file, folder: folder.clone() }] {
            assert_eq!(fs::read_dir(&folder).unwrap().count(), 0);
            let (first, second) = (file.region(0..60), file.region(60..100));
            first.write(50, &[1; 10]).unwrap();
            second.write(0, &[2; 40]).unwrap();
            let mut bytes = [0; 10];
            first.read(50, &mut bytes).unwrap();
            assert_eq!(bytes, [1; 10]);
            second.read(30, &mut bytes).unwrap();
            assert_eq!(bytes, [2; 10]);
            assert_eq!(first.read(51, &mut bytes).unwrap_err().kind(), ErrorKind::Internal);
            assert_eq!(second.write(31, &bytes).unwrap_err().kind(), ErrorKind::Internal);
        }
        fs::remove_dir(&folder).unwrap();
    }

    #[test]
    fn a_folder_that_is_not_there_is_named() {
        let error = ScratchFile::create(Path::new("/not/there"), 1).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Io);
        assert!(error.message().contains("scratch folder /not/there"), "{error}");
    }

    #[test]
    fn a_file_larger_than_the_disk_is_refused_before_the_work() {
        let error = ScratchFile::create(&std::env::temp_dir(), 1 << 60).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Io);
    }
}
