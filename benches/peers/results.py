"""From the runs that compare.py recorded to one row per program; chart.py draws the same rows.

A run is what is in the JSON file: a dictionary with `program`, `label`, `dtype`, `what`,
`threads`, `round`, `peaks` (GFLOP/s before and after), and either `error` or `seconds`,
`peak_rss_mb`, `psnr_db` and more. A run that was repeated has `repeated` set and counts no more.
"""

from dataclasses import dataclass, field
from statistics import median

PEAK_TOLERANCE = 0.10
# Times are told as multiples of this program's, where it was run.
BASELINE = "vaekl-f32"


@dataclass
class Row:
    program: str
    label: str
    dtype: str
    runs: list = field(default_factory=list)
    # Every run was on a faster or slower machine than the others' runs.
    disturbed: bool = False
    error: str = ""
    ratio: float | None = None

    def middle(self, key: str) -> float | None:
        values = [run[key] for run in self.runs if run.get(key) is not None]
        return median(values) if values else None

    def span(self, key: str) -> tuple[float, float]:
        values = [run[key] for run in self.runs]
        return min(values), max(values)

    def peak_span(self) -> tuple[float, float]:
        peaks = [peak for run in self.runs for peak in run["peaks"]]
        return min(peaks), max(peaks)

    @property
    def seconds(self) -> float | None:
        return self.middle("seconds")


def groups(runs: list) -> dict:
    """Runs that may be compared with each other: of one operation, on as many threads."""
    found = {}
    for run in runs:
        found.setdefault((run["what"], run["threads"]), []).append(run)
    return found


def title(group: list) -> str:
    what, size, threads = (group[0][key] for key in ("what", "size", "threads"))
    return f"{what} {size}x{size}, {threads} thread{'s' if threads > 1 else ''}"


def usual_peak(group: list) -> float:
    return median(peak for run in group for peak in run["peaks"])


def is_disturbed(run: dict, usual: float) -> bool:
    return any(abs(peak - usual) > PEAK_TOLERANCE * usual for peak in run["peaks"])


def disturbed_runs(group: list) -> list:
    """Runs that should be repeated: counted, complete, and on a faster or slower machine."""
    usual = usual_peak(group)
    counted = [run for run in group if not run.get("repeated") and "error" not in run]
    return [run for run in counted if is_disturbed(run, usual)]


def baseline(rows: list[Row]) -> Row | None:
    """The row whose time is 1: vaekl's or, where it was not run, the fastest program's."""
    done = [row for row in rows if row.runs]
    ours = [row for row in done if row.program == BASELINE]
    return min(ours or done, key=lambda row: row.seconds, default=None)


def summarise(group: list) -> list[Row]:
    """A row per program, fastest first. Disturbed runs count only where there is no other."""
    rows, disturbed = {}, disturbed_runs(group)
    for run in group:
        name = run["program"]
        row = rows.setdefault(name, Row(name, run["label"], run["dtype"]))
        if "error" in run:
            row.error = run["error"]
        elif not run.get("repeated"):
            row.runs.append(run)
    for row in rows.values():
        calm = [run for run in row.runs if run not in disturbed]
        row.disturbed = bool(row.runs) and not calm
        row.runs = calm or row.runs
    done = [row for row in rows.values() if row.runs]
    for row in done:
        row.ratio = row.seconds / baseline(done).seconds
    failed = [row for row in rows.values() if not row.runs]
    return sorted(done, key=lambda row: row.seconds) + failed
