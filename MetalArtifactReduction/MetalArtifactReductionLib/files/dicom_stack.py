"""Slices of one series in their places: order, acquisitions, copies, gaps, and the affine.

Slices are ordered by position along their normal, never by file name or instance number.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import InputError
from .dicom_headers import number_of, text_of, whole_of
from .dicom_pixels import PixelReader
from .dicom_series import MOST_LISTED, Slice, series_row
from .several import ALL, SeveralVolumes

UNNUMBERED = "?"
"""Chooses the slices that name no acquisition where others do."""

_SAME_POSITION_MM = 1e-3
_EVEN = 0.05  # share of the spacing by which a position may stray from even spacing
_ROUNDED_MM = 0.06  # more than the error of positions that were rounded to 0.1 mm
_WHOLE = 0.15  # how far a gap may be from a whole number of spacings to count missing slices
_TOLD_MM = 0.01  # straying beyond this is told to the user
_TOLD_COSINE = 1e-4
_ACQUISITIONS = {
    "AcquisitionNumber": "acquisition",
    "TemporalPositionIdentifier": "temporal position",
    "TemporalPositionIndex": "temporal position",
    "NominalPercentageOfCardiacPhase": "cardiac phase",
}


@dataclass(frozen=True)
class Stack:
    """Where the slices lie.

    :param ijk_to_ras: ``(4, 4)`` from ``(col, row, slice, 1)`` to RAS in mm; of unevenly spaced
        slices the third column is their mean distance.
    :param tilt_deg: between the slices' normal and the direction in which they are stacked.
    :param uneven_mm: distance of each slice from the first where they are not evenly spaced.
    """

    ijk_to_ras: np.ndarray
    tilt_deg: float
    uneven_mm: tuple[float, ...] = ()


def axes_of(header: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Unit vectors along a row (column index), along a column (row index), and the normal."""
    cosines = np.array([float(x) for x in header.ImageOrientationPatient])
    along_row, along_column = cosines[:3], cosines[3:]
    along_row = along_row / np.linalg.norm(along_row)
    along_column = along_column / np.linalg.norm(along_column)
    return along_row, along_column, np.cross(along_row, along_column)


def along_normal(slices: Sequence[Slice]) -> list[Slice]:
    """In order of their position along the normal of the first."""
    normal = axes_of(slices[0].header)[2]
    return sorted(slices, key=lambda item: (float(item.position @ normal), str(item.path)))


def chosen_acquisition(
    path: Path, slices: Sequence[Slice], wanted: str | int | None
) -> list[Slice]:
    """The slices of the acquisition that was asked for; those of several are never mixed.

    Acquisitions that follow each other along the patient (a spiral in parts, a rotation a step)
    are one volume. Those that share their places, or lie between each other's, are not.

    :param wanted: AcquisitionNumber, temporal position or cardiac phase; ``"all"`` stacks them.
    :raises InputError: several overlap (listed), or none is the one that is wanted.
    """
    text = "" if wanted is None else str(wanted).strip()
    if text.lower() == ALL:
        return list(slices)
    found: list[str] = []
    for keyword, name in _ACQUISITIONS.items():
        groups: dict[str, list[Slice]] = {}
        for item in slices:
            groups.setdefault(text_of(item.header, keyword), []).append(item)
        if wanted is not None and (key := "" if text == UNNUMBERED else text) in groups:
            return groups[key]
        found += [f"{name} {key} ({len(group)} slices)" for key, group in groups.items() if key]
        if wanted is None and len(groups) > 1 and _overlap(list(groups.values())):
            shown = [f"{key or UNNUMBERED} ({len(one)} slices)" for key, one in groups.items()]
            listed = ", ".join(shown[:MOST_LISTED]) + ", ..." * (len(shown) > MOST_LISTED)
            raise SeveralVolumes(
                f"{path}: holds {len(groups)} {name}s in one place: {listed}; choose one"
                " (acquisition=..., --acquisition), or 'all' to stack them",
                [series_row("", one) | {"acquisition": key} for key, one in groups.items()],
                [key or UNNUMBERED for key in groups],
            )
    if wanted is not None:
        listed = ", ".join(found[:MOST_LISTED]) or "none is numbered"
        raise InputError(f"{path}: no acquisition {wanted!r} among {listed}; choose one of these")
    return list(slices)


def _overlap(groups: Sequence[Sequence[Slice]]) -> bool:
    """Whether one group has a slice strictly inside, or exactly where, another has its own."""
    normal = axes_of(groups[0][0].header)[2]
    along = [np.array([float(item.position @ normal) for item in group]) for group in groups]
    uids = [
        {(text_of(item.header, "SOPInstanceUID"), item.frame) for item in group} for group in groups
    ]
    for index, mine in enumerate(along):
        for other in range(index):
            theirs = along[other]
            low, high = theirs.min() - _SAME_POSITION_MM, theirs.max() + _SAME_POSITION_MM
            inside = bool(((mine > low) & (mine < high)).any())
            around = bool(((theirs > mine.min()) & (theirs < mine.max())).any())
            if (inside or around) and uids[index] != uids[other]:
                return True
    return False


def without_duplicates(path: Path, slices: list[Slice], notes: list[str]) -> list[Slice]:
    """Drop copies of a slice; two different slices in one place are an error."""
    normal = axes_of(slices[0].header)[2]
    if len(slices) > 2 and len({tuple(item.position) for item in slices}) == 1:
        raise InputError(
            f"{path}: all {len(slices)} slices have the same {_place(slices[0])}"
            " (ImagePositionPatient), so nothing tells where they lie; export the series again"
        )
    kept: list[Slice] = []
    pixels = PixelReader()
    for item in slices:
        if not kept or (item.position - kept[-1].position) @ normal > _SAME_POSITION_MM:
            kept.append(item)
            continue
        uids = [(text_of(one.header, "SOPInstanceUID"), one.frame) for one in (item, kept[-1])]
        if uids[0] != uids[1] and not np.array_equal(
            pixels.stored(item)[0], pixels.stored(kept[-1])[0]
        ):
            acquisitions = sorted({text_of(s.header, "AcquisitionNumber") or "?" for s in slices})
            raise InputError(
                f"{path}: two different slices at {_place(item)} (acquisitions"
                f" {', '.join(acquisitions)}); keep the files of one acquisition only"
            )
    if len(kept) < len(slices):
        notes.append(f"{len(slices) - len(kept)} duplicate slices: left aside")
    return kept


def _place(item: Slice) -> str:
    return "position ({})".format(", ".join(f"{x:g}" for x in item.position))


def stacked(path: Path, slices: Sequence[Slice], notes: list[str]) -> Stack:
    """The affine of slices in order, and what of it should be known.

    :param notes: gets sentences for the user.
    :raises InputError: missing slices, slices beside a straight line, an impossible spacing.
    """
    header = slices[0].header
    along_row, along_column, normal = axes_of(header)
    row_mm, col_mm = (float(x) for x in header.PixelSpacing)
    positions = np.array([item.position for item in slices])
    uneven: tuple[float, ...] = ()
    if len(slices) > 1:
        step = (positions[-1] - positions[0]) / (len(slices) - 1)
        if _is_uneven(path, slices, positions @ normal):
            uneven = tuple(float(x) for x in (positions - positions[0]) @ normal)
            gaps = np.diff(uneven)
            notes.append(
                f"uneven slice spacing, {gaps.min():.4g} to {gaps.max():.4g} mm: slices are"
                " corrected one by one, and only DICOM keeps their places"
            )
            share = np.array(uneven) / max(uneven[-1], 1e-9)
            even = positions[0] + share[:, None] * (positions[-1] - positions[0])
        else:
            even = positions[0] + np.arange(len(slices))[:, None] * step
        stray = float(np.linalg.norm(positions - even, axis=1).max())
        if stray > max(_EVEN * float(np.linalg.norm(step)), 2 * _ROUNDED_MM):
            raise InputError(
                f"{path}: slices stray by up to {stray:.3g} mm from a straight line (several"
                " acquisitions in one series?); keep the files of one acquisition only"
            )
        if stray > _TOLD_MM:
            notes.append(f"slice positions stray by up to {stray:.3g} mm from even spacing")
    else:
        thickness = number_of(header, "SpacingBetweenSlices") or number_of(header, "SliceThickness")
        step = normal * abs(thickness or 1.0)
    lps = np.eye(4)
    lps[:3, 0] = along_row * col_mm
    lps[:3, 1] = along_column * row_mm
    lps[:3, 2] = step
    lps[:3, 3] = positions[0]
    sine = float(np.linalg.norm(np.cross(normal, step / np.linalg.norm(step))))
    if not np.isfinite(lps).all() or min(row_mm, col_mm) <= 0:
        raise InputError(f"{path}: pixel spacing {row_mm:g} x {col_mm:g} mm; export it again")
    tilt_deg = float(np.degrees(np.arcsin(min(sine, 1.0))))
    return Stack(np.diag([-1.0, -1.0, 1.0, 1.0]) @ lps, tilt_deg, uneven)


def _is_uneven(path: Path, slices: Sequence[Slice], along_mm: np.ndarray) -> bool:
    """Whether the spacing changes; slices that are missing raise, as whole gaps tell them."""
    gaps = np.diff(along_mm)
    usual = float(np.median(gaps))
    whole = np.rint(gaps / usual)
    numbers = [whole_of(item.header, "InstanceNumber") for item in slices]
    consecutive = None not in numbers and set(np.diff(np.array(numbers))) in ({1}, {-1})
    if (
        whole.max() > 1
        and np.abs(gaps / usual - whole).max() < _WHOLE
        and whole.min() == 1
        and not consecutive  # else there never was a slice in the gap
    ):
        holes = np.nonzero(whole > 1)[0]
        places = ", ".join(
            f"{int(whole[k]) - 1} after {_place(slices[k])}" for k in holes[:MOST_LISTED]
        )
        raise InputError(
            f"{path}: {int((whole - 1).sum())} of {int(whole.sum()) + 1} slices are missing"
            f" ({places}); export the complete series"
        )
    even = np.linspace(along_mm[0], along_mm[-1], len(along_mm))
    return bool(np.abs(along_mm - even).max() > max(_EVEN * usual, _ROUNDED_MM))


def missing_at_an_end(slices: Sequence[Slice]) -> list[str]:
    """What numbers in the headers say of slices beyond the first and the last one.

    A hole in the middle shows in the positions and is refused; at an end only numbers show it, and
    a part of a series can be corrected, so that it is told and no more.
    """
    numbers = [whole_of(item.header, "InstanceNumber") for item in slices]
    found = [number for number in numbers if number is not None]
    notes = []
    in_order = len(found) == len(slices) and set(np.diff(found)) in ({1}, {-1})
    if in_order and min(found) > 1:
        notes.append(
            f"the instance numbers are {min(found)} to {max(found)}: {min(found) - 1} slices may"
            " be missing at one end; export the complete series if they are"
        )
    acquisitions: dict[str, tuple[int, int]] = {}
    for item in slices:
        told = whole_of(item.header, "ImagesInAcquisition")
        name = text_of(item.header, "AcquisitionNumber")
        count = acquisitions.get(name, (0, 0))[0] + 1
        acquisitions[name] = count, told or 0
    for count, told_count in acquisitions.values():
        if count < told_count and not notes:
            notes.append(
                f"the scanner made {told_count} images in this acquisition, {count} are here:"
                " slices may be missing at an end; export the complete series if they are"
            )
    return notes


def strays_in_orientation(slices: Sequence[Slice]) -> list[str]:
    """A note where the orientation of slices differs beyond the fourth decimal."""
    cosines = np.array([[float(x) for x in s.header.ImageOrientationPatient] for s in slices])
    most = float(np.ptp(cosines, axis=0).max())
    if most <= _TOLD_COSINE:
        return []
    return [
        f"the slices' orientation differs by {np.degrees(most):.2g} deg: the first one's counts"
    ]
