#![forbid(unsafe_code)]
//! The stack machine of pickles (Python's `pickletools` describes it), which executes nothing:
//! it keeps what the values are, and refuses whatever would need Python to find out.

use super::super::cursor::Cursor;
use super::calls::{self, ITEMS};
use super::globals;
use super::limits::*;
use super::opcode::{self, Opcode};
use super::value::{Arena, Span, Value, text};
use crate::base::alloc;
use crate::base::error::{Error, ErrorKind, Result};

/// What a pickle says.
pub(super) struct Pickle<'a> {
    pub(super) bytes: &'a [u8],
    pub(super) root: Value,
    pub(super) arena: Arena,
    /// Offset of the byte after it.
    pub(super) end: usize,
}

impl<'a> Pickle<'a> {
    /// Reads the pickle that begins at `start` of `bytes`; others may follow it.
    ///
    /// # Errors
    /// `Format` if it is corrupt or beyond the limits; `Unsupported` if it names what is not
    /// read. The message tells the offset.
    pub(super) fn read(bytes: &'a [u8], start: usize) -> Result<Self> {
        let mut machine = Machine {
            bytes,
            cursor: Cursor::new(bytes, start),
            stack: Vec::new(),
            marks: Vec::new(),
            memo: Vec::new(),
            arena: Arena::default(),
            globals: 0,
        };
        for _ in 0..MOST_OPCODES {
            let at = machine.cursor.at();
            let root = machine.step().map_err(|error| error.within(format!("pickle at {at}")))?;
            if let Some(root) = root {
                let end = machine.cursor.at();
                return Ok(Self { bytes, root, arena: machine.arena, end });
            }
        }
        Err(Error::format(format!("a pickle of more than {MOST_OPCODES} opcodes")))
    }

    /// The text of `value`, if it is one.
    pub(super) fn text(&self, value: Value) -> Option<&'a str> {
        text(self.bytes, value)
    }

    /// The value of `key`, if `dict` is a dictionary that has it.
    pub(super) fn get(&self, dict: Value, key: &str) -> Option<Value> {
        let Value::Dict(id) = dict else { return None };
        let (pairs, _) = self.arena.items(id).as_chunks::<2>();
        pairs.iter().rev().find(|[name, _]| self.text(*name) == Some(key)).map(|&[_, value]| value)
    }
}

struct Machine<'a> {
    bytes: &'a [u8],
    cursor: Cursor<'a>,
    stack: Vec<Value>,
    /// Heights of the stack.
    marks: Vec<usize>,
    memo: Vec<Option<Value>>,
    arena: Arena,
    /// Globals named so far.
    globals: usize,
}

impl Machine<'_> {
    /// Reads one opcode; the last one gives the value of the pickle.
    fn step(&mut self) -> Result<Option<Value>> {
        let byte = self.cursor.u8()?;
        let Some(opcode) = Opcode::of(byte) else {
            let name = opcode::name_of(byte);
            let message = format!("opcode {name} ({byte:#04x}), which torch.save does not write");
            return Err(Error::new(ErrorKind::Unsupported, message));
        };
        match opcode {
            Opcode::Stop => return self.stop().map(Some),
            Opcode::Proto => self.protocol()?,
            Opcode::Frame => {
                let size = self.cursor.u64()?;
                if size > self.cursor.left() as u64 {
                    return Err(Error::format(format!("truncated: a frame of {size} bytes")));
                }
            }
            Opcode::Mark => self.mark()?,
            Opcode::Pop => {
                // A mark counts as a value here.
                match self.marks.last() == Some(&self.stack.len()) {
                    true => self.marks.pop().map(|_| ()),
                    false => self.stack.pop().map(|_| ()),
                }
                .ok_or_else(underflow)?;
            }
            Opcode::PopMark => drop(self.pop_mark()?),
            Opcode::BinGet => {
                let index = self.cursor.u8()?;
                self.get(index.into())?;
            }
            Opcode::LongBinGet => {
                let index = self.cursor.u32()?;
                self.get(index)?;
            }
            Opcode::BinPut => {
                let index = self.cursor.u8()?;
                self.put(index.into())?;
            }
            Opcode::LongBinPut => {
                let index = self.cursor.u32()?;
                self.put(index)?;
            }
            Opcode::Memoize => self.put(self.memo.len() as u32)?,
            Opcode::Append => {
                let item = self.pop()?;
                self.append(&[item])?;
            }
            Opcode::Appends => {
                let items = self.pop_mark()?;
                self.append(&items)?;
            }
            Opcode::SetItem => {
                let value = self.pop()?;
                let key = self.pop()?;
                self.set(&[key, value])?;
            }
            Opcode::SetItems => {
                let items = self.pop_mark()?;
                self.set(&items)?;
            }
            Opcode::AddItems => {
                self.pop_mark()?;
                match self.top()? {
                    Value::Opaque => {}
                    _ => return Err(Error::format("items added to something that is no set")),
                }
            }
            Opcode::Build => self.build()?,
            _ => {
                let value = self.value(opcode)?;
                self.push(value)?;
            }
        }
        Ok(None)
    }

    /// The value that `opcode` makes.
    fn value(&mut self, opcode: Opcode) -> Result<Value> {
        Ok(match opcode {
            Opcode::None => Value::None,
            Opcode::NewTrue => Value::Bool(true),
            Opcode::NewFalse => Value::Bool(false),
            Opcode::BinInt => Value::Int(self.cursor.i32()?.into()),
            Opcode::BinInt1 => Value::Int(self.cursor.u8()?.into()),
            Opcode::BinInt2 => Value::Int(self.cursor.u16()?.into()),
            Opcode::Long1 => {
                let size = self.cursor.u8()?;
                self.long(size.into())?
            }
            Opcode::Long4 => {
                let size = self.signed_size()?;
                self.long(size)?
            }
            Opcode::BinFloat => self.opaque(8)?,
            Opcode::ShortBinString | Opcode::ShortBinUnicode => {
                let size = self.cursor.u8()?;
                self.text(size.into())?
            }
            Opcode::BinString => {
                let size = self.signed_size()?;
                self.text(size)?
            }
            Opcode::BinUnicode => {
                let size = self.cursor.u32()?;
                self.text(size.into())?
            }
            Opcode::BinUnicode8 => {
                let size = self.cursor.u64()?;
                self.text(size)?
            }
            Opcode::ShortBinBytes => {
                let size = self.cursor.u8()?;
                self.opaque(size.into())?
            }
            Opcode::BinBytes => {
                let size = self.cursor.u32()?;
                self.opaque(size.into())?
            }
            Opcode::BinBytes8 | Opcode::ByteArray8 => {
                let size = self.cursor.u64()?;
                self.opaque(size)?
            }
            Opcode::EmptySet => Value::Opaque,
            Opcode::FrozenSet => {
                self.pop_mark()?;
                Value::Opaque
            }
            Opcode::EmptyList => Value::List(self.arena.add(Vec::new())?),
            Opcode::EmptyDict => Value::Dict(self.arena.add(Vec::new())?),
            Opcode::EmptyTuple => self.tuple(0)?,
            Opcode::Tuple1 => self.tuple(1)?,
            Opcode::Tuple2 => self.tuple(2)?,
            Opcode::Tuple3 => self.tuple(3)?,
            Opcode::Tuple => {
                let items = self.pop_mark()?;
                Value::Tuple(self.arena.add(items)?)
            }
            _ => return self.object(opcode),
        })
    }

    /// The value of an opcode that names, calls or refers to something outside the pickle.
    fn object(&mut self, opcode: Opcode) -> Result<Value> {
        match opcode {
            Opcode::Global => self.global_of_lines(),
            Opcode::StackGlobal => {
                let (name, module) = (self.pop()?, self.pop()?);
                match (text(self.bytes, module), text(self.bytes, name)) {
                    (Some(module), Some(name)) => self.global(module, name),
                    _ => Err(Error::format("a global whose name is no text")),
                }
            }
            Opcode::Reduce | Opcode::NewObj => {
                let arguments = self.pop()?;
                self.call(arguments)
            }
            Opcode::NewObjEx => {
                let (named, arguments) = (self.pop()?, self.pop()?);
                match (named, self.top()?) {
                    (Value::Dict(_), Value::Global(globals::Global::Opaque)) => {
                        self.call(arguments)
                    }
                    _ => Err(Error::format("an object with named arguments")),
                }
            }
            Opcode::Inst => {
                let class = self.global_of_lines()?;
                let arguments = self.pop_mark()?;
                calls::call(&mut self.arena, class, &arguments)
            }
            Opcode::Obj => {
                let items = self.pop_mark()?;
                let (&class, arguments) = items.split_first().ok_or_else(underflow)?;
                calls::call(&mut self.arena, class, arguments)
            }
            Opcode::BinPersId => {
                let id = self.pop()?;
                calls::persistent(&mut self.arena, self.bytes, id)
            }
            _ => Err(Error::internal(format!("opcode {opcode:?} makes no value"))),
        }
    }

    fn stop(&mut self) -> Result<Value> {
        let root = self.pop()?;
        match self.stack.is_empty() && self.marks.is_empty() {
            true => Ok(root),
            false => Err(Error::format("the pickle ends with more than one value")),
        }
    }

    fn protocol(&mut self) -> Result<()> {
        match self.cursor.u8()? {
            0..=5 => Ok(()),
            other => Err(Error::format(format!("protocol {other}, 0 to 5 expected"))),
        }
    }

    fn push(&mut self, value: Value) -> Result<()> {
        if self.stack.len() == MOST_STACK {
            return Err(Error::format(format!("more than {MOST_STACK} values on the stack")));
        }
        alloc::push(&mut self.stack, value, "the stack of a pickle")
    }

    /// The value on top, which the last mark must not hide.
    fn top(&self) -> Result<Value> {
        let floor = self.marks.last().copied().unwrap_or(0);
        self.stack[floor..].last().copied().ok_or_else(underflow)
    }

    fn pop(&mut self) -> Result<Value> {
        let value = self.top()?;
        self.stack.pop();
        Ok(value)
    }

    fn mark(&mut self) -> Result<()> {
        if self.marks.len() == MOST_MARKS {
            return Err(Error::format(format!("nested deeper than {MOST_MARKS}")));
        }
        alloc::push(&mut self.marks, self.stack.len(), "the marks of a pickle")
    }

    /// The values above the last mark.
    fn pop_mark(&mut self) -> Result<Vec<Value>> {
        let floor = self.marks.pop().ok_or_else(|| Error::format("no mark on the stack"))?;
        let items = alloc::collected(self.stack[floor..].iter().copied(), ITEMS)?;
        self.stack.truncate(floor);
        Ok(items)
    }

    fn get(&mut self, index: u32) -> Result<()> {
        let value = self.memo.get(index as usize).copied().flatten();
        let missing = || Error::format(format!("nothing at {index} in the memo"));
        self.push(value.ok_or_else(missing)?)
    }

    fn put(&mut self, index: u32) -> Result<()> {
        let value = self.top()?;
        let at = index as usize;
        if at >= MOST_MEMO {
            return Err(Error::format(format!(
                "index {index} of the memo, below {MOST_MEMO} read"
            )));
        }
        if at >= self.memo.len() {
            let more = at + 1 - self.memo.len();
            alloc::reserve(&mut self.memo, more, "the memo of a pickle")?;
            self.memo.resize(at + 1, None);
        }
        self.memo[at] = Some(value);
        Ok(())
    }

    fn append(&mut self, items: &[Value]) -> Result<()> {
        match self.top()? {
            Value::List(id) => self.arena.extend(id, items),
            Value::Opaque => Ok(()),
            _ => Err(Error::format("items appended to something that is no list")),
        }
    }

    fn set(&mut self, pairs: &[Value]) -> Result<()> {
        match self.top()? {
            _ if !pairs.len().is_multiple_of(2) => Err(Error::format("a key without a value")),
            Value::Dict(id) => self.arena.extend(id, pairs),
            Value::Opaque => Ok(()),
            _ => Err(Error::format("items set in something that is no dictionary")),
        }
    }

    /// The state of an object: of a dictionary its attributes, which say nothing of its items.
    fn build(&mut self) -> Result<()> {
        self.pop()?;
        match self.top()? {
            Value::Dict(_) | Value::Opaque => Ok(()),
            _ => Err(Error::format("a state for something that has none")),
        }
    }

    fn tuple(&mut self, len: usize) -> Result<Value> {
        let mut items = vec![Value::None; len];
        for item in items.iter_mut().rev() {
            *item = self.pop()?;
        }
        Ok(Value::Tuple(self.arena.add(items)?))
    }

    fn span(&mut self, size: u64) -> Result<Span> {
        let start = self.cursor.at() as u32;
        self.cursor.take(size)?;
        Ok(Span { start, len: size as u32 })
    }

    fn opaque(&mut self, size: u64) -> Result<Value> {
        self.span(size)?;
        Ok(Value::Opaque)
    }

    /// Text. What is not UTF-8, such as the bytes of a Python 2, names nothing here.
    fn text(&mut self, size: u64) -> Result<Value> {
        let span = self.span(size)?;
        let valid = std::str::from_utf8(span.of(self.bytes)).is_ok();
        Ok(if valid { Value::Text(span) } else { Value::Opaque })
    }

    fn signed_size(&mut self) -> Result<u64> {
        let size = self.cursor.i32()?;
        u64::try_from(size).map_err(|_| Error::format(format!("a length of {size}")))
    }

    /// An integer in two's complement.
    fn long(&mut self, size: u64) -> Result<Value> {
        let span = self.span(size)?;
        let bytes = span.of(self.bytes);
        if bytes.len() > 8 {
            return Ok(Value::Long(span));
        }
        let negative = bytes.last().is_some_and(|byte| byte & 0x80 != 0);
        let mut wide = [if negative { 0xff } else { 0 }; 8];
        wide[..bytes.len()].copy_from_slice(bytes);
        Ok(Value::Int(i64::from_le_bytes(wide)))
    }

    fn global_of_lines(&mut self) -> Result<Value> {
        let mut line = || {
            let line = self.cursor.line(MOST_GLOBAL_NAME)?;
            let wrong = |_| Error::format("a global whose name is no text");
            std::str::from_utf8(line).map_err(wrong)
        };
        let (module, name) = (line()?, line()?);
        self.global(module, name)
    }

    fn global(&mut self, module: &str, name: &str) -> Result<Value> {
        self.globals += 1;
        if self.globals > MOST_GLOBALS {
            return Err(Error::format(format!("more than {MOST_GLOBALS} mentions of globals")));
        }
        if module.len().max(name.len()) > MOST_GLOBAL_NAME {
            let message = format!("a global with a name of over {MOST_GLOBAL_NAME} bytes");
            return Err(Error::format(message));
        }
        globals::lookup(module, name).map(Value::Global).ok_or_else(|| {
            let (module, name) = (module.escape_debug(), name.escape_debug());
            let message = format!(
                "{module}.{name} is not on the list of what a checkpoint may name; no code of a \
                 file is run"
            );
            Error::new(ErrorKind::Unsupported, message)
        })
    }

    /// Calls the value on top, which is taken off the stack.
    fn call(&mut self, arguments: Value) -> Result<Value> {
        let callee = self.pop()?;
        let Value::Tuple(id) = arguments else {
            return Err(Error::format("a call whose arguments are no tuple"));
        };
        let arguments = calls::arguments_of(&self.arena, id);
        calls::call(&mut self.arena, callee, &arguments)
    }
}

fn underflow() -> Error {
    Error::format("too few values on the stack")
}
