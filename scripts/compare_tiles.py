#!/usr/bin/env python3
"""Decodes a large picture whole, in seamless tiles and in diffusers' tiles: time, memory, error.

    pip install numpy pillow
    python scripts/compare_tiles.py --vaekl target/release/vaekl \\
        [--size 1024] [--memory 256M] [--picture P.png]

The picture (examples/astronaut.png) is scaled to --size, encoded with --model (the embedded
one) and decoded. The error is that of the 8-bit picture against the one decoded in one piece,
which needs a scratch folder where the budget is small. --out writes the differences beside each
other, 16 times as large.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

ROOT = Path(__file__).parent.parent


def run(command):
    """Seconds and the most MiB of a command that must succeed."""
    start = time.monotonic()
    process = subprocess.Popen([str(part) for part in command])
    _, status, usage = os.wait4(process.pid, 0)
    if status != 0:
        sys.exit(f"{command[1]} failed")
    return time.monotonic() - start, usage.ru_maxrss / 1024


def error(found, exact):
    """PSNR in dB, the largest difference, and the part of the values that differ."""
    difference = found.astype(np.int32) - exact
    square = np.mean(np.square(difference, dtype=np.float64))
    psnr = 10 * np.log10(255**2 / square) if square else float("inf")
    return psnr, np.abs(difference).max(), np.mean(difference != 0)


def differences(pictures, exact, path):
    """Each picture's difference from the exact one, around grey."""
    side = 512
    sheet = Image.new("RGB", (len(pictures) * (side + 8) - 8, side), "white")
    for i, found in enumerate(pictures):
        difference = 128 + 16 * (found.astype(np.int32) - exact)
        image = Image.fromarray(np.clip(difference, 0, 255).astype(np.uint8))
        sheet.paste(image.resize((side, side), Image.BOX), (i * (side + 8), 0))
    sheet.save(path)


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--vaekl", type=Path, default=ROOT / "target/release/vaekl")
    parser.add_argument("--picture", type=Path, default=ROOT / "examples/astronaut.png")
    parser.add_argument("--model", type=Path)
    parser.add_argument("--size", type=int, default=1024)
    parser.add_argument("--memory")
    parser.add_argument("--scratch", default="/var/tmp")
    parser.add_argument(
        "--tile-size", type=int, action="append", help="of seamless tiles; may be repeated"
    )
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()

    common = ["--quiet"] + (["--model", options.model] if options.model else [])
    limits = ["--memory", options.memory, "--scratch", options.scratch] if options.memory else []
    ways = [("exact", []), ("diffusers", ["--tiling", "diffusers"])]
    for size in options.tile_size or [0]:
        ways.append((f"seamless {size or ''}", ["--tiling", "seamless", "--tile-size", size]))
    Image.MAX_IMAGE_PIXELS = None
    with tempfile.TemporaryDirectory() as folder:
        source, latents = Path(folder, "source.png"), Path(folder, "latents.npy")
        square = (options.size, options.size)
        Image.open(options.picture).convert("RGB").resize(square, Image.LANCZOS).save(source)
        run([options.vaekl, "encode", source, "-o", latents, *common, *limits])
        print(
            "| tiles | seconds | process, MiB | PSNR, dB "
            "| largest difference | values that differ |"
        )
        print("|---|---|---|---|---|---|")
        exact, found = None, []
        for name, way in ways:
            target = Path(folder, "out.png")
            seconds, memory = run(
                [options.vaekl, "decode", latents, "-o", target, *common, *limits, *way]
            )
            picture = np.asarray(Image.open(target))
            if exact is None:
                exact = picture.astype(np.int32)
                print(f"| {name} | {seconds:.1f} | {memory:.0f} | | | |", flush=True)
                continue
            psnr, most, part = error(picture, exact)
            found.append(picture)
            print(
                f"| {name} | {seconds:.1f} | {memory:.0f} | {psnr:.1f} "
                f"| {most} | {100 * part:.2f} % |",
                flush=True,
            )
        if options.out:
            differences(found[:2], exact, options.out)


if __name__ == "__main__":
    main()
