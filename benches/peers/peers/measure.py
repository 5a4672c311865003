"""What every peer's runner shares: its options, the timed calls, and the line it prints.

A runner hands `main` a function that opens the model and returns a function of one array. Its
own imports come before that, so that `load_s` is of the model alone.
"""

import argparse
import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import numpy as np

Call = Callable[[np.ndarray], np.ndarray]


@dataclass
class Job:
    dir: Path
    what: str
    size: int
    threads: int
    dtype: str

    def form(self, folder: str, suffix: str) -> str:
        """The file that make_form.py made for this operation and size."""
        return str(self.dir / folder / f"{self.what}_{self.size}{suffix}")


def memory_mb(field: str) -> float:
    """A field of this process's memory, in MiB. VmHWM is the peak since the program began;
    getrusage's would count the parent's pages from before it."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(field + ":"):
            return round(int(line.split()[1]) / 1024, 1)
    raise RuntimeError(f"/proc/self/status has no {field}")


def timed(function: Callable):
    start = time.perf_counter()
    result = function()
    return time.perf_counter() - start, result


def measure(job: Job, load: Callable[[Job], Call], calls: int) -> tuple[dict, np.ndarray]:
    values = np.load(job.dir / "reference" / f"{job.what}_{job.size}.npy")
    imports_mb = memory_mb("VmRSS")
    load_s, call = timed(lambda: load(job))
    first_s, result = timed(lambda: call(values))
    call_s = []
    for _ in range(calls):
        seconds, result = timed(lambda: call(values))
        call_s.append(seconds)
    report = {
        "load_s": load_s,
        "first_s": first_s,
        "call_s": call_s,
        "imports_mb": imports_mb,
        "peak_rss_mb": memory_mb("VmHWM"),
    }
    return report, result


def main(load: Callable[[Job], Call], package: str | Callable[[], str]) -> None:
    """`package` is the name of the peer's Python package, or a function that gives its version."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--dir", type=Path, required=True)
    parser.add_argument("--what", choices=["decode", "encode"], required=True)
    parser.add_argument("--size", type=int, required=True)
    parser.add_argument("--threads", type=int, required=True)
    parser.add_argument("--dtype", choices=["f32", "bf16"], default="f32")
    parser.add_argument("--calls", type=int, default=2, help="timed calls, after one that is not")
    parser.add_argument("--out", type=Path, required=True, help="the result, an .npy")
    options = vars(parser.parse_args())
    out, calls = options.pop("out"), options.pop("calls")
    report, result = measure(Job(**options), load, calls)
    np.save(out, np.asarray(result, dtype=np.float32))
    number = package() if callable(package) else version(package)
    print(json.dumps({**report, "version": number}), flush=True)
