"""Metal in slices whose distance changes: volumes and places are the true ones."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from pydicom.dataset import Dataset

from dicom_support import ORIGIN, SPACING, write_series
from MetalArtifactReductionLib.files.masks import read_mask
from MetalArtifactReductionLib.files.volumes import read_volume
from MetalArtifactReductionLib.metal import CleanUpParameters, metal_volume_mm3, segment_metal
from MetalArtifactReductionLib.volume import CTVolume

PLACES_MM = np.array([0, 2, 4, 6, 8, 10, *range(15, 76, 5)], float)
WIDTHS_MM = np.array([2, 2, 2, 2, 2, 3.5] + 13 * [5])
RODS = {"thin slices": (slice(1, 4), 30, 20), "thick slices": (slice(7, 10), 30, 44)}
TURNS = {
    "head first": np.eye(3),
    "stacked downwards": np.diag([1.0, -1.0, -1.0]),
    "sagittal": np.array([[0.0, 0, 1], [1, 0, 0], [0, 1, 0]]),
}


def ct(folder: Path, rotation: np.ndarray) -> CTVolume:
    row, col = np.mgrid[:64, :64]
    hu = np.where(np.hypot(row - 31, col - 31) < 28, 40, -1000) * np.ones(
        (len(PLACES_MM), 1, 1), int
    )
    for slices, y, x in RODS.values():
        hu[slices, y - 2 : y + 3, x - 2 : x + 3] = 8000

    def place(index: int, dataset: Dataset) -> None:
        point = ORIGIN + rotation[:, 2] * PLACES_MM[index]
        dataset.ImagePositionPatient = [f"{x:.6f}" for x in point]

    write_series(folder, hu.astype(np.int16), rotation=rotation, edit=place)
    return read_volume(folder)


@pytest.mark.parametrize("turn", TURNS)
def test_volume_and_place(tmp_path: Path, turn: str) -> None:
    rotation = TURNS[turn]
    volume = ct(tmp_path, rotation)
    found = segment_metal(volume, threshold_hu=3000.0)
    parts = sorted((c for c in found.components if c.kept), key=lambda c: c.volume_mm3)
    assert len(parts) == 2
    for part, (slices, y, x) in zip(parts, RODS.values(), strict=True):
        pixels = 25 * SPACING[0] * SPACING[1]
        assert part.volume_mm3 == pytest.approx(pixels * WIDTHS_MM[slices].sum())
        in_slice = [x * SPACING[1], y * SPACING[0], PLACES_MM[slices].mean()]
        true = (ORIGIN + rotation @ in_slice) * (-1, -1, 1)
        assert part.centre_ras == pytest.approx(true, abs=1e-3)
        near = CleanUpParameters(exclude_near=((*true, 1.0),))
        others = segment_metal(volume, threshold_hu=3000.0, clean_up=near)
        assert [c.label for c in others.components if not c.kept] == [part.label]
    total = sum(part.volume_mm3 for part in parts)
    assert found.volume_mm3 == pytest.approx(total)
    assert metal_volume_mm3(found.fraction, volume.voxel_mm3) == pytest.approx(total)


def test_a_part_of_the_volume_is_even(tmp_path: Path) -> None:
    volume = ct(tmp_path, np.eye(3))
    assert volume.uneven is not None
    assert np.ravel(volume.voxel_mm3) == pytest.approx(WIDTHS_MM * SPACING[0] * SPACING[1])
    part = CTVolume(volume.hu[:4], volume.ijk_to_ras, volume.source)
    assert part.uneven is None and isinstance(part.voxel_mm3, float)


def test_a_surface_meets_the_slices_where_they_lie(tmp_path: Path) -> None:
    trimesh = pytest.importorskip("trimesh")
    volume = ct(tmp_path / "ct", np.eye(3))
    box = trimesh.creation.box((7, 7, 12))
    box.apply_translation(np.add(ORIGIN, (30.1, 20.1, 15.1)))  # LPS, slices at 10, 15 and 20 mm
    box.export(tmp_path / "box.stl")
    fraction = read_mask(tmp_path / "box.stl", volume)
    assert np.flatnonzero(fraction.any(axis=(1, 2))).tolist() == [5, 6, 7]
    assert fraction[6].sum() * SPACING[0] * SPACING[1] == pytest.approx(49, rel=0.05)
