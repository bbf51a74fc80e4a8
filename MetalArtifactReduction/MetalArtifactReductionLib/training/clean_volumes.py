"""The clean CTs that samples are simulated in."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from ..errors import InputError
from ..files.volumes import read_volume
from ..volume import CTVolume
from .slice_bank import CleanSlices, read_bank


@dataclass(frozen=True, eq=False)
class CleanVolume:
    """A CT, or the part of it that may be used.

    :param name: its file's name without the ending.
    :param volume: these slices.
    """

    name: str
    volume: CTVolume


def read_clean(entries: Sequence[str], data: Path | None, least_slices: int) -> list[CleanVolume]:
    """Read CTs by name.

    :param entries: ``"name.nii.gz"``, or ``"name.nii.gz:55-133"`` for slices 55 to 133 alone; a
        folder of packed slices, or a file of them (.npz), see :mod:`.slice_bank`.
    :param data: the folder that they lie in.
    :param least_slices: fewer cannot be used.
    :raises InputError: no folder, no such file, no such slices.
    """
    if not entries:
        raise InputError("no volumes to train on; name some in the configuration (volumes)")
    if data is None:
        raise InputError("the folder with the CTs is not given (data=..., --data FOLDER)")
    volumes = []
    for entry in entries:
        found = re.fullmatch(r"(.+?)(?::(\d+)-(\d+))?", entry)
        assert found is not None  # any text matches
        file, first, last = found.groups()
        if (data / entry).suffix == ".npz" or _is_packed(data / entry):
            volumes += [_unpacked(one) for one in read_bank(data / entry, least_slices).volumes]
            continue
        volume = read_volume(data / file)
        if first is not None:
            volume = _between(volume, int(first), int(last), entry)
        if len(volume.hu) < least_slices:
            raise InputError(f"{entry}: {len(volume.hu)} slices; {least_slices} are needed")
        volumes.append(CleanVolume(re.sub(r"(\.nii)?\.[^.]+$", "", Path(file).name), volume))
    return volumes


def _is_packed(path: Path) -> bool:
    return path.is_dir() and any(path.glob("*.npz"))


def _unpacked(packed: CleanSlices) -> CleanVolume:
    """With slices of 2 mm: what is simulated in them does not ask for their distance."""
    spacing = np.diag([-packed.pixel_mm, -packed.pixel_mm, 2.0, 1.0])
    return CleanVolume(packed.name, CTVolume(packed.hu(0, len(packed.steps)), spacing))


def _between(volume: CTVolume, first: int, last: int, entry: str) -> CTVolume:
    if not 0 <= first <= last < len(volume.hu):
        raise InputError(f"{entry}: the volume has the slices 0-{len(volume.hu) - 1}")
    matrix = volume.ijk_to_ras.copy()
    matrix[:3, 3] += first * matrix[:3, 2]
    return replace(volume, hu=volume.hu[first : last + 1].copy(), ijk_to_ras=matrix)
