"""Slices side by side, as a reader of CT wants to compare them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import InputError
from ..volume import acquisition_axes
from .whole import written_whole

WINDOWS_HU: Mapping[str, tuple[float, float]] = {
    "soft tissue": (40.0, 400.0),
    "bone": (500.0, 2000.0),
    "metal": (1500.0, 6000.0),
}
"""Level and width of the display windows, in HU."""


_ENDS = ("RL", "AP", "SI")
_TEXT = {"color": "white", "fontsize": 10}
_BAR_MM = (200.0, 100.0, 50.0, 20.0, 10.0, 5.0, 2.0, 1.0)


@dataclass(frozen=True)
class PatientView:
    """How slices of a volume are shown: in radiological convention, however they are stored.

    The patient's right is on the left and the front on top; in planes along the body the head is
    on top, and the front on the left where right and left are not in the plane.

    :param transposed: whether rows and columns change places.
    :param steps: then 1 or -1 for rows and columns: whether they are reversed.
    :param pixel_mm: ``(row, col)`` as shown.
    :param letters: at the left, top, right and bottom: R, L, A, P, S or I.
    """

    transposed: bool
    steps: tuple[int, int]
    pixel_mm: tuple[float, float]
    letters: tuple[str, str, str, str]

    @classmethod
    def of(cls, ijk_to_ras: np.ndarray) -> PatientView:
        """The view of the slices (first axis) of a volume with this ``(4, 4)`` affine."""
        # Where in R, A, S the array's axes point.
        runs = [2 - acquisition_axes(ijk_to_ras).index(axis) for axis in (1, 2)]
        transposed = runs[0] < runs[1]
        columns = (1, 0) if not transposed else (0, 1)
        down, across = (np.asarray(ijk_to_ras)[:3, column] for column in columns)
        vertical, horizontal = sorted(runs, reverse=True)
        return cls(
            transposed,
            (1 if down[vertical] <= 0 else -1, 1 if across[horizontal] <= 0 else -1),
            (float(np.linalg.norm(down)), float(np.linalg.norm(across))),
            (
                _ENDS[horizontal][0],
                _ENDS[vertical][0],
                _ENDS[horizontal][1],
                _ENDS[vertical][1],
            ),
        )

    def __call__(self, slice_: np.ndarray) -> np.ndarray:
        """A slice ``(rows, cols)`` of the volume as it is shown."""
        shown = slice_.T if self.transposed else slice_
        return shown[:: self.steps[0], :: self.steps[1]]


def scale_bar_mm(width_mm: float) -> float:
    """Length of a scale bar for a picture of this width: round, at most a third of it."""
    return next((one for one in _BAR_MM if one <= width_mm / 3), _BAR_MM[-1])


def comparison_picture(
    images: Mapping[str, np.ndarray],
    path: str | PathLike[str],
    *,
    ijk_to_ras: np.ndarray | None = None,
    pixel_mm: tuple[float, float] | None = None,
    windows: Sequence[str] = ("soft tissue", "bone"),
    difference_to: str | None = None,
    captions: Mapping[str, str] | None = None,
    overwrite: bool = False,
) -> Path:
    """Write a PNG: one column an image, one row a window, and the differences as a last row.

    All images are cropped to the same frame around whatever is not air.

    :param images: title -> slice in HU ``(rows, cols)``, all of one shape, in display order.
    :param ijk_to_ras: of the volume that the slices are from: they are shown in radiological
        convention, with letters and a scale bar.
    :param pixel_mm: ``(row, col)`` size instead, of images that are nobody's.
    :param windows: names from ``WINDOWS_HU``.
    :param difference_to: the title of the image that the others are compared with.
    :param captions: title -> a line under its first picture (figures, for example).
    :raises InputError: images of different shapes, unknown window or title.
    """
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib.figure import Figure

    _check(images, windows, difference_to)
    view = None if ijk_to_ras is None else PatientView.of(ijk_to_ras)
    if view is not None:
        images, pixel_mm = {title: view(image) for title, image in images.items()}, view.pixel_mm
    if pixel_mm is None:
        raise InputError("the size of the pixels is unknown; give ijk_to_ras or pixel_mm")
    frame = frame_around_body(next(iter(images.values())))
    rows = len(windows) + (difference_to is not None)
    height, width = (frame[0].stop - frame[0].start), (frame[1].stop - frame[1].start)
    aspect = pixel_mm[0] / pixel_mm[1]
    size = 3.2
    figure = Figure(
        figsize=(size * len(images), rows * size * height * aspect / width + 0.7),
        layout="constrained",
        facecolor="black",
    )
    axes = figure.subplots(rows, len(images), squeeze=False)
    for column, (title, image) in enumerate(images.items()):
        caption = (captions or {}).get(title, "")
        axes[0, column].set_title(f"{title}\n{caption}" if caption else title, **_TEXT)
        difference = None
        if difference_to is not None and title != difference_to:
            difference = image[frame] - images[difference_to][frame]
        _draw(axes[:, column], image[frame], windows, difference, aspect)
    _label_rows(axes[:, 0], windows, difference_to)
    for one in axes.ravel():
        _finish(one, (height, width), pixel_mm[1], view)
    with written_whole(path, overwrite=overwrite) as temporary:
        figure.savefig(temporary, dpi=110, format="png", facecolor="black")
    return Path(path)


def _draw(
    column: np.ndarray,
    image: np.ndarray,
    windows: Sequence[str],
    difference: np.ndarray | None,
    aspect: float,
) -> None:
    """One image in each window, and its difference in the last row."""
    for axes, window in zip(column, windows, strict=False):
        level, wide = WINDOWS_HU[window]
        limits = {"vmin": level - wide / 2, "vmax": level + wide / 2}
        axes.imshow(image, cmap="gray", aspect=aspect, **limits)
    if difference is not None:
        column[-1].imshow(difference, cmap="RdBu_r", vmin=-300, vmax=300, aspect=aspect)


def _label_rows(column: np.ndarray, windows: Sequence[str], difference_to: str | None) -> None:
    labels = [f"{name} (L {WINDOWS_HU[name][0]:g}, W {WINDOWS_HU[name][1]:g})" for name in windows]
    if difference_to is not None:
        labels.append(f"minus {difference_to}, +-300 HU")
    for axes, label in zip(column, labels, strict=True):
        axes.set_ylabel(label, **_TEXT)


def _check(
    images: Mapping[str, np.ndarray], windows: Sequence[str], difference_to: str | None
) -> None:
    """See the errors of :func:`comparison_picture`."""
    shapes = {image.shape for image in images.values()}
    if len(shapes) != 1:
        raise InputError(f"pictures of different sizes {sorted(shapes)} cannot be compared")
    for name in windows:
        if name not in WINDOWS_HU:
            raise InputError(f"unknown window {name!r}; use one of {', '.join(WINDOWS_HU)}")
    if difference_to is not None and difference_to not in images:
        raise InputError(f"no picture named {difference_to!r} among {', '.join(images)}")


def _finish(axes: Any, shape: tuple[int, int], col_mm: float, view: PatientView | None) -> None:
    """No frame; marks where there is a picture."""
    axes.set_xticks([])
    axes.set_yticks([])
    axes.spines[:].set_visible(False)
    axes.set_facecolor("black")
    if axes.images:
        _mark(axes, shape, col_mm, view)


def _mark(axes: Any, shape: tuple[int, int], col_mm: float, view: PatientView | None) -> None:
    """A scale bar, and the patient's sides where they are known."""
    from matplotlib.patheffects import withStroke

    seen = {"path_effects": [withStroke(linewidth=3, foreground="black")], "color": "white"}
    text = {**seen, "fontsize": 8, "ha": "center", "va": "center", "transform": axes.transAxes}
    length = scale_bar_mm(shape[1] * col_mm)
    share = length / (shape[1] * col_mm)
    axes.plot([0.95 - share, 0.95], [0.03, 0.03], lw=2, transform=axes.transAxes, **seen)
    axes.text(0.95 - share / 2, 0.07, f"{length:g} mm", **text)
    if view is not None:
        places = ((0.03, 0.5), (0.5, 0.97), (0.97, 0.5), (0.5, 0.03))
        for letter, (x, y) in zip(view.letters, places, strict=True):
            axes.text(x, y, letter, **text)


def frame_around_body(image: np.ndarray, margin: int = 6) -> tuple[slice, slice]:
    """Rows and columns that hold more than air."""
    body = image > -500
    result = []
    for axis in (1, 0):
        places = np.flatnonzero(body.sum(axis=axis) > 5)
        if len(places) < 2:
            result.append(slice(0, image.shape[1 - axis]))
            continue
        last = min(int(places[-1]) + margin + 1, image.shape[1 - axis])
        result.append(slice(max(int(places[0]) - margin, 0), last))
    return result[0], result[1]
