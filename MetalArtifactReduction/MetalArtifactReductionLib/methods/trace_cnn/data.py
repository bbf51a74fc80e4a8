"""The hips of the public CTs that the experiments are made on, and real metal laid on them.

The files are named in the data folder's own description; nobody's metal but that of the femoral
nail is used, so training and test see metal of the same kind.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from scipy import ndimage

from ...errors import InputError
from ...files.volumes import read_volume
from ...metal import segment_metal
from ...training.clean_blocks import placed
from ...training.slice_bank import SliceBank
from ...volume import CTVolume
from .brightness import body_quantiles
from .near_metal import NearMetalParameters, near_metal_slices
from .samples import HipPatient


@dataclass(frozen=True)
class HipCase:
    """Where the metal lies in a CT without any.

    :param file: in the data folder.
    :param hip: first and last slice that the metal is laid on.
    :param centre: of the metal, row and column.
    """

    file: str
    hip: tuple[int, int]
    centre: tuple[float, float]


CASES = {
    "ov": HipCase("tcga_ov_09-2043_abdomen_pelvis.nii.gz", (10, 22), (262, 165)),
    "coad": HipCase("tcga_coad_AY-4070A_abdomen_pelvis.nii.gz", (6, 13), (280, 128)),
    "acrin": HipCase("acrin_flt_breast_001_abdomen_pelvis.nii.gz", (1, 8), (258, 162)),
}

FEWEST_MASKS, MOST_SLICES = 8, 22
"""Of a packed CT: slices of each implant, and clean slices, as many as there are about a hip."""

NAIL = "totalseg_example_hip_nail_3mm.nii.gz"


@dataclass(frozen=True, eq=False)
class Hip:
    """A clean CT and metal for it.

    :param name: a key of :data:`CASES`.
    :param volume: the CT.
    :param masks: metal fraction of each slice of the nail, on the CT's grid ``(m, rows, cols)``.
    :param hip: indices of the slices that the metal is laid on; none: all are trained on.
    """

    name: str
    volume: CTVolume
    masks: np.ndarray
    hip: np.ndarray

    @cached_property
    def metal_fraction(self) -> np.ndarray:
        """The nail through the hip's slices, ``(slices, rows, cols)``."""
        fraction = np.zeros(self.volume.hu.shape, np.float32)
        which = np.linspace(0, len(self.masks) - 1, len(self.hip)).round().astype(int)
        fraction[self.hip] = self.masks[which]
        return fraction

    @cached_property
    def near(self) -> np.ndarray:
        """The clean slices to train on: up to 11 above and 11 below the hip."""
        if len(self.hip) == 0:
            return np.arange(len(self.volume.hu))
        return near_metal_slices(self.metal_fraction, self.volume.hu, NearMetalParameters())

    @cached_property
    def quantiles(self) -> np.ndarray:
        """Of the body's brightness, see :mod:`.brightness`."""
        return body_quantiles(1.0 + self.volume.hu / 1000.0)

    def patient(self, slices: np.ndarray, brightness: float = 1.0) -> HipPatient:
        """The slices as samples are made of them."""
        row, col = self.volume.spacing_mm[1:]
        return HipPatient(self.name, self.volume.hu[slices], self.masks, (row, col), brightness)


def read_hips(names: Sequence[str], data: Path | None) -> list[Hip]:
    """The named cases with the nail's metal.

    :param names: keys of :data:`CASES`.
    :param data: the folder with the CTs.
    :raises InputError: unknown name, no folder, no such file.
    """
    if not names:
        raise InputError(f"no hips named; choose of {', '.join(CASES)}")
    for name in names:
        if name not in CASES:
            raise InputError(f"hip {name!r} is unknown; there are: {', '.join(CASES)}")
    if data is None:
        raise InputError("the folder with the CTs is not given (data=..., --data FOLDER)")
    nail = read_volume(data / NAIL)
    fraction = segment_metal(nail, "kmeans").fraction
    with_metal = np.flatnonzero(fraction.reshape(len(fraction), -1).any(axis=1))
    hips = []
    for name in names:
        case = CASES[name]
        volume = read_volume(data / case.file)
        masks = np.stack([_laid_on(fraction[k], nail, volume, case.centre) for k in with_metal])
        hips.append(Hip(name, volume, masks, np.arange(case.hip[0], case.hip[1] + 1)))
    return hips


def packed_hips(bank: SliceBank) -> list[Hip]:
    """Every CT of a bank, some of its slices, and the metal that was placed in it or in another.

    :raises InputError: no metal is packed.
    """
    if not bank.metal:
        raise InputError("the bank holds no implants; pack again (mar train METHOD --cts)")
    hips = []
    for number, one in enumerate(bank.volumes):
        own = [fitted for fitted in bank.metal if fitted.volume == number]
        rng = np.random.default_rng(number)
        shape = (FEWEST_MASKS, *one.steps.shape[1:])
        masks: list[np.ndarray] = []
        for fitted in own or bank.metal:
            start = fitted.corner[0] + max(0, (fitted.shares.shape[1] - FEWEST_MASKS) // 2)
            _, shares = placed(fitted, start, shape, not own, rng)
            masks += [mask for mask in shares.sum(axis=0).clip(0, 1) if mask.any()]
        if not masks:
            continue
        chosen = np.unique(np.linspace(0, len(one.steps) - 1, MOST_SLICES).round().astype(int))
        hu = np.concatenate([one.hu(int(k), 1) for k in chosen])
        volume = CTVolume(hu, np.diag([-one.pixel_mm, -one.pixel_mm, 2.0, 1.0]))
        hips.append(Hip(one.name, volume, np.stack(masks), np.arange(0)))
    return hips


def _laid_on(
    mask: np.ndarray, source: CTVolume, target: CTVolume, centre: tuple[float, float]
) -> np.ndarray:
    """A slice's metal on another CT's grid, its centre of mass where told, left still left."""
    for axis, column in ((0, 1), (1, 0)):  # rows follow j, columns i
        row = int(np.argmax(np.abs(target.ijk_to_ras[:3, column])))
        if source.ijk_to_ras[row, column] * target.ijk_to_ras[row, column] < 0:
            mask = np.flip(mask, axis)
    ratio = np.array(target.spacing_mm[1:]) / np.array(source.spacing_mm[1:])
    offset = np.array(ndimage.center_of_mass(mask)) - ratio * np.array(centre)
    shape = target.hu.shape[1:]
    moved = ndimage.affine_transform(mask, np.diag(ratio), offset, output_shape=shape, order=1)
    result: np.ndarray = np.clip(moved, 0, 1).astype(np.float32)
    return result
