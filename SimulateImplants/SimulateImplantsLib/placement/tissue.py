"""Whether an implant lies in the tissue that its family belongs in, by the CT's own HU."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from MetalArtifactReductionLib.volume import CTVolume

from ..implants.base import Implant
from .bone_field import sample_hu
from .collision import surface_points

TISSUES = {
    "air": (-np.inf, -500.0),
    "fat": (-500.0, -30.0),
    "soft": (-30.0, 200.0),
    "bone": (200.0, 1000.0),
    "spongiosa": (110.0, 200.0),
    "enamel": (1000.0, np.inf),
}
"""HU from, and below; contrast is bone, and so is what slices thicker than a tooth leave of it.
Spongiosa is thin bone, which is soft too."""
_NEAR_MM = 1.5
_AROUND = np.array(list(np.ndindex(3, 3, 3)), float)[np.arange(27) != 13] - 1.0
_AROUND /= np.linalg.norm(_AROUND, axis=1, keepdims=True)
_REACH_MM = np.arange(1.0, 42.0, 2.5)
_ENCLOSED = 0.7
_MOST_POINTS = 4000
_SEEN = 0.98


def shares(implant: Implant, matrix: np.ndarray, rule: str, volume: CTVolume) -> float:
    """Share of an implant's surface in some tissues; NaN where it reaches out of the CT.

    :param matrix: implant frame to RAS.
    :param rule: ``[role or part:] [near|inside] tissue[+tissue]``: "bone+enamel", "near fat",
        "root: bone"; near means within 1.5 mm, inside that in most directions some lies within
        40 mm, as bone does about marrow.
    """
    part, _, tissues = rule.rpartition(":")
    meshes = [
        p.mesh for p in implant.parts() if not part or p.name.startswith(part) or p.role == part
    ]
    points = np.concatenate([surface_points(mesh) for mesh in meshes])
    points = points[:: len(points) // _MOST_POINTS + 1] @ matrix[:3, :3].T + matrix[:3, 3]
    where, _, names = tissues.strip().rpartition(" ")
    around = np.zeros((1, 3))
    if where == "near":
        around = np.vstack([around, _NEAR_MM * np.eye(3), -_NEAR_MM * np.eye(3)])
    elif where == "inside":
        points = points[:: len(points) // 400 + 1]
        around = np.vstack([around, (_REACH_MM[:, None, None] * _AROUND).reshape(-1, 3)])
    hu = sample_hu(volume, points[None] + around[:, None])
    if np.isfinite(hu[0]).mean() < _SEEN:
        return float("nan")
    lies = np.zeros(hu.shape, bool)
    for low, high in (TISSUES[name] for name in names.split("+")):
        lies |= (hu >= low) & (hu < high)
    if where == "inside":
        met = lies[1:].reshape(len(_REACH_MM), len(_AROUND), -1).any(axis=0)
        return float((met.mean(axis=0) >= _ENCLOSED).mean())
    return float(lies.any(axis=0).mean())


def tissue_grade(
    implant: Implant,
    matrix: np.ndarray,
    sits: Mapping[str, tuple[float, float]],
    volume: CTVolume,
) -> tuple[str, str]:
    """Grade "good" or "poor" and why it is poor; "" where the CT does not show it.

    :param sits: see ``implants.ImplantEntry``.
    """
    faults = []
    for rule, (low, high) in sits.items():
        share = shares(implant, matrix, rule, volume)
        if np.isnan(share):
            return "", "partly outside the CT: not graded"
        if not low <= share <= high:
            faults.append(f"{rule}: {100 * share:.0f} %, not {100 * low:.0f} to {100 * high:.0f} %")
    return ("poor", "; ".join(faults)) if faults else ("good", "")
