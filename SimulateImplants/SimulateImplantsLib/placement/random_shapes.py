"""Metal of random shape at random places: the data of most published simulators.

Kept beside anatomical placement so that both sources can be compared and mixed. A shape is a
JSON-able description; :func:`shape_fractions` renders it, with partial volume, on any CT.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from scipy import ndimage

from MetalArtifactReductionLib.errors import InputError
from MetalArtifactReductionLib.files.inputs import check_readable
from MetalArtifactReductionLib.volume import CTVolume

from .bone_field import crop
from .plan import PlacementPlan

METALS = ("Ti6Al4V", "CoCrMo", "316L")
_BODY_HU = -400.0
_SUBSAMPLES = 3


def load_masks(path: Path | str) -> np.ndarray:
    """2-D metal masks ``(n, rows, cols)`` from an .npz with the array ``masks``.

    :raises InputError: no such file, or nothing usable in it.
    """
    file = Path(path)
    check_readable(file)
    try:
        with np.load(file, allow_pickle=False) as data:
            if "masks" not in data:
                raise InputError(f"{file.name} holds {list(data)}; an array 'masks' is needed")
            masks = np.asarray(data["masks"]) > 0
    except (OSError, ValueError) as error:
        raise InputError(f"{file.name} cannot be read as .npz: {error}") from None
    if masks.ndim != 3 or not masks.any():
        raise InputError(
            f"{file.name}: 'masks' has the shape {masks.shape}; (n, rows, cols) needed"
        )
    return masks[masks.any(axis=(1, 2))]


def _rotation(rng: np.random.Generator) -> np.ndarray:
    """Uniform random rotation (QR of a Gaussian matrix; Mezzadri 2007)."""
    q, r = np.linalg.qr(rng.normal(size=(3, 3)))
    q = q * np.sign(np.diag(r))
    if np.linalg.det(q) < 0:
        q[:, 0] = -q[:, 0]
    return q


def sample_shapes(
    volume: CTVolume, seed: int, masks: np.ndarray | None = None
) -> tuple[dict[str, Any], ...]:
    """One to four shapes inside the body: from the masks, or ellipsoids and rods.

    :param masks: of :func:`load_masks`; shapes are made up when None.
    :raises InputError: no body in the volume.
    """
    rng = np.random.default_rng(seed)
    body = np.argwhere(volume.hu[:, ::4, ::4] > _BODY_HU)
    if len(body) == 0:
        raise InputError("no body in the CT: nothing is above -400 HU")
    body = body * np.array([1, 4, 4])
    shapes = []
    for _ in range(int(rng.integers(1, 5))):
        k, j, i = body[rng.integers(len(body))]
        centre = (volume.ijk_to_ras @ np.array([i, j, k, 1.0]))[:3]
        shape: dict[str, Any] = {
            "centre_ras": centre.tolist(),
            "material": str(rng.choice(METALS)),
        }
        if masks is not None:
            index = int(rng.integers(len(masks)))
            size = float(rng.uniform(8, 60))
            picture = masks[index]
            rows, columns = np.flatnonzero(picture.any(1)), np.flatnonzero(picture.any(0))
            cut = picture[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
            stride = -(-max(cut.shape) // 64)
            cut = cut[::stride, ::stride]
            shape |= {
                "type": "mask",
                "index": index,
                "mask": ["".join("#" if v else "." for v in row) for row in cut],
                "width_mm": size,
                "height_mm": float(rng.uniform(5, 40)),
                "turn_deg": float(rng.uniform(0, 360)),
            }
        elif rng.random() < 0.5:
            radii = np.exp(rng.uniform(np.log(2.0), np.log(16.0), 3))
            shape |= {"type": "ellipsoid", "radii_mm": radii.tolist()}
            shape["axes"] = _rotation(rng).tolist()
        else:
            shape |= {
                "type": "rod",
                "radius_mm": float(rng.uniform(1.5, 8.0)),
                "length_mm": float(rng.uniform(10, 90)),
                "axes": _rotation(rng).tolist(),
            }
        shapes.append(shape)
    return tuple(shapes)


def sample_random_plan(
    volume: CTVolume, seed: int, masks: np.ndarray | None = None
) -> PlacementPlan:
    """A plan of random shapes only."""
    shapes = sample_shapes(volume, seed, masks)
    return PlacementPlan(
        (), seed=seed, description="random shapes", parameters={"kind": "random"}, shapes=shapes
    )


def _signed(shape: Mapping[str, Any], local: np.ndarray) -> np.ndarray:
    """Inside (> 0) of a shape at points ``(..., 3)`` relative to its centre, in RAS."""
    kind = shape["type"]
    if kind in ("ellipsoid", "rod"):
        q = local @ np.asarray(shape["axes"], float)
        if kind == "ellipsoid":
            result: np.ndarray = 1 - np.linalg.norm(
                q / np.asarray(shape["radii_mm"], float), axis=-1
            )
            return result
        along = np.abs(q[..., 2]) - 0.5 * float(shape["length_mm"])
        across = np.hypot(q[..., 0], q[..., 1]) - float(shape["radius_mm"])
        cylinder: np.ndarray = -np.maximum(across, along)
        return cylinder
    if kind != "mask":
        raise InputError(f"unknown type of random shape {kind!r}; ellipsoid, rod or mask")
    picture = np.array([[c == "#" for c in row] for row in shape["mask"]], bool)
    signed = ndimage.distance_transform_edt(np.pad(picture, 2))
    signed = signed - ndimage.distance_transform_edt(~np.pad(picture, 2))
    scale = max(picture.shape) / float(shape["width_mm"])
    turn = np.deg2rad(float(shape["turn_deg"]))
    u = np.cos(turn) * local[..., 0] + np.sin(turn) * local[..., 1]
    v = -np.sin(turn) * local[..., 0] + np.cos(turn) * local[..., 1]
    middle = (np.array(signed.shape) - 1) / 2
    at = np.stack([v * scale + middle[0], u * scale + middle[1]])
    flat = ndimage.map_coordinates(signed, at, order=1, mode="nearest") / scale
    plate: np.ndarray = np.minimum(flat, 0.5 * float(shape["height_mm"]) - np.abs(local[..., 2]))
    return plate


def _extent(shape: Mapping[str, Any]) -> float:
    if shape["type"] == "ellipsoid":
        return float(max(shape["radii_mm"])) + 1
    if shape["type"] == "rod":
        return float(np.hypot(shape["radius_mm"], 0.5 * shape["length_mm"])) + 1
    picture = shape["mask"]
    ratio = np.hypot(len(picture), len(picture[0])) / max(len(picture), len(picture[0]))
    return float(np.hypot(0.5 * shape["width_mm"] * ratio, 0.5 * shape["height_mm"])) + 1


def shape_fractions(shapes: Sequence[Mapping[str, Any]], volume: CTVolume) -> dict[str, np.ndarray]:
    """Metal fraction by material of random shapes, float32 on the volume's grid.

    Each voxel is sampled 27 times. Where shapes overlap, the first keeps what it takes.
    """
    out: dict[str, np.ndarray] = {}
    step = (np.arange(_SUBSAMPLES) + 0.5) / _SUBSAMPLES - 0.5
    subsamples = np.stack(np.meshgrid(step, step, step, indexing="ij"), -1).reshape(-1, 3)
    m = volume.ijk_to_ras
    for n, shape in enumerate(shapes):
        centre = np.asarray(shape["centre_ras"], float)
        reach = _extent(shape)
        box = crop(volume.hu, m, centre - reach, centre + reach)
        k, j, i = np.meshgrid(*[np.arange(s.start, s.stop) for s in box], indexing="ij")
        base = np.stack([i, j, k], -1) @ m[:3, :3].T + m[:3, 3]
        part = np.zeros(base.shape[:-1], np.float32)
        for offset in subsamples:
            points = base + m[:3, :3] @ offset
            inside = _signed(shape, points - centre) > 0
            for earlier in shapes[:n]:
                other = np.asarray(earlier["centre_ras"], float)
                if np.linalg.norm(other - centre) < reach + _extent(earlier):
                    inside &= _signed(earlier, points - other) <= 0
            part += inside
        if part.any():
            name = str(shape["material"])
            part /= len(subsamples)
            out.setdefault(name, np.zeros(volume.hu.shape, np.float32))[box] += part
    return out
