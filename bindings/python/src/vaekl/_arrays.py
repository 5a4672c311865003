"""The caller's arrays as the C library sees them: numpy's, torch's, and DLPack or buffers.

torch is never imported here: who passes a tensor has imported it.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from ._errors import InvalidArgumentError
from ._native import constant, ffi, lib

if TYPE_CHECKING:
    import torch

A = TypeVar("A", "np.ndarray[Any, Any]", "torch.Tensor")

# The dtypes of vaekl.h by the names that numpy, ml_dtypes and torch have for them.
_DTYPES = {
    "float32": lib.VAEKL_DTYPE_F32,
    "float16": lib.VAEKL_DTYPE_F16,
    "bfloat16": lib.VAEKL_DTYPE_BF16,
    "uint8": lib.VAEKL_DTYPE_U8,
}


def torch_module() -> Any:
    """torch, where it has been imported."""
    return sys.modules.get("torch")


def is_tensor(x: Any) -> bool:
    """Whether `x` is torch's."""
    torch = torch_module()
    return torch is not None and isinstance(x, torch.Tensor)


def dtype_name(dtype: Any) -> str:
    """The name of a dtype of torch or numpy, or that name itself."""
    if isinstance(dtype, str):
        return dtype
    if type(dtype).__module__ == "torch":
        return str(dtype)[len("torch.") :]
    return np.dtype(dtype).name


def dtype_constant(dtype: Any, argument: str) -> int:
    """VAEKL_DTYPE of a dtype of torch or numpy, or of its name."""
    name = dtype_name(dtype)
    if name not in _DTYPES:
        raise InvalidArgumentError(
            f"{argument}: one of {', '.join(_DTYPES)} expected, {name} found"
        )
    return _DTYPES[name]


@dataclass(frozen=True)
class View:
    """Memory of an array. Strides are in bytes; `owner` keeps the memory."""

    owner: Any
    name: str
    address: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    dtype: str
    itemsize: int

    def aligned(self) -> bool:
        return all(n % self.itemsize == 0 for n in (self.address, *self.strides))

    def contiguous(self) -> bool:
        expected = self.itemsize
        for size, stride in zip(reversed(self.shape), reversed(self.strides)):
            if size != 1 and stride != expected:
                return False
            expected *= size
        return self.aligned()

    def permuted(self, *axes: int) -> View:
        shape, strides = (
            tuple(values[axis] for axis in axes) for values in (self.shape, self.strides)
        )
        return View(self.owner, self.name, self.address, shape, strides, self.dtype, self.itemsize)


def view(x: Any, name: str, axes: str) -> View:
    """The memory of `x`, which has the axes that `axes` has letters for. Nothing is copied."""
    found = _view_of_tensor(x, name) if is_tensor(x) else _view_of_array(_as_numpy(x), name)
    if len(found.shape) != len(axes) or 0 in found.shape:
        expected = ", ".join(axes)
        raise InvalidArgumentError(
            f"{name}: shape [{expected}] expected, {list(found.shape)} found"
        )
    return found


def _view_of_tensor(x: Any, name: str) -> View:
    if x.device.type != "cpu" or x.layout is not torch_module().strided:
        raise InvalidArgumentError(
            f"{name}: a dense tensor on the CPU expected, {x.layout} on {x.device} found"
        )
    x = x.resolve_neg()
    size = x.element_size()
    strides = tuple(stride * size for stride in x.stride())
    return View(x, name, x.data_ptr(), tuple(x.shape), strides, dtype_name(x.dtype), size)


def _as_numpy(x: Any) -> np.ndarray[Any, Any]:
    if not isinstance(x, np.ndarray):
        x = np.from_dlpack(x) if hasattr(x, "__dlpack__") else np.asarray(x)
    return x if x.dtype.isnative else x.astype(x.dtype.newbyteorder("="))


def _view_of_array(x: np.ndarray[Any, Any], name: str) -> View:
    address = x.__array_interface__["data"][0]
    return View(x, name, address, x.shape, x.strides, x.dtype.name, x.itemsize)


def _copied(found: View) -> View:
    """The same values, contiguous."""
    if is_tensor(found.owner):
        torch = torch_module()
        return _view_of_tensor(found.owner.clone(memory_format=torch.contiguous_format), found.name)
    return _view_of_array(found.owner.copy(order="C"), found.name)


def empty(like: Any, shape: tuple[int, ...], dtype: str) -> Any:
    """An array in the framework of `like`, whose values are yet to be written."""
    if is_tensor(like):
        torch = torch_module()
        return torch.empty(shape, dtype=getattr(torch, dtype), device="cpu")
    # bfloat16 is a dtype of numpy only where the array that has it brought it along.
    same = getattr(like, "dtype", None)
    return np.empty(shape, dtype=same if getattr(same, "name", None) == dtype else dtype)


def latent_struct(x: Any, name: str, scaled: bool) -> tuple[Any, View]:
    """A vaekl_latent of [batch, channels, height, width]; copied only if it is not contiguous."""
    found = view(x, name, "BCHW")
    if not found.contiguous():
        found = _copied(found)
    batch, channels, height, width = found.shape
    struct = ffi.new("vaekl_latent *")
    struct.data = ffi.cast("void *", found.address)
    struct.batch, struct.channels, struct.height, struct.width = batch, channels, height, width
    struct.dtype = dtype_constant(found.dtype, f"{name}.dtype")
    struct.scale = lib.VAEKL_LATENT_SCALED if scaled else lib.VAEKL_LATENT_RAW
    return struct, found


def image_structs(x: Any, name: str, layout: str) -> tuple[Any, View]:
    """A vaekl_image for each picture of a batch, [B, C, H, W] or, by `layout`, [B, H, W, C].

    Pixels in planes or interleaved, with rows and pictures at any distance, are used where they
    are; only what is neither is copied. The view that comes with them is [B, C, H, W].
    """
    if constant("LAYOUT", layout, "layout") == lib.VAEKL_LAYOUT_HWC:
        found = view(x, name, "BHWC")
        order: tuple[int, ...] = (0, 3, 1, 2)
    else:
        found = view(x, name, "BCHW")
        order = (0, 1, 2, 3)
    strides = _image_strides(found.permuted(*order))
    if strides is None:
        found = _copied(found)
        strides = _image_strides(found.permuted(*order))
        assert strides is not None, "contiguous pixels are an image"
    found = found.permuted(*order)
    batch, _, height, width = found.shape
    dtype = dtype_constant(found.dtype, f"{name}.dtype")
    structs = ffi.new("vaekl_image[]", batch)
    for i, struct in enumerate(structs):
        struct.data = ffi.cast("void *", found.address + i * found.strides[0])
        struct.width, struct.height, struct.dtype = width, height, dtype
        struct.layout, struct.row_stride, struct.plane_stride = strides
    return structs, found


def _image_strides(found: View) -> tuple[int, int, int] | None:
    """Layout, row and plane stride of a [B, C, H, W] view, where a vaekl_image can say them."""
    _, channels, height, width = found.shape
    _, plane, row, pixel = found.strides
    size, row_bytes = found.itemsize, width * found.itemsize
    if not found.aligned():
        return None
    # The stride of an axis of length 1 means nothing, and frameworks differ: it is made one that
    # fits.
    if width == 1 or pixel == size:
        row_stride = row if height > 1 else row_bytes
        plane_stride = plane if channels > 1 else height * row_stride
        if row_stride >= row_bytes and plane_stride >= (height - 1) * row_stride + row_bytes:
            return lib.VAEKL_LAYOUT_CHW, row_stride, plane_stride
    row_bytes *= channels
    if (channels == 1 or plane == size) and (width == 1 or pixel == channels * size):
        row_stride = row if height > 1 else row_bytes
        if row_stride >= row_bytes:
            return lib.VAEKL_LAYOUT_HWC, row_stride, 0
    return None
