#![forbid(unsafe_code)]
//! The classes and functions that a pickle may name. Nothing is looked up by these names and
//! nothing is called: each has one meaning here, or none.

use super::element::Element;

/// What a global means.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Global {
    /// A function that makes a tensor out of a storage, or out of a tensor.
    Rebuild(Rebuild),
    /// A class of dictionaries.
    Mapping,
    /// A class of storages of these elements.
    Storage(Element),
    Dtype(Element),
    /// `torch.Size`, a tuple.
    Size,
    /// A class or function whose objects are [`super::value::Value::Opaque`].
    Opaque,
}

/// The functions that make tensors, in `torch._utils` and `torch._tensor`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Rebuild {
    /// Storage, offset, shape, strides; more in later versions, which do not matter here.
    Tensor,
    /// As [`Rebuild::Tensor`], with the dtype as the seventh argument and a storage of bytes.
    TensorV3,
    /// A tensor, and whether it has a gradient.
    Parameter,
    /// A function of these, a class, the function's arguments, attributes of the object.
    FromType,
    /// Kinds of tensors that weights cannot be.
    Sparse,
    Quantised,
    Meta,
    Subclass,
    OfDevice,
}

/// Packages all of whose classes are known to be harmless: settings and callbacks of trainers.
const OPAQUE_PACKAGES: [&str; 4] =
    ["pytorch_lightning", "lightning", "lightning_fabric", "omegaconf"];

/// The meaning of `module.name`; `None` if a pickle must not name it.
pub(super) fn lookup(module: &str, name: &str) -> Option<Global> {
    let known = match module {
        "torch._utils" => rebuild(name).map(Global::Rebuild),
        "torch._tensor" if name == "_rebuild_from_type_v2" => {
            Some(Global::Rebuild(Rebuild::FromType))
        }
        "collections" if matches!(name, "OrderedDict" | "defaultdict" | "Counter") => {
            Some(Global::Mapping)
        }
        "torch.storage" => match name {
            "UntypedStorage" | "_UntypedStorage" | "TypedStorage" | "_TypedStorage" => {
                Element::of_storage("UntypedStorage").map(Global::Storage)
            }
            _ => None,
        },
        "torch" if name == "Size" => Some(Global::Size),
        "torch" | "torch.cuda" => Element::of_storage(name)
            .map(Global::Storage)
            .or_else(|| Element::of_dtype(name).map(Global::Dtype)),
        _ => None,
    };
    known.or_else(|| is_opaque(module, name).then_some(Global::Opaque))
}

fn rebuild(name: &str) -> Option<Rebuild> {
    Some(match name {
        "_rebuild_tensor" | "_rebuild_tensor_v2" => Rebuild::Tensor,
        "_rebuild_tensor_v3" => Rebuild::TensorV3,
        "_rebuild_parameter" | "_rebuild_parameter_with_state" => Rebuild::Parameter,
        "_rebuild_sparse_tensor" | "_rebuild_sparse_csr_tensor" => Rebuild::Sparse,
        "_rebuild_qtensor" => Rebuild::Quantised,
        "_rebuild_meta_tensor_no_storage" => Rebuild::Meta,
        "_rebuild_wrapper_subclass" | "_rebuild_nested_tensor" => Rebuild::Subclass,
        "_rebuild_device_tensor_from_numpy" | "_rebuild_device_tensor_from_cpu_tensor" => {
            Rebuild::OfDevice
        }
        _ => return None,
    })
}

/// Whether objects of `module.name` are met in checkpoints, beside the tensors, and are nothing
/// but data in Python too.
fn is_opaque(module: &str, name: &str) -> bool {
    let package = module.split('.').next().unwrap_or(module);
    if OPAQUE_PACKAGES.contains(&package) {
        // A class, not something that the package has imported.
        return !name.contains('.') && name.starts_with(|first: char| first.is_ascii_uppercase());
    }
    #[rustfmt::skip] // Lists of words, which rustfmt would put one to a line.
    let names: &[&str] = match module {
        "torch" => &[
            "Tensor", "device", "strided", "contiguous_format", "channels_last",
            "preserve_format", "per_tensor_affine", "per_tensor_symmetric", "per_channel_affine",
            "per_channel_symmetric", "per_channel_affine_float_qparams",
        ],
        "torch.nn.parameter" => &["Parameter", "Buffer"],
        "torch.serialization" => &["_get_layout"],
        "builtins" | "__builtin__" => &[
            "set", "frozenset", "list", "dict", "tuple", "int", "float", "bool", "complex", "str",
            "bytes", "bytearray", "slice", "range", "xrange", "long", "unicode", "object",
        ],
        "collections" => &["deque"],
        "numpy" => &[
            "dtype", "ndarray", "float16", "float32", "float64", "int8", "int16", "int32", "int64",
            "uint8", "uint16", "uint32", "uint64", "bool_", "bool", "str_",
        ],
        "numpy.core.multiarray" | "numpy._core.multiarray" => &["scalar", "_reconstruct"],
        "numpy.core.numeric" | "numpy._core.numeric" => &["_frombuffer"],
        "numpy.dtypes" => &[
            "Float16DType", "Float32DType", "Float64DType", "Int8DType", "Int16DType",
            "Int32DType", "Int64DType", "UInt8DType", "UInt16DType", "UInt32DType",
            "UInt64DType", "BoolDType", "StrDType",
        ],
        "_codecs" => &["encode"],
        "copy_reg" | "copyreg" => &["_reconstructor"],
        "argparse" => &["Namespace"],
        "pathlib" | "pathlib._local" => &[
            "Path", "PosixPath", "WindowsPath", "PurePath", "PurePosixPath", "PureWindowsPath",
        ],
        "datetime" => &["datetime", "date", "time", "timedelta", "timezone"],
        "typing" => &["Any", "Union", "Optional", "List", "Dict", "Tuple"],
        "torch.torch_version" => &["TorchVersion"],
        _ => &[],
    };
    names.contains(&name)
}
