"""The skin in front and at the sides, and staples in a row along it.

Spots: "skin", on it; +z out of it, +y cranial.
"""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from MetalArtifactReductionLib.errors import InputError
from MetalArtifactReductionLib.metal.body import body_mask
from MetalArtifactReductionLib.volume import CTVolume

from ..implants.bent_wires import SkinStaple
from .bone_field import sample_hu
from .geometry import across
from .patient import Patient
from .plan import PlannedImplant
from .sites import Spot, coarser, frame

SKIN_HU = -300.0
_STEP_MM = 3.0
_SMOOTH_MM = 4.0
_SPOTS = 300
_RIM_MM = 12.0
_AIR_MM = 40.0
_APART_MM = 7.0
_TRIES = 5
_SOFT_SHARE = 0.3
_SHALLOW_MM = 0.3
"""The bridge's middle lies so much outside the skin."""


def find(volume: CTVolume) -> tuple[Spot, ...]:
    """Points all over the skin that air is in front of, away from the CT's ends.

    :raises InputError: no skin in the CT.
    """
    coarse = coarser(volume, _STEP_MM)
    hu, spacing, to_ras = coarse.hu, coarse.spacing_mm, coarse.ijk_to_ras
    if min(hu.shape) < 3:
        size = " x ".join(map(str, volume.hu.shape))
        raise InputError(f"{size} voxels are too few to see the skin's slope; give more slices")
    body = _patient(hu, body_mask(hu, spacing))
    smooth = ndimage.gaussian_filter(body.astype(np.float32), [_SMOOTH_MM / s for s in spacing])
    inwards = np.stack(np.gradient(smooth, *spacing), axis=-1)
    rim = [min(int(np.ceil(_RIM_MM / s)), n // 3) for s, n in zip(spacing, hu.shape, strict=True)]
    inside = np.zeros(hu.shape, bool)
    inside[tuple(slice(r, n - r) for r, n in zip(rim, hu.shape, strict=True))] = True
    at = np.argwhere(body & ~ndimage.binary_erosion(body) & inside)
    rng = np.random.default_rng(0)
    spots: list[Spot] = []
    for k, j, i in at[rng.permutation(len(at))[: 3 * _SPOTS]]:
        out = -to_ras[:3, :3] @ (inwards[k, j, i][::-1] / np.array(spacing[::-1]))
        spot = _on_skin(volume, to_ras[:3] @ np.array([i, j, k, 1.0]), out)
        if spot is not None:
            spots.append(spot)
    if not spots:
        raise InputError("no skin with air in front of it in this CT; give one that shows it")
    return tuple(spots[:_SPOTS])


def _patient(hu: np.ndarray, body: np.ndarray) -> np.ndarray:
    """Without a couch as large as a neck: shell and foam, hardly anything of soft tissue."""
    parts, count = ndimage.label(body)
    soft = ndimage.mean((hu > -200) & (hu < 150), parts, np.arange(1, count + 1))
    patient: np.ndarray = np.isin(parts, 1 + np.flatnonzero(np.asarray(soft) > _SOFT_SHARE))
    return patient


def _on_skin(volume: CTVolume, near: np.ndarray, out: np.ndarray) -> Spot | None:
    """The spot where a line to the outside leaves the skin for good; None at the back or inside."""
    length = float(np.linalg.norm(out))
    if length < 1e-6 or out[1] < -0.3 * length or abs(out[2]) > 0.7 * length:
        return None
    out = out / length
    reach = np.arange(-8.0, 8.0 + _AIR_MM, 0.25)
    hu = sample_hu(volume, near + reach[:, None] * out)
    tissue = np.nan_to_num(hu, nan=-1000.0) > SKIN_HU
    last = len(reach) - 1 - int(tissue[::-1].argmax())
    seen = np.isfinite(hu[last + 1 : last + 25]).all()
    if not (tissue.any() and seen) or reach[last] > 8.0:
        return None
    at = near + reach[last] * out
    return Spot("skin", frame(at, np.cross((0.0, 0.0, 1.0), out), (0, 0, 1), out))


def draw_staples(patient: Patient, rng: np.random.Generator) -> list[PlannedImplant]:
    """Six to twenty staples across a straight cut in any direction, fewer where it ends before."""
    staple = SkinStaple(width_mm=float(rng.choice([5.7, 6.9])))
    count = int(rng.integers(6, 21))
    row: list[tuple[Spot, np.ndarray]] = []
    for _ in range(_TRIES):
        first = patient.spots[int(rng.integers(len(patient.spots)))]
        row = max(row, _cut(patient, first, rng.uniform(0.0, np.pi), count), key=len)
    made = []
    for spot, along in row:
        out = spot.matrix[:3, 2]
        pose = frame(spot.origin + _SHALLOW_MM * out, np.cross(out, along), along, -out)
        made.append(PlannedImplant(staple.to_dict(), pose, {"site": spot.name}))
    return made


def _cut(
    patient: Patient, spot: Spot | None, angle: float, count: int
) -> list[tuple[Spot, np.ndarray]]:
    """Spots in a row from the first on, each with the direction of the row."""
    assert patient.volume is not None and spot is not None
    along = np.cos(angle) * spot.matrix[:3, 0] + np.sin(angle) * spot.matrix[:3, 1]
    row: list[tuple[Spot, np.ndarray]] = []
    while spot is not None and len(row) < count:
        along = across(along, spot.matrix[:3, 2])
        row.append((spot, along))
        ahead = spot.origin + _APART_MM * along
        spot = _on_skin(patient.volume, ahead, _normal(patient, spot, ahead))
    return row


def _normal(patient: Patient, spot: Spot, ahead: np.ndarray) -> np.ndarray:
    """Out of the skin one step further: that of the nearest known spot, else unchanged."""
    nearest = min(patient.spots, key=lambda one: float(np.linalg.norm(one.origin - ahead)))
    near = np.linalg.norm(nearest.origin - ahead) < 2.5 * _APART_MM
    result: np.ndarray = nearest.matrix[:3, 2] if near else spot.matrix[:3, 2]
    return result
