"""The main job on a scene: a CT node with metal in, result nodes beside it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from MetalArtifactReductionLib import mrml
from MetalArtifactReductionLib.errors import Cancelled, DeviceError, InputError
from MetalArtifactReductionLib.mrml.hierarchy import INPUT_REFERENCE, METAL_REFERENCE
from mrml_support import affine, rotation

SLICES, ROWS, COLS = 6, 72, 80
SPACING_MM = (2.0, 2.0, 3.0)


def two_rods() -> np.ndarray:
    """A water cylinder with two rods and a dark band between them; end slices without metal."""
    z, y, x = np.mgrid[0:SLICES, 0:ROWS, 0:COLS]
    rng = np.random.default_rng(0)
    hu = np.where((x - 40) ** 2 + (y - 36) ** 2 < 32**2, 40.0, -1000.0)
    hu += rng.normal(0, 5, hu.shape)
    with_metal = (z > 0) & (z < SLICES - 1)
    hu[with_metal & (abs(y - 36) < 2) & (x > 28) & (x < 52)] -= 300
    rods = ((x - 25) ** 2 + (y - 36) ** 2 < 9) | ((x - 55) ** 2 + (y - 36) ** 2 < 9)
    hu[with_metal & rods] = 3071
    return np.round(hu).astype(np.int16)


@pytest.fixture
def ct(add_volume: Any) -> Any:
    return add_volume(two_rods(), affine(np.diag([-1.0, -1.0, 1.0]), SPACING_MM), name="Hips")


def names(scene: Any) -> list[str]:
    return [scene.GetNthNode(i).GetID() for i in range(scene.GetNumberOfNodes())]


def test_propose_metal_finds_both_rods(scene: Any, ct: Any) -> None:
    node, found = mrml.propose_metal(scene, ct)
    assert sum(component.kept for component in found.components) == 2
    fraction = mrml.fraction_from_node(node, ct)
    assert fraction[:, 36, 25].tolist() == fraction[:, 36, 55].tolist() == [0, 1, 1, 1, 1, 0]
    assert not fraction[:, 36, 40].any()
    assert mrml.results_of(scene, ct, "metal") == [node]


def test_proposing_again_replaces_the_proposal(scene: Any, ct: Any) -> None:
    node, low = mrml.propose_metal(scene, ct, threshold_hu=1500.0)
    before = names(scene)
    again, high = mrml.propose_metal(scene, ct, threshold_hu=2900.0, into=node)
    assert again is node
    assert (low.threshold_hu, high.threshold_hu) == (1500.0, 2900.0)
    assert node.GetSegmentation().GetNumberOfSegments() == 1
    assert node.GetAttribute("MetalArtifactReduction.threshold_hu") == "2900.0"
    assert names(scene) == before


def test_proposing_without_metal_adds_nothing(scene: Any, add_volume: Any) -> None:
    hu = np.minimum(two_rods(), 300)
    clean = add_volume(hu, affine(np.eye(3), SPACING_MM))
    before = names(scene)
    with pytest.raises(InputError, match="no metal found"):
        mrml.propose_metal(scene, clean)
    assert names(scene) == before


@pytest.mark.parametrize("method", ["li", "nmar"])
def test_correction_brightens_the_dark_band(scene: Any, ct: Any, method: str) -> None:
    before = mrml.volume_from_node(ct).hu
    nodes = mrml.correct_node(scene, ct, method=method, device="cpu", keep_fraction=True)
    after = mrml.volume_from_node(nodes.corrected).hu
    np.testing.assert_array_equal(mrml.volume_from_node(ct).hu, before)
    np.testing.assert_array_equal(after[[0, -1]], before[[0, -1]])  # no metal: bit-identical
    band = np.s_[1:-1, 35:38, 32:49]
    assert abs(after[band].mean() - 40) < 0.6 * abs(before[band].mean() - 40)
    assert after[2, 36, 25] > 2500  # the metal is back
    np.testing.assert_allclose(
        mrml.volume_from_node(nodes.change_map).hu, after - before, atol=1e-3
    )
    assert nodes.corrected.GetNodeReference(INPUT_REFERENCE) is ct
    assert nodes.corrected.GetNodeReference(METAL_REFERENCE) is nodes.metal
    assert nodes.corrected.GetAttribute("MetalArtifactReduction.method") == method
    facts = nodes.facts()
    assert (facts["slices"], facts["slices_changed"]) == (SLICES, SLICES - 2)
    assert 0 < facts["mean_change_hu"] < facts["p99_change_hu"] < 3000


def test_given_metal_is_what_is_corrected(scene: Any, ct: Any) -> None:
    """With only the left rod given, the right one counts as tissue and stays out of the trace."""
    volume = mrml.volume_from_node(ct)
    left = np.zeros(volume.hu.shape, dtype=np.float32)
    left[1:-1, 33:40, 22:29] = volume.hu[1:-1, 33:40, 22:29] > 2000
    given = mrml.segmentation_from_fraction(scene, left, volume, ct, "mine")
    nodes = mrml.correct_node(scene, ct, given, "li", device="cpu")
    assert nodes.metal is given
    assert nodes.corrected.GetNodeReference(METAL_REFERENCE) is given
    np.testing.assert_array_equal(nodes.result.metal_fraction > 0, left > 0)
    cm3 = 4 * 25 * float(np.prod(SPACING_MM)) / 1000  # 25 pixels lie within 3 of the axis
    assert nodes.facts()["metal_cm3"] == pytest.approx(cm3)
    assert given.GetAttribute("MetalArtifactReduction.role") is None  # not ours: not marked


def test_storage_order_and_transform_do_not_matter(
    scene: Any, ct: Any, add_volume: Any, add_transform: Any
) -> None:
    """The same CT stored sagittally, under a registration, gives the same corrected slices."""
    axial = affine(np.diag([-1.0, -1.0, 1.0]), SPACING_MM)
    sagittal = np.column_stack([axial[:, 1], axial[:, 2], axial[:, 0], axial[:, 3]])
    stored = np.ascontiguousarray(two_rods().transpose(2, 0, 1))
    other = add_volume(stored, sagittal, name="Sagittal")
    other.SetAndObserveTransformNodeID(add_transform(affine(rotation(2), (1, 1, 1))).GetID())
    first = mrml.correct_node(scene, ct, method="li", device="cpu")
    second = mrml.correct_node(scene, other, method="li", device="cpu")
    np.testing.assert_array_equal(
        mrml.volume_from_node(second.corrected).hu, mrml.volume_from_node(first.corrected).hu
    )
    size = other.GetImageData().GetDimensions()
    assert second.corrected.GetImageData().GetDimensions() == size
    assert second.corrected.GetTransformNodeID() == other.GetTransformNodeID()
    np.testing.assert_allclose(
        mrml.volume_from_node(second.corrected, world=True).ijk_to_ras,
        mrml.volume_from_node(other, world=True).ijk_to_ras,
        atol=1e-6,
    )


def test_cancel_and_errors_add_nothing(scene: Any, ct: Any, add_volume: Any) -> None:
    before = names(scene)
    with pytest.raises(Cancelled):
        mrml.correct_node(scene, ct, method="li", device="cpu", cancel=lambda: True)
    with pytest.raises(DeviceError, match="toaster"):
        mrml.correct_node(scene, ct, method="li", device="toaster")
    with pytest.raises(InputError, match="unknown method 'magic'"):
        mrml.correct_node(scene, ct, method="magic", device="cpu")
    with pytest.raises(InputError, match="not in this scene"):
        mrml.correct_node(mrml.headless_scene(), ct, method="li", device="cpu")
    assert names(scene) == before
    mask = add_volume((two_rods() > 2000).astype(np.uint8), affine(np.eye(3), SPACING_MM), "Mask")
    before = names(scene)
    with pytest.raises(InputError, match=r"Mask.*mask"):
        mrml.correct_node(scene, mask, method="li", device="cpu")
    assert names(scene) == before


def test_a_volume_removed_while_computing_gets_no_results(scene: Any, ct: Any) -> None:
    """As when the user closes the scene from a progress callback."""

    def close(fraction: float, message: str) -> None:
        if ct.GetScene() is not None:
            scene.RemoveNode(ct)

    with pytest.raises(Cancelled, match="removed"):
        mrml.correct_node(scene, ct, method="li", device="cpu", progress=close)
    assert scene.GetNumberOfNodesByClass("vtkMRMLScalarVolumeNode") == 0


def test_progress_reaches_the_end(scene: Any, ct: Any) -> None:
    seen: list[float] = []
    mrml.correct_node(
        scene, ct, method="li", device="cpu", progress=lambda fraction, _: seen.append(fraction)
    )
    assert seen == sorted(seen)
    assert seen[-1] == 1.0
