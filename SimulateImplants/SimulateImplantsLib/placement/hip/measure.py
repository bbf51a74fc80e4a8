"""Measures of a hip: head, socket, neck, shaft and medullary canal."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage, optimize

from MetalArtifactReductionLib.errors import InputError
from MetalArtifactReductionLib.volume import CTVolume

from ..bone_field import (
    BoneField,
    LocalGrid,
    check_mask,
    filled_sections,
    local_mask,
    sample_grid,
    sample_hu,
)
from ..geometry import Vector, across, angle_deg, axis_distance, unit
from .shaft import FemoralShaft, find_shaft
from .sphere import EdgeField, fit_sphere, ray_directions

HEAD_RADIUS_MM, _USUAL_HEAD_MM = (18.0, 30.0), 24.0
_STRONG_HU_MM = 60.0
_STEP_MM = 1.0
_LEAST_GAP_MM = 0.6
_HEAD_EDGE = 0.3
"""Least mean edge of a sphere that is a head beyond doubt."""
_SEEN, _BOTH_HIPS_MM = 0.85, 230.0
_HELD_MM = 4.0
"""Clearance that a neck's axis has to gain for leaving 128 degrees and the plane of head and shaft
by a radian, squared."""

Sphere = tuple[np.ndarray, float, float]
"""Centre, radius and mean edge."""


@dataclass(frozen=True)
class HipModel:
    """One hip (RAS, mm; unit axes).

    :param head_centre, head_radius_mm: sphere fitted to the femoral head.
    :param socket_centre, socket_radius_mm: sphere fitted to the acetabulum.
    :param socket_axis: out of the socket: inclination 42, anteversion 15 degrees from the body's
        axes (the safe zone of Lewinnek 1978), not a measure of the bone's own opening.
    :param neck_axis: from the shaft to the head, through the head's centre.
    :param neck_radius_mm: clearance of that axis at the neck's isthmus.
    :param shaft: axis and canal of the shaft.
    :param neck_shaft_angle_deg: between neck and shaft (125-135 in most adults).
    :param offset_mm: from the shaft's axis to the head's centre.
    """

    side: str
    head_centre: np.ndarray
    head_radius_mm: float
    socket_centre: np.ndarray
    socket_radius_mm: float
    socket_axis: np.ndarray
    neck_axis: np.ndarray
    neck_radius_mm: float
    shaft: FemoralShaft
    neck_shaft_angle_deg: float
    offset_mm: float
    warnings: tuple[str, ...] = ()

    @property
    def medial(self) -> np.ndarray:
        """From the shaft's axis to the head, perpendicular to the shaft."""
        return across(self.head_centre - self.shaft.point, self.shaft.axis)


def _head_grid(centre: np.ndarray, reach: float = 50.0) -> LocalGrid:
    box = np.full(3, reach)
    return LocalGrid.spanning(centre, np.eye(3), -box, box, _STEP_MM)


def _edges(volume: CTVolume, mask: np.ndarray | None, centre: np.ndarray) -> EdgeField:
    """Edges about a point: of a labelled bone, or of the CT itself."""
    grid = _head_grid(centre)
    if mask is not None:
        inside = local_mask(mask, volume.ijk_to_ras, grid)
        return EdgeField.of(inside.astype(np.float32) * 600.0, grid)
    hu = sample_grid(volume, grid)
    if np.isnan(hu).any():  # where the CT ends is no edge
        nearest = ndimage.distance_transform_edt(
            np.isnan(hu), return_distances=False, return_indices=True
        )
        hu = np.nan_to_num(hu[tuple(nearest)], nan=-100.0)
    return EdgeField.of(np.clip(hu, -100, 900), grid)


def fit_head(
    volume: CTVolume,
    seed: Vector,
    opening: np.ndarray,
    mask: np.ndarray | None = None,
    name: str = "hip",
    found: Sphere | None = None,
) -> tuple[np.ndarray, float]:
    """Femoral head as a sphere about a point inside it (within 12 mm of its centre).

    :param opening: roughly out of the socket.
    :param mask: of the femur; without one the edges of the CT serve: outwards the head's shell
        falls to cartilage or soft tissue, and behind the joint space the socket rises.
    :param found: what :func:`head_sphere` says of these, where it is known.
    :raises InputError: no sphere of a head's size there, or cut off by the CT.
    """
    centre, radius, edge = found or head_sphere(volume, seed, opening, mask)
    limits = HEAD_RADIUS_MM[0] + 0.2 < radius < HEAD_RADIUS_MM[1] - 0.2
    if edge < 0.2 or not limits:
        _check_seen(volume, np.asarray(seed, float), _USUAL_HEAD_MM, name)
        raise InputError(
            f"{name}: no femoral head at {np.round(np.asarray(seed, float), 1).tolist()}; "
            "click into the middle of the head"
        )
    _check_seen(volume, centre, radius, name)
    return centre, radius


def head_sphere(
    volume: CTVolume,
    seed: Vector,
    opening: np.ndarray,
    mask: np.ndarray | None = None,
    search_mm: float = 15.0,
) -> Sphere:
    """See :func:`fit_head`; with the mean edge of :func:`fit_sphere`."""
    centre, rays = np.asarray(seed, float), ray_directions(700)
    return fit_sphere(
        _edges(volume, mask, centre),
        centre,
        HEAD_RADIUS_MM,
        sign=-1.0,
        search_mm=search_mm,
        strong=_STRONG_HU_MM,
        rays=rays,
        facing=None if mask is not None else rays[rays @ opening < -0.2][::2],
    )


def native_head(volume: CTVolume, near: Vector, side: str) -> tuple[np.ndarray, float] | None:
    """Centre and radius of the femoral head that a point lies in; None where none is seen well."""
    centre, radius, edge = head_sphere(volume, near, socket_axis(side))
    seen = _share_seen(volume, centre, radius)
    usual = HEAD_RADIUS_MM[0] + 0.2 < radius < HEAD_RADIUS_MM[1] - 0.2
    return (centre, radius) if usual and seen > _SEEN and edge > _HEAD_EDGE * seen else None


def _share_seen(volume: CTVolume, centre: np.ndarray, radius: float) -> float:
    return float(np.isfinite(sample_hu(volume, centre + radius * ray_directions(300))).mean())


def _check_seen(volume: CTVolume, centre: np.ndarray, radius: float, name: str) -> None:
    """:raises InputError: more of a sphere than may be lies outside the CT."""
    if _share_seen(volume, centre, radius) < _SEEN:
        raise InputError(
            f"{name}: the CT ends in the head at {np.round(centre, 1).tolist()}; take one that "
            "shows all of it and some of the shaft"
        )


def fit_socket(
    volume: CTVolume,
    head: np.ndarray,
    radius: float,
    opening: np.ndarray,
    mask: np.ndarray | None = None,
) -> tuple[np.ndarray, float] | None:
    """The acetabulum as a sphere nearly about the head's centre; None where it is not seen.

    :param opening: roughly out of the socket; the half behind it is looked at.
    :param mask: of the hip bone; without one the edges of the CT serve.
    """
    rays = ray_directions(1200)
    centre, r, edge = fit_sphere(
        _edges(volume, mask, head),
        head,
        (radius + _LEAST_GAP_MM, radius + 8.0),
        sign=1.0,
        search_mm=3.0,
        strong=_STRONG_HU_MM,
        rays=rays[rays @ opening < -0.15],
    )
    # A radius at its lower limit is the head's own shell: in thick slices the joint is not seen.
    within = radius + _LEAST_GAP_MM + 0.4 < r < radius + 7.8
    if edge < 0.12 or np.linalg.norm(centre - head) > 5 or not within:
        return None
    return centre, r


def _neck(
    mask: np.ndarray,
    ijk_to_ras: np.ndarray,
    head: np.ndarray,
    radius: float,
    shaft: FemoralShaft,
) -> tuple[np.ndarray, float]:
    """Axis through the head's centre with the largest clearance in the neck, and the clearance.

    Only the half-space on the shaft's side of the head's middle counts as femur: the acetabulum
    lies on the other.
    """
    foot = shaft.point + shaft.axis * float((head - shaft.point) @ shaft.axis)
    aside = unit(foot - head)
    first = unit(aside * np.sin(np.deg2rad(128)) - shaft.axis * np.cos(np.deg2rad(128)))
    front = np.cross(aside, shaft.axis)
    up = np.cross(front, first)
    low, high = np.array([-40.0, -40.0, 0.0]), np.array([40.0, 40.0, 80.0])
    grid = LocalGrid.spanning(head, np.stack([up, front, first], axis=1), low, high, _STEP_MM)
    field = BoneField.from_inside(filled_sections(local_mask(mask, ijk_to_ras, grid)), grid)
    span = float(np.linalg.norm(foot - head)) / np.sin(np.deg2rad(128))
    s = np.arange(radius + 1.0, max(span - 10.0, radius + 8.0), 1.0)

    def direction(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        d = first + np.tan(a)[..., None] * up + np.tan(b)[..., None] * front
        result: np.ndarray = d / np.linalg.norm(d, axis=-1, keepdims=True)
        return result

    def clearance(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        depth = field.at(head + s[:, None] * direction(a, b)[..., None, :])
        result: np.ndarray = -np.log(np.mean(np.exp(-depth), axis=-1)) - _HELD_MM * (a**2 + b**2)
        return result

    turns = np.deg2rad(np.arange(-24.0, 25.0, 4.0))
    a, b = (m.ravel() for m in np.meshgrid(turns, turns, indexing="ij"))
    best = int(np.argmax(clearance(a, b)))
    fine = optimize.minimize(
        lambda q: -float(clearance(np.array(q[0]), np.array(q[1]))),
        np.array([a[best], b[best]]),
        method="Nelder-Mead",
        options={"xatol": 1e-3, "fatol": 1e-3, "maxiter": 80},
    )
    axis = direction(np.array(fine.x[0]), np.array(fine.x[1]))
    least = float(field.at(head + s[:, None] * axis).min())
    return -axis, least


def socket_axis(
    side: str, inclination_deg: float = 42.0, anteversion_deg: float = 15.0
) -> np.ndarray:
    """Out of a cup's opening in RAS (radiographic angles, Murray 1993, JBJS 75-B:228)."""
    sign = 1.0 if side == "right" else -1.0
    inclination, version = np.deg2rad([inclination_deg, anteversion_deg])
    return np.array(
        [
            sign * np.sin(inclination) * np.cos(version),
            np.sin(version),
            -np.cos(inclination) * np.cos(version),
        ]
    )


def _side_of(volume: CTVolume, head: np.ndarray, bone: np.ndarray) -> tuple[str, Sphere | None]:
    """The half of all bone that the head lies in; of a single hip the side it has its socket on.

    :return: also the head, where it was looked for.
    """
    index = np.argwhere(bone[:, ::4, ::4]) * np.array([1, 4, 4])
    ras = index[:, ::-1] @ volume.ijk_to_ras[:3, :3].T + volume.ijk_to_ras[:3, 3]
    near = np.abs(ras[:, 2] - head[2]) < 60
    across_mm = ras[near if near.any() else slice(None), 0]
    if np.ptp(across_mm) > _BOTH_HIPS_MM:
        return "right" if head[0] > float(np.median(across_mm)) else "left", None
    heads = {side: head_sphere(volume, head, socket_axis(side)) for side in ("left", "right")}
    side = max(heads, key=lambda side: heads[side][2])
    return side, heads[side]


def _bone_and_seed(
    volume: CTVolume, femur: np.ndarray | None, bone: np.ndarray | None, click: Vector | None
) -> tuple[np.ndarray, np.ndarray]:
    """The mask that holds the femur, and a point in its head."""
    shape = volume.hu.shape
    if femur is not None:
        source = check_mask(femur, shape, "femur")
    elif bone is not None and click is not None:
        source = check_mask(bone, shape, "bone")
    else:
        raise InputError("a hip needs a segmented femur, or a bone mask and a click in its head")
    seed = _deepest(source, volume.ijk_to_ras) if click is None else np.asarray(click, float)
    ijk = np.linalg.inv(volume.ijk_to_ras)[:3] @ np.append(seed, 1.0)
    if np.any(ijk < 0) or np.any(ijk > np.array(shape[::-1]) - 1):
        raise InputError(
            f"hip: the clicked point {np.round(seed, 1).tolist()} lies outside the volume"
        )
    return source, seed


def measure_hip(
    volume: CTVolume,
    *,
    femur: np.ndarray | None = None,
    hip: np.ndarray | None = None,
    bone: np.ndarray | None = None,
    click: Vector | None = None,
    side: str | None = None,
    down: Vector = (0.0, 0.0, -1.0),
) -> HipModel:
    """Everything about a hip from labels (femur, hip bone) or from all bone and one click.

    :param femur, hip: masks of one side, on the CT's grid.
    :param bone: mask of all bone; needed without ``femur``.
    :param click: RAS point in the femoral head; needed without ``femur``.
    :param side: "left" or "right"; found from the bone when None.
    :param down: roughly along the femur, downwards.
    :raises InputError: masks of another geometry, no head, no shaft.
    """
    shape = volume.hu.shape
    ijk_to_ras = volume.ijk_to_ras
    source, seed = _bone_and_seed(volume, femur, bone, click)
    warnings: list[str] = []
    everything = source if bone is None else check_mask(bone, shape, "bone")
    found: Sphere | None = None
    if side is None and (side := _side_from(femur, seed, ijk_to_ras)) is None:
        whole = everything if hip is None else everything | check_mask(hip, shape, "hip")
        side, found = _side_of(volume, seed, whole)
    if side not in ("left", "right"):
        raise InputError(f"side {side!r}: 'left' or 'right' is needed")
    lateral = np.array([1.0 if side == "right" else -1.0, 0.0, 0.0])
    name = f"{side} hip"
    opening = socket_axis(side)
    labelled, found = (None, found) if femur is None else (source, None)
    head, radius = fit_head(volume, seed, opening, labelled, name, found)
    hip_mask = check_mask(hip, shape, "hip") if hip is not None else None
    socket = fit_socket(volume, head, radius, opening, hip_mask)
    if socket is None:
        warnings.append(f"{name}: the acetabulum is not seen apart from the head; 3 mm assumed")
        socket = (head, radius + 3.0)
    shaft = find_shaft(volume, source, head, unit(down), lateral, name)
    warnings.extend(shaft.warnings)
    neck, clearance = _neck(source, ijk_to_ras, head, radius, shaft)
    return HipModel(
        side=side,
        head_centre=head,
        head_radius_mm=radius,
        socket_centre=socket[0],
        socket_radius_mm=socket[1],
        socket_axis=socket_axis(side),
        neck_axis=neck,
        neck_radius_mm=clearance,
        shaft=shaft,
        neck_shaft_angle_deg=angle_deg(neck, shaft.axis),
        offset_mm=axis_distance(head, shaft.point, shaft.axis),
        warnings=tuple(warnings),
    )


def _side_from(femur: np.ndarray | None, head: np.ndarray, ijk_to_ras: np.ndarray) -> str | None:
    """A labelled femur alone: its trochanters lie lateral of its head."""
    if femur is None:
        return None
    index = np.argwhere(femur[:, ::2, ::2] > 0) * np.array([1, 2, 2])
    ras = index[:, ::-1] @ ijk_to_ras[:3, :3].T + ijk_to_ras[:3, 3]
    away = float((ras[:, 0] - head[0]).mean())
    return None if abs(away) < 5 else ("right" if away > 0 else "left")


def _deepest(mask: np.ndarray, ijk_to_ras: np.ndarray) -> np.ndarray:
    """The point deepest in a labelled femur: in its head."""
    spacing = np.linalg.norm(ijk_to_ras[:3, :3], axis=0)[::-1]
    box = ndimage.find_objects(mask.astype(np.uint8))[0]
    depth = ndimage.distance_transform_edt(np.pad(mask[box], 1), sampling=spacing)[1:-1, 1:-1, 1:-1]
    index = np.array(np.unravel_index(int(np.argmax(depth)), depth.shape), float)
    index += [s.start for s in box]
    result: np.ndarray = index[::-1] @ ijk_to_ras[:3, :3].T + ijk_to_ras[:3, 3]
    return result
