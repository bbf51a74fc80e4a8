"""``mar evaluate``: volumes from files, measured side by side."""

from __future__ import annotations

import csv as csv_module
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import DeviceError, InputError, OutputError, one_line
from ..files.grids import geometry_difference
from ..files.leftovers import temporary_folder
from ..files.masks import read_mask
from ..files.tables import cell
from ..files.volumes import read_volume
from ..files.whole import check_path_free, written_together
from ..metal import body_mask, segment_metal
from ..metal.body import within_pixels
from ..progress import Progress, report
from ..volume import CTVolume
from .metrics import NEAR_METAL_PIXELS, default_regions, evaluate, flat_region
from .side_by_side import side_by_side_html
from .streaks import streak_amplitudes
from .without_reference import evaluate_without_reference

if TYPE_CHECKING:
    from ..jobs.isolated import Executor

_UNITS = {
    "hu": "HU",
    "hu2": "HU^2",
    "db": "dB",
    "ssim": "SSIM",
    "psnr": "PSNR",
    "rmse": "RMSE",
    "mse": "MSE",
    "dice": "Dice",
    "mm3": "mm^3",
}


@dataclass(frozen=True)
class Evaluation:
    """Volumes side by side; as text a table with a row a measure and a column a volume.

    :param names: of the volumes. :param figures: measure -> value, NaN where a region is empty.
    :param with_truth: measured against a reference.
    """

    names: tuple[str, ...]
    figures: tuple[Mapping[str, float], ...]
    with_truth: bool

    def __str__(self) -> str:
        """The table."""
        return _table(self.names, _rows(self.figures, self.with_truth))


def evaluate_files(
    inputs: Sequence[Path],
    *,
    reference: Path | None = None,
    mask: Path | None = None,
    csv: Path | None = None,
    html: Path | None = None,
    overwrite: bool = False,
    execute: Executor | None = None,
    progress: Progress | None = None,
) -> Evaluation:
    """Measure volumes of one scan in the slices that hold metal.

    With a reference the measures of :func:`.metrics.evaluate`, without one those of
    :func:`.without_reference.evaluate_without_reference`, in the same regions for every volume.

    :param inputs: files or DICOM folders on one grid; the uncorrected one first, since where
        streaks are measured follows from it (:mod:`.streaks`).
    :param reference: the same scan without metal artifacts, on that grid.
    :param mask: metal on that grid; found in the first volume where None.
    :param csv: write one row a volume there too, whole or not at all.
    :param html: write a page with pictures and figures there, the worst volume first.
    :param overwrite: replace existing outputs, never an input.
    :param execute: measure each volume elsewhere, for example :class:`..jobs.dask.Dask`.
    :raises InputError: an unusable file, or one of another geometry, before anything is measured.
    :raises OutputError: an output exists, is an input, or cannot be written.
    """
    volumes = [read_volume(path) for path in inputs]
    truth = read_volume(reference) if reference is not None else None
    everything = [*volumes, truth] if truth is not None else volumes
    paths = [*inputs, reference] if reference is not None else list(inputs)
    outputs = _check(paths, everything, mask, csv, html, overwrite)
    metal = read_mask(mask, volumes[0]) if mask is not None else segment_metal(volumes[0]).fraction

    slices = np.flatnonzero(metal.reshape(len(metal), -1).any(axis=1))
    images = [volume.hu[slices] for volume in volumes]
    report(progress, 0.0, "measuring")
    spacing_mm = volumes[0].spacing_mm
    work = (
        _without_reference(images, metal[slices], spacing_mm)
        if truth is None
        else _against(truth.hu[slices], metal[slices], spacing_mm)
    )
    figures = _of_each(work, inputs, images, execute, progress)
    if truth is None:
        streaks = streak_amplitudes(volumes[0], [volume.hu for volume in volumes], metal)
        for one, amplitude in zip(figures, streaks, strict=True):
            one["streak_amplitude_hu"] = amplitude
    found = Evaluation(tuple(_names(inputs)), tuple(figures), truth is not None)
    with written_together(outputs, overwrite=overwrite) as places:
        if csv is not None:
            write_csv(places[csv], inputs, figures)
        if html is not None:
            page = _page(found, volumes, metal, truth)
            places[html].write_text(page, encoding="utf-8")
    report(progress, 1.0, "done")
    return found


def _check(
    paths: Sequence[Path],
    volumes: Sequence[CTVolume],
    mask: Path | None,
    csv: Path | None,
    html: Path | None,
    overwrite: bool,
) -> list[Path]:
    """The outputs that are wanted; an error for what can be seen wrong before the work.

    :param paths: of the volumes, the reference's last.
    """
    outputs = [path for path in (csv, html) if path is not None]
    if csv is not None and csv == html:
        raise OutputError(f"{csv}: named for two outputs; give each its own name")
    read = [file for one in volumes if one.source for file in one.source.files]
    for path in outputs:
        inputs = [*paths, *read, *([] if mask is None else [mask])]
        check_path_free(path, inputs=inputs, overwrite=overwrite)
    for path, volume in zip(paths, volumes, strict=True):
        _check_grid(path, volume, paths[0], volumes[0])
    return outputs


def _page(
    found: Evaluation, volumes: Sequence[CTVolume], metal: np.ndarray, truth: CTVolume | None
) -> str:
    key, measure = ("streak_amplitude_hu", "streak amplitude")
    if truth is not None:
        key, measure = ("rmse_body_hu", "RMSE over the body")
    return side_by_side_html(
        found.names,
        volumes,
        metal,
        _rows(found.figures, found.with_truth),
        [one[key] for one in found.figures],
        measure=measure,
        truth=truth,
    )


def _check_grid(path: Path, volume: CTVolume, first_path: Path, first: CTVolume) -> None:
    difference = geometry_difference(
        volume.hu.shape, volume.ijk_to_ras, first.hu.shape, first.ijk_to_ras
    )
    if difference:
        raise InputError(
            f"{path}: its geometry is not that of {first_path}: {difference};"
            " resample it to the first volume, or measure it by itself"
        )


Work = Callable[[np.ndarray], dict[str, float]]
Spacing = tuple[float, float, float]


def _of_each(
    work: Work,
    inputs: Sequence[Path],
    images: Sequence[np.ndarray],
    execute: Executor | None,
    progress: Progress | None,
) -> list[dict[str, float]]:
    """The figures of each image, in their order.

    :raises DeviceError: a process that measured one died.
    """
    if execute is None:
        figures = []
        for number, image in enumerate(images):
            report(progress, number / len(images), f"measuring {inputs[number].name}")
            figures.append(work(image))
        return figures
    found: dict[int, dict[str, float]] = {}

    def done(job: tuple[int, np.ndarray], result: dict[str, float] | None) -> None:
        if result is None:
            raise DeviceError(f"{inputs[job[0]]}: the process that measured it died; try it alone")
        found[job[0]] = result
        report(progress, len(found) / len(images), f"measured {inputs[job[0]].name}")

    with temporary_folder() as place:
        execute(partial(_numbered, work), list(enumerate(images)), done, place / "stop", None)
    return [found[number] for number in range(len(images))]


def _numbered(work: Work, job: tuple[int, np.ndarray]) -> dict[str, float]:
    return work(job[1])


def _against(truth: np.ndarray, metal: np.ndarray, spacing_mm: Spacing) -> Work:
    regions: dict[str, Any] = default_regions(truth, metal, spacing_mm)
    return partial(
        _figures, evaluate, reference_hu=truth, metal=metal, spacing_mm=spacing_mm, **regions
    )


def _without_reference(
    images: Sequence[np.ndarray], metal: np.ndarray, spacing_mm: Spacing
) -> Work:
    """Every image in the same regions, chosen so that none of them is favoured.

    Noise is measured where their mean is flat, the body is that of the first.
    """
    body = body_mask(images[0], spacing_mm)
    far = body & (metal == 0) & ~within_pixels(metal > 0, NEAR_METAL_PIXELS)
    quiet = flat_region(np.asarray(np.mean(images, axis=0, dtype=np.float32)), far)
    return partial(
        _figures,
        evaluate_without_reference,
        metal_fraction=metal,
        spacing_mm=spacing_mm,
        soft_tissue=quiet,  # streaks are measured apart
        noise_region=quiet,
        body=body,
    )


def _figures(measure: Callable[..., Any], image: np.ndarray, **given: Any) -> dict[str, float]:
    figures: dict[str, float] = measure(image, **given).as_dict()
    return figures


def _names(paths: Sequence[Path]) -> list[str]:
    """File names, or whole paths where two are the same."""
    names = [path.name or str(path) for path in paths]
    own = [n if names.count(n) == 1 else str(p) for n, p in zip(names, paths, strict=True)]
    return [one_line(name) for name in own]


def _rows(figures: Sequence[Mapping[str, float]], truth: bool) -> list[list[str]]:
    """What was measured, then a value a volume."""
    lines = []
    for key in figures[0]:
        label = " ".join(_UNITS.get(word, word) for word in key.split("_"))
        if truth and key == "streak_amplitude_hu":
            label = "range of errors HU"
        label = re.sub(r"(\d+) (\d+) mm$", r"\1-\2 mm from metal", label)
        values = (one[key] for one in figures)
        lines.append([label, *("-" if math.isnan(v) else f"{v:.5g}" for v in values)])
    return lines


def _table(names: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [["", *names], *rows]
    first, *others = (max(map(len, column)) for column in zip(*lines, strict=True))
    return "\n".join(
        "  ".join(
            [line[0].ljust(first), *(c.rjust(w) for c, w in zip(line[1:], others, strict=True))]
        )
        for line in lines
    )


def write_csv(path: Path, inputs: Sequence[Path], figures: Sequence[Mapping[str, float]]) -> None:
    """One row a volume; an empty field where a region is empty."""
    rows = [["volume", *figures[0]]]
    for one, values in zip(inputs, figures, strict=True):
        rows.append(
            [str(cell(str(one))), *("" if math.isnan(v) else f"{v:.9g}" for v in values.values())]
        )
    with path.open("w", newline="", encoding="utf-8") as file:
        csv_module.writer(file).writerows(rows)
