#![forbid(unsafe_code)]
//! The element types of PyTorch: those of weights, and the others by their names.

use crate::base::encoding::Encoding;

/// An element type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Element(u8);

/// Name of the dtype, of its class of storages ("" where it has none), size in bytes, and the
/// encoding if weights can have it.
type Row = (&'static str, &'static str, u64, Option<Encoding>);

const TABLE: [Row; 28] = [
    ("float32", "FloatStorage", 4, Some(Encoding::F32)),
    ("float16", "HalfStorage", 2, Some(Encoding::F16)),
    ("bfloat16", "BFloat16Storage", 2, Some(Encoding::Bf16)),
    ("float64", "DoubleStorage", 8, Some(Encoding::F64)),
    ("float8_e4m3fn", "", 1, Some(Encoding::F8E4M3)),
    ("float8_e5m2", "", 1, Some(Encoding::F8E5M2)),
    ("float8_e4m3fnuz", "", 1, None),
    ("float8_e5m2fnuz", "", 1, None),
    ("float8_e8m0fnu", "", 1, None),
    ("float4_e2m1fn_x2", "", 1, None),
    ("bool", "BoolStorage", 1, None),
    ("uint8", "ByteStorage", 1, None),
    ("int8", "CharStorage", 1, None),
    ("int16", "ShortStorage", 2, None),
    ("int32", "IntStorage", 4, None),
    ("int64", "LongStorage", 8, None),
    ("uint16", "", 2, None),
    ("uint32", "", 4, None),
    ("uint64", "", 8, None),
    ("complex32", "", 4, None),
    ("complex64", "ComplexFloatStorage", 8, None),
    ("complex128", "ComplexDoubleStorage", 16, None),
    ("qint8", "QInt8Storage", 1, None),
    ("quint8", "QUInt8Storage", 1, None),
    ("qint32", "QInt32Storage", 4, None),
    ("quint4x2", "QUInt4x2Storage", 1, None),
    ("quint2x4", "QUInt2x4Storage", 1, None),
    ("untyped bytes", "UntypedStorage", 1, None),
];

impl Element {
    /// The dtype `torch.NAME`.
    pub(super) fn of_dtype(name: &str) -> Option<Self> {
        Self::find(|row| row.0 == name)
    }

    /// The elements of the storages of class `torch.NAME`.
    pub(super) fn of_storage(name: &str) -> Option<Self> {
        Self::find(|row| !row.1.is_empty() && row.1 == name)
    }

    fn find(is: impl Fn(&Row) -> bool) -> Option<Self> {
        TABLE.iter().position(is).map(|row| Self(row as u8))
    }

    fn row(self) -> &'static Row {
        &TABLE[usize::from(self.0)]
    }

    /// The name for people, which is that of the dtype.
    pub(super) fn name(self) -> &'static str {
        self.row().0
    }

    /// Size in bytes.
    pub(super) fn size(self) -> u64 {
        self.row().2
    }

    /// The encoding, if weights can have it.
    pub(super) fn encoding(self) -> Option<Encoding> {
        self.row().3
    }
}
