"""Metal as segmentation, labelmap and fraction nodes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from MetalArtifactReductionLib import mrml
from MetalArtifactReductionLib.errors import InputError
from mrml_support import affine, place_like, rotation

SHAPE = (8, 12, 14)
SPACING_MM = (0.8, 0.9, 2.0)
SAGITTAL = np.array([[0, 0, 1], [-1, 0, 0], [0, -1, 0]], dtype=float)


@pytest.fixture(params=["axial", "sagittal", "oblique", "left-handed", "moved"])
def ct(request: Any, add_volume: Any, add_transform: Any) -> Any:
    """A CT node in one of the geometries that occur."""
    directions = {"sagittal": SAGITTAL, "oblique": rotation(5), "left-handed": np.eye(3)}
    matrix = affine(directions.get(request.param, np.diag([-1.0, -1.0, 1.0])), SPACING_MM)
    if request.param == "oblique" and np.linalg.det(matrix) < 0:
        matrix[:3, 0] *= -1
    if request.param == "left-handed":
        matrix[:3, 0] *= -1
    node = add_volume(np.zeros(SHAPE, dtype=np.int16), matrix)
    if request.param == "moved":
        transform = add_transform(affine(rotation(6), (1.0, 1.0, 1.0)))
        node.SetAndObserveTransformNodeID(transform.GetID())
    return node


def screw(shape: tuple[int, ...]) -> np.ndarray:
    """An unsymmetric piece of metal with soft borders."""
    fraction = np.zeros(shape, dtype=np.float32)
    fraction[2:5, 3:6, 4:9] = 1.0
    fraction[2, 3, 4:9] = 0.5
    fraction[4, 5, 4:9] = 0.49
    fraction[5, 3, 3] = 0.1
    return fraction


def test_segmentation_holds_the_voxels_that_are_mostly_metal(scene: Any, ct: Any) -> None:
    volume = mrml.volume_from_node(ct)
    fraction = screw(volume.hu.shape)
    node = mrml.segmentation_from_fraction(scene, fraction, volume, ct)
    np.testing.assert_array_equal(mrml.fraction_from_segmentation(node, ct), fraction >= 0.5)
    # Slicer's own bookkeeping agrees: as many voxels, the reference geometry, the same place.
    segmentation = node.GetSegmentation()
    assert segmentation.GetNumberOfSegments() == 1
    role = node.GetReferenceImageGeometryReferenceRole()
    assert node.GetNodeReferenceID(role) == ct.GetID()
    assert node.GetTransformNodeID() == ct.GetTransformNodeID()


def test_surface_of_the_segment_lies_where_the_metal_is(scene: Any, ct: Any) -> None:
    """The 3-D view's surface encloses the metal's centre of mass, computed from the array."""
    import vtk

    volume = mrml.volume_from_node(ct)
    fraction = screw(volume.hu.shape)
    node = mrml.segmentation_from_fraction(scene, fraction, volume, ct)
    surface = vtk.vtkPolyData()
    segment_id = node.GetSegmentation().GetSegmentIDs()[0]
    assert node.GetClosedSurfaceRepresentation(segment_id, surface)
    mass = vtk.vtkCenterOfMass()
    mass.SetInputData(surface)
    mass.Update()
    slice_, row, col = np.argwhere(fraction >= 0.5).mean(axis=0)
    expected = (volume.ijk_to_ras @ [col, row, slice_, 1.0])[:3]
    np.testing.assert_allclose(mass.GetCenter(), expected, atol=0.6)


def test_a_segmentation_drawn_elsewhere_is_moved_onto_the_volume(
    scene: Any, add_volume: Any, add_transform: Any
) -> None:
    """Drawn on an unmoved twin, under a transform of its own: found at its place in the world."""
    matrix = affine(np.diag([-1.0, -1.0, 1.0]), SPACING_MM)
    ct = add_volume(np.zeros(SHAPE, dtype=np.int16), matrix)
    twin = add_volume(np.zeros(SHAPE, dtype=np.int16), matrix, name="twin")
    volume = mrml.volume_from_node(twin)
    fraction = (screw(volume.hu.shape) >= 0.5).astype(np.float32)
    node = mrml.segmentation_from_fraction(scene, fraction, volume, twin)
    two_columns_left = np.eye(4)
    two_columns_left[0, 3] = 2 * SPACING_MM[0]
    node.SetAndObserveTransformNodeID(add_transform(two_columns_left).GetID())
    moved = mrml.fraction_from_segmentation(node, ct)
    np.testing.assert_array_equal(moved, np.roll(fraction, -2, axis=2))


def test_segments_are_united_or_chosen(scene: Any, ct: Any) -> None:
    volume = mrml.volume_from_node(ct)
    first = np.zeros(volume.hu.shape, dtype=np.float32)
    second = first.copy()
    first[1:4, 2:5, 2:5] = 1
    second[3:6, 4:8, 4:8] = 1
    node = mrml.segmentation_from_fraction(scene, first, volume, ct)
    other = mrml.segmentation_from_fraction(scene, second, volume, ct)
    first_id = node.GetSegmentation().GetSegmentIDs()[0]
    other_id = other.GetSegmentation().GetSegmentIDs()[0]
    node.GetSegmentation().CopySegmentFromSegmentation(other.GetSegmentation(), other_id)
    np.testing.assert_array_equal(
        mrml.fraction_from_segmentation(node, ct), np.maximum(first, second)
    )
    np.testing.assert_array_equal(mrml.fraction_from_segmentation(node, ct, [first_id]), first)
    with pytest.raises(InputError, match="no segment 'nonsense'"):
        mrml.fraction_from_segmentation(node, ct, ["nonsense"])


def test_a_surface_alone_is_voxelised_without_touching_the_node(scene: Any, ct: Any) -> None:
    import slicer
    import vtk

    volume = mrml.volume_from_node(ct)
    middle = (volume.ijk_to_ras @ [*(np.array(volume.hu.shape[::-1]) / 2), 1.0])[:3]
    sphere = vtk.vtkSphereSource()
    sphere.SetCenter(middle)
    sphere.SetRadius(3.0)
    sphere.SetThetaResolution(48)
    sphere.SetPhiResolution(48)
    sphere.Update()
    node = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "Implant")
    node.SetAndObserveTransformNodeID(ct.GetTransformNodeID())
    segment = slicer.vtkSegment()
    surface = slicer.vtkSegmentationConverter.GetSegmentationClosedSurfaceRepresentationName()
    segment.AddRepresentation(surface, sphere.GetOutput())
    node.GetSegmentation().SetSourceRepresentationName(surface)
    node.GetSegmentation().AddSegment(segment, "ball")
    fraction = mrml.fraction_from_segmentation(node, ct)
    # Against the definition of a ball, voxel by voxel, away from its border.
    index = np.moveaxis(np.indices(volume.hu.shape), 0, -1)[..., ::-1]
    places = index @ volume.ijk_to_ras[:3, :3].T + volume.ijk_to_ras[:3, 3]
    distance = np.linalg.norm(places - middle, axis=-1)
    half_diagonal = np.linalg.norm(SPACING_MM) / 2
    assert fraction[distance < 3.0 - half_diagonal].all()
    assert not fraction[distance > 3.0 + half_diagonal].any()
    binary = slicer.vtkSegmentationConverter.GetSegmentationBinaryLabelmapRepresentationName()
    assert not node.GetSegmentation().ContainsRepresentation(binary)


def test_fractions_survive_as_a_float_volume(scene: Any, ct: Any) -> None:
    volume = mrml.volume_from_node(ct)
    fraction = screw(volume.hu.shape)
    node = mrml.node_from_fraction(scene, fraction, volume, "metal fraction", like=ct)
    np.testing.assert_array_equal(mrml.fraction_from_node(node, ct), fraction)


def test_labelmap_counts_every_label_as_metal(ct: Any, add_volume: Any) -> None:
    stored = np.zeros(SHAPE, dtype=np.uint8)
    stored[3, 4, 5:8] = (1, 2, 7)
    node = place_like(add_volume(stored, np.eye(4), name="L", kind="LabelMapVolume"), ct)
    assert mrml.fraction_from_node(node, ct).sum() == 3


def test_metal_that_cannot_be_used_is_refused(scene: Any, add_volume: Any) -> None:
    matrix = affine(np.diag([-1.0, -1.0, 1.0]), SPACING_MM)
    ct = add_volume(np.zeros(SHAPE, dtype=np.int16), matrix, name="CT")
    volume = mrml.volume_from_node(ct)
    nothing = np.zeros(volume.hu.shape, dtype=np.float32)
    elsewhere = matrix.copy()
    elsewhere[:3, 3] += 500.0
    far = add_volume(np.zeros(SHAPE, dtype=np.int16), elsewhere, name="far")
    apart = mrml.segmentation_from_fraction(
        scene, screw(volume.hu.shape), mrml.volume_from_node(far), far, "Apart"
    )
    none = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "None")
    blank = mrml.segmentation_from_fraction(scene, nothing, volume, ct, "Blank")
    shifted = add_volume(np.ones(SHAPE, dtype=np.float32), elsewhere, name="Shifted")
    hounsfield = add_volume(np.full(SHAPE, 3000, dtype=np.int16), matrix, name="Raw")
    undefined = add_volume(np.full(SHAPE, np.nan, dtype=np.float32), matrix, name="Nan")
    zeros = add_volume(np.zeros(SHAPE, dtype=np.float32), matrix, name="Zeros")
    for node, message in (
        (apart, "'Apart' has no metal inside volume 'CT'"),
        (none, "'None' is empty"),
        (blank, "'Blank' is empty"),
        (shifted, "'Shifted' lies on another grid"),
        (hounsfield, "'Raw' has values from 3000 to 3000"),
        (undefined, "'Nan' has values from nan"),
        (zeros, "'Zeros' is empty"),
        (None, "choose a segmentation"),
    ):
        with pytest.raises(InputError, match=message) as caught:
            mrml.fraction_from_node(node, ct)
        assert "\n" not in str(caught.value)
