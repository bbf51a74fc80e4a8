"""A bank of training slices with two small CTs and one fitted implant, made in milliseconds."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from MetalArtifactReductionLib.training.slice_bank import (
    CleanSlices,
    FittedMetal,
    SliceBank,
    to_steps,
    write_bank,
)

SIDE = 64
PIXEL_MM = 6.0


def body_hu(slices: int, bone_hu: float, shift: float) -> np.ndarray:
    """A body of muscle with one bone that moves from slice to slice, ``(slices, 64, 64)``."""
    y, x = np.mgrid[:SIDE, :SIDE] - (SIDE - 1) / 2
    out = np.full((slices, SIDE, SIDE), -1000.0)
    for k, image in enumerate(out):
        image[(x / 28) ** 2 + (y / 20) ** 2 <= 1] = 40.0
        image[np.hypot(x - shift - 0.5 * k, y) < 5] = bone_hu
    return out


def small_bank(slices: int = 6, *, fitted: bool = True) -> SliceBank:
    """Two CTs; in the first one a rod of titanium with a rim of cement."""
    volumes = tuple(
        CleanSlices(name, to_steps(body_hu(slices, bone, shift)), PIXEL_MM)
        for name, bone, shift in (("one", 700.0, 8.0), ("two", 400.0, -9.0))
    )
    rod = np.zeros((2, slices - 2, 5, 6), np.uint8)
    rod[0, :, 1:4, 1:5] = 255
    rod[1, :, 0], rod[0, :, 4] = 255, 100
    metal = (FittedMetal(0, (1, 30, 38), ("Ti6Al4V", "bone-cement"), rod),) if fitted else ()
    return SliceBank(volumes, metal)


def write_small_bank(path: Path, slices: int = 6, *, fitted: bool = True) -> Path:
    """:func:`small_bank` on disk."""
    bank = small_bank(slices, fitted=fitted)
    write_bank(path, bank.volumes, bank.metal)
    return path
