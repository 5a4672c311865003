"""Draw time against peak memory from the JSON file of compare.py.

    chart.py RESULTS.json OUT.svg [--what decode,encode] [--threads 1,2] [--budgets BUDGETS.json]

One panel for each operation and number of threads; both axes are logarithmic, down and left is
better. A filled mark is f32, a ring bf16; vaekl is coloured. BUDGETS.json, of
scripts/memory_budgets.py, adds vaekl's decodes of the same size under memory budgets, as small
marks on a line. Needs nothing but Python.
"""

import argparse
import json
import math
from dataclasses import dataclass
from html import escape
from pathlib import Path

import results

PANEL_W, PANEL_H = 520, 400
MARGIN_LEFT, MARGIN_RIGHT, MARGIN_TOP, MARGIN_BOTTOM = 62, 16, 38, 48
LEGEND_H = 52
FONT = 12
# Wide enough for any sans-serif font: labels keep clear of each other on every machine.
CHARACTER_W = 6.6
LABEL_H = 14
MARK_R = 5
OURS, PEERS, INK, FAINT = "#c2410c", "#475569", "#1f2937", "#e5e7eb"


@dataclass
class Box:
    left: float
    top: float
    right: float
    bottom: float

    def overlap(self, other: "Box") -> float:
        """The area that the two share."""
        width = min(self.right, other.right) - max(self.left, other.left)
        height = min(self.bottom, other.bottom) - max(self.top, other.top)
        return max(width, 0) * max(height, 0)

    def outside(self, other: "Box") -> float:
        """How far this one reaches out of the other, in pixels."""
        ends = (other.left - self.left, self.right - other.right)
        sides = (other.top - self.top, self.bottom - other.bottom)
        return sum(max(reach, 0) for reach in ends + sides)


@dataclass
class Axis:
    """A logarithmic scale from values to pixels, with some room at both ends."""

    low: float
    high: float
    start: float
    end: float

    @classmethod
    def around(cls, values: list, start: float, end: float) -> "Axis":
        return cls(min(values) / 1.25, max(values) * 1.25, start, end)

    def pixel(self, value: float) -> float:
        part = math.log(value / self.low) / math.log(self.high / self.low)
        return self.start + part * (self.end - self.start)

    def ticks(self) -> list[float]:
        """1, 2 and 5 of each power of ten; more where the axis is short."""
        for steps in ((1, 2, 5), (1, 1.5, 2, 3, 4, 5, 6, 7, 8, 9)):
            powers = range(math.floor(math.log10(self.low)), math.ceil(math.log10(self.high)))
            found = [step * 10**power for power in powers for step in steps]
            found = [tick for tick in found if self.low <= tick <= self.high]
            if len(found) >= 3:
                break
        return found


# ---------------------------------------------------------------------------------------
# SVG


def text(x: float, y: float, content: str, anchor="start", colour=INK, more="") -> str:
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" fill="{colour}"{more}>'
        f"{escape(content)}</text>"
    )


def line(x1: float, y1: float, x2: float, y2: float, colour: str) -> str:
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="{colour}"/>'


def mark(x: float, y: float, colour: str, filled: bool, radius: float = MARK_R) -> str:
    fill = colour if filled else "white"
    return (
        f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{radius}" fill="{fill}" stroke="{colour}" '
        'stroke-width="2"/>'
    )


def colour_of(row: results.Row) -> str:
    return OURS if row.program.startswith("vaekl") else PEERS


# ---------------------------------------------------------------------------------------
# Labels


def label_boxes(x: float, y: float, width: float) -> list[Box]:
    """Where a label of a mark may be: beside it, over it, under it, then farther and farther."""
    boxes = []
    for distance in range(0, 64, 6):
        reach = MARK_R + 4 + distance
        places = [
            (x + reach, y), (x - reach - width, y),
            (x - width / 2, y - reach - LABEL_H / 2), (x - width / 2, y + reach + LABEL_H / 2),
            (x + reach, y - reach), (x + reach, y + reach),
            (x - reach - width, y - reach), (x - reach - width, y + reach),
        ]  # fmt: skip
        boxes += [
            Box(left, middle - LABEL_H / 2, left + width, middle + LABEL_H / 2)
            for left, middle in places
        ]
    return boxes


def place_labels(points: list, frame: Box) -> list[Box]:
    """A free box for the label of each point (x, y, label). The first free place is taken, so
    the most crowded points, which have the fewest, choose first."""

    def crowding(index: int) -> float:
        x, y, _ = points[index]
        return sum(1 / (1 + math.hypot(x - other[0], y - other[1])) for other in points)

    marks = [Box(x - MARK_R, y - MARK_R, x + MARK_R, y + MARK_R) for x, y, _ in points]
    placed = {}
    for index in sorted(range(len(points)), key=crowding, reverse=True):
        x, y, label = points[index]
        taken = marks + list(placed.values())

        def cost(box: Box, taken=taken) -> float:
            return sum(box.overlap(other) for other in taken) + 100 * box.outside(frame)

        placed[index] = min(label_boxes(x, y, len(label) * CHARACTER_W), key=cost)
    return [placed[index] for index in range(len(points))]


def draw_label(x: float, y: float, box: Box, label: str, colour: str) -> list[str]:
    # The nearest point of the label; a line leads to it where it is not right beside the mark.
    to_x, to_y = min(max(x, box.left), box.right), min(max(y, box.top), box.bottom)
    # The box is wider than most fonts make the label, which keeps to the side of the mark.
    anchor, at = "middle", (box.left + box.right) / 2
    if box.left > x:
        anchor, at = "start", box.left
    elif box.right < x:
        anchor, at = "end", box.right
    drawn = [text(at, box.bottom - 3, label, anchor, colour)]
    if math.hypot(to_x - x, to_y - y) > MARK_R + 8:
        drawn.insert(0, line(x, y, to_x, to_y, "#94a3b8"))
    return drawn


# ---------------------------------------------------------------------------------------
# Panels


def draw_axes(across: Axis, down: Axis, frame: Box) -> list[str]:
    drawn = []
    for tick in across.ticks():
        x = across.pixel(tick)
        drawn.append(line(x, frame.top, x, frame.bottom, FAINT))
        drawn.append(text(x, frame.bottom + 17, f"{tick:g}", "middle"))
    for tick in down.ticks():
        y = down.pixel(tick)
        drawn.append(line(frame.left, y, frame.right, y, FAINT))
        drawn.append(text(frame.left - 7, y + 4, f"{tick:g}", "end"))
    drawn.append(line(frame.left, frame.bottom, frame.right, frame.bottom, INK))
    drawn.append(line(frame.left, frame.top, frame.left, frame.bottom, INK))
    middle_x, middle_y = (frame.left + frame.right) / 2, (frame.top + frame.bottom) / 2
    drawn.append(text(middle_x, frame.bottom + 36, "seconds of a call", "middle"))
    turned = f' transform="rotate(-90 {frame.left - 46:.1f} {middle_y:.1f})"'
    drawn.append(text(frame.left - 46, middle_y, "peak memory, MiB", "middle", more=turned))
    return drawn


def draw_budgets(budgets: list, across: Axis, down: Axis) -> list[str]:
    """A line for each storage, from no budget down to the least with a scratch file."""
    lines, marks = [], []
    for dtype in ("f32", "bf16"):
        runs = [run for run in budgets if run["dtype"] == dtype]
        runs = [run for run in runs if run["scratch"] or run["budget"] is None]
        runs.sort(key=lambda run: -run["process"])
        points = [
            (across.pixel(run["seconds"]), down.pixel(run["process"] / 2**20)) for run in runs
        ]
        for (x1, y1), (x2, y2) in zip(points, points[1:], strict=False):
            lines.append(line(x1, y1, x2, y2, OURS))
        marks += [mark(x, y, OURS, dtype == "f32", 3) for x, y in points]
    return lines + marks


def draw_panel(group: list, budgets: list, left: float, top: float) -> list[str]:
    rows = [row for row in results.summarise(group) if row.seconds is not None]
    title = results.title(group)
    drawn = [text(left + MARGIN_LEFT, top + 22, title, more=' font-weight="bold"')]
    if not rows:
        return drawn
    frame = Box(
        left + MARGIN_LEFT, top + MARGIN_TOP,
        left + PANEL_W - MARGIN_RIGHT, top + PANEL_H - MARGIN_BOTTOM,
    )  # fmt: skip
    seconds = [row.seconds for row in rows] + [run["seconds"] for run in budgets]
    across = Axis.around(seconds, frame.left, frame.right)
    memory = [row.middle("peak_rss_mb") for row in rows]
    down = Axis.around(
        memory + [run["process"] / 2**20 for run in budgets], frame.bottom, frame.top
    )
    drawn += draw_axes(across, down, frame) + draw_budgets(budgets, across, down)
    points = [
        (across.pixel(row.seconds), down.pixel(peak), row.label + " *" * row.disturbed)
        for row, peak in zip(rows, memory, strict=True)
    ]
    boxes = place_labels(points, frame)
    labels, marks = [], []
    for row, (x, y, label), box in zip(rows, points, boxes, strict=True):
        labels += draw_label(x, y, box, label, colour_of(row))
        marks.append(mark(x, y, colour_of(row), row.dtype == "f32"))
    return drawn + labels + marks


def draw_legend(y: float, processor: str) -> list[str]:
    drawn, x = [], MARGIN_LEFT + MARK_R
    kinds = (("f32", PEERS, True), ("bf16", PEERS, False), ("vaekl", OURS, True))
    for name, colour, filled in kinds:
        drawn += [mark(x, y - 4, colour, filled), text(x + 10, y, name, colour=colour)]
        x += 32 + len(name) * CHARACTER_W
    drawn.append(text(x, y, "down and left is better; *: disturbed"))
    return [*drawn, text(MARGIN_LEFT, y + 18, processor)]


def draw(groups: list, budgets: list, processor: str) -> str:
    columns = min(len(groups), 2)
    lines = math.ceil(len(groups) / 2)
    width, height = columns * PANEL_W, lines * PANEL_H + LEGEND_H
    # A ground of its own: pages that show the picture are white or dark.
    drawn = [f'<rect width="{width}" height="{height}" fill="white"/>']
    for index, group in enumerate(groups):
        first = group[0]
        of_group = [
            run for run in budgets
            if first["what"] == "decode" and run["threads"] == first["threads"]
        ]  # fmt: skip
        drawn += draw_panel(group, of_group, index % 2 * PANEL_W, index // 2 * PANEL_H)
    drawn += draw_legend(height - 32, processor)
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" '
        f'height="{height}" font-family="Helvetica, Arial, sans-serif" font-size="{FONT}">'
    )
    return "\n".join([head, *drawn, "</svg>", ""])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("results", type=Path)
    parser.add_argument("svg", type=Path)
    parser.add_argument("--what", help="all, where it is left out")
    parser.add_argument("--threads", help="all, where it is left out")
    parser.add_argument("--budgets", type=Path, help="of scripts/memory_budgets.py --json")
    options = parser.parse_args()
    budgets = json.loads(options.budgets.read_text()) if options.budgets else []
    data = json.loads(options.results.read_text())
    groups = [
        group
        for (what, threads), group in sorted(results.groups(data["runs"]).items())
        if (not options.what or what in options.what.split(","))
        and (not options.threads or str(threads) in options.threads.split(","))
    ]
    if not groups:
        raise SystemExit("no runs of that kind in the file")
    options.svg.write_text(draw(groups, budgets, data["processor"]))


if __name__ == "__main__":
    main()
