"""From implants to the fraction of each voxel that is metal, exact along the rows.

Rays run along the rows of the volume and are cut with the triangles (:mod:`..implants.rays`):
along a ray every fraction is exact, across it a Fibonacci lattice of 55 to 610 rays samples each
voxel. All implants share the rays, so that what several parts enclose is found ray by ray and
counted once. Memory is one slab of slices at the volume's own resolution, whatever the sampling.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from MetalArtifactReductionLib.errors import InputError
from MetalArtifactReductionLib.physics.materials import material
from MetalArtifactReductionLib.progress import Cancel, Progress, check_cancelled, report
from MetalArtifactReductionLib.volume import CTVolume

from ..implants.base import Implant
from ..implants.mesh import edge_counts
from ..implants.rays import Crossings, cross

QUANTUM = 2.0**-20
"""Fractions are multiples of this: sums of float32 fractions are exact and never exceed 1."""

SLAB_SLICES = 16
RAY_DISTANCE_MM = 0.1
_FIBONACCI = ((55, 34), (89, 55), (144, 89), (233, 144), (377, 233), (610, 377))
"""Rays in a voxel and generator of the lattice (k / N, k g / N mod 1): Niederreiter, Random
Number Generation and Quasi-Monte Carlo Methods, SIAM 1992, ch. 5. All rays of a voxel differ in
both coordinates, so that faces along the grid are sampled N times and not only sqrt(N) times."""


@dataclass(frozen=True, eq=False)
class PlacedImplant:
    """An implant in the patient.

    :param implant: what; its ``parts()`` are voxelised.
    :param placement: rigid ``(4, 4)`` matrix, implant frame -> RAS, mm. A mirror is allowed.
    :param name: for messages; the kind and number when empty.
    """

    implant: Implant
    placement: np.ndarray = field(default_factory=lambda: np.eye(4))
    name: str = ""


@dataclass(frozen=True, eq=False)
class Voxelization:
    """Result of :func:`voxelize`.

    :param fractions: material name -> float32 ``(slices, rows, cols)``, 0..1; over all materials
        the sum is never above 1.
    :param labels: uint16 ``(slices, rows, cols)`` or None: 1 + index of the implant that fills
        the largest share of a voxel of which implants fill half or more, else 0.
    :param volumes_mm3: implant name -> volume inside the CT, overlap counted for its owner only.
    :param outside: implant name -> share of its volume outside the CT, where above 0.1 %.
    :param warnings: one line each, for the user.
    """

    fractions: dict[str, np.ndarray]
    labels: np.ndarray | None
    volumes_mm3: dict[str, float]
    outside: dict[str, float]
    warnings: tuple[str, ...]

    def total(self, materials: Sequence[str] | None = None) -> np.ndarray:
        """Sum of the fractions of some materials (None: all), float32."""
        names = list(self.fractions) if materials is None else materials
        shape = next(iter(self.fractions.values())).shape
        result = np.zeros(shape, dtype=np.float32)
        for name in names:
            result += self.fractions[name]
        return result

    def metal_fraction(self) -> np.ndarray:
        """Sum over the metals, float32: without PEEK, polyethylene, bone cement."""
        return self.total([name for name in self.fractions if material(name).is_metal])


@dataclass(frozen=True, eq=False)
class _Body:
    """A part on the lattice: x in voxels along the row, y in rows, z in lines."""

    owner: int
    material: str
    points: np.ndarray
    triangles: np.ndarray
    volume: float

    @property
    def lines(self) -> tuple[int, int]:
        low, high = self.points[:, 2].min(), self.points[:, 2].max()
        return int(np.ceil(low)), int(np.ceil(high))


@dataclass(frozen=True)
class _Lattice:
    """Grid of the CT and its rays: each line of a slice has one ray in every row.

    :param shape: of the volume.
    :param rays: rays in a voxel, the number of lines in a slice.
    :param generator: line s shifts its rays within their rows by ``s * generator / rays``, mod 1.
    """

    shape: tuple[int, int, int]
    rays: int
    generator: int

    def from_ijk(self) -> np.ndarray:
        """(col, row, slice) -> (x with voxel i from i to i + 1, row, line), ``(4, 4)``."""
        matrix = np.diag([1.0, 1.0, self.rays, 1.0])
        matrix[:3, 3] = [0.5, 0.0, 0.5 * self.rays - 0.5]
        return matrix

    def stagger(self, lines: tuple[int, int]) -> np.ndarray:
        """Shift of the rays of each line within their rows, -0.5..0.5."""
        step = np.mod(np.arange(*lines) * self.generator, self.rays)
        return (step + 0.5) / self.rays - 0.5

    def holds(self, points: np.ndarray) -> tuple[bool, bool]:
        """Whether the bounding box of lattice points lies all inside, and all outside."""
        slices, rows, cols = self.shape
        low, high = points.min(axis=0), points.max(axis=0)
        bottom = np.array([0.0, -0.5, -0.5])
        top = np.array([cols, rows - 0.5, slices * self.rays - 0.5])
        inside = bool((low >= bottom).all() and (high <= top).all())
        return inside, bool((high <= bottom).any() or (low >= top).any())


def voxelize(
    implants: Sequence[PlacedImplant],
    volume: CTVolume,
    *,
    labels: bool = False,
    ray_distance_mm: float = RAY_DISTANCE_MM,
    priority: Mapping[str, float] | None = None,
    progress: Progress | None = None,
    cancel: Cancel | None = None,
) -> Voxelization:
    """Fractions of the voxels of a CT that are taken by implants.

    Where parts of several materials overlap, the denser one owns the space (a tantalum pin in
    PEEK needs no hole); among parts of one material the first implant in the list does.

    >>> from SimulateImplantsLib import implant_from_dict
    >>> rod = implant_from_dict({"kind": "rod", "length_mm": 20, "diameter_mm": 6})
    >>> volume = CTVolume(np.zeros((24, 10, 10), np.float32), np.eye(4))  # voxels of 1 mm3
    >>> place = np.eye(4)
    >>> place[:3, 3] = 4.5, 4.5, 2.0
    >>> (fraction,) = voxelize([PlacedImplant(rod, place)], volume).fractions.values()
    >>> exact_mm3 = np.pi * 3**2 * 14 + 4 / 3 * np.pi * 3**3  # a cylinder with two half balls
    >>> bool(abs(fraction.sum() / exact_mm3 - 1) < 0.01)
    True

    :param implants: what and where.
    :param volume: only its grid matters: any orientation, anisotropic, oblique, tilted.
    :param labels: also make the label volume.
    :param ray_distance_mm: aimed mean distance of rays; a voxel gets 55 to 610.
    :param priority: material -> rank in place of the density; higher ranks own the space.
    :raises InputError: an implant lies completely outside the volume, a placement is not rigid,
        a surface is open, a material is unknown.
    """
    lattice = _lattice(volume, ray_distance_mm)
    names = _names(implants)
    bodies = _bodies(implants, names, volume, lattice, priority)
    fractions = {
        name: np.zeros(lattice.shape, dtype=np.float32)
        for name in sorted({body.material for body in bodies})
    }
    label_volume = np.zeros(lattice.shape, dtype=np.uint16) if labels else None
    owned, cast = np.zeros(len(implants)), np.zeros(len(implants))
    slabs = _slabs(bodies, lattice)
    for done, slab in enumerate(slabs):
        check_cancelled(cancel)
        report(progress, done / len(slabs), "voxelising implants")
        shares = _fill_slab(bodies, slab, lattice, fractions, owned, cast)
        if label_volume is not None:
            _label_slab(label_volume[slice(*slab)], fractions, slab, shares)
    report(progress, 1.0, "implants voxelised")

    voxel = abs(float(np.linalg.det(volume.ijk_to_ras[:3, :3])))
    outside = _outside_shares(bodies, names, lattice, cast)
    warnings = tuple(
        f"{name}: {100 * share:.1f} % of its volume is outside the CT and cut off; move the "
        "implant, or use a CT that covers it"
        for name, share in outside.items()
    )
    inside = {name: float(part * voxel) for name, part in zip(names, owned, strict=True)}
    return Voxelization(fractions, label_volume, inside, outside, warnings)


def _lattice(volume: CTVolume, ray_distance_mm: float) -> _Lattice:
    if not 0.01 <= ray_distance_mm <= 2.0:
        raise InputError(f"ray_distance_mm of {ray_distance_mm:g} is outside 0.01 to 2 mm")
    spacing = np.array(volume.spacing_mm)
    if not np.isfinite(volume.ijk_to_ras).all() or (
        abs(np.linalg.det(volume.ijk_to_ras[:3, :3])) <= 1e-6 * spacing.prod()
    ):
        raise InputError("the volume's IJK-to-RAS matrix cannot be inverted; repair its header")
    wanted = spacing[0] * spacing[1] / ray_distance_mm**2
    rays, generator = next((pair for pair in _FIBONACCI if pair[0] >= wanted), _FIBONACCI[-1])
    slices, rows, cols = volume.hu.shape
    return _Lattice((slices, rows, cols), rays, generator)


def _names(implants: Sequence[PlacedImplant]) -> list[str]:
    if not implants:
        raise InputError("no implants to voxelise; add one first")
    names: list[str] = []
    for number, placed in enumerate(implants, start=1):
        name = placed.name or f"{placed.implant.kind} {number}"
        names.append(f"{name} ({number})" if name in names else name)
    return names


def _check_rigid(name: str, placement: np.ndarray) -> np.ndarray:
    matrix = np.asarray(placement, dtype=float)
    if matrix.shape != (4, 4) or not np.isfinite(matrix).all():
        raise InputError(f"{name}: placement is no 4x4 matrix of finite numbers")
    if np.abs(matrix[3] - [0, 0, 0, 1]).max() > 1e-9:
        raise InputError(f"{name}: placement has a last row of {matrix[3]}; it has to be 0 0 0 1")
    if np.abs(matrix[:3, :3].T @ matrix[:3, :3] - np.eye(3)).max() > 1e-3:
        scale = abs(np.linalg.det(matrix[:3, :3])) ** (1 / 3)
        raise InputError(
            f"{name}: placement is not rigid (it scales by {scale:.4g}); use rotation and "
            "translation only, sizes are the implant's parameters"
        )
    return matrix


def _bodies(
    implants: Sequence[PlacedImplant],
    names: Sequence[str],
    volume: CTVolume,
    lattice: _Lattice,
    priority: Mapping[str, float] | None,
) -> list[_Body]:
    """All parts on the lattice, those that own shared space first."""
    from_ras = lattice.from_ijk() @ np.linalg.inv(volume.ijk_to_ras)
    bodies: list[tuple[float, _Body]] = []
    for owner, (placed, name) in enumerate(zip(implants, names, strict=True)):
        matrix = from_ras @ _check_rigid(name, placed.placement)
        everywhere_outside = True
        for part in placed.implant.parts():
            known = material(part.material)
            boundary, branching, flipped = edge_counts(part.mesh.triangles)
            if boundary or branching or flipped:
                raise InputError(
                    f"{name}: surface of {part.name!r} is not closed ({boundary} boundary, "
                    f"{branching} non-manifold, {flipped} inconsistent edges); repair it"
                )
            mesh = part.mesh.transformed(matrix)
            everywhere_outside &= lattice.holds(mesh.points)[1]
            rank = known.density_g_cm3 if priority is None else priority.get(known.name, -np.inf)
            body = _Body(owner, known.name, mesh.points, mesh.triangles, mesh.volume_mm3)
            bodies.append((rank, body))
        if everywhere_outside:
            centre = np.asarray(placed.placement)[:3, 3]
            raise InputError(
                f"{name} lies completely outside the CT (its origin is at R {centre[0]:.1f}, "
                f"A {centre[1]:.1f}, S {centre[2]:.1f} mm); move it into the volume or remove it"
            )
    bodies.sort(key=lambda item: -item[0])  # stable: then in the order given
    return [body for _, body in bodies]


def _slabs(bodies: Sequence[_Body], lattice: _Lattice) -> list[tuple[int, int]]:
    """Ranges of slices that some body reaches."""
    slabs = []
    for first in range(0, lattice.shape[0], SLAB_SLICES):
        last = min(first + SLAB_SLICES, lattice.shape[0])
        low, high = first * lattice.rays, last * lattice.rays
        if any(body.lines[0] < high and body.lines[1] > low for body in bodies):
            slabs.append((first, last))
    return slabs


def _fill_slab(
    bodies: Sequence[_Body],
    slab: tuple[int, int],
    lattice: _Lattice,
    fractions: dict[str, np.ndarray],
    owned: np.ndarray,
    cast: np.ndarray,
) -> list[tuple[int, tuple[slice, slice, slice], np.ndarray]]:
    """Add one slab's fractions; returns (owner, place within the slab, its share) per body.

    :param owned: voxels of each implant, added to.
    :param cast: the same before overlap is taken off, added to.
    """
    _, rows, cols = lattice.shape
    lines = (slab[0] * lattice.rays, slab[1] * lattice.rays)
    stagger = lattice.stagger(lines)
    claimed = Crossings.none()
    touched = np.zeros((lines[1] - lines[0]) * rows, dtype=bool)
    base = lines[0] * rows
    shares = []
    for body in bodies:
        if body.lines[0] >= lines[1] or body.lines[1] <= lines[0]:
            continue
        own = cross(body.points, body.triangles, lines, rows, stagger).union()
        own = Crossings(own.ray - base, np.clip(own.at, 0.0, cols), own.step)
        if not len(own.ray):
            continue
        cast[body.owner] -= float((own.at * own.step).sum()) / lattice.rays
        touched[own.ray] = True
        shared = touched[claimed.ray]
        before, elsewhere = claimed.where(shared), claimed.where(~shared)
        after = before.and_also(own).union() if len(before.ray) else own
        touched[own.ray] = False
        claimed = elsewhere.and_also(after)

        share, place = _coverage(own, before, after, lattice)
        target = (slice(slab[0] + place[0].start, slab[0] + place[0].stop), *place[1:])
        taken = sum(array[target] for array in fractions.values())
        share = np.minimum(np.rint(share / QUANTUM) * QUANTUM, 1.0 - taken).astype(np.float32)
        np.maximum(share, 0.0, out=share)
        fractions[body.material][target] += share
        owned[body.owner] += float(share.sum(dtype=np.float64))
        shares.append((body.owner, place, share))
    return shares


def _coverage(
    own: Crossings, before: Crossings, after: Crossings, lattice: _Lattice
) -> tuple[np.ndarray, tuple[slice, slice, slice]]:
    """What a body adds to each voxel: float64 0..1 on its bounding box within the slab.

    A ray inside from x0 to x1 covers each voxel i by the overlap of [x0, x1] with [i, i + 1]: the
    running sum along the row of what its two ends put into the voxels that they lie in.
    """
    line, j = np.divmod(own.ray, lattice.shape[1])
    k = line // lattice.rays
    low = np.array([k.min(), j.min(), np.floor(own.at.min())], dtype=np.int64)
    high = np.array([k.max() + 1, j.max() + 1, np.ceil(own.at.max())], dtype=np.int64)
    high[2] = max(high[2], low[2] + 1)
    size = high - low
    depth = size + np.array([0, 0, 2])  # room for ends on the last border
    total = np.zeros(int(depth.prod()))
    for found, sign in ((after, 1.0), (before, -1.0)):
        line, row = np.divmod(found.ray, lattice.shape[1])
        k, j = line // lattice.rays - low[0], row - low[1]
        # Beyond the body's own box nothing changes: ends there cancel at the border.
        x = np.clip(found.at, low[2], high[2]) - low[2]
        i = np.floor(x).astype(np.int64)
        index = (k * depth[1] + j) * depth[2] + i
        weight = sign * found.step
        total += np.bincount(index, weight * (i + 1 - x), minlength=len(total))
        total += np.bincount(index + 1, weight * (x - i), minlength=len(total))
    share = np.cumsum(total.reshape(depth), axis=2)[:, :, : size[2]] / lattice.rays
    place = tuple(slice(int(a), int(b)) for a, b in zip(low, high, strict=True))
    return share, (place[0], place[1], place[2])


def _label_slab(
    labels: np.ndarray,
    fractions: Mapping[str, np.ndarray],
    slab: tuple[int, int],
    shares: Sequence[tuple[int, tuple[slice, slice, slice], np.ndarray]],
) -> None:
    """Write 1 + owner of the largest share where implants fill half a voxel or more."""
    best = np.zeros(labels.shape, dtype=np.float32)
    for owner in sorted({owner for owner, _, _ in shares}):
        own = [(place, share) for number, place, share in shares if number == owner]
        box = tuple(
            slice(min(p[axis].start for p, _ in own), max(p[axis].stop for p, _ in own))
            for axis in range(3)
        )
        mine = np.zeros(best[box].shape, dtype=np.float32)
        for place, share in own:
            shift = tuple(
                slice(p.start - b.start, p.stop - b.start) for p, b in zip(place, box, strict=True)
            )
            mine[shift] += share
        larger = mine > best[box]
        best[box][larger] = mine[larger]
        labels[box][larger] = owner + 1
    labels[sum(array[slice(*slab)] for array in fractions.values()) < 0.5] = 0


def _outside_shares(
    bodies: Sequence[_Body], names: Sequence[str], lattice: _Lattice, cast: np.ndarray
) -> dict[str, float]:
    """Share of each implant's volume beyond the CT, where above 0.1 %."""
    outside = {}
    for owner, name in enumerate(names):
        own = [body for body in bodies if body.owner == owner]
        if all(lattice.holds(body.points)[0] for body in own):
            continue
        whole = sum(body.volume for body in own) / lattice.rays
        share = float(np.clip(1.0 - cast[owner] / whole, 0.0, 1.0))
        if cast[owner] <= 0.0:
            raise InputError(f"{name} lies completely outside the CT; move it into the volume")
        if share > 1e-3:
            outside[name] = share
    return outside
