#!/usr/bin/env python3
# /// script
# requires-python = ">=3.10"
# dependencies = ["torch==2.15.0", "diffusers==0.42.1", "safetensors==0.8.0"]
# ///
"""Saved models against diffusers: what `vaekl convert` writes opens there with equal tensors.

    cargo build --release --package vaekl-cli
    uv run scripts/compare_saved.py [target/release/vaekl] [FIXTURE...]

For every fixture of tests/data that diffusers itself opens: the command's folder opens by
`from_pretrained` to the fixture's tensors, and has the bytes that diffusers' `save_pretrained`
writes, whole and in shards; bf16 and f16 are torch's rounding; files in both layouts open by
`from_single_file`, where its own reader knows their names.
"""

import filecmp
import subprocess
import sys
import tempfile
from pathlib import Path

import torch
from diffusers import AutoencoderKL
from safetensors import safe_open
from safetensors.torch import load_file

ROOT = Path(__file__).resolve().parents[1]
SHARD = 30_000


def convert(program, source, output, *options):
    command = [program, "convert", str(source), "-o", str(output), "--quiet", *options]
    subprocess.run(command, check=True)


def equal(found, expected, what):
    assert found.keys() == expected.keys(), (what, found.keys() ^ expected.keys())
    for name, tensor in expected.items():
        assert tensor.dtype == found[name].dtype, (what, name, found[name].dtype)
        assert tensor.shape == found[name].shape, (what, name, found[name].shape)
        assert torch.equal(tensor, found[name]), (what, name)


def same_files(found, expected, what):
    """Whether both folders have the same weight files, byte for byte."""
    ours, theirs = (
        sorted(path.name for path in folder.iterdir() if path.name != "config.json")
        for folder in (found, expected)
    )
    assert ours == theirs, (what, ours, theirs)
    for name in ours:
        assert filecmp.cmp(found / name, expected / name, shallow=False), (what, name)


def read_all(folder):
    tensors = {}
    for path in folder.glob("*.safetensors"):
        tensors |= load_file(path)
    return tensors


def check(program, fixture, work):
    bare = not (fixture / "config.json").exists()
    source = fixture / "model.safetensors" if bare else fixture
    options = ("--config", fixture / "expected_config.json") if bare else ()
    folder = work / "folder"
    convert(program, source, folder, *options)
    told = []

    saved = read_all(folder)
    model = AutoencoderKL.from_pretrained(folder)
    state = model.state_dict()
    equal({n: t.float() for n, t in saved.items()}, state, "from_pretrained")
    told.append("folder")

    # diffusers writes one type: the model's.
    if len({tensor.dtype for tensor in saved.values()}) == 1:
        dtype = next(iter(saved.values())).dtype
        model.to(dtype)
        for name, limit in (("whole", {}), ("shards", {"max_shard_size": SHARD})):
            ours, theirs = work / f"ours-{name}", work / f"theirs-{name}"
            convert(program, folder, ours, *(["--max-shard-size", str(SHARD)] if limit else []))
            model.save_pretrained(theirs, **limit)
            same_files(ours, theirs, name)
            equal(AutoencoderKL.from_pretrained(ours).state_dict(), state, name)
            told.append(name)
    for dtype, option in ((torch.bfloat16, "bf16"), (torch.float16, "f16"), (torch.float32, "f32")):
        rounded = work / option
        convert(program, folder, rounded, "--dtype", option)
        equal(read_all(rounded), {n: t.to(dtype) for n, t in saved.items()}, option)
        told.append(option)

    for layout in ("diffusers", "ldm"):
        file = work / f"{layout}.safetensors"
        convert(program, folder, file, "--layout", layout)
        with safe_open(file, "pt") as opened:
            metadata = opened.metadata()
        config = (folder / "config.json").read_text(encoding="utf-8")
        assert metadata == {"format": "pt", "vaekl.config": config}
        # Its reader of original names knows no attention in the levels, and no configuration that
        # leaves fields to their defaults.
        try:
            single = AutoencoderKL.from_single_file(str(file), config=str(folder))
        except Exception as error:  # noqa: BLE001: whatever stops it is told
            told.append(f"{layout} file: refused by diffusers ({type(error).__name__})")
            continue
        equal(single.state_dict(), state, layout)
        told.append(f"{layout} file")
    return told


def main():
    arguments = sys.argv[1:]
    program = arguments.pop(0) if arguments else ROOT / "target/release/vaekl"
    names = arguments or sorted(p.parent.name for p in ROOT.glob("tests/data/*/meta.json"))
    for name in names:
        with tempfile.TemporaryDirectory() as work:
            told = check(program, ROOT / "tests/data" / name, Path(work))
            print(f"{name}: {', '.join(told)}", flush=True)


if __name__ == "__main__":
    main()
