#![forbid(unsafe_code)]
//! The zip form of PyTorch's checkpoints, since 1.6: `NAME/data.pkl` and `NAME/data/KEY` for each
//! storage, with `NAME/byteorder` and `NAME/version` beside them.

use super::super::contents::Contents;
use super::super::raw_tensors::RawTensors;
use super::super::zip::Archive;
use super::limits::MOST_BYTES;
use super::machine::Pickle;
use super::tensors::tensors;
use crate::base::error::{Error, ErrorKind, Result};

const PICKLE: &str = "data.pkl";
/// The newest version of the archive that PyTorch reads.
const NEWEST: u32 = 10;

/// The tensors of an archive, which share `contents`.
///
/// # Errors
/// `Format`, saying what is wrong; `Unsupported` for an archive of another kind; `Io` if the file
/// cannot be read.
pub(in crate::checkpoint) fn parse(contents: &Contents) -> Result<RawTensors> {
    let archive = Archive::read(contents)?;
    let folder = folder_of(&archive)?;
    let name = |part: &str| format!("{folder}{part}");
    if let Some(order) = small(&archive, &name("byteorder"))?
        && order != b"little"
    {
        return Err(unsupported("saved with big-endian elements"));
    }
    if let Some(version) = small(&archive, &name("version"))? {
        let version = std::str::from_utf8(&version).ok();
        let version = version.and_then(|version| version.trim().parse::<u32>().ok());
        if version.is_none_or(|version| version > NEWEST) {
            let message = format!("an archive of a version that is unknown, {NEWEST} at most read");
            return Err(Error::new(ErrorKind::Unsupported, message));
        }
    }
    let data = archive.entry(&name(PICKLE))?;
    if data.len() > MOST_BYTES {
        let size = data.len();
        return Err(Error::format(format!("{PICKLE} of {size} bytes, at most {MOST_BYTES} read")));
    }
    let bytes = data.read().map_err(|error| error.within(name(PICKLE)))?;
    let pickle = Pickle::read(&bytes, 0)?;
    if pickle.end != bytes.len() {
        return Err(Error::format(format!("bytes after the end of {PICKLE}")));
    }
    tensors(&pickle, |storage| {
        let key = String::from_utf8_lossy(storage.key.of(&bytes));
        archive.entry(&name(&format!("data/{key}")))
    })
}

/// The folder of the archive, with its slash.
fn folder_of(archive: &Archive) -> Result<&str> {
    let is_pickle = |name: &&str| name.rsplit('/').next() == Some(PICKLE);
    let mut pickles = archive.names().filter(is_pickle);
    let Some(pickle) = pickles.next() else {
        return Err(Error::format(format!("a zip archive without {PICKLE}, so not of torch.save")));
    };
    if let Some(other) = pickles.next() {
        return Err(Error::format(format!("two pickles in the archive: {pickle} and {other}")));
    }
    let folder = pickle.strip_suffix(PICKLE).expect("just found");
    let script = |name: &str| {
        let rest = name.strip_prefix(folder);
        rest.is_some_and(|rest| rest.starts_with("code/") || rest == "constants.pkl")
    };
    if archive.names().any(script) {
        return Err(unsupported("a TorchScript archive: save the module's state_dict() instead"));
    }
    Ok(folder)
}

/// The bytes of an entry of a few letters, if there is one.
fn small(archive: &Archive, name: &str) -> Result<Option<Vec<u8>>> {
    const MOST: u64 = 64;
    if !archive.has(name) {
        return Ok(None);
    }
    let contents = archive.entry(name)?;
    if contents.len() > MOST {
        let size = contents.len();
        return Err(Error::format(format!("{name} of {size} bytes, at most {MOST} expected")));
    }
    let bytes = contents.read().map_err(|error| error.within(name))?;
    Ok(Some(bytes.into_owned()))
}

fn unsupported(what: &'static str) -> Error {
    Error::new(ErrorKind::Unsupported, what)
}
