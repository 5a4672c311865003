#![forbid(unsafe_code)]
//! What the calls in a pickle make: tensors, dictionaries, and objects that nothing is read from.

use super::element::Element;
use super::globals::{Global, Rebuild};
use super::limits::MOST_ARGUMENTS;
use super::value::{Arena, PickledStorage, TensorValue, Value, text};
use crate::base::alloc;
use crate::base::error::{Error, ErrorKind, Result};

/// What a container of a pickle is made of.
pub(super) const ITEMS: &str = "the items of a pickle";

/// The arguments in a tuple, as many of them as a call looks at: it may be long, and called often.
pub(super) fn arguments_of(arena: &Arena, tuple: u32) -> Vec<Value> {
    arena.items(tuple).iter().copied().take(MOST_ARGUMENTS).collect()
}

/// The result of `callee` with `arguments`. Nothing is executed.
///
/// # Errors
/// `Format` if `callee` is nothing that is called, or the arguments do not fit.
pub(super) fn call(arena: &mut Arena, callee: Value, arguments: &[Value]) -> Result<Value> {
    match callee {
        Value::Global(Global::Opaque) => Ok(Value::Opaque),
        Value::Global(Global::Mapping) => mapping(arena, arguments),
        Value::Global(Global::Size) => match arguments {
            [Value::Tuple(id)] => Ok(Value::Tuple(*id)),
            _ => Err(Error::format("a torch.Size of something that is no tuple")),
        },
        Value::Global(Global::Rebuild(Rebuild::FromType)) => match arguments {
            // One level: the function is one of the others.
            [Value::Global(Global::Rebuild(function)), _, Value::Tuple(inner), ..]
                if *function != Rebuild::FromType =>
            {
                let inner = arguments_of(arena, *inner);
                rebuild(arena, *function, &inner)
            }
            _ => Err(Error::format("an unknown way to make a tensor")),
        },
        Value::Global(Global::Rebuild(function)) => rebuild(arena, function, arguments),
        _ => Err(Error::format("a call of something that is no function")),
    }
}

/// The storage that a persistent id names: `("storage", class, key, device, elements)`, in the
/// legacy form followed by `None` or `(key of the view, offset, elements)`.
///
/// # Errors
/// `Format` if it is no such tuple; `Unsupported` if it is that of a module.
pub(super) fn persistent(arena: &mut Arena, pickle: &[u8], id: Value) -> Result<Value> {
    let Value::Tuple(id) = id else {
        return Err(Error::format("a persistent id that is no tuple"));
    };
    let items = arena.items(id);
    if items.first().and_then(|kind| text(pickle, *kind)) == Some("module") {
        let message = "a whole module was saved: save its state_dict() instead";
        return Err(Error::new(ErrorKind::Unsupported, message));
    }
    let wrong = || Error::format("a persistent id that names no storage");
    let &[kind, Value::Global(Global::Storage(element)), Value::Text(key), _, len, ref rest @ ..] =
        items
    else {
        return Err(wrong());
    };
    if text(pickle, kind) != Some("storage") {
        return Err(wrong());
    }
    let view = match rest {
        [] | [Value::None] => None,
        [Value::Tuple(view)] => match arena.items(*view) {
            &[_, offset, len] => Some((natural(offset)?, natural(len)?)),
            _ => return Err(wrong()),
        },
        _ => return Err(wrong()),
    };
    let len = natural(len)?;
    arena.add_storage(PickledStorage { key, element, len, view })
}

/// A dictionary out of nothing, of another one, of pairs, or with the maker of its values.
fn mapping(arena: &mut Arena, arguments: &[Value]) -> Result<Value> {
    let mut items = Vec::new();
    match arguments {
        [Value::Dict(id)] => items = alloc::collected(arena.items(*id).iter().copied(), ITEMS)?,
        [pairs @ (Value::List(_) | Value::Tuple(_))] => {
            for pair in arena.sequence(*pairs).unwrap_or_default() {
                match arena.sequence(*pair) {
                    Some(&[key, value]) => {
                        alloc::reserve(&mut items, 2, ITEMS)?;
                        items.extend([key, value]);
                    }
                    _ => return Err(Error::format("a dictionary of something else than pairs")),
                }
            }
        }
        [] | [Value::None | Value::Global(_)] => {}
        _ => return Err(Error::format("a dictionary of unknown arguments")),
    }
    Ok(Value::Dict(arena.add(items)?))
}

fn rebuild(arena: &mut Arena, function: Rebuild, arguments: &[Value]) -> Result<Value> {
    let other = match function {
        Rebuild::Tensor => return strided(arena, arguments, None),
        Rebuild::TensorV3 => {
            return match arguments.get(6) {
                Some(&Value::Global(Global::Dtype(element))) => {
                    strided(arena, arguments, Some(element))
                }
                _ => Err(Error::format("a tensor without a dtype")),
            };
        }
        Rebuild::Parameter => {
            return match arguments.first() {
                Some(&Value::Tensor(id)) => Ok(Value::Tensor(id)),
                _ => Err(Error::format("a parameter of something that is no tensor")),
            };
        }
        Rebuild::FromType => return Err(Error::format("an unknown way to make a tensor")),
        Rebuild::Sparse => "a sparse tensor",
        Rebuild::Quantised => "a quantised tensor",
        Rebuild::Meta => "a tensor without data",
        Rebuild::Subclass => "a tensor of another class",
        Rebuild::OfDevice => "a tensor of another device",
    };
    arena.add_tensor(TensorValue::Other(other))
}

fn strided(arena: &mut Arena, arguments: &[Value], dtype: Option<Element>) -> Result<Value> {
    let &[Value::Storage(storage), offset, Value::Tuple(shape), Value::Tuple(strides), ..] =
        arguments
    else {
        return Err(Error::format("a tensor whose arguments are not those of a tensor"));
    };
    let element = dtype.unwrap_or(arena.storages[storage as usize].element);
    let offset = natural(offset)?;
    arena.add_tensor(TensorValue::Strided { storage, element, offset, shape, strides })
}

/// A number of things.
fn natural(value: Value) -> Result<u64> {
    match value {
        Value::Int(number) => u64::try_from(number)
            .map_err(|_| Error::format(format!("{number} where a size or an offset is expected"))),
        Value::Long(_) => Err(Error::format("a size or an offset of more than 64 bits")),
        _ => Err(Error::format("a size or an offset that is no number")),
    }
}
