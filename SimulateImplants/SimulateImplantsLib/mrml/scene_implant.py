"""An implant in a scene: what its nodes mean and how they are read.

An implant is a model node (its surface, in the implant's own frame) under a linear transform node
(its placement). The model node carries everything else as attributes and node references, so that
nothing is ever found by its name and a scene that was saved and loaded is as editable as before.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from MetalArtifactReductionLib.errors import InputError
from MetalArtifactReductionLib.mrml.namespace import slicer_classes
from MetalArtifactReductionLib.mrml.volumes import numpy_matrix, require_linear_parent

from ..implants import implant_from_dict
from ..implants.base import Implant
from ..implants.user_mesh import UserMesh
from ..voxels.voxelize import PlacedImplant

PREFIX = "SimulateImplants."
KIND = PREFIX + "kind"
"""Node attribute of the model node; a model node that has it is an implant."""
PARAMETERS = PREFIX + "parameters"
"""Attribute: the implant as JSON, see :meth:`Implant.to_dict`."""
MATERIAL = PREFIX + "material"
SIDE = PREFIX + "side"
LEVEL = PREFIX + "level"
ORDER = PREFIX + "order"
CONSTRUCT = PREFIX + "construct"
"""Attribute: the construct that the implant belongs to, see :func:`new_construct`; "" for none."""
PROPOSED = PREFIX + "proposed"
"""Attribute: came of a proposal, and is replaced by the next one."""
GIVEN_NAME = PREFIX + "name"
"""Attribute: the name that it got by itself; another is the user's."""
QUALITY = PREFIX + "measured"
"""Attribute: how well it lay when it was measured, as JSON; removed when it is changed."""
PROBLEM = PREFIX + "problem"
"""Attribute: why the implant could not follow the last change, for the user; "" if it could."""

TRANSFORM_REFERENCE = PREFIX + "transform"
"""Reference from the model node to the transform node that places it."""
LINE_REFERENCE = PREFIX + "line"
"""Reference to the Markups line, entry to target, that drives it."""
SCREWS_REFERENCE = PREFIX + "screw"
"""References from a rod to the model nodes of its screws, in order from one end to the other."""
RODS_REFERENCE = PREFIX + "rod"
"""References from a cross-link to the model nodes of its two rods."""
IMPLANT_REFERENCE = PREFIX + "implant"
"""Reference from transform and line back to the model node."""


@dataclass(frozen=True)
class SceneImplant:
    """The nodes of one implant; cheap to make, everything is read from the scene.

    :param model: its ``vtkMRMLModelNode``.
    """

    model: Any

    @property
    def scene(self) -> Any:
        """The scene that holds the nodes, None once they are removed."""
        return self.model.GetScene()

    @property
    def name(self) -> str:
        """What the user calls it."""
        return str(self.model.GetName())

    @property
    def kind(self) -> str:
        """Family, see ``implant_kinds()``."""
        return self._attribute(KIND)

    @property
    def material(self) -> str:
        """Name of the main material."""
        return self._attribute(MATERIAL)

    @property
    def side(self) -> str:
        """Either left, right or empty."""
        return self._attribute(SIDE)

    @property
    def level(self) -> str:
        """Vertebral level such as "L4", or ""."""
        return self._attribute(LEVEL)

    @property
    def order(self) -> int:
        """Position within the construct, from 0."""
        return int(self._attribute(ORDER) or 0)

    @property
    def construct(self) -> str:
        """Its construct, such as "2 spine left", or ""."""
        return self._attribute(CONSTRUCT)

    @property
    def problem(self) -> str:
        """What keeps it from following the last change, in one line; "" if nothing does."""
        return self._attribute(PROBLEM)

    @property
    def transform(self) -> Any:
        """The ``vtkMRMLLinearTransformNode`` that places it.

        :raises InputError: it was removed from the scene.
        """
        node = self.model.GetNodeReference(TRANSFORM_REFERENCE)
        if node is None:
            raise InputError(
                f"implant '{self.name}' has lost its transform node: remove it and add it again"
            )
        return node

    @property
    def line(self) -> Any:
        """The Markups line that drives it, or None."""
        return self.model.GetNodeReference(LINE_REFERENCE)

    @property
    def implant(self) -> Implant:
        """What it is, from its parameters.

        :raises InputError: the parameters in the scene are damaged.
        """
        text = self._attribute(PARAMETERS)
        try:
            if self.kind == UserMesh.kind:
                # The surface lives in the model node: the scene has to work without its file.
                values = json.loads(text)
                if self.model.GetParentTransformNode() is not self.transform:
                    raise InputError("it was taken out of its transform")
                return UserMesh.from_polydata(
                    self.model.GetPolyData(),
                    values["material"],
                    allow_self_intersection=values["allow_self_intersection"],
                )
            return _implant(text)
        except (InputError, ValueError, TypeError, KeyError) as error:
            raise InputError(
                f"implant '{self.name}' cannot be read from the scene ({error}): remove it and "
                "add it again"
            ) from error

    def matrix(self, relative_to: Any = None) -> np.ndarray:
        """Placement: implant frame -> RAS, ``(4, 4)``, parent transforms included.

        :param relative_to: a volume node, whose own RAS is meant, which differs from the world's
            when it lies under a transform; None for the world.
        :raises InputError: a non-linear transform in between.
        """
        require_linear_parent(self.transform)
        if relative_to is not None:
            require_linear_parent(relative_to)
        target = None if relative_to is None else relative_to.GetParentTransformNode()
        return matrix_between(self.transform, target)

    def placed(self, relative_to: Any = None) -> PlacedImplant:
        """For :func:`SimulateImplantsLib.voxels.voxelize.voxelize`."""
        return PlacedImplant(self.implant, self.matrix(relative_to), self.name)

    def _attribute(self, name: str) -> str:
        return str(self.model.GetAttribute(name) or "")


def implants_of(scene: Any, kind: str | None = None) -> list[SceneImplant]:
    """The implants in the scene: constructs as they were added, within each by order.

    :param kind: only this family.
    """
    count = scene.GetNumberOfNodesByClass("vtkMRMLModelNode")
    models = [scene.GetNthNodeByClass(index, "vtkMRMLModelNode") for index in range(count)]
    found = [SceneImplant(model) for model in models if model.GetAttribute(KIND)]
    found.sort(key=lambda one: (construct_number(one.construct), one.construct, one.order))
    return [one for one in found if kind is None or one.kind == kind]


def construct_number(construct: str) -> int:
    """The number that a construct's label begins with; 0 for implants of no construct."""
    first = construct.split(" ", maxsplit=1)[0]
    return int(first) if first.isdigit() else 0


def free_name(scene: Any, name: str) -> str:
    """That name, or with the lowest number that no node has; Slicer counts on for ever."""
    free, number = name, 0
    while scene.GetFirstNodeByName(free) is not None:
        number += 1
        free = f"{name}_{number}"
    return free


def implant_of_node(node: Any) -> SceneImplant | None:
    """The implant that a model, transform or line node belongs to, or None."""
    if node is None:
        return None
    if node.IsA("vtkMRMLModelNode") and node.GetAttribute(KIND):
        return SceneImplant(node)
    model = node.GetNodeReference(IMPLANT_REFERENCE)
    return SceneImplant(model) if model is not None and model.GetAttribute(KIND) else None


def placed_implants(
    scene: Any, relative_to: Any = None, *, only: Iterable[SceneImplant] | None = None
) -> list[PlacedImplant]:
    """The implants of a scene as the core takes them.

    :param relative_to: the CT's volume node, see :meth:`SceneImplant.matrix`.
    :param only: these instead of all.
    :raises InputError: there is none.
    """
    chosen = implants_of(scene) if only is None else list(only)
    if not chosen:
        raise InputError("there is no implant in the scene: add or propose one first")
    return [one.placed(relative_to) for one in chosen]


def matrix_between(source: Any, target: Any) -> np.ndarray:
    """The ``(4, 4)`` matrix from below one transform node to below another (None: the world)."""
    import vtk

    matrix = vtk.vtkMatrix4x4()
    slicer_classes().vtkMRMLTransformNode.GetMatrixTransformBetweenNodes(source, target, matrix)
    return numpy_matrix(matrix)


@lru_cache(maxsize=512)
def _implant(text: str) -> Implant:
    return implant_from_dict(json.loads(text))
