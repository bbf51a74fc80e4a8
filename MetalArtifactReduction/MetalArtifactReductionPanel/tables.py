"""Fill the panel's tables."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import qt
from slicer.i18n import tr as _

MOST_ROWS = 16
"""A table is as high as its rows; from so many on it scrolls."""

_READ_ONLY = qt.Qt.ItemIsSelectable | qt.Qt.ItemIsEnabled


def fill(
    table: Any,
    rows: Sequence[Sequence[str]],
    tooltips: Sequence[str] = (),
    ticks: Sequence[bool] = (),
) -> None:
    """Replace the rows; the selected row numbers stay selected.

    :param tooltips: one a row. :param ticks: one a row, for a box that the user can tick.
    """
    selected = set(selected_rows(table))
    blocked = table.blockSignals(True)
    table.setRowCount(len(rows))
    for index, texts in enumerate(rows):
        for column, text in enumerate(texts):
            item = qt.QTableWidgetItem(text)
            item.setFlags(_READ_ONLY)
            if column == 0 and index < len(ticks):
                item.setFlags(_READ_ONLY | qt.Qt.ItemIsUserCheckable)
                item.setCheckState(qt.Qt.Checked if ticks[index] else qt.Qt.Unchecked)
            item.setToolTip(tooltips[index] if index < len(tooltips) else text)
            table.setItem(index, column, item)
            item.setSelected(index in selected)
    table.blockSignals(blocked)
    fit_height(table)


def fit_height(table: Any) -> None:
    """No scroll bar within the panel's."""
    table.resizeRowsToContents()
    rows_height = sum(table.rowHeight(row) for row in range(min(table.rowCount, MOST_ROWS)))
    table.setFixedHeight(table.horizontalHeader().height + rows_height + 2 * table.frameWidth)


def selected_rows(table: Any) -> list[int]:
    """Numbers of the selected rows, from the top."""
    return sorted({index.row() for index in table.selectionModel().selectedRows()})


def set_titles(table: Any, titles: Sequence[str]) -> None:
    """Column titles; every column in view: the first one gives way."""
    table.setColumnCount(len(titles))
    table.setHorizontalHeaderLabels(list(titles))
    table.verticalHeader().hide()
    header = table.horizontalHeader()
    header.setStretchLastSection(False)
    header.setSectionResizeMode(qt.QHeaderView.ResizeToContents)
    header.setSectionResizeMode(0, qt.QHeaderView.Stretch)


def part_rows(parts: Sequence[Any]) -> list[list[str]]:
    """:param parts: ``MetalPart`` or ``MetalComponent``, by falling volume."""
    return [
        [
            str(number),
            f"{part.volume_mm3 / 1000:.2f}",
            f"{part.highest_hu:.0f}",
            f"{part.slices[0]} ... {part.slices[1]}",
        ]
        for number, part in enumerate(parts, start=1)
    ]


def job_state(handle: Any) -> str:
    """Where a job is, in words."""
    if handle.ended:
        return {
            "done": _("done in {seconds:.0f} s").format(seconds=handle.seconds),
            "cancelled": _("cancelled"),
        }.get(handle.state.value, _("failed"))  # why: the row's tooltip and the line above it
    if handle.state.value == "waiting":
        return _("waiting")
    state = f"{100 * handle.fraction:.0f} %"
    if handle.remaining_s is not None:
        state = _("{state}, about {left:.0f} s left").format(state=state, left=handle.remaining_s)
    return state
