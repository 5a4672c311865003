//! What all Unix systems share: files without a name, positions and modes.

use std::ffi::CString;
use std::fs::{self, File, FileType, OpenOptions, Permissions};
use std::io;
use std::os::fd::{AsRawFd, IntoRawFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, FileTypeExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;

/// Makes a file to read and write that is gone with its last user. `name` is a path where it stands
/// for a moment, and where nothing may stand, not even a link.
pub(crate) fn unnamed_file(name: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    let options = options.read(true).write(true).create_new(true).mode(0o600);
    let file = options.custom_flags(libc::O_NOFOLLOW).open(name)?;
    fs::remove_file(name)?;
    Ok(file)
}

/// Fills `bytes` from position `at` of `file`.
pub(crate) fn read_at(file: &File, bytes: &mut [u8], at: u64) -> io::Result<()> {
    file.read_exact_at(bytes, at)
}

/// Writes all of `bytes` at position `at` of `file`.
pub(crate) fn write_at(file: &File, bytes: &[u8], at: u64) -> io::Result<()> {
    file.write_all_at(bytes, at)
}

/// Who may read, write and run the regular file at `path` itself; `None` where there is none.
pub(crate) fn permissions(path: &Path) -> Option<Permissions> {
    let metadata = fs::symlink_metadata(path).ok().filter(fs::Metadata::is_file)?;
    Some(Permissions::from_mode(metadata.permissions().mode() & 0o777))
}

/// Makes a file to write at `path`, where nothing may stand, not even a link. Meanwhile no more
/// people may read it than `permissions` lets; without, the umask decides.
pub(crate) fn create_beside(path: &Path, permissions: Option<&Permissions>) -> io::Result<File> {
    // Its writer may write, whatever it will be in the end.
    let mode = permissions.map_or(0o666, |permissions| permissions.mode() & 0o777 | 0o600);
    let mut options = OpenOptions::new();
    options.write(true).create_new(true).mode(mode).custom_flags(libc::O_NOFOLLOW).open(path)
}

/// Asks whether a file can be made in the folder of `path`, and makes none.
pub(crate) fn may_create(path: &Path) -> io::Result<()> {
    let folder = path.parent().unwrap_or(path).as_os_str().as_bytes();
    let folder = CString::new(if folder.is_empty() { b"." } else { folder })?;
    // SAFETY: the path is a C string.
    match unsafe { libc::access(folder.as_ptr(), libc::W_OK | libc::X_OK) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Whether this process can do without the descriptor of `file` for a while: it is among the first
/// half of those it may have, and among the first 256.
pub(crate) fn may_stay_open(file: &File) -> bool {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the pointer is to a value that lives through the call.
    let told = unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) } == 0;
    told && u64::try_from(file.as_raw_fd()).is_ok_and(|fd| fd < (limit.rlim_cur / 2).min(256))
}

/// Closes `file`, and tells of an error that dropping it would swallow.
pub(crate) fn close(file: File) -> io::Result<()> {
    // SAFETY: the descriptor is open and, as its owner gave it up here, nobody else's.
    match unsafe { libc::close(file.into_raw_fd()) } {
        0 => Ok(()),
        _ => match io::Error::last_os_error() {
            // The descriptor is gone all the same.
            error if error.kind() == io::ErrorKind::Interrupted => Ok(()),
            error => Err(error),
        },
    }
}

/// Puts the names in `folder` on the disk. A folder that cannot be opened to read, or a file system
/// that does not know the call, leaves that to the system.
pub(crate) fn sync_folder(folder: &Path) -> io::Result<()> {
    let Ok(folder) = File::open(folder) else { return Ok(()) };
    match folder.sync_all() {
        Err(error) if matches!(error.raw_os_error(), Some(libc::EINVAL | libc::ENOTSUP)) => Ok(()),
        synced => synced,
    }
}

/// Bytes of memory the machine has, where the system tells.
pub(crate) fn physical_memory() -> Option<u64> {
    // SAFETY: sysconf takes no pointers.
    let pages = unsafe { libc::sysconf(libc::_SC_PHYS_PAGES) };
    u64::try_from(pages).ok()?.checked_mul(page_size()?)
}

/// Bytes of a page.
pub(super) fn page_size() -> Option<u64> {
    // SAFETY: sysconf takes no pointers.
    u64::try_from(unsafe { libc::sysconf(libc::_SC_PAGESIZE) }).ok()
}

/// Limits of this process in bytes; `None` is no limit.
#[cfg(target_os = "linux")]
pub(super) struct Limits {
    pub(super) address_space: Option<u64>,
    /// Writable memory of its own.
    pub(super) data: Option<u64>,
}

/// The limits that this process was given.
#[cfg(target_os = "linux")]
pub(super) fn limits() -> Limits {
    let limit = |resource| {
        let mut limit = libc::rlimit64 { rlim_cur: 0, rlim_max: 0 };
        // SAFETY: the pointer is that of a variable which lives during the call.
        let known = unsafe { libc::getrlimit64(resource, &raw mut limit) } == 0;
        (known && limit.rlim_cur != libc::RLIM64_INFINITY).then_some(limit.rlim_cur)
    };
    Limits { address_space: limit(libc::RLIMIT_AS), data: limit(libc::RLIMIT_DATA) }
}

/// Name of a file that is neither a regular file nor a folder, for messages.
pub(crate) fn kind_name(kind: FileType) -> &'static str {
    if kind.is_fifo() {
        "a FIFO"
    } else if kind.is_char_device() || kind.is_block_device() {
        "a device"
    } else if kind.is_socket() {
        "a socket"
    } else {
        "another kind"
    }
}
