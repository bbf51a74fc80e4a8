"""The vault of a skull, by rays from the middle of the head, and metal on and under it.

Spots: "vault", on the outer table, +z out of the head, +y as cranial as it can; "brain", inside.
"""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from MetalArtifactReductionLib.errors import InputError
from MetalArtifactReductionLib.volume import CTVolume

from ..implants.bent_wires import AneurysmClip
from ..implants.coil import EmbolisationCoil
from ..implants.cranial_plate import BurrHoleCover, CranialPlate
from .bone_field import sample_hu
from .hip.sphere import ray_directions
from .patient import Patient
from .plan import PlannedImplant
from .sites import Spot, frame

BONE_HU = 350.0
_CAVITY_ML = 150.0
_FARTHEST_MM = 110.0
_STEP_MM = 0.5
_FIT_MM = 30.0


def find(volume: CTVolume) -> tuple[Spot, ...]:
    """The vault above the widest slice, and places in the brain.

    :raises InputError: no cavity that bone encloses.
    """
    step = max(1, round(2.0 / volume.spacing_mm[1]))
    hu = volume.hu[:, ::step, ::step]
    bone = hu > BONE_HU
    cavity = np.stack([ndimage.binary_fill_holes(s) & ~s for s in bone]) & (hu > -200) & (hu < 150)
    labels, count = ndimage.label(ndimage.binary_erosion(cavity))
    sizes = np.bincount(labels.ravel())[1:] if count else np.zeros(1)
    voxel_ml = float(np.prod(volume.spacing_mm)) * step**2 / 1000.0
    if sizes.max() * voxel_ml < _CAVITY_ML:
        raise InputError(
            f"bone encloses {sizes.max() * voxel_ml:.0f} ml at most: no skull vault; give a CT of "
            "the head"
        )
    brain = np.argwhere(labels == 1 + int(sizes.argmax()))[:, ::-1] * [step, step, 1]
    ras = brain @ volume.ijk_to_ras[:3, :3].T + volume.ijk_to_ras[:3, 3]
    centre = ras.mean(axis=0)
    directions = ray_directions(1500)
    surface = _outer_table(volume, centre, directions)
    seen = np.isfinite(surface[:, 0])
    if seen.sum() < 50:
        raise InputError("too little of the vault lies in the CT; give a CT of the whole head")
    surface = surface[seen]
    spots = [s for s in (_on_vault(surface, at, centre) for at in surface[::3]) if s is not None]
    size = {"radius": float(np.percentile(np.linalg.norm(surface - centre, axis=1), 10))}
    low = np.eye(4)
    # Where the arteries of the base are: low and in the middle of what the CT shows.
    floor = max(float(np.percentile(ras[:, 2], 15)), float(ras[:, 2].min()) + 16.0)
    below = ras[np.abs(ras[:, 2] - floor) < 6.0]
    low[:3, 3] = below.mean(axis=0)
    return (*spots, Spot("brain", low, size))


def _outer_table(volume: CTVolume, centre: np.ndarray, directions: np.ndarray) -> np.ndarray:
    """Where rays from inside leave the bone for the last time, ``(n, 3)``; NaN where unseen."""
    reach = np.arange(20.0, _FARTHEST_MM, _STEP_MM)
    hu = sample_hu(volume, centre + reach[:, None, None] * directions)
    bone = np.nan_to_num(hu, nan=-1000.0) > BONE_HU
    # The first bone and what follows it within 15 mm: not the ears, the rest or an arm.
    first = np.where(bone.any(axis=0), bone.argmax(axis=0), len(reach))
    index = np.arange(len(reach))[:, None]
    near = bone & (index < first + round(15.0 / _STEP_MM))
    last = np.where(near.any(axis=0), len(reach) - 1 - near[::-1].argmax(axis=0), -1)
    points: np.ndarray = centre + reach[np.maximum(last, 0), None] * directions
    seen = (last > 0) & np.isfinite(sample_hu(volume, points + 6.0 * directions))
    points[~seen] = np.nan
    return points


def _on_vault(surface: np.ndarray, at: np.ndarray, centre: np.ndarray) -> Spot | None:
    """Frame and curvature at a point: a paraboloid through the surface about it."""
    outward = (at - centre) / np.linalg.norm(at - centre)
    if outward[2] < 0.05:
        return None  # below the widest slice: temporal muscle, ears
    near = surface[np.linalg.norm(surface - at, axis=1) < _FIT_MM]
    if len(near) < 20:
        return None
    pose = np.eye(4)
    for _ in range(2):
        x = np.cross([0.0, 0.0, 1.0] if abs(outward[2]) < 0.9 else [0.0, 1.0, 0.0], outward)
        pose = frame(at, x, np.cross(outward, x), outward)
        u, v, w = ((near - at) @ pose[:3, :3]).T
        terms = np.column_stack([np.ones_like(u), u, v, u * u, v * v, u * v])
        fit, *_ = np.linalg.lstsq(terms, w, rcond=None)
        outward = pose[:3, :3] @ (np.array([-fit[1], -fit[2], 1.0]))
        outward /= np.linalg.norm(outward)
    if abs(w - terms @ fit).max() > 4.0:
        return None
    pose[:3, 3] += fit[0] * pose[:3, 2]
    radius = [float(np.clip(-0.5 / min(c, -1e-3), 45.0, 150.0)) for c in fit[3:5]]
    room = float(min(np.abs(u).max(), np.abs(v).max()))
    side = "left" if at[0] < centre[0] else "right"
    return Spot("vault", pose, {"radius_x": radius[0], "radius_y": radius[1], "room": room}, side)


def _vault(patient: Patient) -> list[Spot]:
    found = [spot for spot in patient.spots if spot.name == "vault"]
    if not found:
        raise InputError("no place on the vault is flat enough and all in the CT")
    return found


def draw_plate(patient: Patient, rng: np.random.Generator) -> list[PlannedImplant]:
    """A titanium mesh, or a PEEK or bone-cement plate with titanium screws."""
    vault = _vault(patient)
    spot = vault[int(rng.integers(len(vault)))]
    mesh = rng.random() < 0.6
    most = 1.7 * min(spot.size_mm["room"], 32.0)
    plate = CranialPlate(
        width_mm=float(rng.uniform(30.0, most)),
        length_mm=float(rng.uniform(30.0, most)),
        thickness_mm=float(rng.uniform(0.4, 1.0)) if mesh else 3.0,
        curvature_x_mm=spot.size_mm["radius_x"],
        curvature_y_mm=spot.size_mm["radius_y"],
        hole_mm=3.0 if mesh else 0.0,
        screws=int(rng.integers(4, 9)),
        screw_mm=5.0 if mesh else 7.0,
        material="Ti6Al4V" if mesh else str(rng.choice(["PEEK", "bone-cement"])),
    )
    return [spot.planned(plate)]


def draw_covers(patient: Patient, rng: np.random.Generator) -> list[PlannedImplant]:
    """Two to four covers about a bone flap."""
    vault = _vault(patient)
    first = vault[int(rng.integers(len(vault)))]
    chosen: list[Spot] = []
    for spot in (vault[i] for i in rng.permutation(len(vault))):
        near = np.linalg.norm(spot.origin - first.origin) < 55.0
        if near and all(np.linalg.norm(spot.origin - o.origin) > 28.0 for o in chosen):
            chosen.append(spot)
    chosen = chosen[: int(rng.integers(2, 5))]
    size = float(rng.choice([14.0, 18.0, 20.0]))
    return [
        spot.planned(
            BurrHoleCover(
                width_mm=size,
                length_mm=size,
                curvature_x_mm=spot.size_mm["radius_x"],
                curvature_y_mm=spot.size_mm["radius_y"],
            )
        )
        for spot in chosen
    ]


def _in_brain(patient: Patient, rng: np.random.Generator) -> Spot:
    """A place near the base's arteries, turned anyhow."""
    spot = next(one for one in patient.spots if one.name == "brain").turned(rng)
    reach = 0.35 * spot.size_mm["radius"] * np.array([1.0, 1.0, 0.15])
    spot.matrix[:3, 3] += np.clip(rng.normal(0.0, 0.5, 3), -1, 1) * reach
    return spot


def draw_clips(patient: Patient, rng: np.random.Generator) -> list[PlannedImplant]:
    """One or two aneurysm clips near the base of the brain."""
    made = []
    for _ in range(1 + int(rng.random() < 0.25)):
        clip = AneurysmClip(
            blade_mm=float(rng.uniform(5.0, 12.0)),
            material=str(rng.choice(["Ti6Al4V", "Phynox"])),
        )
        made.append(_in_brain(patient, rng).planned(clip))
    return made


def draw_coil(patient: Patient, rng: np.random.Generator) -> list[PlannedImplant]:
    """One coiled aneurysm."""
    coil = EmbolisationCoil(
        diameter_mm=float(rng.uniform(3.0, 9.0)), packing=float(rng.uniform(0.2, 0.35))
    )
    return [_in_brain(patient, rng).planned(coil)]
