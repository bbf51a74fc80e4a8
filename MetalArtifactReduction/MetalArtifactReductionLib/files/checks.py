"""Is it CT in Hounsfield units, and what is in it?"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..errors import InputError
from ..volume import PADDING_BELOW_HU, CTVolume, padding_mask, shear_deg

SMALLEST_SLICE = 16
LARGEST_SLICE = 2048
LOWEST_HU = -32768.0
HIGHEST_HU = 65535.0
_FEWEST_HU = 200.0  # air to fat alone spans 900; masks, fractions and attenuation maps span less
_BELOW_WATER_HU = -30.0
_LEAST_BELOW_WATER = 1e-3
_ODD_AIR_HU = (-800.0, -200.0)  # above: fat; below: a slightly uncalibrated scanner, or lung
_AIR_SPREAD_HU = 100.0
_FEW = 0.005
_SAMPLE = 4_000_000  # voxels are enough for percentiles; sorting all of them takes seconds


def check_is_ct(volume: CTVolume) -> None:
    """Refuse what cannot be CT in Hounsfield units.

    :raises InputError: one line with the value and the remedy: slices too small or too large, NaN
        or infinite values, values out of any HU range, nothing below water (MR, PET, a mask, or
        stored values whose offset was not applied).
    """
    hu = volume.hu
    name = _name(volume)
    rows, cols = hu.shape[1:]
    if hu.size == 0 or min(rows, cols) < SMALLEST_SLICE or max(rows, cols) > LARGEST_SLICE:
        raise InputError(
            f"{name}: axial slices of {cols} x {rows} voxels, but {SMALLEST_SLICE} to"
            f" {LARGEST_SLICE} a side are possible; crop or resample the volume"
        )
    low, high = float(hu.min()), float(hu.max())
    if not (np.isfinite(low) and np.isfinite(high)):
        _raise_not_finite(hu, name)
    if low < LOWEST_HU or high > HIGHEST_HU:
        raise InputError(
            f"{name}: values from {low:g} to {high:g} are out of any HU range"
            f" ({LOWEST_HU:g} to {HIGHEST_HU:g}); give the CT in Hounsfield units"
        )
    if high - low < _FEWEST_HU:
        raise InputError(
            f"{name}: values from {low:g} to {high:g} are not Hounsfield units but a mask, a map or"
            " a normalised image; give the CT itself"
        )
    some = _sampled(hu)
    below = some < _BELOW_WATER_HU
    below &= some > LOWEST_HU  # the lowest 16-bit number marks voxels without a value
    if np.count_nonzero(below) < _LEAST_BELOW_WATER * some.size:
        offset = _missing_offset(hu)
        if offset:
            raise InputError(
                f"{name}: values from {low:g} to {high:g} are CT with the offset {offset} not"
                f" applied; subtract {offset} to get Hounsfield units"
                f" (hu_offset=-{offset}, --hu-offset -{offset})"
            )
        raise InputError(
            f"{name}: values from {low:g} to {high:g} hold no air or fat (below"
            f" {_BELOW_WATER_HU:g}), so it is not CT in Hounsfield units (MR or PET?); give the CT"
        )


def _name(volume: CTVolume) -> str:
    source = volume.source
    return str(source.path) if source is not None and source.path is not None else "volume"


def _raise_not_finite(hu: np.ndarray, name: str) -> None:
    broken = ~np.isfinite(hu)
    k, j, i = (int(index[0]) for index in np.nonzero(broken))
    raise InputError(
        f"{name}: {np.count_nonzero(broken)} voxels are NaN or infinite, the first in slice {k},"
        f" row {j}, column {i}; replace them by -1000 (air)"
    )


def _missing_offset(hu: np.ndarray) -> int:
    """By how much air and soft tissue lie too high (1000, 1024, 8192, 32768, ...), else 0.

    The exact one is where this file's air lies: 1000 above Hounsfield's where that is about 0.
    """
    sample = _sampled(hu).astype(np.float32)
    for offset in (1024, 1000, 8192, 32768):
        tissue = np.mean(np.abs(sample - offset) < 150)
        near = sample[np.abs(sample - (offset - 1000)) < 60]
        if tissue > 0.05 and near.size > 0.02 * sample.size:
            near = near[near > sample.min()]  # without what is filled in outside the scan
            at_zero = near.size > 0.02 * sample.size and abs(float(np.median(near))) < 12
            return 1000 if offset == 1024 and at_zero else offset
    return 0


def air_note(hu: np.ndarray) -> str:
    """A sentence where air does not lie near -1000 HU (uncalibrated cone-beam CT); else empty.

    The darkest plateau of values that begins at the volume's rim is taken for air.
    """
    rim = np.concatenate([hu[:, 0], hu[:, -1], hu[:, :, 0], hu[:, :, -1]], axis=None)
    rim = rim[rim > PADDING_BELOW_HU]
    if not rim.size:
        return ""
    air = float(np.median(rim))
    flat = np.mean(np.abs(rim - air) < _AIR_SPREAD_HU)
    if not _ODD_AIR_HU[0] < air < _ODD_AIR_HU[1] or flat < 0.9:
        return ""
    inside = hu[hu > PADDING_BELOW_HU] if hu.min() <= PADDING_BELOW_HU else hu
    if np.count_nonzero(inside < air - _AIR_SPREAD_HU) > _FEW * inside.size:
        return ""
    return (
        f"air lies at about {air:.0f}, not -1000: the values are not calibrated Hounsfield units,"
        " so thresholds and the correction are approximate"
    )


def _sampled(hu: np.ndarray) -> np.ndarray:
    """Every n-th voxel, with n odd so that no column or row is systematically left out."""
    flat = hu.ravel()
    step = max(1, flat.size // _SAMPLE)
    return flat[:: step | 1]


def orientation(ijk_to_ras: np.ndarray) -> str:
    """Where column, row and slice index run to, for example ``"LPS"`` (the usual axial CT)."""
    letters = ("LR", "PA", "IS")  # (negative, positive) along R, A, S
    code = ""
    for direction in ijk_to_ras[:3, :3].T:
        axis = int(np.argmax(np.abs(direction)))
        code += letters[axis][int(direction[axis] > 0)]
    return code


def describe(volume: CTVolume) -> dict[str, Any]:
    """Facts about a volume for people: sizes, values, padding, scanner.

    :returns: values that JSON can hold; lengths in mm, no patient identity. ``padding_hu`` and
        ``clipped_at_hu`` are None where nothing is padded or clipped; the DICOM entries are there
        only for DICOM.
    """
    hu, source = volume.hu, volume.source
    slices, rows, cols = hu.shape
    slice_mm, row_mm, col_mm = volume.spacing_mm
    mask = padding_mask(hu)
    padded = int(np.count_nonzero(mask))
    inside = hu[~mask] if 0 < padded < hu.size else hu
    percentiles = np.percentile(_sampled(inside), [1, 50, 99])
    facts: dict[str, Any] = {
        "path": str(source.path) if source and source.path else None,
        "format": (source.format if source else "") or None,
        "matrix": [cols, rows, slices],
        "spacing_mm": [round(size, 6) for size in (col_mm, row_mm, slice_mm)],
        "orientation": orientation(volume.ijk_to_ras),
        "stored_as": stored_as(volume),
        "shear_deg": round(shear_deg(volume.ijk_to_ras), 3),
        "voxel_type": source.dtype if source else hu.dtype.name,
        "size_mb": round(hu.nbytes / 1e6, 1),
        "hu_min": float(hu.min()),
        "hu_max": float(hu.max()),
        "hu_percentiles": {
            name: round(float(value), 1)
            for name, value in zip(("1", "50", "99"), percentiles, strict=True)
        },
        "padding_hu": float(hu.min()) if padded else None,
        "padding_fraction": round(padded / hu.size, 4),
        "clipped_at_hu": clipped_at(hu),
        "warnings": list(source.warnings) if source else [],
    }
    if source is not None and source.dicom is not None:
        dicom = source.dicom
        facts |= {
            "series_description": dicom.series_description,
            "series_number": dicom.series_number,
            "manufacturer": dicom.manufacturer,
            "model": dicom.model,
            "kvp": dicom.kvp,
            "kernel": dicom.kernel,
            "gantry_tilt_deg": dicom.gantry_tilt_deg,
        }
    return facts


def clipped_at(hu: np.ndarray) -> float | None:
    """The HU at which the scanner cut off metal (3071 on 12-bit systems), else None.

    Unclipped metal has one brightest voxel; a plateau of equal brightest voxels is clipped.
    """
    high = hu.max()
    if high < 2000 or np.count_nonzero(hu == high) < 8:
        return None
    return float(high)


def stored_as(volume: CTVolume) -> str:
    """The plane of the stored slices."""
    axes = volume.source.axes if volume.source is not None else (0, 1, 2)
    return ("axial", "coronal", "sagittal")[axes.index(0)]
