#![forbid(unsafe_code)]
//! The tensors of a pickle under dotted names: `state_dict.decoder.conv_in.weight`.

use super::super::raw_tensors::Names;
use super::limits::{MOST_DEPTH, MOST_NAME, MOST_VISITS};
use super::machine::Pickle;
use super::value::Value;
use crate::base::alloc;
use crate::base::error::{Error, Result};

/// The name of a tensor that is all there is.
const ALONE: &str = "tensor";

/// A container that is being walked through.
struct Level {
    value: Value,
    id: u32,
    /// The next item.
    next: usize,
    /// Bytes of the name of the container itself.
    name: usize,
}

/// The tensors in dictionaries, lists and tuples, as names, sorted, with numbers of
/// [`super::value::Arena::tensors`]. A list's items are named by their places, a dictionary's by
/// their keys, where these are texts or numbers. Everything else is passed over.
///
/// # Errors
/// `Format` if a container is in itself, two tensors have one name, or beyond the limits.
pub(super) fn flatten(pickle: &Pickle<'_>) -> Result<Vec<(String, u32)>> {
    let mut found: Vec<(String, u32)> = Vec::new();
    let (mut name, mut names, mut visits) = (String::new(), Names::default(), 0);
    let mut path: Vec<Level> = Vec::new();
    let mut next = Some(pickle.root);
    loop {
        match next.take() {
            Some(Value::Tensor(tensor)) => {
                let name = if path.is_empty() { ALONE } else { &name };
                names.add(name)?;
                let name = alloc::text(name, "the name of a tensor")?;
                alloc::push(&mut found, (name, tensor), "a list of tensors")?;
            }
            Some(value @ (Value::List(id) | Value::Tuple(id) | Value::Dict(id))) => {
                if path.iter().any(|level| level.id == id) {
                    let what = "a list or dictionary that contains itself";
                    return Err(Error::format(what));
                }
                if path.len() == MOST_DEPTH {
                    let message = format!("lists or dictionaries nested deeper than {MOST_DEPTH}");
                    return Err(Error::format(message));
                }
                path.push(Level { value, id, next: 0, name: name.len() });
            }
            _ => {}
        }
        let Some(level) = path.last_mut() else { break };
        name.truncate(level.name);
        visits += 1;
        if visits > MOST_VISITS {
            return Err(Error::format(format!("more than {MOST_VISITS} items to look at")));
        }
        let items = pickle.arena.items(level.id);
        if level.next == items.len() {
            path.pop();
            continue;
        }
        if level.name > 0 {
            name.push('.');
        }
        let (key, value, step) = match level.value {
            Value::Dict(_) => (items[level.next], items[level.next + 1], 2),
            _ => (Value::Int(level.next as i64), items[level.next], 1),
        };
        level.next += step;
        next = is_walked(value).then_some(value).filter(|_| push(&mut name, pickle, key));
        if name.len() > MOST_NAME {
            let message = format!("a tensor with a name of over {MOST_NAME} bytes");
            return Err(Error::format(message));
        }
    }
    found.sort_unstable();
    match found.windows(2).find(|pair| pair[0].0 == pair[1].0) {
        Some(pair) => Err(Error::format(format!("two tensors have the name {}", pair[0].0))),
        None => Ok(found),
    }
}

/// Whether a value is a tensor, or may have some.
fn is_walked(value: Value) -> bool {
    matches!(value, Value::Tensor(_) | Value::List(_) | Value::Tuple(_) | Value::Dict(_))
}

/// Puts `key` behind `name`; false if it names nothing.
fn push(name: &mut String, pickle: &Pickle<'_>, key: Value) -> bool {
    match (key, pickle.text(key)) {
        (_, Some(text)) if !text.chars().any(char::is_control) => name.push_str(text),
        (Value::Int(number), _) => name.push_str(&number.to_string()),
        _ => return false,
    }
    true
}
