"""Subject-hierarchy folders of implants: one a construct, one for single implants."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from MetalArtifactReductionLib.mrml.hierarchy import item_of
from MetalArtifactReductionLib.mrml.namespace import slicer_classes

FOLDER_ATTRIBUTE = "SimulateImplants.folder"
"""Item attribute: "construct 2 spine left", or "implants" for those of no construct."""


def place_in_construct(scene: Any, construct: str, like: Any, nodes: Iterable[Any]) -> int:
    """Put an implant's nodes into the folder of its construct.

    :param like: the CT's volume node: a new folder lies beside it, under its study.
    :returns: the folder's subject-hierarchy item.
    """
    slicer = slicer_classes()
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(scene)
    key = f"construct {construct}" if construct else "implants"
    folder = _folder(hierarchy, key)
    if not folder:
        parent = hierarchy.GetSceneItemID()
        if like is not None:
            item = item_of(hierarchy, like)
            parent = hierarchy.GetItemAncestorAtLevel(item, "Study") or hierarchy.GetItemParent(
                item
            )
        name = hierarchy.GenerateUniqueItemName(key.capitalize())
        folder = hierarchy.CreateFolderItem(parent, name)
        hierarchy.SetItemAttribute(folder, FOLDER_ATTRIBUTE, key)
    for node in nodes:
        hierarchy.SetItemParent(item_of(hierarchy, node), folder)
    return int(folder)


def place_beside_construct(scene: Any, model: Any, node: Any) -> None:
    """Put a node beside the folder in which an implant lies, under the study of its CT."""
    hierarchy = slicer_classes().vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(scene)
    folder = hierarchy.GetItemParent(item_of(hierarchy, model))
    if parent := hierarchy.GetItemParent(folder):  # not of a model that lies in no folder
        hierarchy.SetItemParent(item_of(hierarchy, node), parent)


def folder_of(scene: Any, node: Any) -> int:
    """The item of the folder in which an implant's node lies; 0 where it is no folder of ours."""
    hierarchy = slicer_classes().vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(scene)
    folder = hierarchy.GetItemParent(item_of(hierarchy, node))
    return int(folder) if hierarchy.GetItemAttribute(folder, FOLDER_ATTRIBUTE) else 0


def place_of(scene: Any, node: Any) -> int:
    """The item that the folder of an implant's node lies under; 0 where it is no folder of ours."""
    hierarchy = slicer_classes().vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(scene)
    folder = folder_of(scene, node)
    return int(hierarchy.GetItemParent(folder)) if folder else 0


def move_folder(scene: Any, node: Any, place: int) -> None:
    """Put the folder of an implant's node under an item, if that is still there."""
    hierarchy = slicer_classes().vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(scene)
    folder = folder_of(scene, node)
    if folder and place in (hierarchy.GetSceneItemID(), *_items(hierarchy)):
        hierarchy.SetItemParent(folder, place)


def remove_if_empty(scene: Any, folder: int) -> None:
    """Take a folder away that nothing lies in any more."""
    hierarchy = slicer_classes().vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(scene)
    if folder and not hierarchy.GetNumberOfItemChildren(folder):
        hierarchy.RemoveItem(folder)


def _folder(hierarchy: Any, key: str) -> int:
    """The folder with this key, 0 if there is none."""
    for item in _items(hierarchy):
        if hierarchy.GetItemAttribute(item, FOLDER_ATTRIBUTE) == key:
            return item
    return 0


def _items(hierarchy: Any) -> list[int]:
    """Every item of the scene."""
    import vtk

    items = vtk.vtkIdList()
    hierarchy.GetItemChildren(hierarchy.GetSceneItemID(), items, True)
    return [int(items.GetId(index)) for index in range(items.GetNumberOfIds())]
