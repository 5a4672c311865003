#!/usr/bin/env python3
"""Decodes under memory budgets: are they kept, what do they cost, and are the bits the same?

    python scripts/memory_budgets.py --dir DIR --vaekl target/release/vaekl \\
        [--size 512] [--scratch /var/tmp]
    python scripts/memory_budgets.py --dir DIR --vaekl target/release/vaekl --random 20

DIR is what make_full_size.py made. For each storage the budgets are none, then five with a scratch
folder and three without, from what an unbounded decode needs down to the least that can be kept; or
so many random sizes, storages, threads and budgets. Each is a process of its own; its memory is
what the system says it had at most (ru_maxrss), its seconds are those of the decode, in brackets
beside those without a budget. Every picture must be the same bytes as without a budget, and every
process within its own: the exit status says whether.
"""

import argparse
import hashlib
import json
import os
import struct
import subprocess
import sys
import tempfile
from pathlib import Path
from random import Random

MIB = 1 << 20


def latents(path, size):
    """Writes latents for a picture of `size`, without NumPy: a float32 array of noise."""
    width, height = size[0] // 8, size[1] // 8
    count = 4 * width * height
    state, values = 12345, []
    for _ in range(count):
        total = 0.0
        for _ in range(4):
            state = (state * 6364136223846793005 + 1442695040888963407) % (1 << 64)
            total += (state >> 40) / (1 << 24) - 0.5
        values.append(total * 1.7)
    header = f"{{'descr': '<f4', 'fortran_order': False, 'shape': (1, 4, {height}, {width}), }}"
    header += " " * (-(len(header) + 11) % 64) + "\n"
    head = b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header.encode()
    path.write_bytes(head + struct.pack(f"<{count}f", *values))


def run(command):
    """The command's JSON object, or its error, and the most memory it had in bytes."""
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    out, error = process.stdout.read(), process.stderr.read()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    report = json.loads(out) if process.returncode == 0 else None
    return report, error.strip(), usage.ru_maxrss * 1024


class Decoder:
    """The command, on pictures of one size in one storage."""

    def __init__(self, options, folder, size, dtype, threads):
        self.vaekl, self.size, self.dtype, self.threads = str(options.vaekl), size, dtype, threads
        model = ["--model", str(options.dir / "sd15vae")]
        model += ["--threads", str(threads), "--dtype", dtype]
        self.common = [*model, "--json", "--quiet"]
        self.source, self.target = Path(folder, "latents.npy"), Path(folder, "out.png")
        latents(self.source, size)
        self.first = None

    def limits(self, budget, scratch):
        memory = [] if budget is None else ["--memory", str(budget)]
        return memory + (["--scratch", scratch] if scratch else [])

    def plan(self, budget, scratch):
        size = f"{self.size[0]}x{self.size[1]}"
        call = [self.vaekl, "plan", "decode", "--size", size, *self.common]
        return run(call + self.limits(budget, scratch))[0]

    def steps(self, scratch):
        """What each plan needs, from an unbounded one's to the least."""
        steps, found = [], self.plan(None, scratch)
        while found is not None:
            steps.append(found["peak_bytes"])
            found = self.plan(found["peak_bytes"] - 1, scratch)
        return steps

    def decode(self, budget, scratch):
        """Prints a line of the table; gives the run, or None when it failed."""
        planned = self.plan(budget, scratch)
        call = [self.vaekl, "decode", str(self.source), "-o", str(self.target), *self.common]
        report, error, memory = run(call + self.limits(budget, scratch))
        if report is None:
            print(error)
            return None
        digest = hashlib.sha256(self.target.read_bytes()).hexdigest()
        self.first = self.first or (digest, report["decode_s"])
        kept, same = budget is None or memory <= budget, digest == self.first[0]
        notes = ("" if kept else "NOT KEPT ") + ("" if same else "OTHER BITS ")
        limit = "none" if budget is None else budget // MIB
        file = f"{planned['scratch_bytes'] / MIB:.0f} MiB" if planned["scratch_bytes"] else "-"
        seconds = f"{report['decode_s']:.2f} ({report['decode_s'] / self.first[1]:.2f})"
        print(
            f"| {self.size[0]}x{self.size[1]} | {self.dtype} | {self.threads} | {file} | {limit} "
            f"| {planned['peak_bytes'] / MIB:.0f} | {memory / MIB:.0f} | {seconds} | {notes}|",
            flush=True,
        )
        return {
            "size": self.size,
            "dtype": self.dtype,
            "threads": self.threads,
            "budget": budget,
            "scratch": planned["scratch_bytes"],
            "planned": planned["peak_bytes"],
            "process": memory,
            "seconds": report["decode_s"],
            "ok": kept and same,
        }


def sweep(options, folder):
    """None, five budgets with a scratch folder and three without, for each storage."""
    for dtype in ["f32", "bf16"]:
        decoder = Decoder(options, folder, (options.size, options.size), dtype, options.threads)
        yield decoder.decode(None, None)
        for scratch, count in [(options.scratch, 5), (None, 3)]:
            steps = decoder.steps(scratch)[1:]
            picked = {steps[round(i * (len(steps) - 1) / (count - 1))] for i in range(count)}
            for budget in sorted({-(-step // MIB) * MIB for step in picked}, reverse=True):
                yield decoder.decode(budget, scratch)


def lottery(options, folder):
    """Random sizes, storages, threads and budgets."""
    random = Random(options.seed)
    for _ in range(options.random):
        size = (random.randrange(8, 97) * 8, random.randrange(8, 97) * 8)
        decoder = Decoder(
            options, folder, size, random.choice(["f32", "bf16"]), random.randint(1, 3)
        )
        scratch = random.choice([options.scratch, None])
        steps = decoder.steps(scratch)
        yield decoder.decode(None, None)
        yield decoder.decode(random.randint(steps[-1], steps[0]), scratch)


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--dir", type=Path, required=True)
    parser.add_argument("--vaekl", type=Path, required=True)
    parser.add_argument("--size", type=int, default=512)
    parser.add_argument("--scratch", default="/var/tmp")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--random", type=int, default=0, help="so many random decodes instead")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", type=Path, help="where to write all runs")
    options = parser.parse_args()
    print(
        "| picture | storage | threads | scratch "
        "| budget, MiB | plan, MiB | process, MiB | seconds | |"
    )
    print("|---|---|---|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        runs = list((lottery if options.random else sweep)(options, folder))
    if options.json:
        options.json.write_text(json.dumps(runs, indent=1))
    sys.exit(not all(run and run["ok"] for run in runs))


if __name__ == "__main__":
    main()
