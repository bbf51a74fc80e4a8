"""Where results live: marked nodes in a subject-hierarchy folder beside their input."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from .display import one_change
from .namespace import slicer_classes

PREFIX = "MetalArtifactReduction."
INPUT_REFERENCE = PREFIX + "input"
"""Node reference role from every result to the volume that was corrected."""
METAL_REFERENCE = PREFIX + "metal"
"""Node reference role from corrected volume and maps to the metal segmentation."""
CORRECTED_REFERENCE = PREFIX + "corrected"
"""Node reference role from the maps to the corrected volume."""
ROLE_ATTRIBUTE = PREFIX + "role"
"""Node attribute: ``corrected``, ``change``, ``expected-error``, ``metal`` or ``fraction``."""
_FOLDER_ATTRIBUTE = PREFIX + "results"


def mark_result(
    node: Any,
    role: str,
    input_node: Any,
    *,
    references: Mapping[str, Any] | None = None,
    attributes: Mapping[str, object] | None = None,
) -> None:
    """Tell what a node is and what it was made from, so that nobody has to go by its name.

    :param node: the result, in the same scene as ``input_node``.
    :param role: value of :data:`ROLE_ATTRIBUTE`.
    :param references: further node references, role -> node.
    :param attributes: further attributes without prefix, for example ``method``.
    """
    with one_change(node):
        node.SetAttribute(ROLE_ATTRIBUTE, role)
        for name, value in (attributes or {}).items():
            node.SetAttribute(PREFIX + name, str(value))
        for reference_role, target in {INPUT_REFERENCE: input_node, **(references or {})}.items():
            node.SetNodeReferenceID(reference_role, target.GetID())


def results_of(scene: Any, input_node: Any, role: str | None = None) -> list[Any]:
    """The results in the scene that were made from ``input_node``, in the order of the scene.

    :param role: only results with this role.
    """
    nodes = (scene.GetNthNode(index) for index in range(scene.GetNumberOfNodes()))
    return [
        node
        for node in nodes
        if node.GetNodeReferenceID(INPUT_REFERENCE) == input_node.GetID()
        and (role is None or node.GetAttribute(ROLE_ATTRIBUTE) == role)
    ]


def place_results(scene: Any, input_node: Any, nodes: Iterable[Any], folder_name: str) -> int:
    """Put nodes into the folder of the input's results; the input stays where it is.

    The folder lies beside the input: under its study when it belongs to one. Results of the same
    input share it.

    :param nodes: marked with :func:`mark_result`.
    :param folder_name: name of the folder if there is none yet.
    :returns: the folder's subject-hierarchy item.
    """
    slicer = slicer_classes()
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(scene)
    nodes = list(nodes)
    folder = _existing_folder(scene, hierarchy, input_node)
    input_item = item_of(hierarchy, input_node)
    study = hierarchy.GetItemAncestorAtLevel(input_item, "Study")
    parent = study or hierarchy.GetItemParent(input_item)
    if not folder:
        # Slicer itself moves a segmentation beside its CT, and leaves the folder empty.
        found = hierarchy.GetItemChildWithName(parent, folder_name)
        ours = bool(found) and hierarchy.HasItemAttribute(found, _FOLDER_ATTRIBUTE)
        if ours and hierarchy.GetNumberOfItemChildren(found) == 0:
            folder = found
    if not folder:
        folder = hierarchy.CreateFolderItem(parent, hierarchy.GenerateUniqueItemName(folder_name))
        hierarchy.SetItemAttribute(folder, _FOLDER_ATTRIBUTE, "1")
    for node in nodes:
        hierarchy.SetItemParent(item_of(hierarchy, node), folder)
    return int(folder)


def _existing_folder(scene: Any, hierarchy: Any, input_node: Any) -> int:
    for node in results_of(scene, input_node):
        item = hierarchy.GetItemByDataNode(node)
        parent = hierarchy.GetItemParent(item) if item else 0
        if parent and hierarchy.HasItemAttribute(parent, _FOLDER_ATTRIBUTE):
            return int(parent)
    return 0


def item_of(hierarchy: Any, node: Any) -> int:
    """The node's subject-hierarchy item; without a running Slicer nobody has made one yet."""
    item = hierarchy.GetItemByDataNode(node)
    if not item:
        item = hierarchy.CreateItem(hierarchy.GetSceneItemID(), node)
    return int(item)
