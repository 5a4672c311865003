"""Puts libvaekl and its header into the wheel; cargo builds the library."""

from __future__ import annotations

import json
import re
import subprocess
import sysconfig
from pathlib import Path
from platform import machine
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class LibraryHook(BuildHookInterface):
    """Runs once for each wheel."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        repository = Path(self.root).parents[1]
        header = repository / "include" / "vaekl.h"
        if not header.is_file():
            raise FileNotFoundError(
                f"{header}: the package is built inside the repository of libvaekl"
            )
        library = build(repository)
        build_data["force_include"] = {
            str(library): f"vaekl/{library.name}",
            str(header): "vaekl/vaekl.h",
        }
        # The library is the machine's; the Python around it is any version's.
        build_data["pure_python"] = False
        build_data["tag"] = f"py3-none-{platform_tag(library)}"


def build(repository: Path) -> Path:
    """The shared library, built by cargo, which says where it is."""
    command = [
        "cargo",
        "build",
        "--release",
        "--package",
        "vaekl",
        "--lib",
        "--features=capi",
        "--message-format=json-render-diagnostics",
    ]
    printed = subprocess.run(
        command, cwd=repository, check=True, stdout=subprocess.PIPE, text=True
    ).stdout
    messages = (json.loads(line) for line in printed.splitlines())
    files = [
        Path(file)
        for message in messages
        if message["reason"] == "compiler-artifact" and message["target"]["name"] == "vaekl"
        for file in message["filenames"]
    ]
    return next(file for file in files if file.suffix in (".so", ".dylib"))


def platform_tag(library: Path) -> str:
    """The oldest systems that the library runs on.

    On Linux it needs nothing but libc, libm and libgcc_s, so that the newest glibc whose symbols it
    asks for is all there is to a manylinux tag (PEP 600).
    """
    # The library has one architecture, even where Python has two.
    platform = sysconfig.get_platform().replace("universal2", machine())
    versions = re.findall(rb"GLIBC_2\.(\d+)", library.read_bytes())
    if platform.startswith("linux") and versions:
        platform = platform.replace("linux", f"manylinux_2_{max(map(int, versions))}", 1)
    return re.sub(r"[-.]", "_", platform)
