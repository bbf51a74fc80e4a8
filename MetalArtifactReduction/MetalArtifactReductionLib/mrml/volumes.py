"""Scalar volume nodes <-> :class:`CTVolume`."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..errors import InputError
from ..volume import (
    CTVolume,
    VolumeSource,
    acquisition_axes,
    permuted_affine,
    to_storage,
    volume_from_storage,
)
from .namespace import slicer_classes


def volume_from_node(node: Any, *, world: bool = False) -> CTVolume:
    """A copy of a volume node's Hounsfield units, slices first, and its geometry.

    :param node: ``vtkMRMLScalarVolumeNode`` with one component; never modified.
    :param world: put the node's linear parent transform into the geometry, as for writing a file.
        By default the geometry is the node's own, which is the scanner's: a registration moves
        the patient, not the detector.
    :returns: HU exact as float32; ``(slices, rows, cols)`` whatever the node's storage order.
    :raises InputError: no volume, a labelmap, several components, no voxels, or a parent transform
        that bends its slices.
    """
    require_scalar_volume(node)
    stored = voxel_array(node)
    return volume_from_storage(
        stored, ijk_to_ras(node, world=world), VolumeSource(dtype=stored.dtype.name)
    )


def view_of(node: Any) -> CTVolume:
    """As :func:`volume_from_node` without a copy: of the node's own type, not to be written to.

    :raises InputError: as there.
    """
    require_scalar_volume(node)
    axes, stored = storage_axes(node), voxel_array(node)
    source = VolumeSource(dtype=stored.dtype.name, axes=axes)
    return CTVolume(stored.transpose(axes), permuted_affine(ijk_to_ras(node), axes), source)


def node_from_volume(scene: Any, volume: CTVolume, name: str, *, like: Any = None) -> Any:
    """A new scalar volume node (float) that holds ``volume`` in the order it was stored in.

    :param scene: the ``vtkMRMLScene`` to add it to.
    :param volume: geometry relative to the new node's parent transform.
    :param name: made unique in the scene.
    :param like: the volume node that ``volume`` came from: the new node goes under the same
        parent transform, so that it lies in the same place in the world and stays there when
        that transform is edited. Without it the node has no parent transform.
    :returns: ``vtkMRMLScalarVolumeNode`` with a display node, soft-tissue window; HU exact.
    """
    stored, matrix = to_storage(volume.hu, volume)
    node = scene.CreateNodeByClass("vtkMRMLScalarVolumeNode")
    node.UnRegister(None)  # Python holds its own reference
    node.SetName(scene.GenerateUniqueName(name))
    node.SetIJKToRASMatrix(vtk_matrix(matrix))
    node.SetAndObserveImageData(image_data(stored.astype(np.float32, copy=False)))
    # Slicer's own choice of a window would read every voxel.
    display = scene.AddNewNodeByClass("vtkMRMLScalarVolumeDisplayNode")
    display.SetDefaultColorMap()
    display.AutoWindowLevelOff()
    display.SetWindowLevel(400.0, 40.0)
    node.SetAndObserveDisplayNodeID(display.GetID())
    # Complete before it is added: observers of the scene see a volume, never an empty node.
    node = scene.AddNode(node)
    if like is not None:
        node.SetAndObserveTransformNodeID(like.GetTransformNodeID())
    return node


def require_scalar_volume(node: Any) -> None:
    """Refuse, in words, what is not one scalar volume with voxels.

    :raises InputError: see :func:`volume_from_node`.
    """
    if node is None:
        raise InputError("no volume given: choose a CT volume")
    kind = node.GetClassName()
    name = node.GetName()
    if kind == "vtkMRMLLabelMapVolumeNode":
        raise InputError(f"'{name}' is a labelmap, not a CT: choose a scalar volume")
    if kind != "vtkMRMLScalarVolumeNode":
        what = kind.removeprefix("vtkMRML").removesuffix("Node")
        raise InputError(f"'{name}' is a {what}, not a CT: choose a scalar volume")
    image = node.GetImageData()
    if image is None or min(image.GetDimensions()) < 1 or image.GetPointData().GetScalars() is None:
        raise InputError(f"volume '{name}' has no voxels: load its data first")
    components = image.GetNumberOfScalarComponents()
    if components != 1:
        raise InputError(
            f"volume '{name}' has {components} components a voxel (colour or vectors): "
            "choose a CT with one value a voxel"
        )
    if not moves_slices_whole(node):
        require_linear_parent(node)


def moves_slices_whole(node: Any) -> bool:
    """Whether a volume's transform to the world is not linear, but only moves each slice.

    So Slicer shows a series with uneven distances or a tilted gantry, under an "acquisition
    transform" to which the slices' true places belong: they can be corrected one by one.
    """
    transform = node.GetParentTransformNode()
    if transform is None or transform.IsTransformToWorldLinear():
        return False
    index, places = _slices_in_world(node)
    moved = places - (index @ ijk_to_ras(node).T)[..., :3]
    return bool(np.abs(moved - moved[:, :1]).max() < _BENT_MM)


_LATTICE = 5
_BENT_MM = 0.01


def _slices_in_world(node: Any) -> tuple[np.ndarray, np.ndarray]:
    """A lattice of points of each stored slice: ``(i, j, k, 1)``, and where they are, RAS in mm."""
    import vtk

    to_world = vtk.vtkGeneralTransform()
    node.GetParentTransformNode().GetTransformToWorld(to_world)
    columns, rows, slices = node.GetImageData().GetDimensions()
    share = np.linspace(0.0, 1.0, _LATTICE)
    grid = np.meshgrid(np.arange(slices), share * (rows - 1), share * (columns - 1), indexing="ij")
    index = np.stack([*grid[::-1], np.ones_like(grid[0])], axis=-1).reshape(slices, -1, 4)
    own = (index @ ijk_to_ras(node).T).reshape(-1, 4)
    places = np.array([to_world.TransformPoint(*point[:3]) for point in own])
    return index, places.reshape(slices, -1, 3)


def require_linear_parent(node: Any) -> None:
    """Refuse a node that a non-linear transform bends: no grid describes where it lies.

    :raises InputError: names the node and the transform.
    """
    transform = node.GetParentTransformNode()
    if transform is not None and not transform.IsTransformToWorldLinear():
        raise InputError(
            f"'{node.GetName()}' lies under the non-linear transform '{transform.GetName()}': "
            "take it out of the transform, correct it, then put it and its results back; or harden "
            "the transform"
        )


def voxel_array(node: Any) -> np.ndarray:
    """The voxels of a volume node, ``(k, j, i)``: a view, not to be written to."""
    return voxel_array_of(node.GetImageData())


def voxel_array_of(image: Any) -> np.ndarray:
    """The voxels of a ``vtkImageData``, ``(k, j, i)``: a view, not to be written to."""
    from vtk.util.numpy_support import vtk_to_numpy

    shape = tuple(reversed(image.GetDimensions()))
    voxels: np.ndarray = vtk_to_numpy(image.GetPointData().GetScalars())
    return voxels.reshape(shape)


def ijk_to_ras(node: Any, *, world: bool = False) -> np.ndarray:
    """The ``(4, 4)`` matrix from the first voxel's ``(i, j, k, 1)`` on to RAS in mm.

    :param node: volume node with voxels.
    :param world: include the parent transform; where it moves every slice by itself, the matrix
        that fits best, whose slices lie evenly.
    """
    import vtk

    matrix = vtk.vtkMatrix4x4()
    node.GetIJKToRASMatrix(matrix)
    result = numpy_matrix(matrix)
    # An extent that does not start at 0 (a cropped image) shifts the first voxel.
    first = node.GetImageData().GetExtent()[::2]
    result[:, 3] = result @ np.array([*first, 1.0])
    transform = node.GetParentTransformNode()
    if world and moves_slices_whole(node):
        index, places = _slices_in_world(node)
        fitted = np.linalg.lstsq(index.reshape(-1, 4), places.reshape(-1, 3), rcond=None)[0]
        result[:3] = fitted.T
    elif world and transform is not None:
        transform.GetMatrixTransformToWorld(matrix)
        result = numpy_matrix(matrix) @ result
    return result


def storage_axes(node: Any) -> tuple[int, int, int]:
    """``axes`` with ``volume_from_node(node).hu == voxel_array(node).transpose(axes)``."""
    return acquisition_axes(ijk_to_ras(node))


def image_data(array: np.ndarray) -> Any:
    """A ``vtkImageData`` with a copy of ``array`` (k, j, i) and no geometry of its own."""
    import vtk

    image = vtk.vtkImageData()
    fill_image(image, array)
    return image


def fill_image(image: Any, array: np.ndarray) -> None:
    """Copy ``array`` (k, j, i) into a ``vtkImageData``; its extent must fit or be unset."""
    from vtk.util.numpy_support import numpy_to_vtk

    if tuple(reversed(image.GetDimensions())) != array.shape:
        image.SetDimensions(*reversed(array.shape))
    scalars = numpy_to_vtk(np.ascontiguousarray(array).ravel(), deep=True)
    scalars.SetName("ImageScalars")
    image.GetPointData().SetScalars(scalars)


def vtk_matrix(matrix: np.ndarray) -> Any:
    """A ``vtkMatrix4x4`` from a ``(4, 4)`` array."""
    import vtk

    result = vtk.vtkMatrix4x4()
    result.DeepCopy([float(value) for value in np.asarray(matrix).ravel()])
    return result


def numpy_matrix(matrix: Any) -> np.ndarray:
    """A float64 ``(4, 4)`` array from a ``vtkMatrix4x4``."""
    return np.array([[matrix.GetElement(i, j) for j in range(4)] for i in range(4)])


def transform_between(source: Any, target: Any) -> Any:
    """The ``vtkGeneralTransform`` from a node's local space to another node's local space."""
    import vtk

    slicer = slicer_classes()
    transform = vtk.vtkGeneralTransform()
    slicer.vtkMRMLTransformNode.GetTransformBetweenNodes(
        source.GetParentTransformNode(), target.GetParentTransformNode(), transform
    )
    return transform
