#!/usr/bin/env python3
"""Open a checkpoint of 7 GB with 2400 foreign tensors, and tell seconds and peak memory.

    scripts/sparse_checkpoint.py VAEKL DIR

VAEKL is the command, DIR a folder on a file system with sparse files. The checkpoint is the fixture
`ldm_checkpoint` among foreign tensors of 3 MB of zeros, once as .safetensors and once as a zip
archive of PyTorch, whose storages are entries of their own. `vaekl info` opens each five times. A
line has the median of the milliseconds that the opening took and that the process took, and the
most memory. Exits with 1 above 50 ms or 32 MB.
"""

import json
import os
import statistics
import struct
import subprocess
import sys
import time
import zlib
from pathlib import Path

FIXTURE = Path(__file__).resolve().parents[1] / "tests/data/ldm_checkpoint/model.safetensors"
FOREIGN, SHAPE = 2400, [1500, 1000]
ALIGN = 64
MOST_MS, MOST_BYTES = 50, 32e6
SIZES = {"F32": 4, "F16": 2}
STORAGES = {"F32": "FloatStorage", "F16": "HalfStorage"}


def tensors():
    """Name, dtype, shape and bytes of each tensor; None for zeros."""
    data = FIXTURE.read_bytes()
    (length,) = struct.unpack("<Q", data[:8])
    header = json.loads(data[8 : 8 + length])
    for name, entry in header.items():
        if entry.get("dtype") in SIZES:
            begin, end = (8 + length + offset for offset in entry["data_offsets"])
            yield name, entry["dtype"], entry["shape"], data[begin:end]
    for i in range(FOREIGN):
        yield f"model.diffusion_model.blocks.{i}.weight", "F16", SHAPE, None


def count(shape):
    product = 1
    for side in shape:
        product *= side
    return product


def write_safetensors(path):
    header, offset = {}, 0
    for name, dtype, shape, _ in tensors():
        end = offset + count(shape) * SIZES[dtype]
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [offset, end]}
        offset = end
    text = json.dumps(header).encode()
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for _, dtype, shape, data in tensors():
            skip_or_write(file, data, count(shape) * SIZES[dtype])
        file.truncate()


def skip_or_write(file, data, size):
    if data is None:
        file.seek(size, os.SEEK_CUR)
    else:
        file.write(data)


def pickled():
    """The state dict as torch.save pickles it: storages by their keys."""

    def text(value):
        return b"X" + struct.pack("<I", len(value)) + value.encode()

    def numbers(values):
        return b"(" + b"".join(b"J" + struct.pack("<i", value) for value in values) + b"t"

    ordered = b"ccollections\nOrderedDict\n)R"
    parts = [b"\x80\x02}", text("state_dict"), ordered, b"("]
    for key, (name, dtype, shape, _) in enumerate(tensors()):
        strides = [count(shape[i + 1 :]) for i in range(len(shape))]
        storage = b"(" + text("storage") + b"ctorch\n" + STORAGES[dtype].encode() + b"\n"
        storage += text(str(key)) + text("cpu") + b"J" + struct.pack("<i", count(shape)) + b"tQ"
        parts += [text(name), b"ctorch._utils\n_rebuild_tensor_v2\n(", storage, b"K\x00"]
        parts += [numbers(shape), numbers(strides), b"\x89", ordered, b"tR"]
    return b"".join([*parts, b"us."])


def write_zip(path):
    entries = [("archive/data.pkl", pickled(), None), ("archive/byteorder", b"little", None)]
    for key, (_, dtype, shape, data) in enumerate(tensors()):
        entries.append((f"archive/data/{key}", data, count(shape) * SIZES[dtype]))
    zeros = zlib.crc32(bytes(count(SHAPE) * SIZES["F16"]))
    directory = []
    with open(path, "wb") as file:
        for name, data, size in entries:
            size = len(data) if size is None else size
            crc, at = zeros if data is None else zlib.crc32(data), file.tell()
            padding = -(at + 30 + len(name) + 4) % ALIGN
            extra = struct.pack("<2sH", b"FB", padding) + bytes(padding)
            sizes = (crc, size, size, len(name))
            file.write(struct.pack("<4s5H3I2H", b"PK\3\4", 20, 0, 0, 0, 0, *sizes, len(extra)))
            file.write(name.encode() + extra)
            skip_or_write(file, data, size)
            # The offset of each as zip64 has it.
            extra = struct.pack("<HHQ", 1, 8, at)
            fields = (*sizes, len(extra), 0, 0, 0, 0, 0xFFFFFFFF)
            head = struct.pack("<4s6H3I5H2I", b"PK\1\2", 45, 45, 0, 0, 0, 0, *fields)
            directory.append(head + name.encode() + extra)
        start = file.tell()
        file.write(b"".join(directory))
        length, end, number = file.tell() - start, file.tell(), len(directory)
        sizes = (number, number, length, start)
        file.write(struct.pack("<4sQ2H2I4Q", b"PK\6\6", 44, 45, 45, 0, 0, *sizes))
        file.write(struct.pack("<4sIQI", b"PK\6\7", 0, end, 1))
        sizes = (0xFFFF, 0xFFFF, 0xFFFFFFFF, 0xFFFFFFFF)
        file.write(struct.pack("<4s4H2IH", b"PK\5\6", 0, 0, *sizes, 0))


def opened(command, path):
    """Milliseconds of the opening and of the process, and its most memory."""
    line = [command, "info", path, "--norm-num-groups", "4", "--json"]
    start = time.perf_counter()
    child = subprocess.Popen(line, stdout=subprocess.PIPE)
    report = json.loads(child.stdout.read())
    _, status, usage = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    if status or report["foreign_tensors"] < FOREIGN:
        sys.exit(f"{path}: {report}")
    process = (time.perf_counter() - start) * 1e3
    return report["load_s"] * 1e3, process, usage.ru_maxrss * 1024


def main():
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    command, folder = sys.argv[1], Path(sys.argv[2])
    folder.mkdir(parents=True, exist_ok=True)
    good = True
    for name, write in (("sparse.safetensors", write_safetensors), ("sparse.ckpt", write_zip)):
        path = folder / name
        write(path)
        runs = [opened(command, path) for _ in range(5)]
        opening, process = (statistics.median(run[i] for run in runs) for i in (0, 1))
        memory = max(run[2] for run in runs)
        size, blocks = path.stat().st_size, path.stat().st_blocks * 512
        good = good and process < MOST_MS and memory < MOST_BYTES
        print(
            f"{name:20} {size / 1e9:.2f} GB, {blocks / 1e6:.1f} MB on the disk: opened in "
            f"{opening:.1f} ms, process {process:.1f} ms, {memory / 1e6:.1f} MB"
        )
        path.unlink()
    return not good


if __name__ == "__main__":
    sys.exit(main())
