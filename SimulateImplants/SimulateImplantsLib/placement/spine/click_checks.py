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
_APART_MM = 10.0
"""Less than from one cervical body to the next."""


def check_click(volume: CTVolume, name: str, point: np.ndarray) -> None:
    """:raises InputError: a click in the neck, outside the volume, or in air or fat."""
    if level_index(name) < level_index("T1"):
        raise InputError(
            f"{name}: cervical vertebrae are not found from clicks; place their screws by hand"
        )
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


def check_upright(rises: Mapping[str, float], clicked: int) -> dict[str, str]:
    """Levels whose pedicles arise from the lower half of what was found, and what to say of them.

    :param clicked: so many levels were.
    :raises InputError: in all of them they do.
    """
    inverted = [name for name, rise in rises.items() if rise < _INVERTED]
    if inverted and len(inverted) == clicked:
        raise InputError(
            f"{', '.join(inverted)}: the pedicles arise from the lower half of the body, so the "
            "volume seems upside-down; turn it and click again"
        )
    return {
        name: f"{name}: no pedicles beside the upper half of the body; click into its middle"
        for name in inverted
    }
