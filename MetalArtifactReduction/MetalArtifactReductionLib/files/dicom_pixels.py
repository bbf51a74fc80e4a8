"""Pixels of CT slices: stored values and what makes Hounsfield units of them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

from ..errors import InputError
from .dicom_deflated import check_deflated
from .dicom_series import Slice
from .inputs import MOST_UNPACKED


class PixelReader:
    """Reads slice after slice; a multi-frame file is opened once for all its frames."""

    def __init__(self) -> None:
        self._path: Path | None = None
        self._dataset: Any = None

    def stored(self, item: Slice) -> tuple[np.ndarray, float, float]:
        """Values ``(rows, cols)``, and the slope and intercept that make HU of them.

        :raises InputError: a truncated file, or a compression that nothing here can read.
        """
        try:
            if item.frame is not None:
                return self._frame(item), *rescale_of(item.header)
            dataset = opened(item.path)
            syntax = dataset.file_meta.get("TransferSyntaxUID")
            if syntax is not None and syntax.is_encapsulated:
                return _decompressed(item.path), 1.0, 0.0
            stored = _stored_bits(np.asarray(dataset.pixel_array), dataset)
        except InputError:
            raise
        except Exception as error:  # pydicom raises many kinds for a file cut short
            text = " ".join(str(error).split())[:160]
            raise InputError(
                f"{item.path}: truncated or corrupted ({text}); copy the series again"
            ) from None
        return stored, *rescale_of(item.header)

    def _frame(self, item: Slice) -> np.ndarray:
        from pydicom.pixels.utils import pixel_array

        if self._path != item.path:
            self._path, self._dataset = item.path, opened(item.path)
        try:
            frame = pixel_array(self._dataset, index=item.frame)
        except (NotImplementedError, RuntimeError) as error:
            syntax = self._dataset.file_meta.get("TransferSyntaxUID")
            if syntax is None or not syntax.is_encapsulated:
                raise
            raise InputError(
                f"{item.path}: compressed frames cannot be read ({syntax.name},"
                f" {type(error).__name__}); export the series uncompressed"
            ) from None
        return _stored_bits(np.asarray(frame), self._dataset)


def opened(path: Path, *, pixels: bool = True) -> Any:
    """A whole file, also one without preamble, whose encoding its own bytes tell.

    :raises OSError, InvalidDicomError, ValueError: as pydicom.
    """
    check_deflated(path)
    dataset = pydicom.dcmread(path, force=True, stop_before_pixels=not pixels)
    if "TransferSyntaxUID" not in dataset.file_meta:
        implicit, little = dataset.original_encoding
        plain = ImplicitVRLittleEndian if implicit else ExplicitVRLittleEndian
        dataset.file_meta.TransferSyntaxUID = plain if little else ExplicitVRBigEndian
    return dataset


def rescale_of(header: Any) -> tuple[float, float]:
    """Slope and intercept from stored values to HU."""
    slope, intercept = header.get("RescaleSlope"), header.get("RescaleIntercept")
    return 1.0 if slope is None else float(slope), 0.0 if intercept is None else float(intercept)


def _stored_bits(stored: np.ndarray, dataset: Any) -> np.ndarray:
    """The bits that hold the value: old files keep overlays in the others."""
    allocated, bits, high = dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit
    if bits < allocated and stored.dtype.kind in "iu":
        # Up to the top and down again; the way down repeats the sign of a signed type.
        stored = (stored << (allocated - 1 - high)) >> (allocated - bits)
    return stored


def _decompressed(path: Path) -> np.ndarray:
    """HU of a compressed slice: GDCM inside SimpleITK knows every lossless scheme."""
    import SimpleITK as sitk

    from .itk import first_line, itk_name, quiet_itk

    with quiet_itk(), itk_name(path) as name:
        try:
            return sitk.GetArrayFromImage(sitk.ReadImage(name)).squeeze()
        except RuntimeError as error:
            raise InputError(
                f"{path}: compressed pixels cannot be read ({first_line(error)});"
                " export the series uncompressed"
            ) from None


def _check_claim(slices: Sequence[Slice]) -> None:
    """Refuse before allocating it what the files cannot hold, however they are compressed."""
    voxels = len(slices) * int(slices[0].header.Rows) * int(slices[0].header.Columns)
    there = sum(path.stat().st_size for path in {item.path for item in slices})
    if voxels > MOST_UNPACKED * there:
        raise InputError(
            f"{slices[0].path}: truncated, {there} bytes do not hold {voxels} voxels; copy the"
            " series again"
        )


def hounsfield_units(
    slices: Sequence[Slice],
) -> tuple[np.ndarray, str, tuple[tuple[float, float], ...]]:
    """HU ``(slices, rows, cols)``, the type that holds them exactly, slope and intercept."""
    first = slices[0].header
    _check_claim(slices)
    hu = np.empty((len(slices), first.Rows, first.Columns), dtype=np.float32)
    rescale = []
    whole = True
    pixels = PixelReader()
    for target, item in zip(hu, slices, strict=True):
        stored, slope, intercept = pixels.stored(item)
        whole &= stored.dtype.kind in "iu" and slope.is_integer() and intercept.is_integer()
        target[...] = stored.astype(np.float64) * slope + intercept
        rescale.append(rescale_of(item.header))
    limits = np.iinfo(np.int16)
    fits = limits.min <= float(hu.min()) and float(hu.max()) <= limits.max
    dtype = ("int16" if fits else "int32") if whole else "float32"
    return hu, dtype, tuple(rescale)
