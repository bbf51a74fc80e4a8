"""Shoulders: the humeral head as a sphere, beside the lungs, and the shaft that hangs on it.

Spots: "shoulder", in the centre of the head; +z up the humerus, +x medial. Arms may be up or down.
"""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from MetalArtifactReductionLib.errors import InputError
from MetalArtifactReductionLib.metal.body import body_mask
from MetalArtifactReductionLib.volume import CTVolume

from ..implants.total_shoulder import TotalShoulder
from .bone_field import distance_to, sample_hu
from .chest import find_lungs
from .geometry import unit
from .hip.measure import fit_head
from .hip.sphere import ray_directions
from .limb import Section, sections
from .patient import Patient
from .plan import PlannedImplant
from .sites import Spot, coarser, frame

BONE_HU = 150.0
_ABOVE_MM, _BELOW_MM = 120.0, 90.0
"""Where heads are from the tip of the lungs."""
_ASIDE_MM = 75.0
_DEPTH_MM = 12.0
_RADIUS_MM = (18.0, 30.0)
_SHAFT_MM = (22.0, 110.0)
_OFFSET_MM = 14.0
_CONE = np.cos(np.deg2rad(30.0))


def find(volume: CTVolume) -> tuple[Spot, ...]:
    """One spot a shoulder.

    :raises InputError: no lungs, or no round bone beside them with a shaft on it.
    """
    lungs = find_lungs(volume)
    at = np.argwhere(lungs.mask)[:, 2]
    middle = lungs.to_ras[0, 0] * 0.5 * float(at.min() + at.max()) + lungs.to_ras[0, 3]
    coarse = coarser(volume, 2.0)
    hu, spacing, to_ras = coarse.hu, coarse.spacing_mm, coarse.ijk_to_ras
    body = body_mask(hu, spacing)
    heights = to_ras[2, 2] * np.arange(len(hu)) + to_ras[2, 3]
    bone = body & (hu > BONE_HU)
    filled = np.stack([ndimage.binary_fill_holes(ndimage.binary_closing(s)) for s in bone])
    # What the CT cuts off goes on.
    wide = np.pad(filled, ((3, 3), (0, 0), (0, 0)), mode="edge")
    depth = distance_to(~wide, spacing)[3:-3]
    x = to_ras[0, 0] * np.arange(hu.shape[2]) + to_ras[0, 3] - middle
    depth[(heights > lungs.tip + _ABOVE_MM) | (heights < lungs.tip - _BELOW_MM)] = 0.0
    seeds = []
    for side, sign in (("right", 1.0), ("left", -1.0)):
        own = np.where(sign * x > _ASIDE_MM, depth, 0.0)
        k, j, i = np.unravel_index(int(own.argmax()), own.shape)
        if own[k, j, i] >= _DEPTH_MM:
            seeds.append((to_ras[:3] @ np.array([i, j, k, 1.0]), side, sign))
    shafts = [one for row in sections(volume) for one in row] if seeds else []
    found = (_shoulder(volume, seed, side, sign, shafts) for seed, side, sign in seeds)
    spots = tuple(spot for spot in found if spot is not None)
    if not spots:
        raise InputError(
            "no head of a humerus with its shaft beside the lungs; give a CT of the shoulders"
        )
    return spots


def _shoulder(
    volume: CTVolume, seed: np.ndarray, side: str, sign: float, shafts: list[Section]
) -> Spot | None:
    try:
        centre, radius = fit_head(volume, seed, np.array([sign, 0.0, 0.0]), name=f"{side} shoulder")
    except InputError:
        return None
    if not _RADIUS_MM[0] < radius < _RADIUS_MM[1]:
        return None
    below = [
        one.centre
        for one in shafts
        if _SHAFT_MM[0] < abs(one.centre[2] - centre[2]) < _SHAFT_MM[1]
        and np.linalg.norm((one.centre - centre)[:2]) < 0.9 * abs(one.centre[2] - centre[2]) + 10.0
    ]
    ways = [np.array([p for p in below if s * (p[2] - centre[2]) > 0]) for s in (1.0, -1.0)]
    shaft = max(ways, key=len)
    if len(shaft) < 3:
        return None
    point = shaft.mean(axis=0)
    up = np.linalg.svd(shaft - point)[2][0] if np.ptp(shaft[:, 2]) > 25.0 else unit(centre - point)
    up = up if up @ (centre - point) > 0 else -up
    foot = point + up * float((centre - point) @ up)
    medial = _glenoid(volume, centre, radius, sign)
    pose = frame(centre, medial, np.cross(up, medial), up)
    offset = float((centre - foot) @ pose[:3, 0])
    if np.linalg.norm(centre - foot) > _OFFSET_MM:
        up = unit(centre - point)
        pose, offset = frame(centre, medial, np.cross(up, medial), up), 0.0
    lift = float(np.rad2deg(np.arcsin(np.clip(medial @ up, -1.0, 1.0))))
    return Spot("shoulder", pose, {"radius": radius, "offset": offset, "lift": lift}, side)


def _glenoid(volume: CTVolume, centre: np.ndarray, radius: float, sign: float) -> np.ndarray:
    """Where most bone lies just outside the head, on its medial half."""
    rays = ray_directions(400)
    rays = rays[rays @ np.array([-sign, 0.0, 0.0]) > 0.3]
    reach = radius + np.arange(2.0, 14.0, 1.5)
    hu = sample_hu(volume, centre + reach[:, None, None] * rays)
    bone = (hu > BONE_HU).mean(axis=0)
    about = (rays @ rays.T > _CONE) @ bone / (rays @ rays.T > _CONE).sum(axis=1)
    result: np.ndarray = rays[int(about.argmax())]
    return result


def draw_prosthesis(patient: Patient, rng: np.random.Generator) -> list[PlannedImplant]:
    """One shoulder's, its head as large as the bone's."""
    spot = patient.spots[int(rng.integers(len(patient.spots)))]
    radius = float(np.clip(round(2 * spot.size_mm["radius"]) / 2, 20.0, 28.0))
    shoulder = TotalShoulder(
        radius_mm=radius,
        head_mm=round(0.75 * radius),
        offset_mm=float(np.clip(round(spot.size_mm["offset"]), 0.0, 12.0)),
        stem_mm=float(rng.choice([90.0, 110.0, 130.0])),
        stem_diameter_mm=float(rng.choice([9.0, 10.0, 11.0])),
        glenoid_mm=round(1.4 * radius),
        glenoid_deg=float(np.clip(round(spot.size_mm["lift"]), -70.0, 70.0)),
    )
    return [spot.planned(shoulder)]
