"""The C library: found, loaded, and declared to cffi from its own header."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path
from typing import Any, Callable

from cffi import FFI

from ._errors import InvalidArgumentError, error_of

_HERE = Path(__file__).resolve().parent
_NAME = "libvaekl.dylib" if sys.platform == "darwin" else "libvaekl.so"


def _declarations(header: str) -> str:
    """What cffi reads of vaekl.h: of the preprocessor it knows integer constants only."""
    text = re.sub(r"#ifdef __cplusplus\n.*?#endif", "", header, flags=re.DOTALL)
    text = re.sub(
        r"^#define (VAEKL_\w+) \(?(-?\d+)u?\)?$", r"@define \1 \2", text, flags=re.MULTILINE
    )
    return re.sub(r"^#.*$", "", text, flags=re.MULTILINE).replace("@define", "#define")


def _load() -> tuple[Any, Any]:
    """Loads the library, the package's own or that of VAEKL_LIBRARY."""
    ffi: Any = FFI()
    ffi.cdef(_declarations((_HERE / "vaekl.h").read_text(encoding="utf-8")))
    path = os.environ.get("VAEKL_LIBRARY") or str(_HERE / _NAME)
    try:
        lib = ffi.dlopen(path)
    except OSError as error:
        raise ImportError(f"{path}: libvaekl cannot be loaded: {error}") from error
    # Within a major version the binary interface only grows.
    major, minor = lib.VAEKL_VERSION_MAJOR, lib.VAEKL_VERSION_MINOR
    if lib.vaekl_version() >> 16 != major or (lib.vaekl_version() >> 8 & 255) < minor:
        found = ffi.string(lib.vaekl_version_string()).decode()
        raise ImportError(f"{path}: version {major}.{minor} or newer expected, {found} found")
    return ffi, lib


# cffi lets go of the GIL for the time of every call into `lib`.
ffi, lib = _load()


def version() -> str:
    """The version of the library, as "0.1.0"."""
    return str(ffi.string(lib.vaekl_version_string()).decode())


def cpu_level() -> str:
    """The instruction set in use: "avx512", "avx2" or "portable"; VAEKL_CPU lowers it.

    "invalid" when that is no level of this architecture.
    """
    return str(ffi.string(lib.vaekl_cpu_level()).decode())


def check(status: int, error: Any = None) -> int:
    """Gives a status that is none of an error back, and raises the exception of one that is."""
    if status >= 0:
        return status
    name = ffi.string(lib.vaekl_status_name(status)).decode()
    if not error:
        raise error_of(name, "")
    raise error_of(name, ffi.string(error.message).decode(errors="replace"), error.os_error)


def constant(family: str, name: str, argument: str) -> int:
    """VAEKL_<family>_<name>; the message of the error has the names that the header has."""
    prefix = f"VAEKL_{family}_"
    value = getattr(lib, prefix + str(name).upper(), None)
    if value is None:
        known = sorted(
            known[len(prefix) :].lower() for known in dir(lib) if known.startswith(prefix)
        )
        raise InvalidArgumentError(
            f"{argument}: one of {', '.join(known)} expected, {name!r} found"
        )
    return int(value)


def options(kind: str) -> Any:
    """An options struct with the library's defaults."""
    struct = ffi.new(f"{kind} *")
    check(getattr(lib, f"{kind}_init")(struct, ffi.sizeof(kind)))
    return struct


def filled(kind: str) -> Any:
    """A struct that the library fills, ready to be given to it."""
    struct = ffi.new(f"{kind} *")
    struct.struct_size = ffi.sizeof(kind)
    return struct


def fields(kind: str) -> list[str]:
    """The names of a struct's fields, without its size."""
    return [name for name, _ in ffi.typeof(kind).fields if name != "struct_size"]


def values(struct: Any, kind: str) -> list[Any]:
    """The values of these fields."""
    return [getattr(struct, name) for name in fields(kind)]


def path_bytes(path: str | os.PathLike[str], argument: str) -> Any:
    """A path as the C library takes it."""
    name = os.fsencode(path)
    if b"\0" in name:
        raise InvalidArgumentError(f"{argument}: {path!r} has a NUL character")
    return ffi.new("char[]", name)


def owned(pointer: Any, free: Callable[[Any], None], *keep: Any) -> Any:
    """`pointer`, freed once it is out of use; `keep` outlives it.

    A process that forked off shares memory with its parent's objects but has none of their threads:
    it leaves them alone.
    """
    process = os.getpid()

    def destroy(pointer: Any, keep: tuple[Any, ...] = keep) -> None:
        if os.getpid() == process:
            free(pointer)

    return ffi.gc(pointer, destroy)
