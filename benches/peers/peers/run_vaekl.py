"""libvaekl, by its C interface: f32, or bf16 storage with f32 sums.

VAEKL_LIBRARY names the shared library. The structs are those of include/vaekl.h.
"""

import ctypes
import os
from ctypes import (
    POINTER,
    Structure,
    byref,
    c_char,
    c_char_p,
    c_int32,
    c_size_t,
    c_uint32,
    c_uint64,
    c_void_p,
)

import measure
import numpy as np

DTYPES = {"f32": 0, "bf16": 2}
PLANAR = 1  # VAEKL_LAYOUT_CHW
MODE, MOMENTS = 0, 2  # VAEKL_POSTERIOR_MODE, VAEKL_POSTERIOR_MOMENTS


class Error(Structure):
    _fields_ = [("status", c_int32), ("message", c_char * 508)]


class Image(Structure):
    _fields_ = [
        ("data", c_void_p), ("width", c_uint32), ("height", c_uint32), ("dtype", c_uint32),
        ("layout", c_uint32), ("row_stride", c_size_t), ("plane_stride", c_size_t),
    ]  # fmt: skip


class Latent(Structure):
    _fields_ = [("data", c_void_p)] + [
        (name, c_uint32) for name in ("batch", "channels", "height", "width", "dtype", "scale")
    ]


class SessionOptions(Structure):
    _fields_ = [
        ("struct_size", c_size_t), ("memory_budget", c_uint64), ("threads", c_uint32),
        ("activation_dtype", c_uint32), ("tiling", c_uint32), ("tile_size", c_uint32),
        ("tile_overlap", c_uint32), ("scratch_dir", c_char_p), ("workspace", c_void_p),
        ("workspace_size", c_size_t), ("progress", c_void_p), ("progress_user", c_void_p),
        ("attention", c_uint32), ("fuse_qkv", c_uint32),
    ]  # fmt: skip


class Library:
    def __init__(self):
        self.functions = ctypes.CDLL(os.environ["VAEKL_LIBRARY"])
        self.functions.vaekl_version_string.restype = c_char_p
        self.functions.vaekl_model_family.restype = c_char_p

    def call(self, name: str, *arguments) -> None:
        error = Error()
        if getattr(self.functions, name)(*arguments, byref(error)) != 0:
            raise RuntimeError(error.message.decode())

    def version(self) -> str:
        return self.functions.vaekl_version_string().decode()


def image_of(values: np.ndarray) -> Image:
    return Image(values.ctypes.data, values.shape[3], values.shape[2], DTYPES["f32"], PLANAR, 0, 0)


def latent_of(values: np.ndarray) -> Latent:
    return Latent(values.ctypes.data, *values.shape, DTYPES["f32"], 0)


def load(job: measure.Job) -> measure.Call:
    library, model, session = Library(), c_void_p(), c_void_p()
    library.call("vaekl_model_open", str(job.dir / "model").encode(), None, byref(model))
    options = SessionOptions()
    size = c_size_t(ctypes.sizeof(options))
    if library.functions.vaekl_session_options_init(byref(options), size) != 0:
        raise RuntimeError("vaekl_session_options_init failed")
    options.threads, options.activation_dtype = job.threads, DTYPES[job.dtype]
    library.call("vaekl_session_new", model, byref(options), byref(session))

    tiny = library.functions.vaekl_model_family(model) == b"AutoencoderTiny"
    channels, wanted = (4, MODE) if tiny else (8, MOMENTS)

    def decode(values):
        out = np.empty((1, 3, values.shape[2] * 8, values.shape[3] * 8), np.float32)
        library.call("vaekl_decode", session, byref(latent_of(values)), byref(image_of(out)))
        return out

    def encode(values):
        out = np.empty((1, channels, values.shape[2] // 8, values.shape[3] // 8), np.float32)
        picture, latent = image_of(values), latent_of(out)
        library.call("vaekl_encode", session, byref(picture), wanted, c_uint64(0), byref(latent))
        return out

    return decode if job.what == "decode" else encode


if __name__ == "__main__":
    measure.main(load, lambda: Library().version())
