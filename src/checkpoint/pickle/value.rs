#![forbid(unsafe_code)]
//! The values of a pickle. Those with parts are numbers of an arena, so that a value is small, is
//! copied as often as the pickle says, and is dropped without recursion.

use super::element::Element;
use super::globals::Global;
use super::limits::{MOST_CONTAINERS, MOST_ITEMS, MOST_OBJECTS};
use crate::base::alloc;
use crate::base::error::{Error, Result};

/// Bytes of the pickle.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Span {
    pub(super) start: u32,
    pub(super) len: u32,
}

impl Span {
    pub(super) fn of(self, pickle: &[u8]) -> &[u8] {
        &pickle[self.start as usize..][..self.len as usize]
    }
}

/// A value. Numbers of lists, dictionaries and tuples are those of [`Arena::items`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Value {
    None,
    Bool(bool),
    Int(i64),
    /// An integer of more than 64 bits: its bytes.
    Long(Span),
    /// Valid UTF-8.
    Text(Span),
    List(u32),
    /// Keys and values in turn.
    Dict(u32),
    Tuple(u32),
    Global(Global),
    /// A number of [`Arena::storages`].
    Storage(u32),
    /// A number of [`Arena::tensors`].
    Tensor(u32),
    /// Something that is no tensor and has none that can be reached: a number with a fraction,
    /// bytes, a set, an object of a class that is known to be harmless.
    Opaque,
}

/// The text of `value` in `pickle`, if it is one.
pub(super) fn text(pickle: &[u8], value: Value) -> Option<&str> {
    let Value::Text(span) = value else { return None };
    std::str::from_utf8(span.of(pickle)).ok()
}

/// A storage: elements in the file, of which tensors have parts.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct PickledStorage {
    /// The name in the file; valid UTF-8.
    pub(super) key: Span,
    pub(super) element: Element,
    /// Number of elements of the whole storage.
    pub(super) len: u64,
    /// First element and number of the part that this is, in files from before PyTorch 0.4.
    pub(super) view: Option<(u64, u64)>,
}

/// A tensor, before it has a name.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum TensorValue {
    Strided {
        storage: u32,
        element: Element,
        /// In elements, from the beginning of the storage.
        offset: u64,
        /// Numbers of tuples.
        shape: u32,
        strides: u32,
    },
    /// A kind of tensor that weights cannot be, by its name for people.
    Other(&'static str),
}

/// Everything that values are numbers of.
#[derive(Default)]
pub(super) struct Arena {
    containers: Vec<Vec<Value>>,
    /// Items of all containers.
    total: usize,
    pub(super) storages: Vec<PickledStorage>,
    pub(super) tensors: Vec<TensorValue>,
}

impl Arena {
    /// A new container of `items`.
    ///
    /// # Errors
    /// `Format` beyond the limits.
    pub(super) fn add(&mut self, items: Vec<Value>) -> Result<u32> {
        if self.containers.len() == MOST_CONTAINERS {
            let message = format!("more than {MOST_CONTAINERS} lists, dictionaries and tuples");
            return Err(Error::format(message));
        }
        self.count(items.len())?;
        alloc::push(&mut self.containers, items, "the containers of a pickle")?;
        Ok(self.containers.len() as u32 - 1)
    }

    /// Puts `items` behind those of a container.
    ///
    /// # Errors
    /// `Format` beyond the limits.
    pub(super) fn extend(&mut self, container: u32, items: &[Value]) -> Result<()> {
        self.count(items.len())?;
        let container = &mut self.containers[container as usize];
        alloc::reserve(container, items.len(), "a container of a pickle")?;
        container.extend_from_slice(items);
        Ok(())
    }

    pub(super) fn items(&self, container: u32) -> &[Value] {
        &self.containers[container as usize]
    }

    /// The items of a list or a tuple.
    pub(super) fn sequence(&self, value: Value) -> Option<&[Value]> {
        match value {
            Value::List(id) | Value::Tuple(id) => Some(self.items(id)),
            _ => None,
        }
    }

    /// # Errors
    /// `Format` beyond the limit.
    pub(super) fn add_storage(&mut self, storage: PickledStorage) -> Result<Value> {
        add(&mut self.storages, storage).map(Value::Storage)
    }

    /// # Errors
    /// `Format` beyond the limit.
    pub(super) fn add_tensor(&mut self, tensor: TensorValue) -> Result<Value> {
        add(&mut self.tensors, tensor).map(Value::Tensor)
    }

    fn count(&mut self, more: usize) -> Result<()> {
        self.total += more;
        if self.total > MOST_ITEMS {
            let message = format!("more than {MOST_ITEMS} items of lists and dictionaries");
            return Err(Error::format(message));
        }
        Ok(())
    }
}

fn add<T>(objects: &mut Vec<T>, object: T) -> Result<u32> {
    if objects.len() == MOST_OBJECTS {
        return Err(Error::format(format!("more than {MOST_OBJECTS} tensors or storages")));
    }
    alloc::push(objects, object, "the tensors of a pickle")?;
    Ok(objects.len() as u32 - 1)
}
