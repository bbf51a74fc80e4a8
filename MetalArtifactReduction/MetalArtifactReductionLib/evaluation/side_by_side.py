"""Volumes of one scan on one HTML page that needs nothing else: pictures, figures, worst first."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from ..files.pictures import WINDOWS_HU, PatientView, frame_around_body
from ..files.tables import escaped
from ..volume import CTVolume
from .report import NOTE, html_page, html_table
from .report_pictures import change_picture, data_uri, grey_picture, png_bytes

_DIFFERENCE_HU = 300.0


def side_by_side_html(
    names: Sequence[str],
    volumes: Sequence[CTVolume],
    metal_fraction: np.ndarray,
    rows: Sequence[Sequence[str]],
    leading: Sequence[float],
    *,
    measure: str,
    truth: CTVolume | None,
) -> str:
    """The page; volumes whose leading measure is highest come first.

    :param volumes: on one grid, as ``metal_fraction``, 0..1.
    :param rows: of the table: what was measured, then a value a volume.
    :param leading: a value a volume, NaN where there is none.
    :param measure: what ``leading`` is.
    :param truth: the same scan without metal artifacts.
    """
    order = sorted(range(len(names)), key=lambda n: -np.nan_to_num(leading[n], nan=-np.inf))
    table = [[row[0], *(row[1 + n] for n in order)] for row in rows]
    against = "against the scan without metal" if truth is not None else "without a truth"
    body = [
        "<h1>Volumes side by side</h1>",
        f'<p class="note">{escaped(NOTE)}</p>',
        f"<p>Measured {against}, in the slices that hold metal; the highest {measure} first.</p>",
        _pictures({names[n]: volumes[n] for n in order}, metal_fraction, truth),
        "<h2>Figures</h2>",
        html_table(("", *(names[n] for n in order)), table),
    ]
    return html_page("Volumes side by side", "\n".join(body))


def _pictures(
    volumes: Mapping[str, CTVolume], metal_fraction: np.ndarray, truth: CTVolume | None
) -> str:
    """The slice with most metal, and how far each volume is from the truth in it."""
    seen, turn = next(iter(volumes.values())).anatomical()
    view = PatientView.of(seen.ijk_to_ras)
    index = int(turn(metal_fraction).sum(axis=(1, 2), dtype=np.float64).argmax())
    slices = {name: view(turn(volume.hu)[index]) for name, volume in volumes.items()}
    right = None if truth is None else view(turn(truth.hu)[index])
    frame = frame_around_body(next(iter(slices.values())))
    window = WINDOWS_HU["soft tissue"]

    def grey(image: np.ndarray) -> np.ndarray:
        return grey_picture(image[frame], *window, view.pixel_mm)

    shown = {name: grey(image) for name, image in slices.items()}
    different = {}
    if right is not None:
        shown["without metal"] = grey(right)
        different = {
            f"{name} minus without metal": change_picture(
                (image - right)[frame], _DIFFERENCE_HU, view.pixel_mm, grey(right)
            )
            for name, image in slices.items()
        }
    colours = f"; differences blue to red: ±{_DIFFERENCE_HU:g} HU" if truth is not None else ""
    number = int(turn.slice_numbers(np.array(index), len(seen.hu)))
    return (
        f"<h2>Slice {number}, with most metal</h2><p>Soft-tissue window (L {window[0]:g}, W "
        f"{window[1]:g}){colours}.</p>{_row(shown)}{_row(different)}"
    )


def _row(pictures: Mapping[str, np.ndarray]) -> str:
    figures = "".join(
        f'<figure><img alt="{escaped(name)}" src="{data_uri(png_bytes(picture))}">'
        f"<figcaption>{escaped(name)}</figcaption></figure>"
        for name, picture in pictures.items()
    )
    return f'<div class="row">{figures}</div>'
