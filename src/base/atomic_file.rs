#![forbid(unsafe_code)]
//! Output files that appear whole or not at all.

use std::fs::{File, Permissions};
use std::hash::{BuildHasher, RandomState};
use std::io::{self, BufWriter, ErrorKind, Write};
use std::mem;
use std::path::{Path, PathBuf, is_separator};

use super::error::{Error, Result};
use crate::os;

/// Number of temporary names to try before giving up.
const ATTEMPTS: usize = 100;

/// A file that appears whole or not at all.
///
/// Writes go through a buffer to a temporary file in the same folder. [`AtomicFile::commit`]
/// renames it to its path once all of it is on the disk. Dropped before that, it leaves nothing,
/// and a file already at the path stays.
///
/// No write error is lost: one that an encoder or a destructor swallows makes
/// [`AtomicFile::finish`] and `commit` fail too. A replaced file passes on its permissions; a new
/// one has the system's default. Links are not followed: a link at the path is replaced, and its
/// target stays as it is.
///
/// ```
/// use std::io::Write;
/// use vaekl::AtomicFile;
///
/// # let name = format!("vaekl-doc-{}", std::process::id());
/// # let folder = std::env::temp_dir().join(name);
/// # std::fs::create_dir(&folder)?;
/// let path = folder.join("answer.txt");
/// let mut file = AtomicFile::create(&path)?;
/// file.write_all(b"all of it")?;
/// assert!(!path.exists());
/// file.commit()?;
/// assert_eq!(std::fs::read(&path)?, b"all of it");
/// # std::fs::remove_dir_all(&folder)?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct AtomicFile {
    path: PathBuf,
    temporary: PathBuf,
    /// Permissions of the file to be replaced.
    permissions: Option<Permissions>,
    state: State,
}

/// The state of an [`AtomicFile`].
#[derive(Debug)]
enum State {
    /// Nothing is written and no file is open, so a program can make more outputs than it may have
    /// open files.
    Empty,
    Open(BufWriter<File>),
    /// On the disk, and closed.
    Finished,
    /// Failed, first with this error.
    Failed(io::Error),
    /// In its place.
    Committed,
}

impl AtomicFile {
    /// Makes the temporary file, which proves that the folder is writable.
    ///
    /// # Errors
    /// `Io`, naming the path: it is a folder, or its folder does not exist or is not writable.
    pub fn create(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        if path.is_dir() {
            return Err(at(path, io::Error::new(ErrorKind::IsADirectory, "is a folder")));
        }
        if path.file_name().is_none() || path.to_string_lossy().ends_with(is_separator) {
            return Err(at(path, io::Error::new(ErrorKind::InvalidInput, "names no file")));
        }
        if let Ok(there) = path.symlink_metadata()
            && !there.is_file()
            && !there.is_symlink()
        {
            return Err(at(path, io::Error::new(ErrorKind::InvalidInput, "is no regular file")));
        }
        let folder = folder_of(path);
        if !folder.is_dir() {
            let what = format!("no folder {}", folder.display());
            return Err(at(path, io::Error::new(ErrorKind::NotFound, what)));
        }
        let permissions = os::permissions(path);
        let temporary = make_temporary(folder, permissions.as_ref()).map_err(|error| {
            let (path, folder) = (path.display(), folder.display());
            Error::io(format_args!("{path}: cannot write to {folder}"), error)
        })?;
        Ok(Self { path: path.to_owned(), temporary, permissions, state: State::Empty })
    }

    /// The path of the finished file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The path of the temporary file. A program that ends without dropping its values, as at a
    /// signal, may remove it.
    pub fn temporary(&self) -> &Path {
        &self.temporary
    }

    /// Flushes all writes to the disk and closes the temporary file; only the renaming is left.
    /// Nothing can be written afterwards.
    ///
    /// # Errors
    /// `Io`, naming the path: the first error of any write, or an error of this step.
    pub fn finish(&mut self) -> Result<()> {
        if let State::Finished = self.state {
            return Ok(());
        }
        let closed = self.opened().map(|_| ()).and_then(|()| self.close());
        self.remember(closed).map_err(|error| at(&self.path, error))
    }

    /// Finishes the file and renames it to its path, replacing a file or a link there.
    ///
    /// # Errors
    /// Those of [`AtomicFile::finish`], and `Io` if the renaming fails. If flushing the folder
    /// fails, the file is complete and at its path, but may not survive a power loss.
    pub fn commit(mut self) -> Result<()> {
        self.finish()?;
        std::fs::rename(&self.temporary, &self.path).map_err(|error| at(&self.path, error))?;
        self.state = State::Committed;
        os::sync_folder(folder_of(&self.path)).map_err(|error| at(&self.path, error))
    }

    /// The open file, or the first error.
    fn opened(&mut self) -> io::Result<&mut BufWriter<File>> {
        if let State::Empty = self.state {
            self.state = State::Open(BufWriter::new(os::open_no_link(&self.temporary)?));
        }
        match &mut self.state {
            State::Open(file) => Ok(file),
            State::Failed(error) => Err(again(error)),
            _ => Err(io::Error::other("the file is finished")),
        }
    }

    fn close(&mut self) -> io::Result<()> {
        let State::Open(buffer) = mem::replace(&mut self.state, State::Finished) else {
            return Ok(());
        };
        let file = buffer.into_inner()?;
        if let Some(permissions) = &self.permissions {
            file.set_permissions(permissions.clone())?;
        }
        file.sync_all()?;
        os::close(file)
    }

    /// Records the first error, even if the caller drops the returned one.
    fn remember<T>(&mut self, result: io::Result<T>) -> io::Result<T> {
        if let Err(error) = &result
            && error.kind() != ErrorKind::Interrupted
            && !matches!(self.state, State::Failed(_))
        {
            self.state = State::Failed(again(error));
        }
        result
    }
}

impl Write for AtomicFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if let State::Finished = self.state {
            // A mistake of the caller: the file stays finished.
            return Err(io::Error::other("the file is finished"));
        }
        let written = self.opened().and_then(|file| file.write(bytes));
        self.remember(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        // An encoder may do so when it is dropped.
        if let State::Finished = self.state {
            return Ok(());
        }
        let flushed = self.opened().and_then(Write::flush);
        self.remember(flushed)
    }
}

impl Drop for AtomicFile {
    fn drop(&mut self) {
        if !matches!(self.state, State::Committed) {
            // Closed first: some systems remove no open file.
            self.state = State::Finished;
            // It may be gone already, and there is nobody to tell.
            let _ = std::fs::remove_file(&self.temporary);
        }
    }
}

fn at(path: &Path, error: io::Error) -> Error {
    Error::io(path.display(), error)
}

/// A second copy of `error`.
fn again(error: &io::Error) -> io::Error {
    match error.raw_os_error() {
        Some(code) => io::Error::from_raw_os_error(code),
        None => io::Error::new(error.kind(), error.to_string()),
    }
}

fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    }
}

/// Makes an empty file of a name in `folder` that nobody can foresee.
fn make_temporary(folder: &Path, permissions: Option<&Permissions>) -> io::Result<PathBuf> {
    let mut left = ATTEMPTS;
    loop {
        // Each state has keys of its own.
        let number = RandomState::new().hash_one(std::process::id());
        let path = folder.join(format!(".vaekl-{number:016x}.tmp"));
        left -= 1;
        match os::create_beside(&path, permissions) {
            Ok(_) => return Ok(path),
            Err(error) if left > 0 && error.kind() == ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A folder of the test's own, removed with what is in it.
    struct Folder(PathBuf);

    impl Folder {
        fn new(name: &str) -> Self {
            let name = format!("vaekl-{name}-{}", std::process::id());
            let folder = std::env::temp_dir().join(name);
            std::fs::create_dir(&folder).unwrap();
            Self(folder)
        }

        fn files(&self) -> usize {
            std::fs::read_dir(&self.0).unwrap().count()
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn a_file_appears_whole_or_not_at_all() {
        let folder = Folder::new("whole");
        let path = folder.0.join("out");
        let mut dropped = AtomicFile::create(&path).unwrap();
        dropped.write_all(&[1; 100_000]).unwrap();
        assert_eq!(folder.files(), 1);
        drop(dropped);
        assert_eq!(folder.files(), 0);

        for content in [&b"first"[..], b"second", b""] {
            let mut file = AtomicFile::create(&path).unwrap();
            file.write_all(content).unwrap();
            file.finish().unwrap();
            assert!(file.write_all(b"more").is_err());
            drop(file);
            let mut file = AtomicFile::create(&path).unwrap();
            file.write_all(content).unwrap();
            file.commit().unwrap();
            assert_eq!(std::fs::read(&path).unwrap(), content);
            assert_eq!(folder.files(), 1);
        }
    }

    #[test]
    fn a_swallowed_error_is_told_in_the_end() {
        let folder = Folder::new("swallowed");
        let path = folder.0.join("out");
        let mut file = AtomicFile::create(&path).unwrap();
        file.write_all(b"part").unwrap();
        let _ = file.remember::<()>(Err(ErrorKind::StorageFull.into()));
        let _ = file.write(b"another part");
        let error = file.commit().unwrap_err();
        assert!(error.message().starts_with(&format!("{}: ", path.display())), "{error}");
        assert_eq!(folder.files(), 0);
    }

    #[test]
    fn places_where_no_file_can_be_are_named() {
        let folder = Folder::new("places");
        std::fs::write(folder.0.join("file"), "").unwrap();
        let cases = [("", "is a folder"), ("none/out", "no folder"), ("file/out", "no folder")];
        for (name, part) in cases {
            let error = AtomicFile::create(folder.0.join(name)).unwrap_err();
            assert!(error.message().contains(part), "{error}");
        }
        assert!(AtomicFile::create("").unwrap_err().message().contains("names no file"));
        assert_eq!(folder.files(), 1);
    }

    #[test]
    fn permissions_are_passed_on() {
        let folder = Folder::new("permissions");
        let path = folder.0.join("out");
        std::fs::write(&path, "old").unwrap();
        let mut read_only = path.metadata().unwrap().permissions();
        read_only.set_readonly(true);
        std::fs::set_permissions(&path, read_only.clone()).unwrap();
        if os::permissions(&path).is_none() {
            return; // Not kept on this system.
        }
        let mut file = AtomicFile::create(&path).unwrap();
        file.write_all(b"new").unwrap();
        file.commit().unwrap();
        assert_eq!(path.metadata().unwrap().permissions(), read_only);
        assert_eq!(std::fs::read(&path).unwrap(), b"new");
    }
}
