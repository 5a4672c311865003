#!/usr/bin/env python3
"""Decodes under memory budgets: are they kept, what do they cost, and are the bits the same?

    python scripts/memory_budgets.py --dir DIR --vaekl target/release/vaekl [--size 512] [--scratch /var/tmp]

DIR is what make_full_size.py made. For each storage the budgets are none, then five with a scratch folder and three
without, from what an unbounded decode needs down to the least that can be kept. Each is a process of its own; its
memory is what the system says it had at most (ru_maxrss), its seconds are those of the decode. Every picture must be
the same bytes as the unbounded one, and every process within its budget: the exit status says whether.
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

MIB = 1 << 20


def latents(path, side):
    """Writes latents of any size, without NumPy: a float32 array of noise."""
    count = 4 * side * side
    state, values = 12345, []
    for _ in range(count):
        total = 0.0
        for _ in range(4):
            state = (state * 6364136223846793005 + 1442695040888963407) % (1 << 64)
            total += (state >> 40) / (1 << 24) - 0.5
        values.append(total * 1.7)
    header = f"{{'descr': '<f4', 'fortran_order': False, 'shape': (1, 4, {side}, {side}), }}"
    header += " " * (-(len(header) + 11) % 64) + "\n"
    head = b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header.encode()
    path.write_bytes(head + struct.pack(f"<{count}f", *values))


def run(command):
    """The command's JSON object, or its error, and the most memory it had in bytes."""
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    out, error = process.stdout.read(), process.stderr.read()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    return (json.loads(out) if process.returncode == 0 else None), error.strip(), usage.ru_maxrss * 1024


def plan(command, budget, scratch):
    limits = [] if budget is None else ["--memory", str(budget)]
    limits += ["--scratch", scratch] if scratch else []
    return run(command + limits)[0]


def budgets(command, scratch, count):
    """So many budgets from below what an unbounded call needs to the least that can be kept."""
    steps, found = [], plan(command, None, scratch)
    while found is not None:
        steps.append(found["peak_bytes"])
        found = plan(command, found["peak_bytes"] - 1, scratch)
    steps = steps[1:] or steps
    picked = [steps[round(i * (len(steps) - 1) / max(count - 1, 1))] for i in range(count)]
    return sorted({-(-step // MIB) * MIB for step in picked}, reverse=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dir", type=Path, required=True)
    parser.add_argument("--vaekl", type=Path, required=True)
    parser.add_argument("--size", type=int, default=512)
    parser.add_argument("--scratch", default="/var/tmp")
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--json", type=Path, help="where to write all runs")
    options = parser.parse_args()
    model = ["--model", str(options.dir / "sd15vae"), "--threads", str(options.threads), "--json", "--quiet"]
    size, runs, failed = f"{options.size}x{options.size}", [], False
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder, "latents.npy"), Path(folder, "out.png")
        latents(source, options.size // 8)
        print(f"| {size} | scratch | budget, MiB | plan, MiB | process, MiB | seconds | |")
        print("|---|---|---|---|---|---|---|")
        for dtype in ["f32", "bf16"]:
            call = [str(options.vaekl), "plan", "decode", "--size", size, "--dtype", dtype, *model]
            cases = [(None, None)]
            cases += [(budget, options.scratch) for budget in budgets(call, options.scratch, 5)]
            cases += [(budget, None) for budget in budgets(call, None, 3)]
            first = None
            for budget, scratch in cases:
                planned = plan(call, budget, scratch)
                command = [str(options.vaekl), "decode", str(source), "-o", str(target), "--dtype", dtype, *model]
                command += [] if budget is None else ["--memory", str(budget)]
                command += ["--scratch", scratch] if scratch else []
                report, error, memory = run(command)
                if report is None:
                    print(error)
                    failed = True
                    continue
                digest = hashlib.sha256(target.read_bytes()).hexdigest()
                first = first or (digest, report["decode_s"])
                kept, same = budget is None or memory <= budget, digest == first[0]
                failed |= not (kept and same)
                notes = ("" if kept else "NOT KEPT ") + ("" if same else "OTHER BITS")
                limit = "none" if budget is None else budget // MIB
                file = f"{planned['scratch_bytes'] / MIB:.0f} MiB" if planned["scratch_bytes"] else "-"
                print(
                    f"| {dtype} | {file} | {limit} | {planned['peak_bytes'] / MIB:.0f} | {memory / MIB:.0f} "
                    f"| {report['decode_s']:.2f} ({report['decode_s'] / first[1]:.2f}) | {notes}|",
                    flush=True,
                )
                runs.append({"dtype": dtype, "budget": budget, "scratch": planned["scratch_bytes"],
                             "planned": planned["peak_bytes"], "process": memory, "seconds": report["decode_s"],
                             "size": options.size})
    if options.json:
        options.json.write_text(json.dumps(runs, indent=1))
    sys.exit(failed)


if __name__ == "__main__":
    main()
