"""Keeps lines, implants and rods together while the user moves any of them."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import vtk

from MetalArtifactReductionLib.errors import InputError
from MetalArtifactReductionLib.mrml.namespace import slicer_classes

from ..implants import implant_from_dict
from ..implants.base import Implant
from ..implants.cross_link import CrossLink
from ..implants.rod import Rod
from .companions import release_removed, remove_companions
from .lines import LINE_COLOR, can_have_line, update_from_line, update_line
from .nodes import add_implant, change_parameters
from .rods import follow_rods, follow_screws, links_between, rods_through, screws_of
from .scene_implant import (
    IMPLANT_REFERENCE,
    KIND,
    LINE_REFERENCE,
    PREFIX,
    PROBLEM,
    PROPOSED,
    SCREWS_REFERENCE,
    SceneImplant,
    implant_of_node,
    implants_of,
)

PENDING = PREFIX + "pending"
"""Attribute of a line that is being drawn: the implant that it will get, as JSON."""
LIKE_REFERENCE = PREFIX + "ct"
"""Reference from such a line to the CT's volume node."""


def edit_implant(one: SceneImplant, **changes: Any) -> Implant:
    """Change parameters and let line and rods follow.

    :returns: the implant as it is now.
    :raises InputError: see :func:`change_parameters`; nothing is changed then.
    """
    implant = change_parameters(one, **changes)
    by_hand(one)
    followers_follow(one)
    return implant


def by_hand(one: SceneImplant) -> None:
    """The user has changed it: the next proposal keeps it."""
    one.model.RemoveAttribute(PROPOSED)


def followers_follow(one: SceneImplant) -> None:
    """Bring the line of an implant, rods through it and their cross-links to where it is now.

    What cannot follow stays where it was, and its ``problem`` says why.
    """
    update_line(one)
    rods_follow(one)


def rods_follow(one: SceneImplant) -> None:
    """The same without the line: while the user drags it, it must not be pulled back."""
    if one.kind == CrossLink.kind:
        _quietly(follow_rods, one)
    rods = [one] if one.kind == Rod.kind else rods_through(one)
    for rod in rods:
        _quietly(follow_screws, rod)
        for link in links_between(rod):
            _quietly(follow_rods, link)


def begin_line(scene: Any, implant: Implant, *, like: Any = None) -> Any:
    """An empty line for the user to draw: entry first, then target.

    Once both points are there, a :class:`ImplantLink` (or :func:`finish_line`) puts the implant
    on it.

    :returns: ``vtkMRMLMarkupsLineNode``.
    :raises InputError: the implant does not lie along a line.
    """
    if not can_have_line(implant):
        raise InputError(f"a {implant.kind} has no entry and target: add it without a line")
    line = scene.CreateNodeByClass("vtkMRMLMarkupsLineNode")
    line.UnRegister(None)
    line.SetName(scene.GenerateUniqueName("Entry-target"))
    line.SetAttribute(PENDING, json.dumps(implant.to_dict()))
    line = scene.AddNode(line)
    line.CreateDefaultDisplayNodes()
    line.GetDisplayNode().SetSelectedColor(*LINE_COLOR)
    line.GetDisplayNode().SetPropertiesLabelVisibility(False)
    if like is not None:
        line.SetNodeReferenceID(LIKE_REFERENCE, like.GetID())
    return line


def finish_line(line: Any) -> SceneImplant | None:
    """Put the pending implant on a line that was drawn; None while it is not complete."""
    text = line.GetAttribute(PENDING)
    if not text or line.GetNumberOfDefinedControlPoints() < 2:
        return None
    line.RemoveAttribute(PENDING)
    like = line.GetNodeReference(LIKE_REFERENCE)
    one = add_implant(line.GetScene(), implant_from_dict(json.loads(text)), like=like)
    line.SetNodeReferenceID(IMPLANT_REFERENCE, one.model.GetID())
    one.model.SetNodeReferenceID(LINE_REFERENCE, line.GetID())
    update_from_line(one)
    update_line(one)
    return one


class ImplantLink:
    """Observes a scene so that implants, their lines and their rods stay together.

    No Qt: works wherever the MRML classes do. What was saved is picked up again when a scene is
    loaded. Keep a reference as long as it should work, and :meth:`stop` it.

    :param scene: ``vtkMRMLScene``.
    :param on_change: called with the implant after it followed a change, for a panel; with None
        when implants were removed or a scene was loaded.
    """

    def __init__(
        self, scene: Any, on_change: Callable[[SceneImplant | None], None] | None = None
    ) -> None:
        self._scene = scene
        self._on_change = on_change
        self._busy = False
        self._node_tags: dict[str, tuple[Any, list[int]]] = {}
        events = slicer_classes().vtkMRMLScene
        self._scene_tags = [
            scene.AddObserver(events.NodeAddedEvent, self._node_added),
            scene.AddObserver(events.NodeRemovedEvent, self._node_removed),
            scene.AddObserver(events.EndBatchProcessEvent, self._scene_changed),
            scene.AddObserver(events.EndImportEvent, self._scene_changed),
        ]
        self.refresh()

    def stop(self) -> None:
        """Observe nothing any more."""
        for tag in self._scene_tags:
            self._scene.RemoveObserver(tag)
        self._scene_tags = []
        for node_id in list(self._node_tags):
            self._forget(node_id)

    def refresh(self) -> None:
        """Observe exactly the lines and transforms of the implants that are there now."""
        wanted: dict[str, Any] = {}
        for one in implants_of(self._scene):
            try:
                wanted[one.transform.GetID()] = one.transform
            except InputError:
                continue  # said when the implant is used
            if one.line is not None:
                wanted[one.line.GetID()] = one.line
        for node_id in set(self._node_tags) - set(wanted):
            node = self._node_tags[node_id][0]
            if node.GetScene() is not self._scene or not node.GetAttribute(PENDING):
                self._forget(node_id)
        for node in wanted.values():
            self._observe(node)

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Follow nothing within the block: for changes of many implants at once."""
        before, self._busy = self._busy, True
        try:
            yield
        finally:
            self._busy = before

    def _observe(self, node: Any) -> None:
        node_id = node.GetID()
        known = self._node_tags.get(node_id)
        if known is not None and known[0] is node:
            return
        if known is not None:
            self._forget(node_id)
        if node.IsA("vtkMRMLMarkupsLineNode"):
            tags = [
                node.AddObserver(node.PointModifiedEvent, self._line_moved),
                node.AddObserver(node.PointPositionDefinedEvent, self._line_moved),
                node.AddObserver(node.PointEndInteractionEvent, self._line_released),
            ]
        else:
            tags = [node.AddObserver(node.TransformModifiedEvent, self._transform_moved)]
        self._node_tags[node_id] = (node, tags)

    def _forget(self, node_id: str) -> None:
        node, tags = self._node_tags.pop(node_id)
        for tag in tags:
            node.RemoveObserver(tag)

    @vtk.calldata_type(vtk.VTK_OBJECT)  # type: ignore[untyped-decorator]  # vtk's
    def _node_added(self, scene: Any, event: str, node: Any) -> None:
        if scene.IsBatchProcessing():
            return  # references are not resolved yet; picked up at the end
        if node.IsA("vtkMRMLMarkupsLineNode") and node.GetAttribute(PENDING):
            self._observe(node)
        one = implant_of_node(node)
        if one is not None:
            self.refresh()
            if node.IsA("vtkMRMLMarkupsLineNode"):
                self._observe(node)  # its implant refers to it only once it has an id
            self._tell(one)

    @vtk.calldata_type(vtk.VTK_OBJECT)  # type: ignore[untyped-decorator]  # vtk's
    def _node_removed(self, scene: Any, event: str, node: Any) -> None:
        if scene.IsBatchProcessing():
            return
        for node_id, (known, _) in list(self._node_tags.items()):
            if known is node:
                self._forget(node_id)
        if node.IsA("vtkMRMLModelNode") and node.GetAttribute(KIND):
            if not self._busy:
                self._clean_up(scene)
            self._tell(None)

    def _clean_up(self, scene: Any) -> None:
        """A model was deleted, perhaps elsewhere in Slicer: take its companions out too."""
        with self.paused():
            for node, _ in list(self._node_tags.values()):
                orphan = node.GetScene() is scene and not node.GetAttribute(PENDING)
                if orphan and implant_of_node(node) is None:
                    if node.IsA("vtkMRMLMarkupsLineNode"):
                        remove_companions(scene, node, None)
                    else:
                        remove_companions(scene, None, node)
            for rod in implants_of(scene, Rod.kind):
                count = rod.model.GetNumberOfNodeReferences(SCREWS_REFERENCE)
                if count and len(screws_of(rod)) != count:
                    try:
                        release_removed(rod)
                    except InputError as error:
                        rod.model.SetAttribute(PROBLEM, str(error))

    def _scene_changed(self, scene: Any, event: str) -> None:
        if not scene.IsBatchProcessing():
            self.refresh()
            self._tell(None)

    def _line_moved(self, line: Any, event: str) -> None:
        if self._busy or self._scene.IsBatchProcessing():
            return
        with self.paused():
            if line.GetAttribute(PENDING):
                one = finish_line(line)
                if one is not None:
                    self.refresh()
                    self._tell(one)
                return
            one = implant_of_node(line)
            if one is not None and update_from_line(one):
                by_hand(one)
                rods_follow(one)
                self._tell(one)

    def _line_released(self, line: Any, event: str) -> None:
        one = implant_of_node(line)
        if one is not None and not self._busy:
            with self.paused():
                update_line(one)

    def _transform_moved(self, transform: Any, event: str) -> None:
        one = implant_of_node(transform)
        if self._busy or one is None or self._scene.IsBatchProcessing():
            return
        with self.paused():
            by_hand(one)
            followers_follow(one)
            self._tell(one)

    def _tell(self, one: SceneImplant | None) -> None:
        if self._on_change is not None:
            self._on_change(one)


def _quietly(follow: Callable[[SceneImplant], bool], one: SceneImplant) -> None:
    with suppress(InputError):  # said in the implant's problem
        follow(one)
