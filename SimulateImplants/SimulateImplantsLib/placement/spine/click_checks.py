"""What speaks against a clicked vertebra: nothing is placed on one that is guessed."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import combinations, pairwise

import numpy as np

from MetalArtifactReductionLib.errors import InputError
from MetalArtifactReductionLib.volume import CTVolume

from ..bone_field import sample_hu
from .levels import by_level, level_index
from .vertebra import VertebraFrame

CUT = "the CT ends within this vertebra; leave it out, or use a CT that shows the whole of it"
_FAT_HU = -30.0
_BESIDE_BODY, BEYOND_MM = 1.3, 3.0
_INVERTED = -0.05
_HIGH_SHARE, _MIDDLE_SHARE = 0.8, 0.3
_UNLIKE_SHARE = 0.6
_SOME, _FAR_SHARE, _NEAR_SHARE, _USUAL_SHARE = 3, 1.35, 0.6, 0.85
"""From so many gaps between bodies on, one so much wider or narrower than those beside it is none:
gaps change by a fifth at most from one to the next."""
_NARROW = 0.65
"""Width of a body as a share of the next one's, from which on it is no body."""
_NEAR_DISC = "clicked too near to a disc; click nearer to the body's middle"
_APART_MM = 10.0
"""Less than from one cervical body to the next."""


def check_below_neck(name: str) -> None:
    """:raises InputError: a level in the neck."""
    if level_index(name) < level_index("T1"):
        raise InputError(
            f"{name}: cervical pedicles are not found from clicks; from C3 to C6 choose lateral "
            "mass screws (--kind lateral-mass)"
        )


def check_click(volume: CTVolume, name: str, point: np.ndarray) -> None:
    """:raises InputError: a click outside the volume, or in air or fat."""
    ijk = np.linalg.inv(volume.ijk_to_ras)[:3] @ np.append(point, 1.0)
    if np.any(ijk < -0.5) or np.any(ijk > np.array(volume.hu.shape[::-1]) - 0.5):
        raise InputError(
            f"{name}: the clicked point {np.round(point, 1).tolist()} lies outside the volume"
        )
    ball = np.argwhere(np.ones((7, 7, 7))) * 2.0 - 6.0
    hu = sample_hu(volume, point + ball[np.linalg.norm(ball, axis=1) < 7])
    middle = float(np.nanmedian(hu))
    if middle < _FAT_HU:
        raise InputError(
            f"{name}: no bone at the clicked point ({middle:.0f} HU); click into the middle of the "
            "vertebral body"
        )


def check_order(clicks: Mapping[str, np.ndarray]) -> None:
    """:raises InputError: known levels that do not follow each other downwards."""
    known = [name for name in by_level(clicks) if np.isfinite(level_index(name))]
    for above, below in pairwise(known):
        if clicks[above][2] <= clicks[below][2]:
            raise InputError(
                f"{above} is clicked below {below}: name the levels from the head down, or turn "
                "the volume if it is upside-down"
            )


def check_body(
    volume: CTVolume, frame: VertebraFrame, click: np.ndarray, beyond_mm: float = BEYOND_MM
) -> None:
    """Check that this is the body that was meant.

    :param beyond_mm: the click may lie so far above or below it.
    :raises InputError: the click is not in the body that was found, or the CT cuts it.
    """
    a, b = 0.5 * frame.body_width_mm, 0.5 * frame.body_depth_mm
    half = 0.5 * frame.body_height_mm
    x, y, z = frame.local(click)
    if np.hypot(x / a, y / b) > _BESIDE_BODY or abs(z) > half + beyond_mm:
        raise InputError(
            f"{frame.level}: the body found is {np.linalg.norm([x, y, z]):.0f} mm from the clicked "
            "point; click into the middle of the vertebral body"
        )
    phi = np.arange(8) * np.pi / 4
    plates = np.array(
        [(a * np.cos(p), b * np.sin(p), s * (half + 1.5)) for p in phi for s in (-1, 1)]
    )
    canal = frame.local(frame.canal)
    aside = frame.canal_radius_mm + 8.0
    arch = canal + np.array([(s * aside, -12.0, h * half) for s in (-1, 1) for h in (-0.3, 0.6)])
    if np.isnan(sample_hu(volume, frame.ras(np.concatenate([plates, arch])))).any():
        raise InputError(f"{frame.level}: {CUT}")


def check_told_apart(points: Mapping[str, np.ndarray]) -> dict[str, str]:
    """Levels whose clicks, or bodies, are the same, and what to say of them."""
    told: dict[str, str] = {}
    for one, other in combinations(points, 2):
        if float(np.linalg.norm(points[one] - points[other])) < _APART_MM:
            told[one] = told[other] = (
                f"{one} and {other}: the same body is clicked twice; click once into each body"
            )
    return told


def pedicle_rise(volume: CTVolume, frame: VertebraFrame, threshold_hu: float) -> float:
    """Share of bone beside the canal above the body's middle, less that below it.

    Pedicles arise from the upper half of a body, foramina lie beside the lower.
    """
    canal, radius = frame.local(frame.canal), frame.canal_radius_mm
    aside = radius + np.arange(-0.3 * radius, 16.0)
    local = np.stack(
        np.meshgrid(
            np.concatenate([-aside, aside]),
            canal[1] + np.arange(-0.2 * radius, radius + 4.0),
            np.arange(-0.5, 0.41, 0.1) * frame.body_height_mm,
            indexing="ij",
        ),
        axis=-1,
    )
    bone = (sample_hu(volume, frame.ras(local)) > threshold_hu).mean(axis=(0, 1))
    return float(bone[5:].mean() - bone[:5].mean())


def check_upright(
    rises: Mapping[str, float],
    found: Mapping[str, VertebraFrame],
    clicks: Mapping[str, np.ndarray],
    usual_mm: Mapping[str, float],
) -> dict[str, str]:
    """Levels whose pedicles arise from the lower half of what was found, and what to say of them.

    :param rises: of :func:`pedicle_rise`, of the levels that nothing else speaks against.
    :param usual_mm: heights of bodies as far apart as those that were clicked.
    :raises InputError: in all that were clicked they do, each as high as bodies are and clicked
        about its middle: what lies about a disc has pedicles in its lower half, too.
    """
    inverted = [name for name, rise in rises.items() if rise < _INVERTED]
    sure = [
        name
        for name in inverted
        if found[name].body_height_mm > _HIGH_SHARE * usual_mm[name]
        and _off_middle(found[name], clicks[name]) < _MIDDLE_SHARE
    ]
    if sure and len(sure) == len(clicks):
        raise InputError(
            f"{', '.join(sure)}: the pedicles arise from the lower half of the body, so the "
            "volume seems upside-down; turn it and click again"
        )
    return {
        name: f"{name}: no pedicles beside the upper half of the body; click into its middle"
        for name in inverted
    }


def _off_middle(frame: VertebraFrame, click: np.ndarray) -> float:
    """Distance of a click from a body's middle along the spine, as a share of its height."""
    return abs(float(frame.local(click)[2])) / frame.body_height_mm


def check_alike(
    found: Mapping[str, VertebraFrame],
    clicks: Mapping[str, np.ndarray],
    usual_mm: Mapping[str, float],
) -> dict[str, str]:
    """Levels that are another body than the one clicked, and what to say of them.

    A click near a disc may find the next body; then it lies much higher or lower in what was found
    than the others' clicks do. Where no more agree than disagree none is trusted, nor where most
    are clicked beyond what was found: all may be one body off.
    """
    heights = {name: float(frame.local(clicks[name])[2]) for name, frame in found.items()}
    told = {}
    for name, height in heights.items():
        others = [other for level, other in heights.items() if level != name]
        unlike = sum(abs(height - other) > _UNLIKE_SHARE * usual_mm[name] for other in others)
        if unlike and 2 * unlike >= len(others):
            told[name] = f"{name}: {_NEAR_DISC}"
    beyond = [n for n, height in heights.items() if abs(height) > 0.5 * found[n].body_height_mm]
    if len(beyond) > max(1, len(heights) // 2):
        told |= {name: f"{name}: {_NEAR_DISC}" for name in heights}
    return told | _unlike_next(found)


def _unlike_next(found: Mapping[str, VertebraFrame]) -> dict[str, str]:
    """Levels that cannot be the next to their neighbour, and what to say of them.

    A narrow one; of two too near both; of two too far apart the one that is too near to the body
    on its other side, or has none there.
    """
    gaps = {
        (above, below): float(np.linalg.norm(found[above].centre - found[below].centre))
        for above, below in pairwise(by_level(found))
        if level_index(below) - level_index(above) == 1
    }
    told: list[str] = []
    for pair, gap in gaps.items():
        narrow, wide = sorted(pair, key=lambda name: found[name].body_width_mm)
        if found[narrow].body_width_mm < _NARROW * found[wide].body_width_mm:
            told.append(narrow)
        other = {
            name: next((mm for two, mm in gaps.items() if name in two and two != pair), None)
            for name in pair
        }
        beside = [mm for mm in other.values() if mm is not None]
        if len(gaps) < _SOME or not beside:
            continue
        if gap > _FAR_SHARE * max(beside):
            usual = _USUAL_SHARE * float(np.median(list(gaps.values())))
            told.append(min(pair, key=lambda name: other[name] or usual))
        elif gap < _NEAR_SHARE * min(beside):
            told += pair
    return {name: f"{name}: {_NEAR_DISC}" for name in told}
