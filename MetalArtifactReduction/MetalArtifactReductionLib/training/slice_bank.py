"""Clean slices and the metal that fits them in one small file, for machines that have only torch.

Reading CTs and voxelising implants need SimpleITK and VTK; a training machine often has neither.
``mar train METHOD --cts FOLDER`` (:mod:`.packing`) does both beforehand. HU are kept in steps of
:data:`STEP_HU`, below the noise of every CT, so that a slice takes about 100 kB.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from lzma import LZMAError
from pathlib import Path
from zipfile import ZIP_LZMA, BadZipFile, ZipFile

import numpy as np

from ..errors import InputError
from ..files.inputs import check_readable
from ..files.whole import written_whole

STEP_HU = 4
LOWEST_HU, HIGHEST_HU = -1000, 3000
FORMAT = 1


@dataclass(frozen=True, eq=False)
class CleanSlices:
    """Consecutive slices of one CT without metal.

    :param name: of the CT.
    :param steps: ``(slices, rows, cols)`` uint16: ``(HU - LOWEST_HU) / STEP_HU``.
    :param pixel_mm: of the square pixels.
    """

    name: str
    steps: np.ndarray
    pixel_mm: float

    def hu(self, first: int, count: int) -> np.ndarray:
        """Float32 HU of some slices."""
        chosen = self.steps[first : first + count].astype(np.float32)
        return chosen * STEP_HU + LOWEST_HU


@dataclass(frozen=True, eq=False)
class FittedMetal:
    """Implants placed in the anatomy of one CT of the bank.

    :param volume: index of the CT.
    :param corner: slice, row, column of the box that holds them.
    :param materials: names.
    :param shares: uint8 ``(materials, slices, rows, cols)``, 255 for a voxel full of metal.
    """

    volume: int
    corner: tuple[int, int, int]
    materials: tuple[str, ...]
    shares: np.ndarray


@dataclass(frozen=True, eq=False)
class SliceBank:
    """What :func:`read_bank` gives."""

    volumes: tuple[CleanSlices, ...]
    metal: tuple[FittedMetal, ...]


def to_steps(hu: np.ndarray) -> np.ndarray:
    """HU -> uint16 steps."""
    steps = np.rint((np.clip(hu, LOWEST_HU, HIGHEST_HU) - LOWEST_HU) / STEP_HU)
    result: np.ndarray = steps.astype(np.uint16)
    return result


def averaged(array: np.ndarray, count: int) -> np.ndarray:
    """Mean of every ``count`` neighbouring slices; what is left over at the end goes."""
    whole = len(array) // count * count
    mean: np.ndarray = array[:whole].reshape(-1, count, *array.shape[1:]).mean(axis=1)
    return mean


def fitted_metal(volume: int, fractions: Mapping[str, np.ndarray]) -> FittedMetal | None:
    """Implants cut to the box that holds them; None where there are none.

    :param volume: index of the CT.
    :param fractions: material -> share of each voxel of the CT.
    """
    present = {name: share for name, share in fractions.items() if share.any()}
    if not present:
        return None
    anywhere = np.any([share > 0 for share in present.values()], axis=0)
    box = tuple(
        slice(int(at.min()), int(at.max()) + 1)
        for at in (np.flatnonzero(anywhere.any(axis=axes)) for axes in ((1, 2), (0, 2), (0, 1)))
    )
    cut = np.stack([np.rint(255 * share[box].clip(0, 1)) for share in present.values()])
    corner = (box[0].start, box[1].start, box[2].start)
    return FittedMetal(volume, corner, tuple(present), cut.astype(np.uint8))


def write_bank(
    path: Path,
    volumes: Sequence[CleanSlices],
    metal: Sequence[FittedMetal],
    *,
    overwrite: bool = False,
) -> None:
    """Write a bank; the file appears whole or not at all.

    :raises OutputError: exists already, no permission, disk full.
    """
    arrays: dict[str, np.ndarray] = {"format": np.array(FORMAT)}
    arrays["names"] = np.array([v.name for v in volumes])
    arrays["pixel_mm"] = np.array([v.pixel_mm for v in volumes])
    for i, volume in enumerate(volumes):
        # Differences along the row, the sign in the lowest bit, low and high bytes apart: a third
        # less after compression.
        change = np.diff(volume.steps.astype(np.int32), axis=2, prepend=0)
        zigzag = np.where(change < 0, -2 * change - 1, 2 * change).astype(np.uint16)
        arrays[f"low{i}"] = (zigzag & 255).astype(np.uint8)
        arrays[f"high{i}"] = (zigzag >> 8).astype(np.uint8)
    for i, fitted in enumerate(metal):
        arrays[f"place{i}"] = np.array([fitted.volume, *fitted.corner])
        arrays[f"materials{i}"] = np.array(fitted.materials)
        arrays[f"shares{i}"] = fitted.shares
    # The container of numpy's .npz with a better compression, which numpy reads as well.
    with (
        written_whole(path, overwrite=overwrite) as temporary,
        ZipFile(temporary, "w", ZIP_LZMA) as archive,
    ):
        for name, array in arrays.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                np.lib.format.write_array(member, array, allow_pickle=False)


def read_bank(path: Path, slices: int = 1) -> SliceBank:
    """Read what :func:`write_bank` wrote.

    :param path: a file, its name without ``.npz``, or a folder of such files.
    :param slices: that every CT must have.
    :raises InputError: missing, no such file, or a CT with too few slices.
    """
    if path.is_dir():
        return _joined(path, slices)
    path = path.with_name(f"{path.name.removesuffix('.npz')}.npz")
    if os.path.lexists(path):
        check_readable(path)
    try:
        # Opened here: numpy leaves a file open that is no archive.
        with path.open("rb") as opened, np.load(opened, allow_pickle=False) as file:
            arrays: Mapping[str, np.ndarray] = {name: file[name] for name in file.files}
        if int(arrays["format"]) > FORMAT:
            raise InputError(f"{path}: written by a later version; update this software")
        volumes = []
        for i, name in enumerate(arrays["names"]):
            zigzag = arrays[f"low{i}"].astype(np.int32) + 256 * arrays[f"high{i}"].astype(np.int32)
            change = np.where(zigzag & 1, -(zigzag + 1) // 2, zigzag // 2)
            steps = np.cumsum(change, axis=2).astype(np.uint16)
            volumes.append(CleanSlices(str(name), steps, float(arrays["pixel_mm"][i])))
        metal: list[FittedMetal] = []
        while f"place{len(metal)}" in arrays:
            i = len(metal)
            volume, *corner = (int(v) for v in arrays[f"place{i}"])
            materials = tuple(str(m) for m in arrays[f"materials{i}"])
            place = (corner[0], corner[1], corner[2])
            metal.append(FittedMetal(volume, place, materials, arrays[f"shares{i}"]))
    except FileNotFoundError:
        raise InputError(f"{path}: no such file; make it with mar train METHOD --cts") from None
    # EOFError: an empty file. TypeError, before Python 3.11 AttributeError: a single array.
    except (
        *(OSError, EOFError, TypeError, AttributeError, ValueError, KeyError),
        *(BadZipFile, LZMAError),
    ) as error:
        raise InputError(f"{path}: is no bank of training slices ({error})") from None
    if not volumes:
        raise InputError(f"{path}: holds no slices")
    for one in volumes:
        if len(one.steps) < slices:
            raise InputError(f"{path}: {one.name} has {len(one.steps)} slices; {slices} are needed")
    return SliceBank(tuple(volumes), tuple(metal))


def _joined(folder: Path, slices: int) -> SliceBank:
    """The files of a folder as one bank."""
    volumes: list[CleanSlices] = []
    metal: list[FittedMetal] = []
    for file in sorted(folder.glob("*.npz")):
        one = read_bank(file, slices)
        metal += [replace(fitted, volume=fitted.volume + len(volumes)) for fitted in one.metal]
        volumes += one.volumes
    if not volumes:
        raise InputError(f"{folder}: is a folder without packed slices (.npz); give another")
    return SliceBank(tuple(volumes), tuple(metal))
