"""Undo and redo for implants: what there was, taken down whenever it has settled."""

from __future__ import annotations

import json
from collections.abc import Callable, Generator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import vtk

from MetalArtifactReductionLib.mrml.transaction import Added, all_of, all_or_none, remove_node
from MetalArtifactReductionLib.mrml.volumes import numpy_matrix, vtk_matrix

from ..implants import implant_from_dict
from ..implants.base import Implant
from ..implants.user_mesh import UserMesh
from .companions import remove, to_remove
from .folders import move_folder, place_of
from .lines import add_line, update_line
from .nodes import add_implant, rename
from .scene_implant import (
    CONSTRUCT,
    LEVEL,
    ORDER,
    PARAMETERS,
    PREFIX,
    PROBLEM,
    QUALITY,
    RODS_REFERENCE,
    SCREWS_REFERENCE,
    SIDE,
    TRANSFORM_REFERENCE,
    SceneImplant,
    implant_of_node,
    implants_of,
)
from .surfaces import show_surface

MOST_STATES = 50
_SAME_MM = 1e-3


@dataclass(frozen=True, eq=False)
class _Taken:
    """One implant as it was.

    :param key: the id of its model node when it was first seen; made anew it has another.
    :param attributes: all that are ours, of the model node.
    :param matrix: to the parent transform, ``(4, 4)``. :param world: to the world.
    :param parent: the key of the implant under whose transform it lies, also when only that is
        left, a node's id, or "".
    :param held: per role of reference, the keys of what it holds.
    :param lined: whether it has a line.
    :param place: subject-hierarchy item that its folder lies under.
    """

    key: str
    attributes: dict[str, str]
    matrix: np.ndarray
    world: np.ndarray
    parent: str
    held: tuple[tuple[str, ...], ...]
    lined: bool
    place: int

    def same(self, other: _Taken, *, exactly: bool = False) -> bool:
        """Else micrometres make no difference, nor what was measured or said."""
        one, two = (dict(taken.attributes) for taken in (self, other))
        if not exactly:
            for known in (one, two):
                known.pop(QUALITY, None)
                known.pop(PROBLEM, None)
        near = np.allclose(self.matrix, other.matrix, rtol=0, atol=0 if exactly else _SAME_MM)
        return near and (one, self.parent, self.held) == (two, other.parent, other.held)


_State = dict[str, _Taken]
_ROLES = (SCREWS_REFERENCE, RODS_REFERENCE)


class PlacementHistory:
    """The implants of a scene since it is watched; surfaces of the user's own are left alone.

    Nodes of implants that are in both states stay, with all that the user did to them elsewhere.

    :param scene: the ``vtkMRMLScene``.
    :param paused: gives a context in which nothing follows what is changed, see
        ``ImplantLink.paused``.
    """

    def __init__(
        self, scene: Any, paused: Callable[[], AbstractContextManager[object]] = nullcontext
    ) -> None:
        self._scene, self._paused = scene, paused
        self._keys: dict[str, str] = {}
        self._names: dict[str, str] = {}
        self._transforms: dict[str, str] = {}
        self._steps: Generator[None, None, None] | None = None
        self._states: list[_State] = [self._state()]
        self._now = 0

    @property
    def can_undo(self) -> bool:
        """Whether there is an earlier state."""
        return self._now > 0

    @property
    def can_redo(self) -> bool:
        """Whether something was undone, and nothing done since."""
        return self._now < len(self._states) - 1

    def note(self) -> None:
        """Take down what there is, if it is not what was taken down last; nothing half undone."""
        if self._steps is not None:
            return
        before = self._states[self._now]
        self._tell_apart(before)
        state = self._state()
        if state.keys() == before.keys() and all(
            one.same(before[key]) for key, one in state.items()
        ):
            self._states[self._now] = state  # perhaps measured meanwhile
        else:
            self._states = [*self._states[: self._now + 1], state][-MOST_STATES:]
            self._now = len(self._states) - 1

    def undo(self) -> None:
        """The implants as they were before the last change."""
        all_of(self.in_steps(-1))

    def redo(self) -> None:
        """The implants as they were before they were undone."""
        all_of(self.in_steps(1))

    def in_steps(self, by: int) -> Generator[None, None, None]:
        """:meth:`undo` (-1) or :meth:`redo` (1) with pauses, in which a user interface answers.

        Closed half-way it does the rest at once, unless the scene is being closed.

        :raises InputError: one cannot be made again; nothing is changed then.
        """
        self.finish()
        self.note()  # what was moved a moment ago is a change, too
        if not 0 <= self._now + by < len(self._states):
            return
        steps = self._steps = self._restored(self._now + by)
        try:
            for _ in steps:
                yield
        except GeneratorExit:
            if not self._scene.IsClosing():
                self.finish()
            raise
        finally:
            if self._steps is steps:
                self._steps = None

    def finish(self) -> None:
        """Do at once what is left of an undo or redo that is on its way."""
        steps, self._steps = self._steps, None
        if steps is not None:
            all_of(steps)

    def _restored(self, index: int) -> Generator[None, None, None]:
        """New ones first, as they may fail; what others lie under or hold is there by then."""
        target, live = self._states[index], self._live()
        missing = [one for key, one in target.items() if key not in live]
        implants = [implant_from_dict(json.loads(one.attributes[PARAMETERS])) for one in missing]
        with all_or_none(self._scene) as added:
            for taken, implant in zip(missing, implants, strict=True):
                with self._paused():
                    live[taken.key] = self._made(taken, implant, added)
                yield
        with self._paused():
            self._remove_lost(missing)
        for taken in list(target.values()):
            taken = target[taken.key] = self._standing(taken, live)
            with self._paused():
                changed = self._put_back(taken, live)
            if changed:
                yield
        for one in to_remove(one for key, one in live.items() if key not in target):
            with self._paused():
                if one.scene is self._scene:
                    remove(one)
            yield
        for taken in missing:  # now that their names are free
            if (one := live[taken.key]).scene is self._scene:
                rename(one, self._names[taken.key])
                one.model.SetName(self._names[taken.key])  # also where another was called so
                self._give_up_ids(taken.key, one)
        self._now = index

    def _made(self, taken: _Taken, implant: Implant, added: Added) -> SceneImplant:
        known = taken.attributes
        transform = self._left_over(taken.key)
        one = add_implant(
            self._scene,
            implant,
            side=known.get(SIDE, ""),
            level=known.get(LEVEL, ""),
            order=int(known.get(ORDER) or 0),
            construct=known.get(CONSTRUCT, ""),
            handles=False,
            transform=transform,
        )
        if transform is None:
            added(one.transform)
        added(one.model)
        self._keys[one.model.GetID()] = taken.key
        self._transforms[taken.key] = one.transform.GetID()
        if taken.lined:
            added(add_line(one))
        move_folder(self._scene, one.model, taken.place)
        return one

    def _left_over(self, key: str) -> Any:
        """The transform of one that is gone, which stayed as something else lies under it."""
        node = self._scene.GetNodeByID(self._transforms[key])
        left = node is not None and node.IsA("vtkMRMLLinearTransformNode")
        return node if left and implant_of_node(node) is None else None

    def _remove_lost(self, missing: list[_Taken]) -> None:
        """What is left of those whose transforms were deleted: they have been made anew."""
        keys = {taken.key for taken in missing}
        for one in implants_of(self._scene):
            lost = one.model.GetNodeReference(TRANSFORM_REFERENCE) is None
            if lost and self._key_of(one.model) in keys:
                line = one.line
                remove_node(self._scene, one.model)
                remove_node(self._scene, line)

    def _standing(self, taken: _Taken, live: dict[str, SceneImplant]) -> _Taken:
        """In the same place of the world where the transform that it lay under is gone."""
        under = self._transforms.get(taken.parent, taken.parent)
        if not under or taken.parent in live or self._scene.GetNodeByID(under):
            return taken
        return replace(taken, parent="", matrix=taken.world)

    def _put_back(self, taken: _Taken, live: dict[str, SceneImplant]) -> bool:
        """Make one what it was; whether that took anything. One that was removed stays so."""
        one = live[taken.key]
        if one.scene is not self._scene:
            return False
        now = self._taken(one, taken.key)
        if taken.same(now, exactly=True):
            return False
        for name in now.attributes.keys() - taken.attributes.keys():
            one.model.RemoveAttribute(name)
        for name, value in taken.attributes.items():
            one.model.SetAttribute(name, value)
        if taken.attributes[PARAMETERS] != now.attributes[PARAMETERS]:
            show_surface(one.model, one.implant)
        if now.parent != taken.parent:
            under = live.get(taken.parent)
            parent = self._transforms.get(taken.parent, taken.parent)
            if under is not None:
                parent = under.transform.GetID()
            for node in (one.transform, one.line):
                if node is not None:
                    node.SetAndObserveTransformNodeID(parent)
        one.transform.SetMatrixTransformToParent(vtk_matrix(taken.matrix))
        for role, keys in zip(_ROLES, taken.held, strict=True):
            one.model.RemoveNodeReferenceIDs(role)
            for index, key in enumerate(key for key in keys if live[key].scene is self._scene):
                one.model.SetNthNodeReferenceID(role, index, live[key].model.GetID())
        update_line(one)
        return True

    def _live(self) -> dict[str, SceneImplant]:
        """The implants of the scene by their keys."""
        return {self._key_of(one.model): one for one in implants_of(self._scene) if _followed(one)}

    def _tell_apart(self, before: _State) -> None:
        """One of an imported scene may have the id of one that is gone, and is another."""
        for key, one in self._live().items():
            if key in self._names and key not in before:
                self._keys[one.model.GetID()] = f"{key}+"

    def _give_up_ids(self, key: str, one: SceneImplant) -> None:
        """One that was made anew has another id; who comes with an earlier one is not it."""
        for node_id in [key, *self._keys]:
            if node_id != one.model.GetID() and self._keys.get(node_id, node_id) == key:
                self._keys[node_id] = f"{node_id}+{len(self._keys)}"

    def _state(self) -> _State:
        live = self._live()
        self._names |= {key: one.name for key, one in live.items()}
        self._transforms |= {key: one.transform.GetID() for key, one in live.items()}
        return {key: self._taken(one, key) for key, one in live.items()}

    def _taken(self, one: SceneImplant, key: str) -> _Taken:
        model, transform = one.model, one.transform
        names = [name for name in model.GetAttributeNames() if name.startswith(PREFIX)]
        under = implant_of_node(transform.GetParentTransformNode())
        if under is not None and _followed(under):
            parent = self._key_of(under.model)
        else:
            parent = transform.GetTransformNodeID()
            left = (key for key, node_id in self._transforms.items() if node_id == parent)
            parent = next(left, parent)
        matrix, world = vtk.vtkMatrix4x4(), vtk.vtkMatrix4x4()
        transform.GetMatrixTransformToParent(matrix)
        if transform.IsTransformToWorldLinear():
            transform.GetMatrixTransformToWorld(world)
        else:
            world.DeepCopy(matrix)
        return _Taken(
            key,
            {name: model.GetAttribute(name) for name in names},
            numpy_matrix(matrix),
            numpy_matrix(world),
            parent or "",
            tuple(tuple(self._held(model, role)) for role in _ROLES),
            one.line is not None,
            place_of(self._scene, model),
        )

    def _held(self, model: Any, role: str) -> list[str]:
        count = model.GetNumberOfNodeReferences(role)
        nodes = [model.GetNthNodeReference(role, index) for index in range(count)]
        held = [SceneImplant(node) for node in nodes if node is not None]
        return [self._key_of(one.model) for one in held if _followed(one)]

    def _key_of(self, model: Any) -> str:
        node_id = str(model.GetID())
        return self._keys.get(node_id, node_id)


def _followed(one: SceneImplant) -> bool:
    """No surface of the user's; and one without its transform is no implant."""
    return one.kind != UserMesh.kind and bool(one.model.GetNodeReference(TRANSFORM_REFERENCE))
