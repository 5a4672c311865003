#!/usr/bin/env python3
"""Draws the curve of a soak. usage: soak.py CURVE.csv OUT.svg"""
import csv
import sys

WIDTH, HEIGHT, LEFT, TOP = 640, 300, 60, 24
PLOT_WIDTH, PLOT_HEIGHT = WIDTH - 2 * LEFT, HEIGHT - 70


def scale(most, steps=(1, 2, 5)):
    """A round number of at least `most`."""
    unit = 1
    while True:
        for step in steps:
            if step * unit >= most:
                return step * unit
        unit *= 10


def line(points, color):
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    return f'<polyline points="{path}" fill="none" stroke="{color}" stroke-width="2"/>'


def main():
    with open(sys.argv[1], newline="", encoding="utf-8") as file:
        rows = [{key: int(value) for key, value in row.items()} for row in csv.DictReader(file)]
    calls = rows[-1]["calls"]
    memory = scale(max(row["kib"] for row in rows) / 1024)
    counts = scale(max(max(row["descriptors"], row["threads"]) for row in rows))

    def points(name, most, factor=1.0):
        for row in rows:
            x = LEFT + PLOT_WIDTH * row["calls"] / calls
            yield x, TOP + PLOT_HEIGHT * (1 - row[name] * factor / most)

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" '
        'font-family="sans-serif" font-size="12">',
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>',
    ]
    for quarter in range(5):
        y = TOP + PLOT_HEIGHT * (1 - quarter / 4)
        parts.append(f'<path d="M{LEFT} {y}H{LEFT + PLOT_WIDTH}" stroke="#ddd"/>')
        parts.append(
            f'<text x="{LEFT - 6}" y="{y + 4}" text-anchor="end">{memory * quarter / 4:g}</text>'
        )
        parts.append(f'<text x="{WIDTH - LEFT + 6}" y="{y + 4}">{counts * quarter / 4:g}</text>')
    for quarter in range(5):
        x = LEFT + PLOT_WIDTH * quarter / 4
        text = f"{calls * quarter // 4}"
        parts.append(f'<text x="{x}" y="{HEIGHT - 30}" text-anchor="middle">{text}</text>')
    parts.append(line(points("kib", memory, 1 / 1024), "#1f77b4"))
    parts.append(line(points("descriptors", counts), "#d62728"))
    parts.append(line(points("threads", counts), "#7f7f7f"))
    legend = (
        ("#1f77b4", "memory, MiB (left)"),
        ("#d62728", "descriptors (right)"),
        ("#7f7f7f", "threads (right)"),
    )
    for index, (color, text) in enumerate(legend):
        x = LEFT + index * 180
        parts.append(f'<rect x="{x}" y="{HEIGHT - 18}" width="12" height="4" fill="{color}"/>')
        parts.append(f'<text x="{x + 18}" y="{HEIGHT - 12}">{text}</text>')
    parts.append(f'<text x="{LEFT}" y="14">a decode and an encode for each call, by calls</text>')
    parts.append("</svg>")
    with open(sys.argv[2], "w", encoding="utf-8") as file:
        file.write("\n".join(parts) + "\n")


if __name__ == "__main__":
    main()
