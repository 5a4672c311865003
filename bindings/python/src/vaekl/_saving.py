"""The arguments of saving, as diffusers takes them."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

from ._errors import InvalidArgumentError, UnsupportedError

_SUFFIX = ".safetensors"
_UNITS = {"KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}
_UNITS.update({"KIB": 2**10, "MIB": 2**20, "GIB": 2**30, "TIB": 2**40})


def check(
    save_function: Any, safe_serialization: bool, push_to_hub: bool, unknown: dict[str, Any]
) -> None:
    """Refuses what diffusers' `save_pretrained` does and this one does not."""
    if save_function is not None:
        raise UnsupportedError("save_function: None expected: the library writes the files")
    if not safe_serialization:
        raise UnsupportedError("safe_serialization: True expected: pickled weights are not written")
    if push_to_hub:
        raise UnsupportedError("push_to_hub: False expected: nothing is uploaded")
    if unknown:
        name = next(iter(unknown))
        raise TypeError(f"save_pretrained() got an unexpected keyword argument {name!r}")


def folder(path: str | os.PathLike[str]) -> str | os.PathLike[str]:
    """A path that the library takes as that of a folder."""
    if Path(os.fsdecode(path)).suffix == _SUFFIX:
        raise InvalidArgumentError(
            f"save_directory: a folder expected, {os.fsdecode(path)} found; "
            "save_single_file writes a file"
        )
    return path


def file(path: str | os.PathLike[str]) -> str | os.PathLike[str]:
    """A path that the library takes as that of a file."""
    if Path(os.fsdecode(path)).suffix != _SUFFIX:
        raise InvalidArgumentError(f"path: a {_SUFFIX} file expected, {os.fsdecode(path)} found")
    return path


def shard_size(size: int | str | None) -> int:
    """Bytes of a size such as "5GB"; 0 for None."""
    if size is None:
        return 0
    number: Any = size
    if isinstance(size, str):
        match = re.fullmatch(r"\s*([0-9]+(?:\.[0-9]*)?)\s*([A-Za-z]+)\s*", size)
        unit = _UNITS.get(match.group(2).upper()) if match else None
        number = None if match is None or unit is None else int(float(match.group(1)) * unit)
    if not isinstance(number, int) or isinstance(number, bool) or not 0 < number < 2**64:
        raise InvalidArgumentError(
            f"max_shard_size: bytes, or a size as '5GB' or '500MiB' expected, {size!r} found"
        )
    return number
