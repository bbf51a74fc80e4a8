"""Size of a hand-drawn screw from the bone around it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from MetalArtifactReductionLib.errors import InputError
from MetalArtifactReductionLib.mrml.correct import ct_from_node

from ..implants.lateral_mass_screw import LateralMassScrew
from ..implants.pedicle_screw import PedicleScrew
from ..placement.anatomy import Anatomy
from ..placement.spine.grading import shaft_samples
from ..placement.spine.sizes import ScrewSizes
from ..placement.spine.trajectory import PedicleTrajectory, narrowest, trajectory_along
from .link import edit_implant, followers_follow
from .nodes import set_matrix
from .scene_implant import SceneImplant


def fit_screw(
    one: SceneImplant, ct_node: Any, labels: Mapping[str, np.ndarray]
) -> PedicleTrajectory:
    """Give a pedicle screw the largest diameter and length that its axis leaves room for.

    The axis stays as it was drawn; along it the screw moves to where the bone begins.

    :param labels: masks of vertebrae on the CT's grid, see ``bone_labels``.
    :returns: what was found; ``warnings`` are for the user.
    :raises InputError: no pedicle screw, no vertebra around it, no bone along its axis.
    """
    screw = one.implant
    if not isinstance(screw, PedicleScrew) or isinstance(screw, LateralMassScrew):
        raise InputError(f"'{one.name}' is no pedicle screw: only these are fitted to the bone")
    volume = ct_from_node(one.model.GetScene(), ct_node)
    matrix = one.matrix(ct_node)
    entry, direction = matrix[:3, 3], matrix[:3, 2]
    anatomy = Anatomy(volume, labels)
    points = shaft_samples(entry, entry + screw.length_mm * direction, screw.diameter_mm)
    level = anatomy.level_at(points)
    if not level:
        raise InputError(
            f"'{one.name}' lies in no labelled vertebra: part the vertebrae, or move the screw"
        )
    frame, field = anatomy.vertebra(level)
    side = one.side or ("left" if frame.local(entry)[0] < 0 else "right")
    through = narrowest(field, entry, direction)
    found = trajectory_along(field, frame, side, through, direction, ScrewSizes())
    edit_implant(one, diameter_mm=found.diameter_mm, length_mm=found.length_mm)
    moved = matrix.copy()
    moved[:3, 3] = found.entry_ras
    set_matrix(one, moved, ct_node)
    followers_follow(one)
    return found
