#![forbid(unsafe_code)]
//! Zip archives (PKWARE's APPNOTE 6.3): entries by name, where they lie in the file.
//!
//! The directory at the end is read, never the file from its beginning. An archive is refused if
//! another reader could see other entries in it: each local header must agree with the directory,
//! no two entries may overlap or have one name.
//!
//! | file | what it does |
//! |---|---|
//! | `end` | the records at the end, which tell where the directory is |
//! | `header` | the headers of an entry: in the directory, and before its data |

mod end;
mod header;

use std::collections::BTreeMap;
use std::ops::Range;

use self::end::Directory;
use self::header::{Central, Method};
use super::contents::Contents;
use super::cursor::Cursor;
use super::deflate::{self, Inflated};
use super::limits::{MOST_INFLATED, MOST_RATIO, MOST_ZIP_DIRECTORY};
use crate::base::alloc;
use crate::base::error::{Error, Result};

/// The entries of an archive.
pub(super) struct Archive {
    contents: Contents,
    entries: BTreeMap<String, Entry>,
}

/// Where and how an entry lies in the archive.
struct Entry {
    data: Range<u64>,
    method: Method,
    inflated: Inflated,
}

impl Archive {
    /// Reads the directory of the archive `contents`, and checks it against the local headers.
    ///
    /// # Errors
    /// `Format` if it is corrupt or ambiguous; `Unsupported` if it is in several parts, encrypted
    /// or compressed by another method than deflate; `Io` if the file cannot be read.
    pub(super) fn read(contents: &Contents) -> Result<Self> {
        let Directory { range, count } = Directory::find(contents)?;
        let size = range.end - range.start;
        if size > MOST_ZIP_DIRECTORY {
            let message =
                format!("a zip directory of {size} bytes, at most {MOST_ZIP_DIRECTORY} read");
            return Err(Error::format(message));
        }
        let bytes = contents.slice(range.clone()).expect("in bounds");
        let bytes = bytes.read()?;
        let mut cursor = Cursor::new(&bytes, 0);
        let (mut entries, mut extents) = (BTreeMap::new(), Vec::new());
        for _ in 0..count {
            let central = Central::read(&mut cursor)?;
            let name = central.name.clone();
            let entry = Entry::of(central, contents, range.start, &mut extents)
                .map_err(|error| error.within(format!("entry {name}")))?;
            if entries.insert(name.clone(), entry).is_some() {
                return Err(Error::format(format!("two entries {name} in the zip archive")));
            }
        }
        if cursor.left() > 0 {
            let left = cursor.left();
            return Err(Error::format(format!(
                "{left} bytes of the zip directory after its {count} entries"
            )));
        }
        extents.sort_unstable();
        if let Some(pair) = extents.windows(2).find(|pair| pair[0].1 > pair[1].0) {
            let at = pair[1].0;
            return Err(Error::format(format!("two entries of the zip archive overlap at {at}")));
        }
        Ok(Self { contents: contents.clone(), entries })
    }

    /// Names of all entries, sorted.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.entries.keys().map(String::as_str)
    }

    /// Whether there is an entry `name`.
    pub(super) fn has(&self, name: &str) -> bool {
        self.entries.contains_key(name)
    }

    /// The contents of the entry `name`: a part of the file, to be inflated if it is compressed.
    ///
    /// # Errors
    /// `Format` if there is no such entry; `Unsupported` if it is compressed and this build does
    /// not inflate.
    pub(super) fn entry(&self, name: &str) -> Result<Contents> {
        let missing = || format!("the archive has no entry {}", name.escape_debug());
        let entry = self.entries.get(name).ok_or_else(|| Error::format(missing()))?;
        let data = self.contents.slice(entry.data.clone()).expect("checked");
        match entry.method {
            Method::Plain => Ok(data),
            Method::Deflated => {
                deflate::available().map_err(|error| error.within(format!("entry {name}")))?;
                Ok(Contents::deflated(data, entry.inflated))
            }
        }
    }
}

impl Entry {
    /// The entry of `central` in `contents`, whose directory begins at `directory`; adds its bytes,
    /// with its header, to `extents`.
    fn of(
        central: Central,
        contents: &Contents,
        directory: u64,
        extents: &mut Vec<(u64, u64)>,
    ) -> Result<Self> {
        let wrong = |what: &str| Err(Error::format(what.to_owned()));
        let Some(start) = central.check_local(contents)? else {
            return wrong("its local header lies outside the file");
        };
        let Central { offset, compressed, size, .. } = central;
        if central.method == Method::Deflated && size > MOST_INFLATED {
            return Err(Error::format(format!(
                "it inflates to {size} bytes, at most {MOST_INFLATED} are inflated"
            )));
        }
        let Some(end) = start.checked_add(compressed).filter(|&end| end <= directory) else {
            return wrong("it reaches into the zip directory");
        };
        match central.method {
            Method::Plain if compressed != size => {
                return wrong("uncompressed, but with two sizes");
            }
            Method::Deflated if size > compressed.saturating_mul(MOST_RATIO) => {
                return Err(Error::format(format!(
                    "{compressed} bytes cannot inflate to {size}: {MOST_RATIO} times as many at \
                     most"
                )));
            }
            _ => {}
        }
        alloc::push(extents, (offset, end), "the entries of a zip archive")?;
        let inflated = Inflated { len: size, crc: central.crc };
        Ok(Self { data: start..end, method: central.method, inflated })
    }
}
