"""The same patient gives the same result however the file is stored."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from dicom_support import write_series
from image_support import stored_as
from MetalArtifactReductionLib.correction import correct_volume
from MetalArtifactReductionLib.correction.result import CorrectionResult
from MetalArtifactReductionLib.files.volumes import read_volume, write_volume
from MetalArtifactReductionLib.metal import segment_metal
from MetalArtifactReductionLib.methods.registry import methods
from MetalArtifactReductionLib.volume import CTVolume, Orientation, acquisition_axes

LARGEST_DIFFERENCE_HU = 0.5
STORED = [
    (order, signs)
    for order in itertools.permutations(range(3))
    for signs in itertools.product((1, -1), repeat=3)
]
ANATOMICAL = np.diag([-2.5, -2.2, 3.0, 1.0])


def patient() -> CTVolume:
    """Nothing about it is symmetric: an arm, a femur, a rod of metal and its streaks."""
    slices, rows, cols = 4, 56, 72
    y, x = np.mgrid[:rows, :cols].astype(float)
    hu = np.full((slices, rows, cols), -1000.0)
    hu[:, ((x - 34) / 28) ** 2 + ((y - 30) / 20) ** 2 <= 1] = 45.0
    hu[:, np.hypot(x - 67, y - 20) <= 4] = -80.0
    hu[:, np.hypot(x - 22, y - 27) <= 6] = 900.0
    hu += np.random.default_rng(5).normal(0, 8, hu.shape)
    for k in (1, 2):
        metal = np.hypot(x - 22 - k, y - 26) <= 2.2
        angle = np.arctan2(y - 26, x - 22 - k)
        hu[k] += 250 * np.cos(2 * angle + 0.4 * k) * np.exp(-np.hypot(x - 22, y - 26) / 15)
        hu[k][metal] = 3071.0
    return CTVolume(np.clip(hu, -1000, 3071).round().astype(np.float32), ANATOMICAL.copy())


def corrected(
    volume: CTVolume, method: str, mask: np.ndarray | None = None, **options: object
) -> CorrectionResult:
    return correct_volume(volume, mask, method, always=True, method_options=options)


def brought_back(array: np.ndarray, order: tuple[int, ...], signs: tuple[int, ...]) -> np.ndarray:
    return array[tuple(slice(None, None, s) for s in signs)].transpose(np.argsort(order))


@pytest.mark.parametrize("method", [name for name in methods() if name != "patient"])
def test_every_storage_gives_the_same_correction(method: str) -> None:
    volume = patient()
    wanted = corrected(volume, method)
    assert np.abs(wanted.change_hu).max() > 100
    for order, signs in STORED[:: 5 if method == "nmar" else 9]:
        stored = stored_as(volume, order, signs)
        found = corrected(stored, method)
        back = brought_back(found.corrected.hu, order, signs)
        assert np.abs(back - wanted.corrected.hu).max() <= LARGEST_DIFFERENCE_HU
        assert found.corrected.hu.shape == stored.hu.shape
        assert np.array_equal(found.corrected.ijk_to_ras, stored.ijk_to_ras)
        assert np.array_equal(
            brought_back(found.metal_fraction, order, signs), wanted.metal_fraction
        )
        untouched = brought_back(stored.hu, order, signs)[[0, 3]]
        assert np.array_equal(back[[0, 3]], untouched)


def test_a_mask_is_turned_with_the_volume() -> None:
    volume = patient()
    mask = np.zeros(volume.hu.shape, np.float32)
    mask[1:3, 24:29, 20:26] = 1.0
    wanted = corrected(volume, "nmar", mask)
    for order, signs in STORED[3::11]:
        stored = stored_as(volume, order, signs)
        turned = stored_as(volume.with_hu(mask), order, signs).hu
        found = corrected(stored, "nmar", turned)
        back = brought_back(found.corrected.hu, order, signs)
        assert np.abs(back - wanted.corrected.hu).max() <= LARGEST_DIFFERENCE_HU


def test_a_patients_own_training_is_the_same_in_every_storage() -> None:
    once = patient()
    clean = np.repeat(once.hu[[0, 3]], 3, axis=0)
    volume = CTVolume(np.concatenate([clean, once.hu[1:3], clean]), ANATOMICAL.copy())
    options = {"steps": 2, "masks": 4, "above": 2, "below": 3}
    wanted = corrected(volume, "patient", **options)
    for order, signs in (((0, 1, 2), (-1, 1, -1)), ((2, 0, 1), (1, -1, -1))):
        stored = stored_as(volume, order, signs)
        found = corrected(stored, "patient", **options)
        back = brought_back(found.corrected.hu, order, signs)
        assert np.abs(back - wanted.corrected.hu).max() <= LARGEST_DIFFERENCE_HU


def test_parts_of_metal_are_told_in_the_volumes_own_indices() -> None:
    volume = patient()
    (wanted,) = segment_metal(volume).components
    for order, signs in STORED:
        stored = stored_as(volume, order, signs)
        (part,) = segment_metal(stored).components
        assert part.centre_ras == pytest.approx(wanted.centre_ras, abs=1e-6)
        place = stored.ijk_to_ras @ [*part.centre_ijk, 1.0]
        assert place[:3] == pytest.approx(part.centre_ras)
        held = np.flatnonzero((stored.hu == 3071.0).any(axis=(1, 2)))
        assert part.slices == (held[0], held[-1])


def test_files_of_every_kind_give_the_same_correction(tmp_path: Path) -> None:
    volume = patient()
    wanted = corrected(volume, "nmar").corrected.hu
    for number, (order, signs) in enumerate(STORED[5::14]):
        stored = stored_as(volume, order, signs)
        for suffix in (".nii.gz", ".nrrd", ".mha"):
            path = write_volume(stored, tmp_path / f"{number}{suffix}", dtype="int16")
            read = read_volume(path, check=False)
            found, _ = corrected(read, "nmar").corrected.anatomical()
            assert np.abs(found.hu - wanted).max() <= LARGEST_DIFFERENCE_HU


def test_dicom_slices_may_be_turned_and_in_any_order(tmp_path: Path) -> None:
    hu = patient().hu
    turned = np.diag([-1.0, -1.0, 1.0])
    write_series(tmp_path / "usual", hu)
    write_series(tmp_path / "turned", hu[:, ::-1, ::-1], rotation=turned)
    found = []
    for name in ("usual", "turned"):
        read = read_volume(tmp_path / name, check=False)
        path = write_volume(read, tmp_path / f"{name}.nii.gz")
        found += [read, read_volume(path, check=False)]
    results = [corrected(one, "nmar").corrected.anatomical()[0].hu for one in found]
    for one in results[1:]:
        assert np.abs(one - results[0]).max() <= LARGEST_DIFFERENCE_HU


def test_the_anatomical_orientation_is_radiological_and_undone_exactly() -> None:
    shape = (3, 4, 5)
    array = np.arange(60).reshape(shape)
    turned = Rotation.from_euler("xyz", (12, -8, 15), degrees=True).as_matrix()
    for order, signs in STORED:
        affine = np.eye(4)
        affine[:3, :3] = turned @ (np.eye(3)[:, order] * signs) * (0.7, 0.9, 2.5)
        affine[:3, 3] = 3.0, -7.0, 11.0
        volume, turn = CTVolume(array.astype(np.float32), affine).anatomical()
        # Columns to the left, rows to the back, slices to the head.
        right, anterior, superior = np.diag(volume.ijk_to_ras)[:3]
        assert right < 0 and anterior < 0 and superior > 0
        assert volume.hu.flags.c_contiguous
        assert np.array_equal(turn.undo(volume.hu), array)
        for index in itertools.product(*(range(n) for n in volume.hu.shape)):
            own = turn.undo_index(np.array(index), volume.hu.shape)
            assert array[tuple(own)] == volume.hu[index]
            assert np.allclose(affine @ [*own[::-1], 1.0], volume.ijk_to_ras @ [*index[::-1], 1.0])


@pytest.mark.parametrize("degrees", [45.0, 135.0])
@pytest.mark.parametrize("axis", ["x", "y", "z"])
def test_halfway_between_two_axes_the_storage_does_not_decide(axis: str, degrees: float) -> None:
    turned = Rotation.from_euler(axis, degrees, degrees=True).as_matrix()
    seen = set()
    for order, signs in STORED:
        affine = np.eye(4)
        affine[:3, :3] = turned[:, order] * signs
        first = Orientation.of(affine).affine(affine, (3, 3, 3))[:3, :3]
        seen.add(tuple(np.round(first, 6).ravel() + 0.0))
        assert sorted(acquisition_axes(affine)) == [0, 1, 2]
    assert len(seen) == 1
