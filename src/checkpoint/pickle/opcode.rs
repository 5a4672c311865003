#![forbid(unsafe_code)]
//! The opcodes of pickles: those that are read, and the names of the others.

/// The byte of each opcode that is read: those of protocols 0 to 5 that Python's picklers use from
/// protocol 2 on.
macro_rules! opcodes {
    ($($name:ident = $byte:literal,)+) => {
        /// An opcode.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(super) enum Opcode {
            $($name,)+
        }

        impl Opcode {
            /// The opcode of `byte`, if it is read.
            pub(super) fn of(byte: u8) -> Option<Self> {
                match byte {
                    $($byte => Some(Self::$name),)+
                    _ => None,
                }
            }
        }
    };
}

opcodes! {
    Mark = b'(',
    Stop = b'.',
    Pop = b'0',
    PopMark = b'1',
    None = b'N',
    NewTrue = 0x88,
    NewFalse = 0x89,
    BinInt = b'J',
    BinInt1 = b'K',
    BinInt2 = b'M',
    Long1 = 0x8a,
    Long4 = 0x8b,
    BinFloat = b'G',
    BinString = b'T',
    ShortBinString = b'U',
    BinUnicode = b'X',
    ShortBinUnicode = 0x8c,
    BinUnicode8 = 0x8d,
    BinBytes = b'B',
    ShortBinBytes = b'C',
    BinBytes8 = 0x8e,
    ByteArray8 = 0x96,
    EmptyList = b']',
    Append = b'a',
    Appends = b'e',
    EmptyTuple = b')',
    Tuple = b't',
    Tuple1 = 0x85,
    Tuple2 = 0x86,
    Tuple3 = 0x87,
    EmptyDict = b'}',
    SetItem = b's',
    SetItems = b'u',
    EmptySet = 0x8f,
    AddItems = 0x90,
    FrozenSet = 0x91,
    BinGet = b'h',
    LongBinGet = b'j',
    BinPut = b'q',
    LongBinPut = b'r',
    Memoize = 0x94,
    Global = b'c',
    StackGlobal = 0x93,
    Reduce = b'R',
    Build = b'b',
    Inst = b'i',
    Obj = b'o',
    NewObj = 0x81,
    NewObjEx = 0x92,
    BinPersId = b'Q',
    Proto = 0x80,
    Frame = 0x95,
}

/// The name of an opcode that is not read, for people.
pub(super) fn name_of(byte: u8) -> &'static str {
    match byte {
        b'2' => "DUP",
        b'I' => "INT",
        b'L' => "LONG",
        b'F' => "FLOAT",
        b'S' => "STRING",
        b'V' => "UNICODE",
        b'd' => "DICT",
        b'l' => "LIST",
        b'g' => "GET",
        b'p' => "PUT",
        b'P' => "PERSID",
        0x82 => "EXT1",
        0x83 => "EXT2",
        0x84 => "EXT4",
        0x97 => "NEXT_BUFFER",
        0x98 => "READONLY_BUFFER",
        _ => "unknown",
    }
}
