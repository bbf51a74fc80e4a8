"""Fat and soft tissue away from bone, air and skin: surgical clips, fiducial markers.

Spots: "fat" and "soft", any axes.
"""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from MetalArtifactReductionLib.errors import InputError
from MetalArtifactReductionLib.metal.body import body_mask
from MetalArtifactReductionLib.volume import CTVolume

from ..implants.bent_wires import SurgicalClip
from ..implants.wires import Fiducial
from .patient import Patient
from .plan import PlannedImplant
from .sites import Spot

_DEPTH_MM = 15.0
_CLEAR_MM = 6.0
_SPOTS = 60
_BORDER_HU = -30.0


def find(volume: CTVolume) -> tuple[Spot, ...]:
    """Points deep in the body, away from bone and air, spread over the CT.

    :raises InputError: no such place.
    """
    step = max(1, round(3.0 / volume.spacing_mm[1]))
    hu = ndimage.uniform_filter(volume.hu, (1, step, step))[:, ::step, ::step]
    spacing = np.array(volume.spacing_mm) * [1, step, step]
    body = body_mask(hu, tuple(spacing))
    deep = np.stack([ndimage.distance_transform_edt(s, spacing[1:]) for s in body]) > _DEPTH_MM
    near = ndimage.distance_transform_edt((hu > -150) & (hu < 130), spacing) > _CLEAR_MM
    ends = np.zeros(len(hu), bool)
    margin = min(int(np.ceil(8.0 / spacing[0])), (len(hu) - 1) // 2)
    ends[margin : len(hu) - margin] = True
    spots = []
    rng = np.random.default_rng(0)
    for name, low, high in (("fat", -130.0, -60.0), ("soft", 10.0, 100.0)):
        at = np.argwhere(deep & near & ends[:, None, None] & (hu > low) & (hu < high))
        for k, j, i in at[rng.permutation(len(at))[:_SPOTS]]:
            pose = np.eye(4)
            pose[:3, 3] = volume.ijk_to_ras[:3] @ [i * step, j * step, k, 1.0]
            spots.append(Spot(name, pose))
    if not spots:
        raise InputError("no fat or soft tissue away from bone and air in this CT")
    return tuple(spots)


def _cluster(
    patient: Patient, rng: np.random.Generator, name: str, reach_mm: float, most: int
) -> list[Spot]:
    """Some places about one, each turned anyhow."""
    own = [spot for spot in patient.spots if spot.name == name] or list(patient.spots)
    first = own[int(rng.integers(len(own)))]
    chosen: list[Spot] = []
    for spot in (own[i] for i in rng.permutation(len(own))):
        near = np.linalg.norm(spot.origin - first.origin) < reach_mm
        if near and all(np.linalg.norm(spot.origin - o.origin) > 8.0 for o in chosen):
            chosen.append(spot.turned(rng))
    return chosen[: int(rng.integers(1, most + 1))]


def draw_clips(patient: Patient, rng: np.random.Generator) -> list[PlannedImplant]:
    """One to eight clips where vessels were tied, in fat."""
    sizes = ((0.5, 3.5), (0.7, 6.0), (0.9, 10.0))
    wire, length = sizes[int(rng.choice(3, p=[0.3, 0.5, 0.2]))]
    material = str(rng.choice(["cp-Ti", "316L", "tantalum"], p=[0.7, 0.2, 0.1]))
    clip = SurgicalClip(wire, length, material)
    return [spot.planned(clip) for spot in _cluster(patient, rng, "fat", 70.0, 8)]


def draw_fiducials(patient: Patient, rng: np.random.Generator) -> list[PlannedImplant]:
    """One to four gold markers in soft tissue."""
    sizes = ((0.8, 3.0), (1.0, 5.0), (1.2, 3.0))
    marker = Fiducial(*sizes[int(rng.integers(3))])
    return [spot.planned(marker) for spot in _cluster(patient, rng, "soft", 40.0, 4)]
