"""Metal: segmentation nodes <-> the share of each voxel that is metal."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np

from ..errors import InputError
from ..volume import CTVolume, to_storage
from .namespace import slicer_classes
from .volumes import (
    fill_image,
    ijk_to_ras,
    moves_slices_whole,
    node_from_volume,
    numpy_matrix,
    require_linear_parent,
    require_scalar_volume,
    storage_axes,
    transform_between,
    voxel_array,
    voxel_array_of,
    vtk_matrix,
)

Box = tuple[slice, slice, slice]
AXES = range(3)

METAL_COLOR = (0.95, 0.75, 0.10)
METAL_FRACTION_THRESHOLD = 0.5
"""A voxel belongs to the metal segment when at least half of it is metal."""


def segmentation_from_fraction(
    scene: Any,
    fraction: np.ndarray,
    volume: CTVolume,
    reference: Any,
    name: str = "Metal",
    *,
    threshold: float = METAL_FRACTION_THRESHOLD,
    into: Any = None,
    surface_step: int = 1,
) -> Any:
    """A segmentation node with one binary segment where there is metal.

    Slicer cannot store fractional segments, so the border's partial volume stays behind: keep it
    with :func:`node_from_fraction`.

    :param fraction: 0..1, ``(slices, rows, cols)``, on the grid of ``volume``.
    :param volume: what :func:`volume_from_node` gave for ``reference``.
    :param reference: the volume node; becomes the reference geometry, and its parent transform
        the segmentation's.
    :param into: segmentation node whose segments are replaced; a new node if None.
    :param surface_step: of :func:`add_surface`; 0 leaves the surface to the caller.
    :returns: ``vtkMRMLSegmentationNode`` with a closed surface for 3-D views when there is metal.
    """
    stored, matrix = to_storage(np.asarray(fraction) >= threshold, volume)
    labelmap = cropped_labelmap(stored, matrix)

    node = into
    if node is None:
        node = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", scene.GenerateUniqueName(name))
        outline_only(node)
    node.GetSegmentation().RemoveAllSegments()
    # In this order: the reference geometry is kept relative to the segmentation's own transform,
    # and saving resamples to it.
    node.SetAndObserveTransformNodeID(reference.GetTransformNodeID())
    node.SetReferenceImageGeometryParameterFromVolumeNode(reference)
    node.AddSegmentFromBinaryLabelmapRepresentation(labelmap, name, METAL_COLOR)
    if surface_step:
        add_surface(node, surface_step)
    return node


def add_surface(node: Any, step: int = 1) -> None:
    """A closed surface of a segmentation's one segment for 3-D views, if it has any voxel.

    :param step: make it from every n-th voxel.
    """
    segment = node.GetSegmentation().GetNthSegment(0)
    names = slicer_classes().vtkSegmentationConverter
    labelmap = segment.GetRepresentation(names.GetSegmentationBinaryLabelmapRepresentationName())
    if not labelmap.GetScalarRange()[1]:
        return
    # Smoothing, as for organs, would wear a screw of two or three voxels away.
    node.GetSegmentation().SetConversionParameter("Smoothing factor", "0.0")
    if step > 1:
        _add_coarse_surface(segment, labelmap, step)
    node.CreateClosedSurfaceRepresentation()


def _add_coarse_surface(segment: Any, labelmap: Any, step: int) -> None:
    """A closed surface from every n-th voxel: seconds become tenths."""
    import vtk

    plain = vtk.vtkImageData()  # its points are voxel numbers; the matrix below does the rest
    plain.ShallowCopy(labelmap)
    plain.SetOrigin(0.0, 0.0, 0.0)
    plain.SetSpacing(1.0, 1.0, 1.0)
    few = vtk.vtkExtractVOI()
    few.SetInputData(plain)
    few.SetVOI(labelmap.GetExtent())
    few.SetSampleRate(step, step, step)
    few.IncludeBoundaryOn()
    closed = vtk.vtkImageConstantPad()  # open where the volume ends otherwise
    closed.SetInputConnection(few.GetOutputPort())
    few.Update()
    extent = few.GetOutput().GetExtent()
    closed.SetOutputWholeExtent(*(end + (-1, 1)[i % 2] for i, end in enumerate(extent)))
    surface = vtk.vtkFlyingEdges3D()
    surface.SetInputConnection(closed.GetOutputPort())
    surface.SetValue(0, 0.5)
    place, turn = vtk.vtkTransform(), vtk.vtkTransformPolyDataFilter()
    matrix = vtk.vtkMatrix4x4()
    labelmap.GetImageToWorldMatrix(matrix)
    place.SetMatrix(matrix)
    turn.SetTransform(place)
    turn.SetInputConnection(surface.GetOutputPort())
    turn.Update()
    converter = slicer_classes().vtkSegmentationConverter
    name = converter.GetSegmentationClosedSurfaceRepresentationName()
    segment.AddRepresentation(name, turn.GetOutput())


def cropped_labelmap(stored: np.ndarray, matrix: np.ndarray) -> Any:
    """A ``vtkOrientedImageData`` no larger than what it marks: surfaces and views are quick then.

    :param stored: bool ``(k, j, i)``. :param matrix: its voxels to RAS, ``(4, 4)``.
    """
    labelmap = slicer_classes().vtkOrientedImageData()
    crop = box_of(stored)
    part = stored[crop].astype(np.uint8)
    extent = [n for s in reversed(crop) for n in (s.start, s.stop - 1)]
    labelmap.SetExtent(*extent)
    fill_image(labelmap, part)
    labelmap.SetImageToWorldMatrix(vtk_matrix(matrix))
    return labelmap


def box_of(mask: np.ndarray) -> Box:
    """What a mask marks lies within; the first voxel where it marks nothing."""
    found = [np.flatnonzero(mask.any(axis=others)) for others in ((1, 2), (0, 2), (0, 1))]
    ends = [(int(one[0]), int(one[-1]) + 1) if one.size else (0, 1) for one in found]
    first, second, third = (slice(*both) for both in ends)
    return first, second, third


def outline_only(segmentation: Any) -> None:
    """Leave slices uncovered: what lies inside and around is to be seen."""
    segmentation.CreateDefaultDisplayNodes()
    segmentation.GetDisplayNode().SetVisibility2DFill(False)
    segmentation.GetDisplayNode().SetSliceIntersectionThickness(2)


def fraction_from_segmentation(
    segmentation: Any, reference: Any, segment_ids: Iterable[str] | None = None
) -> np.ndarray:
    """:func:`mask_from_segmentation` as float32, 0 or 1."""
    return mask_from_segmentation(segmentation, reference, segment_ids).astype(np.float32)


def mask_from_segmentation(
    segmentation: Any, reference: Any, segment_ids: Iterable[str] | None = None
) -> np.ndarray:
    """Where a segmentation has metal, on the grid of a volume node.

    :param segmentation: ``vtkMRMLSegmentationNode``, in any geometry and under any transform.
    :param reference: the volume node whose grid is wanted; neither node is modified.
    :param segment_ids: segments to unite; all of them if None.
    :returns: bool, ``(slices, rows, cols)`` as :func:`volume_from_node` orders them.
    :raises InputError: no such segment, nothing segmented, or nothing inside the volume.
    """
    mask, box = mask_in_box(segmentation, reference, segment_ids)
    shape = np.array(voxel_array(reference).shape)[list(storage_axes(reference))]
    metal = np.zeros(shape, dtype=bool)
    metal[box] = mask
    return metal


def mask_in_box(
    segmentation: Any, reference: Any, segment_ids: Iterable[str] | None = None
) -> tuple[np.ndarray, Box]:
    """:func:`mask_from_segmentation`, only where there is something, and where that is."""
    found = list(_segments(segmentation, reference, segment_ids, "metal"))
    name = segmentation.GetName()
    if not found:
        raise InputError(f"segmentation '{name}' is empty: segment the metal first")
    inside = [(mask, box) for _, mask, box in found if mask.any()]
    if not inside:
        raise InputError(
            f"segmentation '{name}' has no metal inside volume '{reference.GetName()}': "
            "choose the segmentation of this volume"
        )
    ends = [(min(b[i].start for _, b in inside), max(b[i].stop for _, b in inside)) for i in AXES]
    metal = np.zeros([stop - start for start, stop in ends], dtype=bool)
    for mask, box in inside:
        at = tuple(
            slice(b.start - start, b.stop - start) for b, (start, _) in zip(box, ends, strict=True)
        )
        metal[at] |= mask
    crop = box_of(metal)
    first, second, third = (
        slice(start + c.start, start + c.stop) for c, (start, _) in zip(crop, ends, strict=True)
    )
    return metal[crop], (first, second, third)


def segment_masks(
    segmentation: Any,
    reference: Any,
    *,
    segment_ids: Iterable[str] | None = None,
    of: str = "bone",
) -> Iterator[tuple[str, np.ndarray]]:
    """The segments of a segmentation on the grid of a volume, one after the other.

    :param segmentation: ``vtkMRMLSegmentationNode``, of any geometry and under any transform.
    :param reference: the volume node whose grid is wanted; neither node is modified.
    :param segment_ids: only these segments, in this order; all of them if None.
    :param of: what the segments should be, for messages.
    :returns: pairs of segment id and bool mask ``(slices, rows, cols)`` as
        :func:`volume_from_node` orders them; all False for a segment outside the volume. Segments
        without a single voxel are left out.
    :raises InputError: no segmentation, no such segment.
    """
    shape = np.array(voxel_array(reference).shape)[list(storage_axes(reference))]
    for segment_id, inside, box in _segments(segmentation, reference, segment_ids, of):
        mask = np.zeros(shape, dtype=bool)
        mask[box] = inside
        yield segment_id, mask


def _segments(
    segmentation: Any, reference: Any, segment_ids: Iterable[str] | None, of: str
) -> Iterator[tuple[str, np.ndarray, Box]]:
    """:func:`segment_masks`, each only as far as its labelmap reaches, and where that is."""
    slicer = slicer_classes()
    require_scalar_volume(reference)
    if segmentation is None or not segmentation.IsA("vtkMRMLSegmentationNode"):
        raise InputError(f"no segmentation given: choose the segmentation of the {of}")
    name = segmentation.GetName()
    contents = segmentation.GetSegmentation()
    wanted = list(contents.GetSegmentIDs() if segment_ids is None else segment_ids)
    unknown = [segment_id for segment_id in wanted if contents.GetSegment(segment_id) is None]
    if unknown:
        raise InputError(f"segmentation '{name}' has no segment '{unknown[0]}': choose another")

    on_grid = _to_grid(segmentation, reference)
    source = _with_binary_labelmap(segmentation, reference)
    for segment_id in wanted:
        labelmap = slicer.vtkOrientedImageData()
        if not source.GetBinaryLabelmapRepresentation(segment_id, labelmap):
            continue
        if labelmap.IsEmpty() or not voxel_array_of(labelmap).any():
            continue
        resampled = on_grid(labelmap)
        if resampled is None:
            raise InputError(f"segmentation '{name}' cannot be resampled: draw the {of} again")
        yield segment_id, *_inside(resampled, reference)


def node_from_fraction(
    scene: Any, fraction: np.ndarray, volume: CTVolume, name: str, *, like: Any = None
) -> Any:
    """A metal fraction (0..1) as a new float scalar volume node.

    :param fraction: ``(slices, rows, cols)``, on the grid of ``volume``.
    :param like: see :func:`node_from_volume`.
    """
    node = node_from_volume(scene, volume.with_hu(np.asarray(fraction)), name, like=like)
    display = node.GetDisplayNode()
    display.AutoWindowLevelOff()
    display.SetWindowLevel(1.0, 0.5)
    return node


def fraction_from_node(metal: Any, reference: Any) -> np.ndarray:
    """The metal fraction in a segmentation node, or in a volume node on the same grid.

    :param metal: ``vtkMRMLSegmentationNode``, a labelmap (every label is metal), or a float
        volume with values in 0..1.
    :param reference: the CT's volume node.
    :returns: float32 0..1, ``(slices, rows, cols)`` as :func:`volume_from_node` orders them.
    :raises InputError: empty, of another geometry, or values outside 0..1.
    """
    if metal is not None and metal.IsA("vtkMRMLSegmentationNode"):
        return fraction_from_segmentation(metal, reference)
    if metal is None or not metal.IsA("vtkMRMLScalarVolumeNode") or metal.GetImageData() is None:
        raise InputError("no metal given: choose a segmentation or a volume of metal fractions")
    name = metal.GetName()
    stored = voxel_array(metal)
    if not moves_slices_whole(metal):
        require_linear_parent(metal)
    same_place = stored.shape == voxel_array(reference).shape and np.allclose(
        ijk_to_ras(metal, world=True), ijk_to_ras(reference, world=True), rtol=0, atol=1e-3
    )
    if not same_place:
        raise InputError(
            f"metal '{name}' lies on another grid than volume '{reference.GetName()}': "
            "resample it to the volume first"
        )
    if metal.IsA("vtkMRMLLabelMapVolumeNode"):
        stored = stored != 0
    low, high = float(stored.min()), float(stored.max())
    if not (low >= 0.0 and high <= 1.0):
        raise InputError(
            f"metal '{name}' has values from {low:g} to {high:g}: a metal fraction is within 0..1"
        )
    if high == 0.0:
        raise InputError(f"metal '{name}' is empty: segment the metal first")
    return np.ascontiguousarray(stored.transpose(storage_axes(reference)), dtype=np.float32)


def _with_binary_labelmap(segmentation: Any, reference: Any) -> Any:
    """The node itself, or a copy outside the scene if only surfaces are there: input untouched."""
    slicer = slicer_classes()
    binary = slicer.vtkSegmentationConverter.GetSegmentationBinaryLabelmapRepresentationName()
    contents = segmentation.GetSegmentation()
    if contents.GetNumberOfSegments() == 0 or contents.ContainsRepresentation(binary):
        return segmentation
    copy = slicer.vtkMRMLSegmentationNode()
    copy.GetSegmentation().DeepCopy(contents)
    # The reference's grid as seen from the segmentation; a bent one only gives the voxel size.
    grid = vtk_matrix(ijk_to_ras(reference))
    to_segmentation = vtk_matrix(np.eye(4))
    if slicer.vtkMRMLTransformNode.GetMatrixTransformBetweenNodes(
        reference.GetParentTransformNode(), segmentation.GetParentTransformNode(), to_segmentation
    ):
        to_segmentation.Multiply4x4(to_segmentation, grid, grid)
    extent = [0, 0, 0, 0, 0, 0]
    extent[1::2] = [size - 1 for size in reference.GetImageData().GetDimensions()]
    converter = slicer.vtkSegmentationConverter
    copy.GetSegmentation().SetConversionParameter(
        converter.GetReferenceImageGeometryParameterName(),
        converter.SerializeImageGeometry(grid, extent),
    )
    if not copy.CreateBinaryLabelmapRepresentation():
        raise InputError(
            f"segmentation '{segmentation.GetName()}' cannot be turned into voxels: "
            "create its binary labelmap in the Segmentations module"
        )
    return copy


def _to_grid(segmentation: Any, reference: Any) -> Callable[[Any], Any]:
    """What brings a labelmap of a segmentation onto a volume's grid; gives None where it cannot."""
    slicer = slicer_classes()
    matrix = ijk_to_ras(reference)
    grid = slicer.vtkOrientedImageData()
    grid.SetDimensions(reference.GetImageData().GetDimensions())
    grid.SetImageToWorldMatrix(vtk_matrix(matrix))
    between = transform_between(segmentation, reference)
    together = segmentation.GetParentTransformNode() is reference.GetParentTransformNode()

    def on_grid(labelmap: Any) -> Any:
        own = vtk_matrix(matrix)
        labelmap.GetImageToWorldMatrix(own)
        if together and np.allclose(numpy_matrix(own), matrix, rtol=0, atol=1e-6):
            return labelmap  # drawn on this grid, and no larger than what was drawn
        resampled = slicer.vtkOrientedImageData()
        resample = slicer.vtkOrientedImageDataResample.ResampleOrientedImageToReferenceOrientedImage
        return resampled if resample(labelmap, grid, resampled, False, False, between) else None

    return on_grid


def _inside(labelmap: Any, reference: Any) -> tuple[np.ndarray, Box]:
    """Where a labelmap on a volume's grid is not zero, in its own extent as far as that is inside.

    :returns: bool ``(slices, rows, cols)``, and where that is.
    """
    shape, axes = voxel_array(reference).shape, storage_axes(reference)
    if labelmap.IsEmpty():
        return np.zeros((0, 0, 0), dtype=bool), (slice(0, 0),) * 3
    low = np.array(labelmap.GetExtent()[::2])[::-1]
    voxels = voxel_array_of(labelmap)
    start = np.clip(low, 0, shape)
    stop = np.clip(low + voxels.shape, start, shape)
    part = tuple(slice(a, b) for a, b in zip(start - low, stop - low, strict=True))
    first, second, third = (slice(int(start[axis]), int(stop[axis])) for axis in axes)
    return (voxels[part] != 0).transpose(axes), (first, second, third)
