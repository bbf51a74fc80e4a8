"""Curves of a training: a CSV that any program reads, and its picture."""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping, Sequence
from pathlib import Path

from ..files.tables import cell
from ..files.whole import written_whole

Row = Mapping[str, float]


def write_curves(rows: Sequence[Row], folder: Path) -> None:
    """``curve.csv`` of the rows, replaced whole.

    :param rows: one a logged step: ``step``, ``seconds``, and whatever was logged then.
    :raises OutputError: no permission, disk full.
    """
    if not rows:
        return
    names = _names(rows)
    with (
        written_whole(folder / "curve.csv", overwrite=True) as temporary,
        temporary.open("w", newline="", encoding="utf-8") as file,
    ):
        writer = csv.writer(file)
        writer.writerow([cell(name) for name in names])
        writer.writerows([f"{row[n]:.6g}" if n in row else "" for n in names] for row in rows)


def draw_curves(rows: Sequence[Row], folder: Path) -> None:
    """``curve.png`` of the same rows; parameters and errors as :func:`write_curves`."""
    if not rows:
        return
    from matplotlib.figure import Figure
    from matplotlib.ticker import NullFormatter

    names = [name for name in _names(rows) if name not in ("step", "seconds")]
    columns = min(3, len(names))
    lines = math.ceil(len(names) / 3)
    width, height = 4.2 * columns, 2.8 * lines
    figure = Figure(figsize=(width, height))
    # A layout of its own takes as long as the drawing, at every checkpoint.
    figure.subplots_adjust(
        0.5 / width, 0.3 / height, 1 - 0.1 / width, 1 - 0.3 / height, wspace=0.2, hspace=0.25
    )
    for number, name in enumerate(names):
        axes = figure.add_subplot(lines, columns, number + 1)
        points = [(row["step"], row[name]) for row in rows if name in row]
        axes.plot(*zip(*points, strict=True), marker="." if len(points) < 30 else "", linewidth=1)
        if all(value > 0 for _, value in points):
            axes.set_yscale("log")
            # Powers of ten as numbers: to typeset them takes longer than all the rest.
            axes.yaxis.set_major_formatter("{x:g}")
            low, high = axes.get_ylim()
            axes.yaxis.set_minor_formatter("{x:g}" if high < 10 * low else NullFormatter())
        # At a given height: to look for room above labels there are none of takes a third longer.
        axes.set_title(name, fontsize=9, y=1.0)
        axes.tick_params(which="both", labelsize=7)
        axes.grid(alpha=0.3)
    with written_whole(folder / "curve.png", overwrite=True) as temporary:
        figure.savefig(temporary, dpi=90, format="png")


def _names(rows: Sequence[Row]) -> list[str]:
    return list(dict.fromkeys(name for row in rows for name in row))
