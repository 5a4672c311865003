# /// script
# requires-python = ">=3.11"
# dependencies = ["numpy>=2"]
# ///
"""Run the vaekl command on every file form that make_full_size.py wrote, and compare.

    python scripts/compare_full_size.py --dir DIR --vaekl target/release/vaekl

Prints one table with time, peak memory and the distance from diffusers. Exits with 1 if
a run fails, or if a float32 run is below 100 dB of PSNR against any reference it has.
PSNR is 10 log10(range^2 / mse), with range = max - min of the reference.
"""

import argparse
import json
import math
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

MIN_F32_DB = 100.0
WEIGHTS = "diffusion_pytorch_model"
INPUTS = {"decode": "latents_64.npy", "encode": "image_512.npy"}
RESULTS = {"decode": "decode", "encode": "moments"}


@dataclass
class Case:
    label: str
    model: str
    # Which rounding of the weights the file holds: the reference is of the same rounding.
    weights: str = "f32"
    dtype: str = "f32"


CASES = [
    Case("folder", "sd15vae"),
    Case("folder, f16 weights", "sd15vae-f16", "f16"),
    Case("folder, bf16 weights", "sd15vae-bf16", "bf16"),
    Case("fp16 variant file", f"sd15vae/{WEIGHTS}.fp16.safetensors", "f16"),
    Case("LDM file", "sd15vae_ldm.safetensors"),
    Case("LDM file with prefix", "sd15vae_ldm_prefixed.safetensors"),
    Case("folder, run in bf16", "sd15vae", dtype="bf16"),
    Case("folder, run in f16", "sd15vae", dtype="f16"),
]


def command_line(
    vaekl: Path, operation: str, case: Case, folder: Path, out: Path, threads: int | None
) -> list:
    line = [vaekl, operation, folder / INPUTS[operation], "-o", out, "--model", folder / case.model]
    if operation == "encode":
        line += ["--posterior", "moments"]
    line += ["--json", "--dtype", case.dtype]
    if threads:
        line += ["--threads", str(threads)]
    return [str(part) for part in line]


def run(line: list) -> dict:
    """Run the command and return the JSON of its last line of output."""
    done = subprocess.run(line, capture_output=True, text=True)
    if done.returncode != 0:
        last = (done.stderr.strip() or done.stdout.strip() or "no message").splitlines()[-1]
        raise RuntimeError(f"exit status {done.returncode}: {last}")
    lines = done.stdout.strip().splitlines()
    if not lines:
        raise RuntimeError("no output")
    return json.loads(lines[-1])


def psnr(found: np.ndarray, reference: np.ndarray) -> float:
    mse = np.mean((found - reference) ** 2)
    span = reference.max() - reference.min()
    return math.inf if mse == 0 else 10 * math.log10(span**2 / mse)


def distance(found: np.ndarray, path: Path) -> tuple[float, float] | None:
    """PSNR and largest difference, or None where there is no such reference."""
    if not path.exists():
        return None
    reference = np.load(path).astype(np.float64)
    if found.shape != reference.shape:
        raise RuntimeError(f"shape {found.shape}, expected {reference.shape}")
    found = found.astype(np.float64)
    if not np.isfinite(found).all():
        raise RuntimeError("the result holds values that are not finite")
    return psnr(found, reference), float(np.abs(found - reference).max())


def measure(vaekl: Path, operation: str, case: Case, folder: Path, threads: int | None) -> dict:
    with tempfile.TemporaryDirectory() as scratch:
        out = Path(scratch) / "out.npy"
        report = run(command_line(vaekl, operation, case, folder, out, threads))
        found = np.load(out)
    ref, name = folder / "ref", RESULTS[operation]
    single = distance(found, ref / f"{name}_{case.weights}.npy")
    double = distance(found, ref / f"{name}_f64.npy") if case.weights == "f32" else None
    if single is None and double is None:
        raise RuntimeError("no reference to compare with")
    return {"report": report, "single": single, "double": double}


def number(value, digits: int) -> str:
    return "-" if value is None else f"{value:.{digits}f}"


def table_row(operation: str, case: Case, result: dict) -> list:
    report, single, double = result["report"], result["single"], result["double"]
    largest = (double or single)[1]
    return [
        case.label,
        operation,
        report.get("dtype", case.dtype),
        number(report.get("load_s"), 2),
        number(report.get(f"{operation}_s"), 2),
        number(report.get("total_s"), 2),
        number(report.get("peak_rss_mb"), 0),
        number(single and single[0], 1),
        number(double and double[0], 1),
        f"{largest:.2e}",
    ]


HEADER = [
    "case",
    "what",
    "dtype",
    "load s",
    "run s",
    "total s",
    "peak MB",
    "dB f32",
    "dB f64",
    "max abs",
    "",
]


def print_table(rows: list) -> None:
    rows = [HEADER, *rows]
    widths = [max(len(row[i]) for row in rows) for i in range(len(HEADER) - 1)]
    for row in rows:
        cells = [row[0].ljust(widths[0]), *(c.rjust(w) for c, w in zip(row[1:-1], widths[1:]))]
        print("  ".join([*cells, row[-1]]).rstrip())


def passes(case: Case, result: dict) -> bool:
    found = [d[0] for d in (result["single"], result["double"]) if d is not None]
    return case.dtype != "f32" or min(found) >= MIN_F32_DB


def compare(options) -> bool:
    rows, good = [], True
    for case in CASES:
        if options.only and options.only not in case.label:
            continue
        for operation in INPUTS:
            try:
                result = measure(options.vaekl, operation, case, options.dir, options.threads)
            except (RuntimeError, OSError, ValueError) as error:
                empty = ["-"] * (len(HEADER) - 4)
                rows.append([case.label, operation, case.dtype, *empty, f"FAILED: {error}"])
                good = False
                continue
            fine = passes(case, result)
            rows.append(
                [*table_row(operation, case, result), "" if fine else f"BELOW {MIN_F32_DB:.0f} dB"]
            )
            good &= fine
    print_table(rows)
    return good and bool(rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dir", type=Path, required=True, help="what make_full_size.py wrote")
    parser.add_argument("--vaekl", type=Path, required=True, help="the command")
    parser.add_argument("--threads", type=int)
    parser.add_argument("--only", help="cases whose label holds this")
    options = parser.parse_args()
    sys.exit(0 if compare(options) else 1)


if __name__ == "__main__":
    main()
