"""The articular pillars beside the cervical canal, and which part of them is one vertebra's.

Bone that goes on through several levels is either the bodies or the pillars: laminae, pedicles and
transverse processes have gaps between them. Before a pillar pedicles and the foramina of the nerve
roots follow each other, larger and of more contrast than the joints: behind each foramen lies one.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
from scipy import ndimage

from MetalArtifactReductionLib.errors import InputError
from MetalArtifactReductionLib.volume import CTVolume

from ..bone_field import LocalGrid, sample_grid
from .canal import BONE_HU

STEP_MM = 0.6
_LOW, _HIGH = np.array([-34.0, -20.0, -30.0]), np.array([34.0, 22.0, 30.0])
_PERSISTS, _ABOUT_MM, _FURTHEST_WALL_MM = 0.75, 14.0, 17.0
_WIDTH_MM, _DEPTH_MM, _FOOT_MM = (7.0, 20.0), (5.0, 18.0), 2.0
"""Of a pillar; beside the canal it is the foot of its laminae."""
_YAWS = np.deg2rad([-25.0, 25.0])
_ABOVE_BODY_MM, _OFF_MM = 4.0, 4.5
"""A pedicle is so far above its body's middle, and a click so near to that."""
_APART_MM, _LEVEL_MM = (9.0, 18.0), 3.0
"""From one foramen to the next, and how level both sides' lie."""
_SMOOTH_MM, _PEDICLE_MM, _FORAMEN_SHARE = 1.2, 10.0, 0.75
"""A foramen is darker than so much of the pedicles about it."""
_RISE = np.tan(np.deg2rad(45.0))
"""Of facet joints against the plane across the canal: about 35 to 55 degrees from C3 to C6."""
_LAMINAE_MM = (-16.0, -5.0)
"""Behind the canal's middle; they rise to the front as joints do, gaps between them are wider."""
_LOWER_MM, _UPPER_MM = 1.5, -0.5
"""From a foramen's middle up to what counts of the joint behind it, its width included."""


@dataclass(frozen=True)
class Pillar:
    """One side's pillar seen along the canal (mm in the frame: x right, y anterior).

    :param sign: -1 left, 1 right. :param inner, outer: its edges from the canal's middle, above 0.
    :param section: ``(x, y)`` of the grid, where bone goes on along the pillar.
    :param back, front: of its middle third.
    :param foramina: heights of those below and above a pedicle, see :func:`with_foramina`.
    """

    sign: float
    inner: float
    outer: float
    section: np.ndarray
    back: float
    front: float
    foramina: tuple[float, float] = (np.nan, np.nan)

    @property
    def middle(self) -> float:
        """Of the masses, from the canal's middle: between the lamina's foot and the outer edge."""
        return 0.5 * (self.inner + _FOOT_MM + self.outer)

    def ends(self, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Heights of a mass's lower and upper end at depths, by its foramina.

        Before the lower joint lies the foot of this vertebra's own pedicle.
        """
        rise = (y - self.front) * _RISE
        lower, upper = self.foramina
        return lower + _LOWER_MM + np.minimum(rise, 0.0), upper + _UPPER_MM + rise


@dataclass(frozen=True, eq=False)
class NeckSection:
    """A stretch of neck on a grid along the canal.

    :param hu: ``(x, y, z)``, NaN outside the CT.
    """

    frame: LocalGrid
    grid: LocalGrid
    hu: np.ndarray
    pillars: dict[str, Pillar]

    @property
    def bone(self) -> np.ndarray:
        """On the grid; none outside the CT."""
        result: np.ndarray = self.hu > BONE_HU
        return result

    def coordinates(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """x, y, z of the grid (mm)."""
        x, y, z = (low + STEP_MM * np.arange(n) for low, n in zip(_LOW, self.hu.shape, strict=True))
        return x, y, z


def neck_section(volume: CTVolume, frame: LocalGrid) -> NeckSection:
    """The pillars on both sides, the frame turned so that they lie level with each other.

    :param frame: see :func:`neck_frame`.
    :raises InputError: no pillar on either side of the canal.
    """
    for _ in range(2):
        section = _section(volume, frame)
        left, right = (section.pillars[side] for side in ("left", "right"))
        ahead = 0.5 * (left.back + left.front - right.back - right.front)
        yaw = np.arctan2(ahead, left.middle + right.middle)
        c, s = np.cos(np.clip(yaw, *_YAWS)), np.sin(np.clip(yaw, *_YAWS))
        turn = np.array([[c, s, 0.0], [-s, c, 0.0], [0.0, 0.0, 1.0]])
        frame = replace(frame, axes=frame.axes @ turn)
    return _section(volume, frame)


def _section(volume: CTVolume, frame: LocalGrid) -> NeckSection:
    grid = LocalGrid.spanning(frame.origin, frame.axes, _LOW, _HIGH, STEP_MM)
    section = NeckSection(frame, grid, sample_grid(volume, grid), {})
    x, y, z = section.coordinates()
    near = (np.abs(z) < _ABOUT_MM) & np.isfinite(section.hu).any(axis=(0, 1))
    if not near.any():
        raise InputError("the CT ends here")
    lasting = section.bone[..., near].mean(axis=2) > _PERSISTS
    for side, sign in (("left", -1.0), ("right", 1.0)):
        section.pillars[side] = _pillar(lasting, x, y, sign)
    return section


def _pillar(lasting: np.ndarray, x: np.ndarray, y: np.ndarray, sign: float) -> Pillar:
    """:raises InputError: no bone of a pillar's size goes on beside the canal."""
    aside = sign * x[:, None]
    rows = lasting[:, np.abs(y - 1.0) < 3.0]
    walls = np.where(rows & (aside > 0), aside, np.inf).min(axis=0)
    inner = float(np.median(walls[np.isfinite(walls)])) if np.isfinite(walls).any() else np.inf
    labels, _ = ndimage.label(lasting & (aside > inner) & (np.abs(y - 2.0) < 11.0))
    sizes = np.bincount(labels.ravel(), minlength=2)
    mass = labels == 1 + int(np.argmax(sizes[1:]))
    columns = np.flatnonzero(mass.sum(axis=1) * STEP_MM > 0.5 * _DEPTH_MM[0])
    if inner > _FURTHEST_WALL_MM or len(columns) == 0:
        raise InputError("no lateral mass is seen beside the canal")
    outer = float(aside[columns].max())
    third = np.abs(aside[:, 0] - 0.5 * (inner + outer)) < (outer - inner) / 6
    depth = y[mass[third].mean(axis=0) > 0.5] if third.any() else y[:0]
    back, front = (float(depth[0]), float(depth[-1])) if len(depth) else (0.0, 0.0)
    size = (outer - inner, front - back)
    if any(
        not low <= mm <= high for mm, (low, high) in zip(size, (_WIDTH_MM, _DEPTH_MM), strict=True)
    ):
        raise InputError(
            f"the bone beside the canal is {size[0]:.0f} mm wide and {size[1]:.0f} mm "
            "deep, which is no lateral mass"
        )
    return Pillar(sign, inner, outer, mass, back, front)


def with_foramina(section: NeckSection, height: float) -> NeckSection:
    """The same, its pillars with the foramina that tell a level's masses.

    :param height: z of the body's middle, as it was clicked.
    :raises InputError: a pedicle between foramina is not seen there alike on both sides.
    """
    found = {side: _foramina(section, side, height + _ABOVE_BODY_MM) for side in section.pillars}
    left, right = found["left"], found["right"]
    if left is None or right is None:
        raise InputError(
            "the foramina of the nerve roots above and below its pedicles are not seen, "
            "so its lateral masses cannot be told; click into the middle of the body, or leave it "
            "out"
        )
    if max(abs(a - b) for a, b in zip(left, right, strict=True)) > _LEVEL_MM:
        raise InputError("left and right pedicles are not seen at the same height")
    if _layers(section, _RISE) <= _layers(section, -_RISE):
        raise InputError(
            "no layers that rise to the front, as joints and laminae do, are seen about the canal; "
            "leave it out, or turn the volume if it is upside-down"
        )
    pillars = {
        side: replace(section.pillars[side], foramina=heights)
        for side, heights in (("left", left), ("right", right))
    }
    return replace(section, pillars=pillars)


def _foramina(section: NeckSection, side: str, height: float) -> tuple[float, float] | None:
    """Heights of the foramina below and above the pedicle at a height; None where not seen."""
    pillar = section.pillars[side]
    x, y, z = section.coordinates()
    aside = pillar.sign * x - pillar.inner
    rows = (y >= pillar.front - 1.0) & (y <= pillar.front + 5.0)
    hu = np.clip(section.hu[(aside >= 0) & (aside <= 4.0)][:, rows], -100.0, 1500.0)
    hu = hu.mean(axis=(0, 1))
    z, hu = z[np.isfinite(hu)], hu[np.isfinite(hu)]
    if len(hu) == 0:
        return None
    hu = ndimage.gaussian_filter1d(hu, _SMOOTH_MM / STEP_MM)
    reach = int(_PEDICLE_MM / STEP_MM)
    dark = [
        k
        for k in range(1, len(hu) - 1)
        if hu[k] <= min(hu[k - 1], hu[k + 1])
        and hu[k] < _FORAMEN_SHARE * min(hu[max(k - reach, 0) : k].max(), hu[k : k + reach].max())
    ]
    for lower, upper in pairwise(float(z[k]) for k in dark):
        near = abs(0.5 * (lower + upper) - height) <= _OFF_MM
        if near and _APART_MM[0] <= upper - lower <= _APART_MM[1]:
            return lower, upper
    return None


def _layers(section: NeckSection, rise: float) -> float:
    """How much sheets of bone that rise so steeply to the front differ from the next (HU)."""
    x, y, z = section.coordinates()
    near = np.flatnonzero(np.abs(z) < 16.0)
    places = [
        (np.abs(p.sign * x - p.middle) < 4.0, (y > p.back + 1.0) & (y < p.front - 1.0))
        for p in section.pillars.values()
    ]
    behind = (y > _LAMINAE_MM[0]) & (y < _LAMINAE_MM[1])
    places += [((x < 0) & (x > -8.0), behind), ((x > 0) & (x < 8.0), behind)]
    total = 0.0
    for columns, depths in places:
        rows = np.flatnonzero(depths)
        up = np.rint(rise * (rows - rows.mean())).astype(int)
        hu = section.hu[columns].mean(axis=0)
        sheets = np.mean([hu[row][near + k] for row, k in zip(rows, up, strict=True)], axis=0)
        sheets = sheets[np.isfinite(sheets)]
        fine, coarse = (ndimage.gaussian_filter1d(sheets, mm / STEP_MM) for mm in (0.6, 3.6))
        total += float(np.std(fine - coarse)) if len(sheets) else 0.0
    return total
