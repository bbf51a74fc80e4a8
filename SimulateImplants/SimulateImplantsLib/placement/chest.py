"""The front of a chest between skin and ribs, and the way of the veins to the heart.

Spots: "pocket", under the skin below each clavicle; +z out of the skin, +y cranial. "vein", points
from under the clavicle to the heart in the order of their size "order", any axes; with sides.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from MetalArtifactReductionLib.errors import InputError
from MetalArtifactReductionLib.metal.body import body_mask
from MetalArtifactReductionLib.volume import CTVolume

from ..implants.pacemaker import Pacemaker
from ..implants.port import Catheter, Port
from ..implants.wires import Lead
from .bone_field import sample_hu
from .patient import Patient
from .plan import PlannedImplant
from .sites import Spot, coarser, frame

_COARSE_MM = 3.0
_LUNG_HU, _LUNG_MM2 = -500.0, 1500.0
_POCKET_MM = (45.0, 0.7)
"""Below the tips of the lungs; to the side, as a share of half the lungs' width."""
_PATCH_MM = 18.0
_BONE_HU = 180.0
_SKIN_MM = 4.0
_LEAST_MM = 13.0
"""Between skin and ribs, for a port."""
_WAY = (
    (14.0, 0.10, "clavicle", 55.0),
    (28.0, 0.11, "clavicle", 22.0),
    (60.0, 0.24, "right lung", 10.0),
    (100.0, 0.30, "right lung", 16.0),
    (155.0, 0.38, "right lung", 34.0),
    (190.0, 0.25, "left lung", 0.0),
)
"""Under the clavicle, brachiocephalic vein, vena cava above and below, right atrium and ventricle:
below the lungs' tips, behind their front as a share of their depth, sideways: from the middle,
inwards from the right lung, half-way to the left one. General knowledge of anatomy."""
_FULL_MM = 60.0
"""Below their tips, where the lungs reach from the sternum to the back."""
_PORT_VEINS = 4


@dataclass(frozen=True)
class Lungs:
    """Lungs on a coarse grid: mask, grid to RAS, and the heights of its slices."""

    mask: np.ndarray
    to_ras: np.ndarray
    heights: np.ndarray
    tip: float

    def row(self, z: float) -> tuple[float, float, np.ndarray]:
        """At a height: most frontal and most dorsal y, and x of all points."""
        at = np.argwhere(self.mask[int(np.argmin(abs(self.heights - z)))])
        if not len(at):
            raise InputError(f"no lungs at {z:.0f} mm; give a CT of the whole chest")
        y = self.to_ras[1, 1] * at[:, 0] + self.to_ras[1, 3]
        return float(y.max()), float(y.min()), self.to_ras[0, 0] * at[:, 1] + self.to_ras[0, 3]

    def border(self, z: float, y: float, middle: float, sign: float) -> float:
        """The x where the lung of a side begins, seen from the middle."""
        k = int(np.argmin(abs(self.heights - z)))
        j = round((y - self.to_ras[1, 3]) / self.to_ras[1, 1])
        band = self.mask[k, max(j - 3, 0) : j + 4].any(axis=0)
        columns = np.arange(self.mask.shape[2])
        x = self.to_ras[0, 0] * columns + self.to_ras[0, 3] - middle
        beside = sign * x[band & (sign * x > 0)]
        return middle + sign * (float(np.clip(beside.min(), 12.0, 110.0)) if len(beside) else 30.0)


def find(volume: CTVolume) -> tuple[Spot, ...]:
    """A pocket on either side, and what the CT shows of the veins.

    :raises InputError: no tips of the lungs, or no room between skin and ribs.
    """
    lungs = find_lungs(volume)
    z = lungs.tip - _POCKET_MM[0]
    if z < lungs.heights.min():
        raise InputError("the CT ends above the chest below the clavicles; give a CT of the chest")
    _, _, x = lungs.row(lungs.tip - _FULL_MM)
    middle, half = 0.5 * (x.min() + x.max()), 0.5 * float(np.ptp(x))
    spots = []
    for side, sign in (("left", -1.0), ("right", 1.0)):
        at = np.array([middle + sign * _POCKET_MM[1] * half, 0.0, z])
        spot = _pocket(volume, at, side)
        spots += [] if spot is None else [spot]
    if not spots:
        raise InputError(f"less than {_LEAST_MM:g} mm between skin and ribs below the clavicles")
    return (*spots, *(v for s in spots for v in _veins(lungs, s, middle)))


def find_lungs(volume: CTVolume) -> Lungs:
    """The lungs; bowel gas is none.

    :raises InputError: no lungs.
    """
    coarse = coarser(volume, _COARSE_MM)
    hu, spacing, to_ras = coarse.hu, coarse.spacing_mm, coarse.ijk_to_ras
    # Opened by more than a windpipe or bowel is wide.
    wide = np.ones((1, 7, 7))
    mask = ndimage.binary_opening(body_mask(hu, spacing) & (hu < _LUNG_HU), wide)
    heights = to_ras[2, 2] * np.arange(len(hu)) + to_ras[2, 3]
    seen = mask.sum(axis=(1, 2)) * spacing[1] * spacing[2] > _LUNG_MM2
    if not seen.any():
        raise InputError("no lungs; give a CT of the chest")
    return Lungs(mask, to_ras, heights, float(heights[seen].max()))


def _pocket(volume: CTVolume, at: np.ndarray, side: str) -> Spot | None:
    """Under the skin in front of a point, None where there is no room."""
    asides = np.array([[x, 0.0, z] for x in (-1, 0, 1) for z in (-1, 0, 1)]) * _PATCH_MM
    ahead = np.arange(-150.0, 250.0, 1.0)
    hu = sample_hu(volume, at + asides[:, None] + ahead[:, None] * np.array([0.0, 1.0, 0.0]))
    # From the lung to the front: the last that is no air.
    tissue = np.nan_to_num(hu, nan=-1000.0) > -300.0
    if not tissue.any(axis=1).all():
        return None
    front = ahead[len(ahead) - 1 - tissue[:, ::-1].argmax(axis=1)]
    slope, *_ = np.linalg.lstsq(
        np.column_stack([asides[:, [0, 2]], np.ones(len(asides))]), front, rcond=None
    )
    out = np.array([-slope[0], 1.0, -slope[1]])
    pose = frame((at[0], at[1] + slope[2], at[2]), (1, 0, 0), (0, 0, 1), out)
    depth = np.arange(2.0, 60.0, 0.5)
    inwards = sample_hu(volume, pose[:3, 3] - depth[:, None] * pose[:3, 2])
    wall = (inwards > _BONE_HU) | (inwards < _LUNG_HU)
    room = float(depth[wall.argmax()]) if wall.any() else float(depth[-1])
    if room < _LEAST_MM:
        return None
    return Spot("pocket", pose, {"room": room}, side)


def _veins(lungs: Lungs, pocket: Spot, middle: float) -> list[Spot]:
    """As much of the way to the heart as the CT shows."""
    sign = 1.0 if pocket.side == "right" else -1.0
    spots = []
    for order, (down, share, beside, aside) in enumerate(_WAY):
        z = lungs.tip - down
        if z < lungs.heights.min() + 10.0:
            break
        front, back, _ = lungs.row(min(z, lungs.tip - _FULL_MM))
        y = front + share * (back - front)
        if beside == "clavicle":
            x = middle + sign * aside
        elif beside == "right lung":
            x = lungs.border(z, y, middle, 1.0) - aside
        else:
            x = 0.5 * (middle + lungs.border(z, y, middle, -1.0))
        pose = np.eye(4)
        pose[:3, 3] = x, y, z
        spots.append(Spot("vein", pose, {"order": float(order)}, pocket.side))
    return spots


def _way(patient: Patient, side: str) -> list[np.ndarray]:
    own = [s for s in patient.spots if s.name == "vein" and s.side == side]
    return [s.origin for s in sorted(own, key=lambda s: s.size_mm["order"])]


def _pockets(patient: Patient, rng: np.random.Generator, left: float) -> Spot:
    """A pocket, of the left with a probability."""
    own = {s.side: s for s in patient.spots if s.name == "pocket"}
    side = "left" if rng.random() < left else "right"
    return own.get(side) or next(iter(own.values()))


def _path(points: list[np.ndarray]) -> tuple[tuple[float, float, float], ...]:
    return tuple((float(x), float(y), float(z)) for x, y, z in points)


def draw_pacemaker(patient: Patient, rng: np.random.Generator) -> list[PlannedImplant]:
    """A generator, mostly on the left, a lead to the ventricle and often one to the atrium."""
    spot = _pockets(patient, rng, 0.85)
    way = _way(patient, spot.side)
    if len(way) < 6:
        raise InputError("the CT ends above the heart: no place for a pacing lead's tip")
    defibrillator = rng.random() < 0.25 and spot.size_mm["room"] > 18.0
    can = Pacemaker(64.0, 66.0, 11.0) if defibrillator else Pacemaker()
    turn = 1.0 if spot.side == "left" else -1.0
    item = spot.planned(can, (0.0, 0.0, -_SKIN_MM - 0.5 * can.thickness_mm))
    start = can.connector_mm * [turn, 1.0, 1.0]
    start = item.matrix[:3, :3] @ start + item.matrix[:3, 3]
    made = [item]
    for number, end in enumerate([way[5:]] + ([way[4:5]] if rng.random() < 0.6 else [])):
        shift = np.array([2.0, 1.5, 2.0]) * number
        path = [start + shift, *(p + shift for p in way[:4]), *([way[4]] if number == 0 else [])]
        last = end[-1] if number == 0 else end[-1] + [0.0, 10.0, 8.0]
        lead = Lead(path_mm=_path([*path, last]))
        made.append(PlannedImplant(lead.to_dict(), np.eye(4), {"side": spot.side, "site": "vein"}))
    return made


def draw_port(patient: Patient, rng: np.random.Generator) -> list[PlannedImplant]:
    """A port, mostly on the right, its catheter to the lower end of the vena cava."""
    spot = _pockets(patient, rng, 0.35)
    sizes = ((27.0, 11.0), (30.0, 13.5), (24.0, 9.0))
    fitting = [s for s in sizes if s[1] + _SKIN_MM - 1.0 < spot.size_mm["room"]]
    port = Port(*fitting[int(rng.integers(len(fitting)))])
    item = spot.planned(port, (0.0, 0.0, -_SKIN_MM - port.height_mm + 1.0))
    made = [item]
    start = (
        item.matrix[:3, 3] + 0.5 * port.diameter_mm * item.matrix[:3, 1] + 3.0 * item.matrix[:3, 2]
    )
    way = _way(patient, spot.side)[:_PORT_VEINS]
    if len(way) > 2:
        catheter = Catheter(path_mm=_path([start, *way]))
        attributes = {"side": spot.side, "site": "vein"}
        made.append(PlannedImplant(catheter.to_dict(), np.eye(4), attributes))
    return made
