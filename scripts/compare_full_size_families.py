# /// script
# requires-python = ">=3.11"
# dependencies = ["numpy>=2"]
# ///
"""Run the vaekl command on the models of make_full_size_families.py, and compare.

    python scripts/compare_full_size_families.py --dir DIR --vaekl target/release/vaekl

Prints one table: each model and form, direction and type of the activations, with the distance
from torch's float64 run, and that of torch's own run in the type that was asked for. Exits with 1
if a run fails, if a float32 run is below 100 dB, or if another is below torch's own by more than
--slack.

How the command takes a masked picture is said with --masked, in which {condition} and {mask} stand
for the two files; without it only whole pictures are decoded.
"""

import argparse
import json
import sys
import tempfile
from pathlib import Path

import numpy as np
from compare_full_size import MIN_F32_DB, number, psnr, run

DTYPES = ("f32", "bf16", "f16")
INPUTS = {"decode": "latents.npy", "encode": "image.npy", "decode_masked": "latents.npy"}
HEADER = ["model", "form", "what", "dtype", "run s", "peak MB", "dB", "torch's dB", ""]


def path_of(form, operation: str) -> str:
    """A form is one path, or one for each direction."""
    return form if isinstance(form, str) else form[operation]


def measure(options, folder: Path, case: dict, form, operation: str, dtype: str) -> list:
    """The cells of one run: type, seconds, memory, dB, torch's dB, and what is wrong with it."""
    command = operation.removesuffix("_masked")
    with tempfile.TemporaryDirectory() as scratch:
        out = Path(scratch) / "out.npy"
        line = [options.vaekl, command, folder / INPUTS[operation], "-o", out, "--json"]
        line += ["--model", folder / path_of(form, command), "--dtype", dtype]
        if command == "encode" and case["posterior"]:
            line += ["--posterior", "moments"]
        if options.threads:
            line += ["--threads", options.threads]
        if operation == "decode_masked":
            files = {name: folder / f"{name}.npy" for name in ("condition", "mask")}
            line += [part.format(**files) for part in options.masked.split()]
        report = run([str(part) for part in line])
        found = np.load(out).astype(np.float64)
    reference = np.load(folder / f"{operation}_f64.npy").astype(np.float64)
    if found.shape != reference.shape:
        raise RuntimeError(f"shape {found.shape}, expected {reference.shape}")
    if not np.isfinite(found).all():
        raise RuntimeError("the result holds values that are not finite")
    db, torch_db = psnr(found, reference), case["torch"].get(dtype, {}).get(operation)
    # A model that overflows in f16 runs in f32, and the report says so.
    cells = [report.get("dtype", dtype), number(report.get(f"{command}_s"), 2)]
    cells.append(number(report.get("peak_rss_mb"), 0))
    least = MIN_F32_DB if dtype == "f32" else (torch_db or 0.0) - options.slack
    return [*cells, number(db, 1), number(torch_db, 1), "" if db >= least else "BELOW"]


def rows_of(options, folder: Path) -> list:
    case = json.loads((folder / "case.json").read_text())
    operations = [o for o in INPUTS if (folder / f"{o}_f64.npy").exists()]
    if not options.masked:
        operations = [o for o in operations if o != "decode_masked"]
    rows = []
    for label, form in case["forms"].items():
        for operation in operations:
            for dtype in options.dtypes:
                try:
                    cells = measure(options, folder, case, form, operation, dtype)
                except (RuntimeError, OSError, ValueError) as error:
                    cells = [dtype, "-", "-", "-", "-", f"FAILED: {error}"]
                rows.append([folder.name, label, operation, *cells])
    return rows


def print_table(rows: list) -> None:
    rows = [HEADER, *rows]
    widths = [max(len(row[i]) for row in rows) for i in range(len(HEADER) - 1)]
    for row in rows:
        left = [c.ljust(w) for c, w in zip(row[:4], widths)]
        right = [c.rjust(w) for c, w in zip(row[4:-1], widths[4:])]
        print("  ".join([*left, *right, row[-1]]).rstrip())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dir", type=Path, required=True)
    parser.add_argument("--vaekl", type=Path, required=True, help="the command")
    parser.add_argument("--only", nargs="+", help="models by their names")
    parser.add_argument("--dtypes", nargs="+", choices=DTYPES, default=DTYPES)
    parser.add_argument("--slack", type=float, default=0.0, help="dB below torch's own run")
    parser.add_argument("--masked", help="the command's arguments for a masked picture")
    parser.add_argument("--threads", type=int)
    options = parser.parse_args()
    folders = sorted(path.parent for path in options.dir.glob("*/case.json"))
    folders = [f for f in folders if options.only is None or f.name in options.only]
    rows = [row for folder in folders for row in rows_of(options, folder)]
    print_table(rows)
    sys.exit(0 if rows and not any(row[-1] for row in rows) else 1)


if __name__ == "__main__":
    main()
