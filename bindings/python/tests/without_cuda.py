"""Lets PyPI's torch for Linux start without the libraries of CUDA, which a CPU never calls.

    python without_cuda.py FOLDER

Those are gigabytes, and torch's own ask for them when they are loaded. FOLDER gets a stand-in
for each, whose functions do nothing. With FOLDER in LD_LIBRARY_PATH torch is what it is
without a GPU. For tests only.
"""

from __future__ import annotations

import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

CUDA = re.compile(r"lib(cu|nv|nccl)")


def output(*command: str | Path) -> str:
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout


def main(folder: Path) -> None:
    spec = find_spec("torch")
    assert spec is not None and spec.origin is not None, "torch is not installed"
    wanted, there = set(), set()
    needed: dict[str, set[str]] = {}
    for library in sorted(Path(spec.origin).with_name("lib").glob("*.so")):
        for line in output("nm", "--dynamic", library).splitlines():
            kind, symbol = line.split()[-2:]
            (wanted if kind == "U" else there).add(symbol)
        read_needs(library, needed)
    folder.mkdir(parents=True, exist_ok=True)
    unversioned = {
        symbol for symbol in wanted - there if re.match(r"(cu|nv|nccl|__cuda|__nv)\w+$", symbol)
    }
    for name, versions in needed.items():
        build(
            folder / name,
            {version: at_version(wanted, version) for version in versions},
            unversioned,
        )
        unversioned = set()  # the first has them all
    print(f"{folder}: stand-ins for {', '.join(needed)}")


def read_needs(library: Path, needed: dict[str, set[str]]) -> None:
    """Adds the libraries of CUDA that `library` asks for, each with the versions of its symbols."""
    for name in re.findall(r"NEEDED.*\[(.*)\]", output("readelf", "--dynamic", "--wide", library)):
        if CUDA.match(name):
            needed.setdefault(name, set())
    name = ""
    printed = output("readelf", "--version-info", "--wide", library)
    for kind, value in re.findall(r"(File|Name): (\S+)", printed):
        if kind == "File":
            name = value
        elif name in needed:
            needed[name].add(value)


def at_version(symbols: set[str], version: str) -> set[str]:
    return {symbol.partition("@")[0] for symbol in symbols if symbol.endswith(f"@{version}")}


def build(library: Path, versions: dict[str, set[str]], unversioned: set[str]) -> None:
    source, script = library.with_suffix(".c"), library.with_suffix(".map")
    functions = sorted(unversioned.union(*versions.values()))
    source.write_text("".join(f"int {name}(void) {{ return 0; }}\n" for name in functions))
    nodes = [
        f"{version} {{ global: {'; '.join(sorted(names))}; }};\n"
        for version, names in versions.items()
    ]
    script.write_text("".join(nodes))
    link = [f"-Wl,-soname,{library.name}"]
    if nodes:
        link += ["-Xlinker", f"--version-script={script}"]  # -Wl would cut the path at a comma
    output("cc", "-shared", "-fPIC", "-O0", "-w", "-fno-builtin", *link, source, "-o", library)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
