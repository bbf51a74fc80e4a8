"""Correct a measured scan: what :mod:`.correct` does to an image, on the sinogram itself."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..errors import InputError
from ..methods.base import Method
from ..methods.registry import require_method
from ..progress import Cancel, Progress, check_cancelled
from ..tomography import ImageGrid, MeasuredScan, Scan, as_device
from ..tomography.attenuation import mu_to_hu
from ..volume import CTVolume
from .correct import corrected_by
from .options import CorrectionOptions
from .result import CorrectionResult
from .working_grid import FINEST_MM

_WATER_TIMES = (0.4, 2.5)
"""What half of a body attenuates, in units of water: lung and bone lie inside."""


@dataclass(frozen=True)
class SinogramResult:
    """What :func:`correct_sinogram` returns.

    :param sinogram: corrected, ``(slices, views, bins)`` of the scan; outside ``trace`` bit-equal.
        Not that of ``image``, which takes the change place by place and shows bone and metal again.
    :param trace: bool, same shape: what was replaced.
    :param original: the images without correction.
    :param image: the corrected images and all that is told of a correction.
    """

    sinogram: np.ndarray = field(repr=False)
    trace: np.ndarray = field(repr=False)
    original: CTVolume
    image: CorrectionResult


def correct_sinogram(
    scan: Scan,
    metal_fraction: np.ndarray | None = None,
    method: str | Method | None = None,
    *,
    original: CTVolume | None = None,
    options: CorrectionOptions | None = None,
    progress: Progress | None = None,
    cancel: Cancel | None = None,
    **changes: Any,
) -> SinogramResult:
    """Correct a measured scan in its metal trace, and reconstruct it.

    The scan is rebinned to parallel rays; from there on all is as in
    :func:`.correct.correct_volume`, with the measured rays in the place of projected images. What a
    method fills the trace with is brought back to the rays of the scan, by the share that the slice
    gets and not, as in the image, place by place. A method that proposes an image (``prior``) fills
    the trace with the projection of that image.

    :param metal_fraction: 0..1 ``(slices, rows, cols)`` on the scan's image grid; found in the
        images when None.
    :param original: :func:`reconstruct_scan` of the scan, where it is known already.

    The other parameters and errors are those of ``correct_volume``.
    """
    options = (options or CorrectionOptions()).changed(**changes)
    if isinstance(chosen := method or options.method, str):
        require_method(chosen)
    measured: list[MeasuredScan] = []

    def scan_of(_grid: ImageGrid, device: Any, window: str) -> MeasuredScan:
        measured.append(MeasuredScan(scan, device, window))
        return measured[0]

    if original is None:
        original = reconstruct_scan(scan, options.device, options.window, cancel)
    result = corrected_by(scan_of, original, metal_fraction, method, options, progress, cancel)
    filled, trace = measured[0].filled, measured[0].trace
    assert result.strength is not None  # the images are in the working orientation
    for k in np.flatnonzero(result.strength < 1):
        share, given = result.strength[k], scan.sinogram[k]
        trace[k] &= share > 0
        filled[k] = np.where(trace[k], given + share * (filled[k] - given), given)
    return SinogramResult(filled, trace, original, result)


def reconstruct_scan(
    scan: Scan, device: str = "cpu", window: str = "ramp", cancel: Cancel | None = None
) -> CTVolume:
    """The images of a scan without correction, in HU.

    :raises InputError: pixels too fine, or a body that does not attenuate like one.
    """
    finest = min(scan.grid.spacing_mm)
    if finest < FINEST_MM:
        raise InputError(f"pixels of {finest:g} mm are too fine; give {FINEST_MM} mm or more")
    measured = MeasuredScan(scan, as_device(device), window)
    images = np.empty((len(scan.sinogram), scan.grid.rows, scan.grid.cols), np.float32)
    for k in range(len(images)):
        check_cancelled(cancel)
        mu = measured.reconstruct(measured.sinogram(np.array([k])))
        images[k] = mu_to_hu(mu)[0].cpu().numpy()
    _check_water(images, scan.mu_water_per_mm)
    return CTVolume(images, scan.ijk_to_ras)


def _check_water(hu: np.ndarray, mu_water_per_mm: float) -> None:
    """The middle slice's body is about water."""
    relative = hu[len(hu) // 2] / 1000.0 + 1.0
    body = relative[relative > 0.3 * np.percentile(relative, 98)]
    found = float(np.median(body)) if body.size else 0.0
    if not _WATER_TIMES[0] < found < _WATER_TIMES[1] or not math.isfinite(found):
        raise InputError(
            f"the body attenuates {found * mu_water_per_mm:.3g} per mm where mu_water_per_mm is "
            f"{mu_water_per_mm:g}; give all lengths in mm and water's attenuation as it was scanned"
        )
