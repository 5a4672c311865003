#!/usr/bin/env python3
"""The pictures that every host's tests compare with, made by the command.

    scripts/hosts/data.py VAEKL OUT
    scripts/hosts/data.py --pixels PICTURE.png

The second form writes the bytes of a picture's pixels to the standard output. VAEKL is the command.
OUT gets, of the fixture `sd_like` (4x5x7 latents, 3x40x56 pixels), little endian:

    model/         the diffusers folder
    corrupt/       the same with its weights cut in half
    latents.f32    1x4x5x7, what diffusers decodes
    decoded.f32    1x3x40x56, the values of `vaekl decode`
    picture.rgb    40x56x3 bytes, the pixels of `vaekl decode -o picture.png`
    picture.png    that file
    image.f32      1x3x40x56, what diffusers encodes
    mode.f32       1x4x5x7, `vaekl encode --posterior mode`
    sample.f32     1x4x5x7, `vaekl encode --posterior sample --seed 7`

and of the fixtures `tiny`, `flux2` and `asymmetric` in tests/data/families, whose shapes FAMILIES
has, a folder each, with the model and:

    latents.f32    what diffusers decodes, the first of a batch
    decoded.f32    the values of `vaekl decode`
    image.f32      what diffusers encodes, the first of a batch
    encoded.f32    the values of `vaekl encode`: the mode, or latents
    condition.f32, mask.f32, masked.f32
                   in asymmetric/: a picture, a mask, and what diffusers makes of them and the
                   latents
"""

import json
import shutil
import struct
import subprocess
import sys
import zlib
from pathlib import Path

DATA = Path(__file__).resolve().parents[2] / "tests/data"
FIXTURE = DATA / "sd_like"
# Latents, picture that they decode to, picture to encode, its latents: channels, height, width.
FAMILIES = {
    "tiny": ((4, 7, 5), (3, 28, 20), (3, 37, 51), (4, 10, 13)),
    "flux2": ((6, 6, 8), (3, 48, 64), (3, 32, 48), (6, 4, 6)),
    "asymmetric": ((4, 5, 7), (3, 40, 56), (3, 40, 56), (4, 5, 7)),
}
WEIGHTS = "diffusion_pytorch_model.safetensors"


def tensor(path, name):
    """Values and shape of a tensor of a .safetensors file."""
    data = path.read_bytes()
    (length,) = struct.unpack("<Q", data[:8])
    entry = json.loads(data[8 : 8 + length])[name]
    begin, end = (8 + length + offset for offset in entry["data_offsets"])
    code = {"F64": "d", "F32": "f"}[entry["dtype"]]
    count = (end - begin) // struct.calcsize(code)
    return struct.unpack(f"<{count}{code}", data[begin:end]), entry["shape"]


def floats(values):
    return struct.pack(f"<{len(values)}f", *values)


def write_npy(path, values, shape):
    header = f"{{'descr': '<f4', 'fortran_order': False, 'shape': {tuple(shape)}, }}"
    header += " " * (-(len(header) + 11) % 64) + "\n"
    head = b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header.encode()
    path.write_bytes(head + floats(values))


def npy_bytes(path):
    data = path.read_bytes()
    (length,) = struct.unpack("<H", data[8:10])
    assert b"'<f4'" in data[: 10 + length], path
    return data[10 + length :]


def png_pixels(path):
    """The bytes of an 8-bit RGB picture, its filters undone."""
    data, at, packed = path.read_bytes(), 8, b""
    while at < len(data):
        length, kind = struct.unpack(">I4s", data[at : at + 8])
        body = data[at + 8 : at + 8 + length]
        at += 12 + length
        if kind == b"IHDR":
            width, height, depth, colour = struct.unpack(">IIBB", body[:10])
            assert (depth, colour) == (8, 2), path
        elif kind == b"IDAT":
            packed += body
    raw, stride, above, pixels = zlib.decompress(packed), width * 3, bytes(width * 3), b""
    for y in range(height):
        kind, *row = raw[y * (stride + 1) : (y + 1) * (stride + 1)]
        for x in range(stride):
            left, up, corner = (row[x - 3], above[x], above[x - 3]) if x >= 3 else (0, above[x], 0)
            guess = left + up - corner
            paeth = min((left, up, corner), key=lambda value: abs(guess - value))
            row[x] = (row[x] + (0, left, up, (left + up) // 2, paeth)[kind]) & 255
        above = bytes(row)
        pixels += above
    return pixels


def main(vaekl, out):
    model = out / "model"
    for folder in (model, out / "corrupt"):
        folder.mkdir(parents=True, exist_ok=True)
        shutil.copy(FIXTURE / "config.json", folder)
    weights = (FIXTURE / WEIGHTS).read_bytes()
    (model / WEIGHTS).write_bytes(weights)
    (out / "corrupt" / WEIGHTS).write_bytes(weights[: len(weights) // 2])

    def run(*arguments):
        subprocess.run([vaekl, *map(str, arguments), "--model", str(model), "--quiet"], check=True)

    for name in ("latents", "image"):
        values, shape = tensor(FIXTURE / "reference.safetensors", name)
        (out / f"{name}.f32").write_bytes(floats(values))
        write_npy(out / f"{name}.npy", values, shape)
    run("decode", out / "latents.npy", "-o", out / "decoded.npy")
    run("decode", out / "latents.npy", "-o", out / "picture.png")
    run("encode", out / "image.npy", "-o", out / "mode.npy")
    run("encode", out / "image.npy", "-o", out / "sample.npy", "--posterior", "sample", "--seed", 7)
    for name in ("decoded", "mode", "sample"):
        (out / f"{name}.f32").write_bytes(npy_bytes(out / f"{name}.npy"))
    (out / "picture.rgb").write_bytes(png_pixels(out / "picture.png"))
    for name in FAMILIES:
        family(vaekl, name, out / name)


def family(vaekl, name, out):
    fixture = DATA / "families" / name
    out.mkdir(parents=True, exist_ok=True)
    for file in ("config.json", WEIGHTS):
        shutil.copy(fixture / file, out)

    def first(tensor_name, file):
        values, shape = tensor(fixture / "reference.safetensors", tensor_name)
        values = values[: len(values) // shape[0]]
        (out / f"{file}.f32").write_bytes(floats(values))
        write_npy(out / f"{file}.npy", values, [1, *shape[1:]])
        return tuple(shape[1:])

    results = {"decode": ("latents", "decoded"), "encode": ("image", "encoded")}
    shapes = []
    for command, (source, result) in results.items():
        shapes.append(first(source, source))
        arguments = [command, out / f"{source}.npy", "-o", out / f"{result}.npy", "--model", out]
        subprocess.run([vaekl, *map(str, arguments), "--quiet"], check=True)
        (out / f"{result}.f32").write_bytes(npy_bytes(out / f"{result}.npy"))
    assert shapes == [FAMILIES[name][0], FAMILIES[name][2]], shapes
    if name == "asymmetric":
        for source, file in (
            ("condition_image", "condition"),
            ("mask", "mask"),
            ("decoded_masked_f64", "masked"),
        ):
            first(source, file)


if __name__ == "__main__":
    if sys.argv[1] == "--pixels":
        sys.stdout.buffer.write(png_pixels(Path(sys.argv[2])))
    else:
        main(Path(sys.argv[1]).resolve(), Path(sys.argv[2]))
