#![forbid(unsafe_code)]
//! Output files that appear whole or not at all.

use std::fs::{self, File};
use std::io::{self, ErrorKind, Write};
use std::mem;
use std::path::{Path, PathBuf, is_separator};

use super::buffered_file::BufferedFile;
use super::error::{Error, Result};
use super::hidden;
use super::leftovers::{self, Leftovers, leftovers};
use crate::os;

/// A file that appears whole or not at all.
///
/// Writes go through a buffer to a file in the same folder, which is made at the first of them.
/// [`AtomicFile::commit`] puts it at its path once all of it is on the disk. Dropped before that,
/// it leaves nothing, and a file already at the path stays.
///
/// On Linux the file has no name before it is finished, so that a process that is killed leaves
/// nothing either. Finished files keep their descriptors and stay nameless, up to 256 and half of
/// those that the process may have; further ones wait for their `commit` under a hidden name, as
/// unfinished files do from the beginning where the system or the file system has none without a
/// name. Such a name cannot be foreseen, and the file is never opened by it.
///
/// No write error is lost: one that an encoder or a destructor swallows makes
/// [`AtomicFile::finish`] and `commit` fail too. A replaced file passes on its permissions, and
/// nobody else may read the new one meanwhile; without one, it has the system's default. Links are
/// not followed: a link at the path is replaced, and its target stays as it is.
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
    /// The name of the file until it is at its path, if it has one. Listed among the leftovers.
    hidden: Option<PathBuf>,
    state: State,
}

/// The state of an [`AtomicFile`].
#[derive(Debug)]
enum State {
    /// Nothing is written and no file is made, so a program can have more outputs than it may have
    /// open files.
    Empty,
    Open(BufferedFile),
    /// On the disk; closed if it has a name.
    Finished(Option<File>),
    /// Failed, first with this error.
    Failed(io::Error),
    /// In its place.
    Committed,
}

impl AtomicFile {
    /// Checks that a file can be made and put at `path`; makes nothing yet.
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
        if os::nameless_output(folder, None).is_none() {
            hidden::with_name(folder, os::may_create).map_err(|error| not_writable(path, error))?;
        }
        Ok(Self { path: path.to_owned(), hidden: None, state: State::Empty })
    }

    /// The path of the finished file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Flushes all writes to the disk; only the naming is left. Nothing can be written afterwards.
    ///
    /// # Errors
    /// `Io`, naming the path: the first error of any write, or an error of this step.
    pub fn finish(&mut self) -> Result<()> {
        if let State::Finished(_) = self.state {
            return Ok(());
        }
        let finished = self.opened().map(|_| ()).and_then(|()| self.settle());
        self.remember(finished).map_err(|error| at(&self.path, error))
    }

    /// Finishes the file and puts it at its path, replacing a file or a link there.
    ///
    /// # Errors
    /// Those of [`AtomicFile::finish`], and `Io` if the naming fails. If flushing the folder fails,
    /// the file is complete and at its path, but may not survive a power loss.
    pub fn commit(self) -> Result<()> {
        Self::commit_all(vec![self])
    }

    /// Finishes all files before the first of them is put at its path; then [`AtomicFile::abandon`]
    /// waits until all are.
    ///
    /// # Errors
    /// Those of [`AtomicFile::commit`]. None is at its path if finishing fails; those before the
    /// one that is named are if its naming fails.
    pub fn commit_all(mut files: Vec<Self>) -> Result<()> {
        files.iter_mut().try_for_each(Self::finish)?;
        {
            // Dropped before the files, which take it when they fail.
            let mut leftovers = leftovers();
            for file in &mut files {
                file.place(&mut leftovers).map_err(|error| at(&file.path, error))?;
            }
        }
        let mut synced = None;
        for file in &files {
            let folder = folder_of(&file.path);
            if synced != Some(folder) {
                os::sync_folder(folder).map_err(|error| at(&file.path, error))?;
                synced = Some(folder);
            }
        }
        Ok(())
    }

    /// Removes what all unfinished outputs of this process have on the disk, saved models too. For
    /// a process that ends without dropping them, as at a signal, and which has to end now: from
    /// here on, threads that make, name or drop outputs wait for ever.
    pub fn abandon() {
        leftovers::abandon();
    }

    /// The open file, or the first error.
    fn opened(&mut self) -> io::Result<&mut BufferedFile> {
        if let State::Empty = self.state {
            let permissions = os::permissions(&self.path);
            match os::nameless_output(folder_of(&self.path), permissions.as_ref()) {
                Some(file) => self.state = State::Open(BufferedFile::new(file)?),
                None => self.open_named()?,
            }
        }
        match &mut self.state {
            State::Open(file) => Ok(file),
            State::Failed(error) => Err(again(error)),
            _ => Err(io::Error::other("the file is finished")),
        }
    }

    /// Opens a file that has a name from the beginning.
    fn open_named(&mut self) -> io::Result<()> {
        let permissions = os::permissions(&self.path);
        let mut leftovers = leftovers();
        let made = hidden::with_name(folder_of(&self.path), |path| {
            os::create_beside(path, permissions.as_ref())
        });
        let (file, path) = made?;
        leftovers.files.insert(path.clone());
        self.hidden = Some(path);
        self.state = State::Open(BufferedFile::new(file)?);
        Ok(())
    }

    /// Puts all of the open file on the disk.
    fn settle(&mut self) -> io::Result<()> {
        let State::Open(buffer) = mem::replace(&mut self.state, State::Finished(None)) else {
            return Ok(());
        };
        let file = buffer.into_inner()?;
        if let Some(permissions) = os::permissions(&self.path) {
            file.set_permissions(permissions)?;
        }
        file.sync_all()?;
        if self.hidden.is_some() {
            os::close(file)
        } else if os::may_stay_open(&file) {
            self.state = State::Finished(Some(file));
            Ok(())
        } else {
            self.name(file, &mut leftovers())
        }
    }

    /// Gives the nameless `file` a hidden name, and closes it.
    fn name(&mut self, file: File, leftovers: &mut Leftovers) -> io::Result<()> {
        let folder = folder_of(&self.path);
        let ((), path) = hidden::with_name(folder, |path| os::name_file(&file, path))?;
        leftovers.files.insert(path.clone());
        self.hidden = Some(path);
        os::close(file)
    }

    /// Puts the finished file at its path: by its hidden name, as only a renaming can replace.
    fn place(&mut self, leftovers: &mut Leftovers) -> io::Result<()> {
        if let State::Finished(nameless) = &mut self.state
            && let Some(file) = nameless.take()
        {
            self.name(file, leftovers)?;
        }
        if let Some(hidden) = &self.hidden {
            fs::rename(hidden, &self.path)?;
            leftovers.files.remove(hidden);
        }
        self.hidden = None;
        self.state = State::Committed;
        Ok(())
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
        if let State::Finished(_) = self.state {
            // A mistake of the caller: the file stays finished.
            return Err(io::Error::other("the file is finished"));
        }
        let written = self.opened().and_then(|file| file.write(bytes));
        self.remember(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        // An encoder may do so when it is dropped.
        if let State::Finished(_) = self.state {
            return Ok(());
        }
        let flushed = self.opened().and_then(Write::flush);
        self.remember(flushed)
    }
}

impl Drop for AtomicFile {
    fn drop(&mut self) {
        // Closed first: some systems remove no open file.
        self.state = State::Committed;
        if let Some(hidden) = self.hidden.take() {
            let mut leftovers = leftovers();
            // It may be gone already, and there is nobody to tell.
            let _ = fs::remove_file(&hidden);
            leftovers.files.remove(&hidden);
        }
    }
}

fn at(path: &Path, error: io::Error) -> Error {
    Error::io(path.display(), error)
}

fn not_writable(path: &Path, error: io::Error) -> Error {
    let (path, folder) = (path.display(), folder_of(path).display());
    Error::io(format_args!("{path}: cannot write to {folder}"), error)
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

    /// Whether files of the folder have no name before they are finished.
    fn has_nameless(folder: &Folder) -> bool {
        os::nameless_output(&folder.0, None).is_some()
    }

    #[test]
    fn a_file_is_made_when_its_writing_is_due() {
        let folder = Folder::new("due");
        let nameless = has_nameless(&folder);
        let path = |i| folder.0.join(format!("out_{i}"));
        let mut files: Vec<_> = (0..300).map(|i| AtomicFile::create(path(i)).unwrap()).collect();
        assert_eq!(folder.files(), 0);
        for (i, file) in files.iter_mut().enumerate() {
            file.write_all(&[i as u8]).unwrap();
            assert!(!nameless || i > 0 || folder.files() == 0);
            file.finish().unwrap();
        }
        // Finished ones wait without a name, or without a descriptor.
        let waiting = |file: &&AtomicFile| matches!(file.state, State::Finished(Some(_)));
        assert!(files.iter().filter(waiting).count() <= 256);
        let named = files.iter().filter(|file| file.hidden.is_some()).count();
        assert_eq!((named, folder.files()), (named, named));
        assert!(!nameless || (1..300).contains(&named), "{named}");
        AtomicFile::commit_all(files).unwrap();
        assert_eq!(folder.files(), 300);
        for i in 0..300 {
            assert_eq!(fs::read(path(i)).unwrap(), [i as u8]);
        }
    }

    #[test]
    fn a_file_without_a_name_or_with_one_appears_whole_or_not_at_all() {
        let folder = Folder::new("whole");
        let path = folder.0.join("out");
        for named in [false, true] {
            for content in [&b"first"[..], b"second", b""] {
                let make = || {
                    let mut file = AtomicFile::create(&path).unwrap();
                    if named {
                        file.open_named().unwrap();
                    }
                    file.write_all(content).unwrap();
                    file.flush().unwrap();
                    file
                };
                let before = folder.files();
                let dropped = make();
                let hidden = usize::from(named || !has_nameless(&folder));
                assert_eq!(folder.files(), before + hidden);
                drop(dropped);
                assert_eq!(folder.files(), before);
                make().commit().unwrap();
                assert_eq!(fs::read(&path).unwrap(), content);
                assert_eq!(folder.files(), 1);
                assert!(leftovers().files.iter().all(|file| !file.starts_with(&folder.0)));
            }
            fs::remove_file(&path).unwrap();
        }
    }

    #[test]
    fn what_waits_is_listed_and_goes_where_it_was_finished() {
        let folder = Folder::new("named");
        let path = folder.0.join("out");
        let mut file = AtomicFile::create(&path).unwrap();
        file.open_named().unwrap();
        let hidden = file.hidden.clone().unwrap();
        assert!(leftovers().files.contains(&hidden));
        file.write_all(b"mine").unwrap();
        // Somebody swaps the name: what is written stays in the file that was made.
        fs::write(folder.0.join("victim"), "victim").unwrap();
        fs::rename(&hidden, folder.0.join("moved")).unwrap();
        fs::hard_link(folder.0.join("victim"), &hidden).unwrap();
        file.finish().unwrap();
        assert_eq!(fs::read(folder.0.join("victim")).unwrap(), b"victim");
        assert_eq!(fs::read(folder.0.join("moved")).unwrap(), b"mine");
    }

    #[test]
    fn a_file_appears_whole_or_not_at_all() {
        let folder = Folder::new("often");
        let path = folder.0.join("out");
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
        for named in [false, true] {
            let mut file = AtomicFile::create(&path).unwrap();
            if named {
                file.open_named().unwrap();
            }
            file.write_all(b"new").unwrap();
            file.commit().unwrap();
            assert_eq!(path.metadata().unwrap().permissions(), read_only);
            assert_eq!(std::fs::read(&path).unwrap(), b"new");
        }
    }
}
