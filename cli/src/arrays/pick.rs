//! Which of a file's arrays is meant.

/// An array of a file, before its elements are read.
pub(crate) struct Entry {
    pub(crate) name: String,
    /// Lengths of the axes; `None` where the elements are of a type that is not read.
    pub(crate) shape: Option<Vec<usize>>,
}

/// The array under the first of `names` that is there, or the only one.
pub(crate) fn pick<'e>(entries: &'e [Entry], names: &[&str]) -> Result<&'e Entry, String> {
    let named = names.iter().find_map(|name| entries.iter().find(|entry| entry.name == *name));
    match (named, entries) {
        (Some(entry), _) | (None, [entry]) => Ok(entry),
        (None, entries) => {
            let count = entries.len();
            Err(format!("{count} tensors, expected one, or one named {}", alternatives(names)))
        }
    }
}

/// `a, b or c`.
pub(crate) fn alternatives(names: &[&str]) -> String {
    match names {
        [first @ .., last] if !first.is_empty() => format!("{} or {last}", first.join(", ")),
        _ => names.concat(),
    }
}
