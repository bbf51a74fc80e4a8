"""Undo and redo for implants: what there was, taken down whenever it has settled."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

from ..implants.user_mesh import UserMesh
from ..placement.plan import PlacementPlan
from .companions import remove_all
from .plans import add_plan, planned
from .scene_implant import PROPOSED, QUALITY, implants_of

MOST_STATES = 50


class PlacementHistory:
    """The implants of a scene since it is watched; surfaces of the user's own are left alone.

    :param scene: the ``vtkMRMLScene``.
    """

    def __init__(self, scene: Any) -> None:
        self._scene = scene
        self._states: list[PlacementPlan] = [self._plan()]
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
        """Take down what there is, if it is not what was taken down last."""
        plan = self._plan()
        if _text(plan) != _text(self._states[self._now]):
            self._states = [*self._states[: self._now + 1], plan][-MOST_STATES:]
            self._now = len(self._states) - 1
        else:
            self._states[self._now] = plan  # perhaps measured meanwhile

    def undo(self) -> None:
        """The implants as they were before the last change."""
        self._go(-1)

    def redo(self) -> None:
        """The implants as they were before they were undone."""
        self._go(1)

    def _go(self, step: int) -> None:
        if not 0 <= self._now + step < len(self._states):
            return
        self._now += step
        plan = self._states[self._now]
        remove_all(self._own())
        for one, item in zip(add_plan(self._scene, plan), plan.implants, strict=True):
            for attribute in (PROPOSED, QUALITY):
                if item.attributes.get(attribute):
                    one.model.SetAttribute(attribute, str(item.attributes[attribute]))
        self._states[self._now] = self._plan()  # rods are bent anew

    def _own(self) -> list[Any]:
        return [one for one in implants_of(self._scene) if one.kind != UserMesh.kind]

    def _plan(self) -> PlacementPlan:
        items = []
        for one in self._own():
            item = planned(one)
            more = {name: one.model.GetAttribute(name) for name in (PROPOSED, QUALITY)}
            known = {name: value for name, value in more.items() if value}
            items.append(replace(item, attributes={**item.attributes, **known}))
        return PlacementPlan(tuple(items))


def _text(plan: PlacementPlan) -> str:
    """To compare plans by: micrometres make no difference, nor what was measured."""
    return json.dumps(
        [
            (one.implant, one.matrix.round(3).tolist(), {**one.attributes, QUALITY: None})
            for one in plan.implants
        ],
        default=str,
        sort_keys=True,
    )
