#!/usr/bin/env python3
"""Open every malicious file of the tests by the command, and tell the slowest and the largest.

    scripts/hostile_files.py VAEKL

VAEKL is the command. Each file of tests/data/hostile is opened five times by `vaekl info`, which
must refuse it; its time is the median of the process. Exits with 1 if a file is opened, takes over
100 ms or 64 MB, or leaves the file that some of them try to make. tests/hostile.rs compares what is
said.
"""

import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

FOLDER = Path(__file__).resolve().parents[1] / "tests/data/hostile"
MOST_MS, MOST_BYTES = 100, 64e6


def refused(command, path):
    """Milliseconds and peak bytes of a process that must fail."""
    start = time.perf_counter()
    child = subprocess.Popen([command, "info", path], stderr=subprocess.DEVNULL)
    _, status, usage = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode != 1:
        sys.exit(f"{path}: exit {child.returncode}")
    return (time.perf_counter() - start) * 1e3, usage.ru_maxrss * 1024


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    command = Path(sys.argv[1]).resolve()
    files = sorted(path for path in FOLDER.iterdir() if path.suffix != ".json")
    before = set(Path().iterdir())
    figures = {}
    for path in files:
        runs = [refused(command, path) for _ in range(5)]
        figures[path.name] = (
            statistics.median(run[0] for run in runs),
            max(run[1] for run in runs),
        )
    slowest = max(figures, key=lambda name: figures[name][0])
    largest = max(figures, key=lambda name: figures[name][1])
    (most_ms, _), (_, most) = figures[slowest], figures[largest]
    made = set(Path().iterdir()) - before
    print(f"{len(files)} files refused, {len(made)} files made")
    print(f"slowest {slowest} {most_ms:.1f} ms, largest {largest} {most / 1e6:.1f} MB")
    return bool(made) or most_ms > MOST_MS or most > MOST_BYTES


if __name__ == "__main__":
    sys.exit(main())
