"""libvaekl and other programs of the same model on the same processors, side by side.

    compare.py --dir DIR --vaekl PATH/TO/libvaekl.so [--what decode,encode] [--size 512]
               [--threads 1,2] [--rounds 3] [--only NAME,NAME] [--json FILE]

DIR is what setup.sh made; its virtual environment runs this too. In each round every program
runs once, one after another, each as a process of its own. README.md tells what the columns mean.
Exits with 1 where a program failed.
"""

import argparse
import ctypes
import json
import math
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

import numpy as np
import results

HERE = Path(__file__).resolve().parent
# Few, for rounds to be affordable: the slowest program takes a minute as it is.
TIMED_CALLS = 2
MAX_REPEATS = 2
LONGEST_RUN_S = 3600


@dataclass
class Program:
    name: str
    label: str
    # peers/run_RUNNER.py.
    runner: str
    dtype: str = "f32"
    environment: dict = field(default_factory=dict)


PROGRAMS = [
    Program("pytorch-f32", "PyTorch f32", "pytorch"),
    Program("pytorch-bf16", "PyTorch bf16", "pytorch", "bf16"),
    Program("ncnn-f32", "ncnn f32", "ncnn"),
    Program("ncnn-bf16", "ncnn bf16 storage", "ncnn", "bf16"),
    Program("openvino-f32", "OpenVINO f32", "openvino"),
    Program("openvino-bf16", "OpenVINO bf16", "openvino", "bf16"),
    Program("onnxruntime-f32", "ONNX Runtime f32", "onnxruntime"),
    Program("mnn-f32", "MNN f32", "mnn"),
    Program("vaekl-f32", "vaekl f32", "vaekl"),
    Program("vaekl-bf16", "vaekl bf16 storage", "vaekl", "bf16"),
    Program("vaekl-f32-avx2", "vaekl f32, AVX2", "vaekl", "f32", {"VAEKL_CPU": "avx2"}),
]


@dataclass
class Setting:
    """What is the same for all programs of one table."""

    dir: Path
    vaekl: Path
    what: str
    size: int
    threads: int

    @property
    def input(self) -> Path:
        return self.dir / "reference" / f"{self.what}_{self.size}.npy"

    @property
    def reference(self) -> Path:
        return self.dir / "reference" / f"{self.what}_{self.size}_f64.npy"


# ---------------------------------------------------------------------------------------
# The machine


def processors_by_core() -> list[int]:
    """The allowed processors, those that share a core with another one first."""
    seen, first, second = set(), [], []
    for cpu in sorted(os.sched_getaffinity(0)):
        path = Path(f"/sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list")
        core = path.read_text() if path.exists() else cpu
        (second if core in seen else first).append(cpu)
        seen.add(core)
    return second + first


def take_processors(processors: list[int], threads: int) -> None:
    """This process and all it starts get as many processors as threads, all the same ones.
    They are the last: the first ones often have the interrupts."""
    if threads > len(processors):
        sys.exit(f"{threads} threads were asked for, {len(processors)} processors are allowed")
    os.sched_setaffinity(0, processors[-threads:])


def peak_meter(library: Path):
    meter = ctypes.CDLL(str(library)).fma_peak
    meter.restype, meter.argtypes = ctypes.c_double, [ctypes.c_int, ctypes.c_long]
    # Of three short measurements the best: a hiccup is not the machine's state. 0.1 s in all.
    return lambda threads: round(max(meter(threads, 10_000_000) for _ in range(3)), 1)


def processor_name() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return "unknown"


# ---------------------------------------------------------------------------------------
# One run


def command(program: Program, setting: Setting, out: Path) -> list:
    return [
        setting.dir / "venv" / "bin" / "python", HERE / "peers" / f"run_{program.runner}.py",
        "--dir", setting.dir, "--what", setting.what, "--size", setting.size,
        "--threads", setting.threads, "--dtype", program.dtype, "--calls", TIMED_CALLS,
        "--out", out,
    ]  # fmt: skip


def environment(program: Program, setting: Setting) -> dict:
    environment = {name: value for name, value in os.environ.items() if name != "VAEKL_CPU"}
    # Some of the peers' libraries read these when they are loaded, before they can be told.
    names = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
    threads = {name: str(setting.threads) for name in names}
    return environment | threads | {"VAEKL_LIBRARY": str(setting.vaekl)} | program.environment


def report_of(program: Program, setting: Setting, out: Path) -> dict:
    """Run the program; the JSON object of its last line, or {"error": why}."""
    line = [str(part) for part in command(program, setting, out)]
    try:
        done = subprocess.run(
            line, env=environment(program, setting), capture_output=True, text=True,
            timeout=LONGEST_RUN_S,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired) as error:
        return {"error": str(error)}
    if done.returncode != 0:
        last = (done.stderr.strip() or done.stdout.strip() or "no message").splitlines()[-1]
        return {"error": f"exit status {done.returncode}: {last}"}
    try:
        return json.loads(done.stdout.strip().splitlines()[-1])
    except (IndexError, ValueError):
        return {"error": "no JSON object in the last line"}


def psnr(found: np.ndarray, reference: np.ndarray) -> float | None:
    """In dB, against the range of the reference; none where the two are equal."""
    mse = np.mean((found.astype(np.float64) - reference) ** 2)
    span = reference.max() - reference.min()
    return None if mse == 0 else round(float(10 * math.log10(span**2 / mse)), 2)


def run(program: Program, setting: Setting, meter) -> dict:
    record = {
        "program": program.name, "label": program.label, "dtype": program.dtype,
        "what": setting.what, "size": setting.size, "threads": setting.threads,
        "started": time.strftime("%Y-%m-%dT%H:%M:%S"),
    }  # fmt: skip
    with tempfile.TemporaryDirectory() as scratch:
        out = Path(scratch) / "out.npy"
        before = meter(setting.threads)
        report = report_of(program, setting, out)
        record["peaks"] = [before, meter(setting.threads)]
        if "error" in report:
            return record | report
        found, reference = np.load(out), np.load(setting.reference)
    if found.shape != reference.shape or not np.isfinite(found).all():
        return record | {"error": f"not a result of shape {reference.shape}: {found.shape}"}
    seconds = median(report["call_s"])
    return record | {"seconds": seconds, "psnr_db": psnr(found, reference), **report}


# ---------------------------------------------------------------------------------------
# All runs of a table


class Journal:
    """All runs so far, written out after each: an interrupted comparison is not lost."""

    def __init__(self, path: Path | None):
        self.path = path
        self.data = {"processor": processor_name(), "runs": []}

    def add(self, record: dict) -> None:
        self.data["runs"].append(record)
        if self.path:
            partial = self.path.with_name(self.path.name + ".partial")
            partial.write_text(json.dumps(self.data, indent=1) + "\n")
            partial.replace(self.path)
        told = record.get("error") or f"{record['seconds']:.2f} s, {record['peak_rss_mb']:.0f} MiB"
        head = f"{results.title([record])}, round {record['round']}"
        peaks = " and ".join(f"{peak:.0f}" for peak in record["peaks"])
        print(f"{head}: {record['label']}: {told}, peaks {peaks}", file=sys.stderr, flush=True)


def run_rounds(programs: list, setting: Setting, rounds: int, journal: Journal, meter) -> list:
    """All runs of one table: the rounds, and disturbed runs once more or twice."""
    group = []

    def add(program: Program, number: int) -> None:
        group.append(run(program, setting, meter) | {"round": number})
        journal.add(group[-1])

    meter(setting.threads)  # the first one finds the processors asleep, and is low
    for number in range(1, rounds + 1):
        for program in programs:
            add(program, number)
    by_name = {program.name: program for program in programs}
    for _ in range(MAX_REPEATS):
        for record in results.disturbed_runs(group):
            record["repeated"] = True
            add(by_name[record["program"]], record["round"])
    return group


# ---------------------------------------------------------------------------------------
# The table

HEADER = [
    "program",
    "seconds",
    "cold",
    "time / {}",
    "peak RSS MiB",
    "of it imports",
    "PSNR dB",
    "GFLOP/s",
]
FOOTNOTE = """\
Seconds are of the call alone, median (min..max) of the rounds ({rounds}). A run is the median of
{calls} calls after a first one, "cold", which is not counted. Peak RSS is of the whole process,
opening the model included; "of it imports" is what Python and its packages had before that. PSNR
is against diffusers in float64, by its range. GFLOP/s is what as many threads of plain
multiply-adds reached right before and after. Runs where that is more than {tolerance:.0%} from
the usual {usual:.0f} are repeated and left out; "off" has no other runs, in spite of repeats: not
to be compared.
"""


def number(value: float | None, digits: int) -> str:
    return "-" if value is None else f"{value:.{digits}f}"


def cells(row: results.Row) -> list:
    if row.seconds is None:
        return [row.label, f"failed: {row.error}"] + ["-"] * (len(HEADER) - 2)
    low, high = row.span("seconds")
    slowest, fastest = row.peak_span()
    off = ", off" if row.disturbed else ""
    return [
        row.label,
        f"{row.seconds:.2f} ({low:.2f}..{high:.2f})",
        number(row.middle("first_s"), 2),
        number(row.ratio, 2),
        number(row.middle("peak_rss_mb"), 0),
        number(row.middle("imports_mb"), 0),
        number(row.middle("psnr_db"), 1),
        f"{slowest:.0f}..{fastest:.0f}{off}",
    ]


def markdown(lines: list) -> str:
    widths = [max(len(line[i]) for line in lines) for i in range(len(HEADER))]
    rule = ["-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:])]
    texts = []
    for line in [lines[0], rule, *lines[1:]]:
        numbers = [cell.rjust(width) for cell, width in zip(line, widths, strict=True)][1:]
        padded = [line[0].ljust(widths[0]), *numbers]
        texts.append(f"| {' | '.join(padded)} |")
    return "\n".join(texts)


def table(group: list) -> str:
    """The title, the table and the footnote of the runs of one operation and thread count."""
    rows = results.summarise(group)
    baseline = results.baseline(rows)
    header = [text.format(baseline.label if baseline else "-") for text in HEADER]
    footnote = FOOTNOTE.format(
        rounds=max(run["round"] for run in group), calls=TIMED_CALLS,
        tolerance=results.PEAK_TOLERANCE, usual=results.usual_peak(group),
    )  # fmt: skip
    return f"### {results.title(group)}\n\n{markdown([header, *map(cells, rows)])}\n\n{footnote}"


# ---------------------------------------------------------------------------------------


def chosen(names: str | None) -> list[Program]:
    """The programs of these names; the first part of names (vaekl, ncnn) means all of them."""
    if not names:
        return PROGRAMS
    wanted = names.split(",")
    known = {program.name for program in PROGRAMS} | {p.runner for p in PROGRAMS}
    if unknown := set(wanted) - known:
        sys.exit(f"no such program: {', '.join(unknown)}; there are {', '.join(sorted(known))}")
    return [program for program in PROGRAMS if {program.name, program.runner} & set(wanted)]


def check_files(setting: Setting) -> None:
    for path in (setting.vaekl, setting.input, setting.reference, setting.dir / "model"):
        if not path.exists():
            sys.exit(f"{path} is missing; setup.sh DIR {setting.size} makes what is in DIR")


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dir", type=Path, required=True, help="what setup.sh made")
    parser.add_argument("--vaekl", type=Path, required=True, help="the shared library")
    parser.add_argument("--what", default="decode,encode")
    parser.add_argument("--size", type=int, default=512, help="side of the picture")
    parser.add_argument("--threads", default="1,2")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", help=", ".join(program.name for program in PROGRAMS))
    parser.add_argument("--json", type=Path, help="where to write all runs; chart.py reads it")
    return parser.parse_args()


def main() -> None:
    options = arguments()
    programs = chosen(options.only)
    journal = Journal(options.json)
    folder, vaekl = options.dir.resolve(), options.vaekl.resolve()
    meter = peak_meter(folder / "fma_peak.so")
    processors = processors_by_core()
    for what in options.what.split(","):
        for threads in map(int, options.threads.split(",")):
            setting = Setting(folder, vaekl, what, options.size, threads)
            check_files(setting)
            take_processors(processors, threads)
            group = run_rounds(programs, setting, options.rounds, journal, meter)
            print(table(group), flush=True)
    sys.exit(any("error" in record for record in journal.data["runs"]))


if __name__ == "__main__":
    main()
