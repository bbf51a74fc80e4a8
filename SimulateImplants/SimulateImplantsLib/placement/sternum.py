"""The sternum of a chest, and the wires that close it after it was split.

Spots: "sternum", in the middle of the bone; +x across, +y to the front, +z cranial.
"""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from MetalArtifactReductionLib.errors import InputError
from MetalArtifactReductionLib.metal.body import body_mask
from MetalArtifactReductionLib.volume import CTVolume

from ..implants.bent_wires import SternalWire
from .bone_field import sample_hu
from .patient import Patient
from .plan import PlannedImplant
from .sites import Spot, coarser, frame

BONE_HU = 130.0
_LUNG_HU = -500.0
_LUNG_MM2 = 8000.0
_BAND_MM = 40.0
_WIDTH_MM, _DEPTH_MM = (14.0, 66.0), (6.0, 30.0)
_JUMP_MM = 8.0
_FEWEST_MM = 30.0


def find(volume: CTVolume) -> tuple[Spot, ...]:
    """The sternum slice by slice, between the lungs' fronts.

    :raises InputError: no lungs, or no bone of a sternum's size in front of them.
    """
    coarse = coarser(volume, 1.5)
    hu, to_ras = coarse.hu, coarse.ijk_to_ras
    _, dr, dc = coarse.spacing_mm
    body = body_mask(hu, coarse.spacing_mm)
    front = 1.0 if to_ras[1, 1] < 0 else -1.0  # rows that fall lead to the front
    rows: list[tuple[int, np.ndarray, float, float]] = []
    for k, (image, inside) in enumerate(zip(hu, body, strict=True)):
        lung = ndimage.binary_fill_holes(inside) & (image < _LUNG_HU)
        if lung.sum() * dr * dc < _LUNG_MM2:
            continue
        columns = np.flatnonzero(lung.any(axis=0))
        middle = 0.5 * (columns[0] + columns[-1])
        lung_rows = np.flatnonzero(lung.any(axis=1))
        ahead = lung_rows[0] if front > 0 else lung_rows[-1]
        labels, _ = ndimage.label(ndimage.binary_closing(image > BONE_HU, iterations=2))
        best: tuple[float, np.ndarray, float, float] | None = None
        for number, box in enumerate(ndimage.find_objects(labels), start=1):
            depth, width = (box[0].stop - box[0].start) * dr, (box[1].stop - box[1].start) * dc
            centre = np.array([0.5 * (b.start + b.stop - 1) for b in box])
            off = abs(centre[1] - middle) * dc
            behind = front * (centre[0] - ahead) * dr
            fits = _WIDTH_MM[0] <= width <= _WIDTH_MM[1] and _DEPTH_MM[0] <= depth <= _DEPTH_MM[1]
            if fits and off < _BAND_MM and behind < 35.0 and (best is None or off < best[0]):
                at = np.array(ndimage.center_of_mass(labels == number))
                best = (off, at, width, depth)
        if best is not None:
            i, j = best[1][1], best[1][0]
            rows.append((k, to_ras[:3] @ np.array([i, j, k, 1.0]), best[2], best[3]))
    spots = [
        Spot("sternum", frame(at, (1, 0, 0), (0, 1, 0), (0, 0, 1)), {"width": w, "depth": d})
        for n, (_, at, w, d) in enumerate(rows)
        if any(
            0 <= m < len(rows) and np.linalg.norm((rows[m][1] - at)[:2]) < _JUMP_MM
            for m in (n - 1, n + 1)
        )
    ]
    if not spots or np.ptp([s.origin[2] for s in spots]) < _FEWEST_MM:
        raise InputError(
            f"no {_FEWEST_MM:g} mm of a sternum in front of lungs; give a CT of the chest"
        )
    return tuple(spots)


def draw_wires(patient: Patient, rng: np.random.Generator) -> list[PlannedImplant]:
    """Up to seven wires, 16 to 24 mm apart."""
    gauge = float(rng.choice([0.7, 0.9]))
    apart = float(rng.uniform(16.0, 24.0))
    made: list[PlannedImplant] = []
    assert patient.volume is not None
    for spot in sorted(patient.spots, key=lambda one: -one.origin[2]):
        if len(made) == 7 or (made and made[-1].matrix[2, 3] - spot.origin[2] < apart):
            continue
        if np.isnan(sample_hu(patient.volume, spot.origin + np.array([0.0, 0.0, 12.0]))):
            continue  # the twist would leave the CT
        wire = SternalWire(
            wire_mm=gauge,
            width_mm=float(np.clip(spot.size_mm["width"] + 0.5, 15.0, 70.0)),
            depth_mm=float(np.clip(spot.size_mm["depth"] + 0.5, 7.0, 35.0)),
            twist_mm=float(rng.uniform(6.0, 10.0)),
        )
        made.append(spot.planned(wire))
    return made
