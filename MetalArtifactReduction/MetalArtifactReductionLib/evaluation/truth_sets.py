"""Folders of (image, truth, metal) or (sinogram, truth, metal), as the field's test sets hold them.

A case is a folder with a file for each, or one file with several arrays (.h5, .mat, .npz). Which is
which follows from the names in :data:`ROLES`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import InputError
from ..files.masks import read_mask
from ..files.scan_geometry import ScanGeometry
from ..files.sinograms import arrays_of, read_sinogram, scan_with
from ..files.volumes import FORMATS, read_volume, suffix_of
from ..tomography.attenuation import mu_to_hu
from ..tomography.scan import Scan
from ..volume import CTVolume
from .comparison import ScanWithTruth

ROLES = {
    "sinogram": ("sinogram", "ma_sinogram", "sino", "projections"),
    "corrupted": ("corrupted", "uncorrected", "ma_CT", "input", "image"),
    "truth": ("truth", "reference", "gt_CT", "gt", "GT", "clean", "image"),
    "metal": ("metal", "metal-fraction", "metal_fraction", "metal_mask", "mask"),
}
"""Names of files or arrays; ``image`` is the truth where something else is corrupted."""

RESULT_NAMES = ("corrected", "result", "output", "image")
CONTAINERS = (".h5", ".hdf5", ".mat", ".npz")
_HIGHEST_MU = 25.0
"""No HU image has so little; attenuation in 1/cm of metal has."""


@dataclass(frozen=True)
class ArrayUnits:
    """What arrays without a header mean.

    :param pixel_mm: side of their pixels. :param mu_water: their value of water; None for HU.
    :param geometry: of sinograms.
    """

    pixel_mm: float | None = None
    mu_water: float | None = None
    geometry: ScanGeometry | None = None


@dataclass(frozen=True, eq=False)
class TruthCase:
    """One case of a test set. :param scan: the measured scan, where the set has one."""

    case: ScanWithTruth
    scan: Scan | None


def cases_in(folder: Path) -> list[Path]:
    """Every case below a folder, by name; :func:`read_case` reads one.

    :raises InputError: nothing that is a case.
    """
    found = [path for path in _children(folder) if path.is_dir() or _is_container(path)]
    if not found:
        raise InputError(
            f"{folder}: no case in it; give a folder of folders with image, truth and metal, or of "
            f"{', '.join(CONTAINERS)} files with these arrays"
        )
    return found


def read_result(folder: Path, case: ScanWithTruth, units: ArrayUnits) -> np.ndarray:
    """Somebody's corrected image of a case in HU: ``NAME.*`` or ``NAME/corrected.*``.

    :raises InputError: there is none, or of another shape.
    """
    stem = case.name
    files = [path for path in _children(folder) if path.is_file() and _stem(path) == stem]
    if not files and (folder / stem).is_dir():
        inside = {_stem(path): path for path in _children(folder / stem)}
        files = [inside[name] for name in RESULT_NAMES if name in inside]
    if not files:
        raise InputError(f"{folder}: no result of case {stem!r}; name it {stem}.nii.gz, .npy, ...")
    hu = _image(_only(files[0], RESULT_NAMES), units, files[0]).hu
    if hu.shape != case.reference_hu.shape:
        raise InputError(
            f"{files[0]}: shape {hu.shape}, the case has {case.reference_hu.shape}; resample it"
        )
    return hu


def read_case(path: Path, units: ArrayUnits, reconstruct: Callable[[Scan], CTVolume]) -> TruthCase:
    """One case.

    :param reconstruct: images of a scan.
    :raises InputError: a case without one of the three, or of shapes that differ.
    """
    items: dict[str, Any] = (
        {_stem(file): file for file in _children(path) if file.is_file()}
        if path.is_dir()
        else dict(arrays_of(path))
    )
    roles = _roles(items, units.geometry is not None)
    for role in ("truth", "metal"):
        if role not in roles:
            raise InputError(
                f"{path}: no {role} in it, only {', '.join(items) or 'nothing'}; name it one of "
                f"{', '.join(ROLES[role])}"
            )
    scan = None
    if units.geometry is not None and "sinogram" in roles:
        item = roles["sinogram"]
        array = read_sinogram(item, units.geometry) if isinstance(item, Path) else np.asarray(item)
        scan = scan_with(array, units.geometry, path)
        corrupted = reconstruct(scan)
    elif "corrupted" in roles:
        corrupted = _image(roles["corrupted"], units, path)
    else:
        raise InputError(
            f"{path}: no image in it, only {', '.join(items)}; name it one of "
            f"{', '.join(ROLES['corrupted'])}; a sinogram needs a geometry (--geometry)"
        )
    truth = _image(roles["truth"], units, path, corrupted).hu
    metal = _metal(roles["metal"], corrupted)
    for name, array in (("truth", truth), ("metal", metal)):
        if array.shape != corrupted.hu.shape:
            raise InputError(
                f"{path}: the {name} has shape {array.shape}, the image {corrupted.hu.shape}; "
                "bring them on one grid"
            )
    if not metal.any():
        raise InputError(f"{path}: the metal is empty; leave the case out")
    return TruthCase(ScanWithTruth(_stem(path), corrupted, truth, metal), scan)


def _roles(items: dict[str, Any], with_scan: bool) -> dict[str, Any]:
    """Role -> item, each item once; a scan needs no image."""
    left, found = dict(items), {}
    for role, names in ROLES.items():
        if role == "corrupted" and with_scan and "sinogram" in found:
            continue
        for name in names:
            if name in left:
                found[role] = left.pop(name)
                break
    return found


def _image(item: Any, units: ArrayUnits, where: Path, like: CTVolume | None = None) -> CTVolume:
    """A file or an array as a volume in HU."""
    if isinstance(item, Path) and suffix_of(item) in FORMATS:
        return read_volume(item, check=False)
    array = np.asarray(_only(item, ()), dtype=np.float32)
    array = array[None] if array.ndim == 2 else array
    if array.ndim != 3 or not np.isfinite(array).all():
        raise InputError(f"{where}: shape {array.shape}, or NaN; give (slices, rows, cols)")
    if units.mu_water is not None:
        array = mu_to_hu(array, units.mu_water)
    elif float(array.max()) < _HIGHEST_MU:
        raise InputError(
            f"{where}: values up to {float(array.max()):.3g} are attenuation, not HU; give water's "
            "attenuation (mu_water, --mu-water), for example 0.192"
        )
    if like is not None:
        return like.with_hu(array) if like.hu.shape == array.shape else CTVolume(array, np.eye(4))
    if units.pixel_mm is None:
        raise InputError(f"{where}: no size of pixels; give it (pixel_mm, --pixel-mm)")
    return CTVolume(array, np.diag([-units.pixel_mm, -units.pixel_mm, units.pixel_mm, 1.0]))


def _metal(item: Any, like: CTVolume) -> np.ndarray:
    if isinstance(item, Path) and suffix_of(item) in FORMATS:
        return read_mask(item, like)
    array = np.asarray(_only(item, ()), dtype=np.float32)
    array = array[None] if array.ndim == 2 else array
    fraction: np.ndarray = np.clip(array, 0.0, 1.0)
    return fraction


def _only(item: Any, names: Sequence[str]) -> Any:
    """An array as it is; that of a file, by name where it holds several."""
    if not isinstance(item, Path) or suffix_of(item) in FORMATS:
        return item
    arrays = arrays_of(item)
    named = [name for name in names if name in arrays] or list(arrays)
    if len(arrays) > 1 and not any(name in arrays for name in names):
        raise InputError(f"{item}: holds {', '.join(arrays)}; keep one array in a file")
    return arrays[named[0]]


def _children(folder: Path) -> Iterable[Path]:
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder; check the name")
    return sorted(path for path in folder.iterdir() if not path.name.startswith("."))


def _is_container(path: Path) -> bool:
    return path.suffix.lower() in CONTAINERS


def _stem(path: Path) -> str:
    name = path.name
    return name if path.is_dir() else name[: len(name) - len(suffix_of(path))]
