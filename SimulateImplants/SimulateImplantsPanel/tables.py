"""Fill and read the panel's tables."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import qt
from slicer.i18n import tr as _

MOST_NAMES = 3
_READ_ONLY = qt.Qt.ItemIsSelectable | qt.Qt.ItemIsEnabled


def set_up_implants_table(table: Any) -> None:
    """Columns of the table of implants, whose names tell level and side."""
    from MetalArtifactReductionPanel.tables import set_titles

    set_titles(table, [_("Implant"), _("Size"), _("Grade"), _("Breach")])


def fill_implants_table(
    table: Any, implants: Sequence[Any], sizes: Sequence[str], rows: Mapping[str, Any]
) -> None:
    """One row an implant; the selection stays, and what no implant has is hidden.

    :param implants: ``SceneImplant``.
    :param rows: model node id -> ``QualityRow`` of the last measurement.
    """
    from MetalArtifactReductionPanel.tables import fill

    selected, blocked = selected_ids(table), table.blockSignals(True)
    quality = [rows.get(one.model.GetID()) for one in implants]
    texts = [
        (one.name, size, row.grade if row else "", breach_text(row) if row else "")
        for one, size, row in zip(implants, sizes, quality, strict=True)
    ]
    fill(table, texts, [implant_note(*each) for each in zip(implants, quality, strict=True)])
    for index, one in enumerate(implants):
        table.item(index, 0).setData(qt.Qt.UserRole, one.model.GetID())
    select_ids(table, selected)
    table.blockSignals(blocked)
    for column in range(table.columnCount):
        table.setColumnHidden(column, bool(texts) and not any(row[column] for row in texts))


def selected_ids(table: Any) -> list[str]:
    """Model node ids of the selected rows, from the top."""
    rows = sorted(index.row() for index in table.selectionModel().selectedRows())
    return [table.item(row, 0).data(qt.Qt.UserRole) for row in rows]


def select_ids(table: Any, node_ids: Sequence[str]) -> None:
    """Select the rows of these implants."""
    for row in range(table.rowCount):
        chosen = table.item(row, 0).data(qt.Qt.UserRole) in node_ids
        for column in range(table.columnCount):
            table.item(row, column).setSelected(chosen)


def breach_text(row: Any) -> str:
    """How far and where a screw comes out of the bone."""
    if math.isnan(row.breach_mm):
        return ""
    if row.breach_mm <= 0:
        return _("none")
    return f"{row.breach_mm:.1f} mm {row.breach_direction}"


def implant_note(one: Any, row: Any) -> str:
    """What is wrong with an implant, or the rest of its measures in a line.

    :param one: ``SceneImplant``. :param row: its ``QualityRow``, None where it was not measured.
    """
    text = one.problem or (quality_note(row) if row else "")
    return f"{one.name}: {text}" if text else ""


def warnings(told: Sequence[tuple[Any, Any]]) -> list[str]:
    """What is wrong, or why something is not graded: a line for all implants that share it.

    :param told: ``SceneImplant`` and its ``QualityRow``, None where it was not measured.
    """
    shared: dict[str, list[str]] = {}
    for one, row in told:
        text = one.problem or (row.note if row else "")
        if text:
            shared.setdefault(text, []).append(one.name)
    many = _("{count} implants")
    names = {
        text: ", ".join(those) if len(those) <= MOST_NAMES else many.format(count=len(those))
        for text, those in shared.items()
    }
    return [f"{names[text]}: {text}" for text in shared]


def quality_note(row: Any) -> str:
    """The rest of the measures in a line."""
    parts = [row.note] if row.note else []
    if not math.isnan(row.share_in_bone):
        parts.append(_("{share:.0f} % in bone").format(share=100 * row.share_in_bone))
    if not math.isnan(row.contact):
        parts.append(_("{share:.0f} % in contact").format(share=100 * row.contact))
    if not math.isnan(row.mean_hu):
        parts.append(_("mean {hu:.0f} HU").format(hu=row.mean_hu))
    if not math.isnan(row.leg_mm):
        changes = _("leg {leg:+.1f} mm, offset {offset:+.1f} mm")
        leg, offset = (round(mm, 1) + 0.0 for mm in (row.leg_mm, row.offset_mm))  # no "-0.0"
        parts.append(changes.format(leg=leg, offset=offset))
    if row.touches:
        parts.append(_("touches {names}").format(names=", ".join(row.touches)))
    if row.outside > 0.005:
        parts.append(_("{share:.0f} % outside the CT").format(share=100 * row.outside))
    return "; ".join(parts)


def fill_parameters_table(table: Any, implant: Any, ranges: Mapping[str, Any]) -> None:
    """Name and value of each parameter of one implant; values can be edited.

    :param implant: ``Implant`` or None.
    :param ranges: parameter -> ``ParameterRange``, for the tooltips.
    """
    from MetalArtifactReductionPanel.tables import fit_height

    blocked = table.blockSignals(True)
    values = {}
    if implant is not None and implant.kind != "user-mesh":
        values = {
            name: value
            for name, value in implant.to_dict().items()
            if isinstance(value, (int, float, str, bool)) and name != "kind"
        }
    table.setRowCount(len(values))
    for index, (name, value) in enumerate(values.items()):
        title = qt.QTableWidgetItem(parameter_title(name))
        title.setData(qt.Qt.UserRole, name)
        title.setFlags(_READ_ONLY)
        cell = qt.QTableWidgetItem(f"{value:.4g}" if isinstance(value, float) else str(value))
        if name in ranges:
            limits = ranges[name]
            hint = f"{limits.minimum:g} ... {limits.maximum:g} {limits.unit}\n{limits.source}"
            title.setToolTip(hint)
            cell.setToolTip(hint)
        table.setItem(index, 0, title)
        table.setItem(index, 1, cell)
    table.resizeColumnToContents(0)
    table.blockSignals(blocked)
    fit_height(table)


def parameter_title(name: str) -> str:
    """As people read it: "head angle (deg)" of "head_angle_deg"."""
    for unit in ("mm", "deg"):
        if name.endswith(f"_{unit}"):
            name = f"{name.removesuffix(f'_{unit}')} ({unit})"
    return name.replace("_", " ")


def edited_value(text: str, now: Any) -> Any:
    """What the user typed, as the type that the parameter has; the library checks the rest."""
    if isinstance(now, bool):
        return {"true": True, "false": False}.get(text.strip().lower(), text)
    if isinstance(now, (int, float)):
        try:
            return float(text.replace(",", "."))
        except ValueError:
            return text
    return text.strip()
