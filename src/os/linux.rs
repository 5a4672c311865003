//! What Linux does its own way: advice about pages, files without a name, room on a disk, the cores
//! it tells of.

use std::ffi::CString;
use std::fs::{File, OpenOptions, Permissions, read_to_string};
use std::io;
use std::ops::Range;
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;

use memmap2::{Advice, Mmap, MmapMut, UncheckedAdvice};

use super::headroom as files;
use super::memory::Headroom;

/// Whether [`release`] frees memory.
pub(super) const RELEASES: bool = true;

/// Drops the pages of `range`, which is in bounds, until they are read again; and those beside it,
/// which Linux maps with the page that is read (`fault_around_bytes`).
pub(super) fn release(map: &Mmap, range: Range<usize>) {
    const AROUND: usize = 64 << 10;
    let start = range.start / AROUND * AROUND;
    let range = start..range.end.next_multiple_of(AROUND).min(map.len());
    // SAFETY: the map is shared and nobody writes through it, so that it has no pages of its own to
    // lose: what is dropped is read again from the file, which does not change while it is mapped.
    let _ =
        unsafe { map.unchecked_advise_range(UncheckedAdvice::DontNeed, range.start, range.len()) };
}

/// Asks for small pages. A file in the system's cache in pieces of 2 MiB would be mapped in such,
/// and a layer's weights would take more memory than they have bytes.
pub(super) fn prefer_small(map: &Mmap) {
    let _ = map.advise(Advice::NoHugePage);
}

/// Asks for huge pages: tiles of many rows far apart would miss the translation cache of small
/// ones. It is advice; a system without huge pages declines, and nothing else changes.
pub(super) fn prefer_huge(map: &MmapMut) {
    let _ = map.advise(Advice::HugePage);
}

/// Makes a file to read and write in `folder` that never has a name and is gone with its last user;
/// `None` where the file system has no such files, or for any other reason.
pub(crate) fn nameless_scratch(folder: &Path) -> Option<File> {
    let mut options = OpenOptions::new();
    let options = options.read(true).write(true).mode(0o600);
    // With O_EXCL nobody can give it a name.
    options.custom_flags(libc::O_TMPFILE | libc::O_EXCL).open(folder).ok()
}

/// Makes a file to write in `folder` that has no name until [`name_file`]; `None` where the file
/// system has no such files, or for any other reason. Without `permissions`, its mode is what the
/// umask leaves; otherwise its owner's alone, until they are set.
pub(crate) fn nameless_output(folder: &Path, permissions: Option<&Permissions>) -> Option<File> {
    let mode = if permissions.is_some() { 0o600 } else { 0o666 };
    let mut options = OpenOptions::new();
    let options = options.write(true).mode(mode).custom_flags(libc::O_TMPFILE);
    let file = options.open(folder).ok()?;
    // Its way to a name.
    Path::new(&descriptor(&file)).try_exists().ok().filter(|there| *there)?;
    // Some systems before 6.0 forget the umask for such files.
    let mode = file.metadata().ok()?.permissions().mode();
    (mode & umask()? == 0).then_some(file)
}

/// Gives a file of [`nameless_output`] the name `path`, where nothing may stand, not even a link.
pub(crate) fn name_file(file: &File, path: &Path) -> io::Result<()> {
    let (from, to) = (CString::new(descriptor(file))?, CString::new(path.as_os_str().as_bytes())?);
    let (from, to, here) = (from.as_ptr(), to.as_ptr(), libc::AT_FDCWD);
    // SAFETY: both paths are C strings that live through the call.
    match unsafe { libc::linkat(here, from, here, to, libc::AT_SYMLINK_FOLLOW) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

fn descriptor(file: &File) -> String {
    format!("/proc/self/fd/{}", file.as_raw_fd())
}

/// The umask of this process, which can be read without setting it here alone.
fn umask() -> Option<u32> {
    let status = read_to_string("/proc/self/status").ok()?;
    let umask = status.lines().find_map(|line| line.strip_prefix("Umask:"))?;
    u32::from_str_radix(umask.trim(), 8).ok()
}

/// Sets the length of `file` and, where the file system can, reserves its room, so that a disk that
/// is too full is known before the work.
pub(crate) fn reserve(file: &File, bytes: u64) -> io::Result<()> {
    let length = libc::off_t::try_from(bytes).map_err(|_| io::ErrorKind::InvalidInput)?;
    // SAFETY: the descriptor is open, and no memory is passed.
    match unsafe { libc::posix_fallocate(file.as_raw_fd(), 0, length) } {
        0 => Ok(()),
        // The file system cannot.
        libc::EOPNOTSUPP | libc::EINVAL => file.set_len(bytes),
        code => Err(io::Error::from_raw_os_error(code)),
    }
}

/// Physical cores that this process may use, or its processors where the system does not tell.
pub(crate) fn physical_cores() -> usize {
    let allowed = std::thread::available_parallelism().map_or(1, |n| n.get());
    let mut cores: Vec<String> = (0..)
        .map_while(|cpu| {
            let path = format!("/sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list");
            std::fs::read_to_string(path).ok()
        })
        .collect();
    cores.sort();
    cores.dedup();
    if cores.is_empty() { allowed } else { allowed.min(cores.len()) }
}

/// What this process may still take.
pub(crate) fn headroom() -> Headroom {
    files::headroom(Path::new("/"))
}

/// Bytes of this process that are in memory.
pub(crate) fn resident_memory() -> Option<u64> {
    files::resident(Path::new("/"))
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn a_nameless_output_has_the_modes_of_any_file_and_gets_a_name_once() {
        let folder = std::env::temp_dir().join(format!("vaekl-nameless-{}", std::process::id()));
        std::fs::create_dir(&folder).unwrap();
        let (plain, path) = (folder.join("plain"), folder.join("out"));
        let mode = |file: &File| file.metadata().unwrap().permissions().mode();
        let expected = mode(&File::create(&plain).unwrap());
        if let Some(mut file) = nameless_output(&folder, None) {
            assert_eq!(mode(&file), expected);
            file.write_all(b"all").unwrap();
            assert_eq!(std::fs::read_dir(&folder).unwrap().count(), 1);
            let taken = name_file(&file, &plain).unwrap_err();
            assert_eq!(taken.kind(), io::ErrorKind::AlreadyExists);
            name_file(&file, &path).unwrap();
            assert_eq!(std::fs::read(&path).unwrap(), b"all");
            let private = nameless_output(&folder, Some(&Permissions::from_mode(0o644))).unwrap();
            assert_eq!(mode(&private) & 0o777, 0o600);
            assert!(name_file(&nameless_scratch(&folder).unwrap(), &folder.join("s")).is_err());
        }
        std::fs::remove_dir_all(&folder).unwrap();
        // No file system of processes has them.
        assert!(nameless_output(Path::new("/proc/self"), None).is_none());
        assert!(nameless_scratch(Path::new("/proc/self")).is_none());
    }
}
