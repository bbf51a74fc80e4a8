"""NRRD and MetaImage files through SimpleITK, after the checks that ITK leaves out."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk

from ..errors import InputError, shown
from .inputs import check_readable
from .itk_headers import check_payload, header_payload, is_sequence
from .leftovers import temporary_folder
from .several import chosen_phase

LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])
_COMPRESSION_LEVEL = 2


@contextmanager
def quiet_itk() -> Iterator[None]:
    """Keep ITK's own warnings off the user's terminal; the setting is put back afterwards."""
    shown = sitk.ProcessObject.GetGlobalWarningDisplay()
    sitk.ProcessObject.SetGlobalWarningDisplay(False)
    try:
        yield
    finally:
        sitk.ProcessObject.SetGlobalWarningDisplay(shown)


def image_from_array(array: np.ndarray, ijk_to_ras: np.ndarray) -> Any:
    """A SimpleITK image from ``array (k, j, i)`` and its affine (RAS in, LPS inside)."""
    image = sitk.GetImageFromArray(np.ascontiguousarray(array))
    lps = LPS_TO_RAS @ ijk_to_ras
    spacing = np.linalg.norm(lps[:3, :3], axis=0)
    image.SetSpacing(spacing.tolist())
    image.SetDirection((lps[:3, :3] / spacing).ravel().tolist())
    image.SetOrigin(lps[:3, 3].tolist())
    return image


def affine_of(image: Any) -> np.ndarray:
    """``(4, 4)`` from ``(i, j, k, 1)`` to RAS of a three-dimensional SimpleITK image."""
    lps = np.eye(4)
    lps[:3, :3] = np.reshape(image.GetDirection(), (3, 3)) * np.asarray(image.GetSpacing())
    lps[:3, 3] = image.GetOrigin()
    return LPS_TO_RAS @ lps


def first_line(error: Exception) -> str:
    """The telling line of an ITK exception."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__


@contextmanager
def itk_name(path: Path) -> Iterator[str]:
    """A name that ITK can open: its readers abort on one that is not UTF-8."""
    try:
        str(path).encode("utf-8")
    except UnicodeEncodeError:
        with temporary_folder() as folder:
            link = folder / f"volume{path.suffix.lower()}"
            link.symlink_to(path.absolute())
            yield str(link)
    else:
        yield str(path)


def read_itk_file(
    path: Path, *, layers: bool = False, phase: str | int | None = None
) -> tuple[np.ndarray, np.ndarray, tuple[Path, ...]]:
    """Read a .nrrd, .nhdr, .mha or .mhd file.

    :param layers: several components a voxel are layers of segments: where any of them is.
    :param phase: which volume of a sequence, from 1.
    :returns: ``array (k, j, i)`` in the type of the file, ``ijk_to_ras (4, 4)``, files read.
    :raises InputError: truncated or corrupted, colour or vector, not three-dimensional.
    :raises SeveralVolumes: a sequence, and no phase was chosen.
    """
    payload = header_payload(path)
    if payload is not None:
        if not os.path.lexists(payload.path):  # also of a name that no file can have
            name = shown(payload.path.name)
            raise InputError(f"{path}: its data file {name} is missing; put it beside it")
        check_readable(payload.path)
    reader = sitk.ImageFileReader()
    with quiet_itk(), itk_name(path) as name:
        try:
            reader.SetFileName(name)
            reader.ReadImageInformation()
            before = _check_layout(path, reader, layers, phase)
            if payload is not None:
                check_payload(path, payload, _bytes_of(reader))
            image = reader.Execute()
        except RuntimeError as error:
            raise InputError(
                f"{path}: truncated or corrupted ({first_line(error)}); export it again"
            ) from None
    if image.GetDimension() == 4:
        image = image[:, :, :, before]
    elif image.GetDimension() == 2:
        image = sitk.JoinSeries(image)
    if not layers and image.GetNumberOfComponentsPerPixel() > 1:
        image = sitk.VectorIndexSelectionCast(image, before)
    files = (path,) if payload is None or payload.path == path else (path, payload.path)
    array = sitk.GetArrayFromImage(image)
    if layers and image.GetNumberOfComponentsPerPixel() > 1:
        array = np.asarray(array.any(axis=-1), np.uint8)
    return array.reshape(array.shape[:3]), affine_of(image), files


def _check_layout(path: Path, reader: Any, layers: bool, phase: str | int | None) -> int:
    """Only scalar volumes can be CT; which of several it is."""
    components = reader.GetNumberOfComponents()
    sequence = components > 1 and not layers and is_sequence(path)
    if components > 1 and not layers and not sequence:
        raise InputError(
            f"{path}: {components} components a voxel (colour, vectors or several segments),"
            " not Hounsfield units; give the CT itself"
        )
    if "complex" in sitk.GetPixelIDValueAsString(reader.GetPixelID()):
        raise InputError(f"{path}: complex voxels, not Hounsfield units; give the CT itself")
    size = (*reader.GetSize(), 1)
    if len(size) > 5 or (len(size) == 5 and sequence):
        text = " x ".join(map(str, size[:-1]))
        raise InputError(f"{path}: {text} is not one 3-D volume; extract a single volume first")
    phases = components if sequence else (*size, 1)[3]
    return chosen_phase(path, size[:3], phases, phase)


def _bytes_of(reader: Any) -> int:
    """What the voxels of a scalar image occupy, says its header."""
    components = reader.GetNumberOfComponents()
    voxel = sitk.Image([1, 1], reader.GetPixelID(), components)
    result: int = math.prod(reader.GetSize()) * components * int(voxel.GetSizeOfPixelComponent())
    return result


def write_itk_file(path: Path, array: np.ndarray, ijk_to_ras: np.ndarray) -> None:
    """Write a .nrrd, .nhdr, .mha or .mhd file, compressed.

    :param array: ``(k, j, i)``.
    :param ijk_to_ras: ``(4, 4)``; may be sheared, both formats hold it.
    :raises OSError: with what ITK says when it cannot write.
    """
    image = image_from_array(array, ijk_to_ras)
    with quiet_itk():
        try:
            with _written_name(path) as name:
                sitk.WriteImage(image, name, True, _COMPRESSION_LEVEL)
        except RuntimeError as error:
            raise OSError(first_line(error)) from None


@contextmanager
def _written_name(path: Path) -> Iterator[str]:
    """As :func:`itk_name` for a file that is to be made."""
    try:
        str(path).encode("utf-8")
    except UnicodeEncodeError:
        if path.suffix.lower() in (".nhdr", ".mhd"):
            raise OSError("its name is not UTF-8; write .nrrd or .mha") from None
        with temporary_folder() as folder:
            beside = folder / "folder"
            beside.symlink_to(path.absolute().parent)
            made = beside / f"volume{path.suffix.lower()}"
            yield str(made)
            made.rename(path)
    else:
        yield str(path)
