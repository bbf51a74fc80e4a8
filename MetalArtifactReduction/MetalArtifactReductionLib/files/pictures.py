"""Slices side by side, as a reader of CT wants to compare them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from os import PathLike
from pathlib import Path

import numpy as np

from ..errors import InputError
from .whole import written_whole

WINDOWS_HU: Mapping[str, tuple[float, float]] = {
    "soft tissue": (40.0, 400.0),
    "bone": (500.0, 2000.0),
    "metal": (1500.0, 6000.0),
}
"""Level and width of the display windows, in HU."""


def comparison_picture(
    images: Mapping[str, np.ndarray],
    path: str | PathLike[str],
    *,
    pixel_mm: tuple[float, float],
    windows: Sequence[str] = ("soft tissue", "bone"),
    difference_to: str | None = None,
    captions: Mapping[str, str] | None = None,
    overwrite: bool = False,
) -> Path:
    """Write a PNG: one column an image, one row a window, and the differences as a last row.

    All images are cropped to the same frame around whatever is not air.

    :param images: title -> slice in HU ``(rows, cols)``, all of one shape, in display order.
    :param pixel_mm: ``(row, col)`` size, for the aspect ratio.
    :param windows: names from ``WINDOWS_HU``.
    :param difference_to: the title of the image that the others are compared with.
    :param captions: title -> a line under its first picture (figures, for example).
    :raises InputError: images of different shapes, unknown window or title.
    """
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib.figure import Figure

    shapes = {image.shape for image in images.values()}
    if len(shapes) != 1:
        raise InputError(f"pictures of different sizes {sorted(shapes)} cannot be compared")
    for name in windows:
        if name not in WINDOWS_HU:
            raise InputError(f"unknown window {name!r}; use one of {', '.join(WINDOWS_HU)}")
    if difference_to is not None and difference_to not in images:
        raise InputError(f"no picture named {difference_to!r} among {', '.join(images)}")
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
    text = {"color": "white", "fontsize": 10}
    for column, (title, image) in enumerate(images.items()):
        caption = (captions or {}).get(title, "")
        axes[0, column].set_title(f"{title}\n{caption}" if caption else title, **text)
        for row, window in enumerate(windows):
            level, wide = WINDOWS_HU[window]
            limits = {"vmin": level - wide / 2, "vmax": level + wide / 2}
            axes[row, column].imshow(image[frame], cmap="gray", aspect=aspect, **limits)
        if difference_to is not None and title != difference_to:
            shown = axes[-1, column]
            difference = image[frame] - images[difference_to][frame]
            shown.imshow(difference, cmap="RdBu_r", vmin=-300, vmax=300, aspect=aspect)
    labels = [f"{name} (L {WINDOWS_HU[name][0]:g}, W {WINDOWS_HU[name][1]:g})" for name in windows]
    if difference_to is not None:
        labels.append(f"minus {difference_to}, +-300 HU")
    for row, label in enumerate(labels):
        axes[row, 0].set_ylabel(label, **text)
    for one in axes.ravel():
        one.set_xticks([])
        one.set_yticks([])
        one.spines[:].set_visible(False)
        one.set_facecolor("black")
    with written_whole(path, overwrite=overwrite) as temporary:
        figure.savefig(temporary, dpi=110, format="png", facecolor="black")
    return Path(path)


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
