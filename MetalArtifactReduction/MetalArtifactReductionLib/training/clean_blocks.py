"""Clean slices with metal in them, varied: what the scanners of the training are shown.

Five patients are soon learned by heart. So every block of slices is turned, stretched, bent,
changed in contrast and density, given lesions, and holds metal of its own: implants that were
placed in this anatomy, those of another patient, or shapes at random.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F

from ..physics.materials import material
from .slice_bank import FittedMetal, SliceBank

METALS = ("Ti6Al4V", "cp-Ti", "CoCrMo", "316L")
KINDS = (("fitted", 0.5), ("transplanted", 0.2), ("shapes", 0.3))
LARGEST_METAL_MM2 = 3500.0
"""In a slice; two hip prostheses have less."""

_AIR = -1000.0


@dataclass(frozen=True, eq=False)
class CleanBlock:
    """Neighbouring slices.

    :param hu: without metal, ``(slices, rows, cols)``.
    :param fractions: of metals, ``(metals, slices, rows, cols)``.
    :param metals: their names.
    """

    hu: torch.Tensor
    fractions: torch.Tensor
    metals: tuple[str, ...]


def draw_block(
    bank: SliceBank,
    slices: int,
    size: int,
    pixel_mm: float,
    rng: np.random.Generator,
    device: torch.device,
) -> CleanBlock:
    """A varied block of the bank.

    :param slices: how many neighbours.
    :param size: rows and columns.
    :param pixel_mm: of the result.
    """
    kind = str(rng.choice([k for k, _ in KINDS], p=[p for _, p in KINDS]))
    fitted = _choose(bank.metal, rng) if bank.metal and kind != "shapes" else None
    if fitted is not None and kind == "fitted":
        volume = bank.volumes[fitted.volume]
        middle = fitted.corner[0] + int(rng.integers(fitted.shares.shape[1]))
    else:
        volume = bank.volumes[int(rng.integers(len(bank.volumes)))]
        middle = int(rng.integers(len(volume.steps)))
    first = int(np.clip(middle - rng.integers(1, slices - 1), 0, len(volume.steps) - slices))
    hu = torch.from_numpy(volume.hu(first, slices)).to(device)
    names: tuple[str, ...] = ()
    metal = hu.new_zeros(0, *hu.shape)
    if fitted is not None:
        names, stack = placed(fitted, first, hu.shape, kind == "transplanted", rng)
        metal = torch.from_numpy(stack).to(device)
    factor = pixel_mm / volume.pixel_mm / float(np.exp(rng.uniform(np.log(0.82), np.log(1.22))))
    grid = _warp(hu.shape[1:], size, factor, rng, device)
    if rng.random() < 0.5:
        hu, metal = hu.flip(0), metal.flip(1)
    hu = _sample(hu - _AIR, grid, "bicubic").clamp_min(0.0) + _AIR
    if len(metal):
        metal = torch.stack([_sample(m, grid, "bilinear") for m in metal])
    hu = _lesions(_other_contrast(hu, rng), pixel_mm, rng)
    if not bool(metal.any()):
        names, metal = _shapes(hu, pixel_mm, rng)
    return CleanBlock(hu, metal.clamp(0.0, 1.0), names)


def _choose(metal: tuple[FittedMetal, ...], rng: np.random.Generator) -> FittedMetal:
    """Hips half of the time: they are few, and the hardest."""
    hips = [m for m in metal if _is_large(m)]
    others = [m for m in metal if not _is_large(m)]
    group = hips if hips and (not others or rng.random() < 0.5) else others
    return group[int(rng.integers(len(group)))]


def _is_large(fitted: FittedMetal) -> bool:
    """Prostheses come with liners, or are far more metal than screws."""
    return len(fitted.materials) > 2 or fitted.shares.shape[3] > 200


def placed(
    fitted: FittedMetal,
    first: int,
    shape: Sequence[int],
    anywhere: bool,
    rng: np.random.Generator,
) -> tuple[tuple[str, ...], np.ndarray]:
    """The metals of a plan in the chosen slices; liners and cement are left out.

    :param first: of the slices. :param shape: ``(slices, rows, cols)``.
    :param anywhere: in another CT, about its middle; else where they were placed, give or take.
    :returns: names, and shares ``(metals, slices, rows, cols)``.
    """
    count, rows, cols = shape
    start, top, left = fitted.corner
    all_shares = fitted.shares[..., :rows, :cols]  # of a CT with more pixels, perhaps
    _, length, height, width = all_shares.shape
    if anywhere:
        start = first - int(rng.integers(0, max(1, length - count + 1)))
        top = int(np.clip(rows // 2 - height // 2 + rng.integers(-50, 51), 0, rows - height))
        left = int(np.clip(cols // 2 - width // 2 + rng.integers(-90, 91), 0, cols - width))
    else:
        top = int(np.clip(top + rng.integers(-2, 3), 0, rows - height))
        left = int(np.clip(left + rng.integers(-2, 3), 0, cols - width))
    low, high = max(first, start), min(first + count, start + length)
    other = rng.random() < 0.4
    stacks: dict[str, np.ndarray] = {}
    for fitted_name, shares in zip(fitted.materials, all_shares, strict=True):
        if not material(fitted_name).is_metal or high <= low:
            continue
        name = str(rng.choice(METALS)) if other else fitted_name
        out = stacks.setdefault(name, np.zeros((count, rows, cols), np.float32))
        out[low - first : high - first, top : top + height, left : left + width] += (
            shares[low - start : high - start].astype(np.float32) / 255.0
        )
    if not stacks:
        return (), np.zeros((0, count, rows, cols), np.float32)
    return tuple(stacks), np.stack(list(stacks.values()))


def _warp(
    source: torch.Size, size: int, factor: float, rng: np.random.Generator, device: torch.device
) -> torch.Tensor:
    """Where each new pixel lies in the old image, for ``grid_sample``: ``(1, size, size, 2)``."""
    angle = math.radians(rng.uniform(-20, 20)) + (math.pi if rng.random() < 0.2 else 0.0)
    stretch = rng.uniform(0.94, 1.06)
    mirror = -1.0 if rng.random() < 0.5 else 1.0
    line = torch.arange(size, device=device, dtype=torch.float32) - (size - 1) / 2
    y, x = torch.meshgrid(line, line, indexing="ij")
    bend = torch.from_numpy(rng.standard_normal((1, 2, 6, 6)).astype(np.float32)).to(device)
    bend = F.interpolate(bend, (size, size), mode="bicubic", align_corners=True)[0]
    strength = float(rng.uniform(0.0, 5.0))
    x, y = x + strength * bend[0], y + strength * bend[1]
    shift = rng.uniform(-12, 12, 2)
    u = mirror * factor * stretch * (math.cos(angle) * x - math.sin(angle) * y) + shift[0]
    v = factor / stretch * (math.sin(angle) * x + math.cos(angle) * y) + shift[1]
    rows, cols = source
    return torch.stack([u / (cols / 2), v / (rows / 2)], dim=-1)[None]


def _sample(images: torch.Tensor, grid: torch.Tensor, mode: str) -> torch.Tensor:
    return F.grid_sample(images[None], grid, mode=mode, align_corners=False)[0]


def _other_contrast(hu: torch.Tensor, rng: np.random.Generator) -> torch.Tensor:
    """Denser or thinner bone, other soft-tissue contrast and level."""
    bone, soft = rng.uniform(0.75, 1.3), rng.uniform(0.8, 1.25)
    shift = rng.uniform(-12, 12)
    tissue = hu.clamp(-200.0, 120.0)
    level = (hu - tissue).clamp_max(0.0) + (hu - tissue).clamp_min(0.0) * bone
    inside = ((hu + 500.0) / 300.0).clamp(0.0, 1.0)
    return level + tissue + inside * ((soft - 1.0) * (tissue - 40.0) + shift)


def _lesions(hu: torch.Tensor, pixel_mm: float, rng: np.random.Generator) -> torch.Tensor:
    """Faint blobs in the body, so that they are not taken for streaks."""
    count = int(rng.integers(0, 5))
    if count == 0:
        return hu
    body = torch.nonzero(hu[len(hu) // 2] > -200.0)
    if len(body) == 0:
        return hu
    out = hu.clone()
    for _ in range(count):
        row, col = (float(v) for v in body[int(rng.integers(len(body)))])
        radius = rng.uniform(2.0, 9.0) / pixel_mm
        soft = _ellipse(hu.shape[1:], row, col, radius, radius * rng.uniform(0.6, 1.4), 0.0, hu)
        contrast = float(rng.choice([-1.0, 1.0]) * rng.uniform(8.0, 70.0))
        out += soft * contrast * (hu > -300.0)
    return out


def _shapes(
    hu: torch.Tensor, pixel_mm: float, rng: np.random.Generator
) -> tuple[tuple[str, ...], torch.Tensor]:
    """One to five bodies of metal: round, long, lobed or hollow; mostly in bone."""
    count, rows, cols = hu.shape
    middle = hu[count // 2]
    bone, body = torch.nonzero(middle > 200.0), torch.nonzero(middle > -200.0)
    if len(body) == 0:
        body = torch.nonzero(middle >= middle.amax())
    radius = float(np.exp(rng.uniform(np.log(1.2), np.log(22.0)))) / pixel_mm
    name = str(rng.choice(METALS))
    total = hu.new_zeros(count, rows, cols)
    for _ in range(int(rng.integers(1, 6))):
        places = bone if len(bone) > 50 and rng.random() < 0.7 else body
        row, col = (float(v) for v in places[int(rng.integers(len(places)))])
        long = radius * rng.uniform(0.6, 1.4)
        wide = long * (rng.uniform(0.6, 1.0) if rng.random() < 0.6 else rng.uniform(0.15, 0.4))
        if rng.random() < 0.3:
            long, wide = 2.0 * long, max(0.8, 0.6 * wide)
        turn, hollow = rng.uniform(0, math.pi), rng.uniform(0.4, 0.7) if rng.random() < 0.2 else 0.0
        lobes = rng.normal(0.0, 0.12, (2, 4)) if rng.random() < 0.4 else np.zeros((2, 4))
        drift, growth = rng.uniform(-1.2, 1.2, 2) / pixel_mm, rng.uniform(-0.06, 0.06)
        low, high = 0, count
        if rng.random() < 0.3:
            low = int(rng.integers(0, count))
            high = int(rng.integers(low + 1, count + 1))
        for k in range(low, high):
            grown = max(0.5, 1.0 + growth * (k - count / 2))
            place = row + drift[0] * (k - count / 2), col + drift[1] * (k - count / 2)
            shape = _ellipse((rows, cols), *place, grown * long, grown * wide, turn, hu, lobes)
            if hollow:
                shape = shape - _ellipse(
                    (rows, cols), *place, hollow * long, hollow * wide, turn, hu, lobes
                )
            total[k] = torch.maximum(total[k], shape)
        if float(total.sum(dim=(1, 2)).max()) * pixel_mm**2 > LARGEST_METAL_MM2:
            break
    return (name,), total[None]


def _ellipse(
    shape: tuple[int, int] | torch.Size,
    row: float,
    col: float,
    long: float,
    wide: float,
    turn: float,
    like: torch.Tensor,
    lobes: np.ndarray | None = None,
) -> torch.Tensor:
    """1 inside, 0 outside, with a border of one pixel; radius modulated by low harmonics."""
    y = torch.arange(shape[0], device=like.device, dtype=torch.float32)[:, None] - row
    x = torch.arange(shape[1], device=like.device, dtype=torch.float32)[None, :] - col
    u = x * math.cos(turn) + y * math.sin(turn)
    v = y * math.cos(turn) - x * math.sin(turn)
    distance = torch.sqrt((u / long) ** 2 + (v / wide) ** 2)
    if lobes is not None and lobes.any():
        angle = torch.atan2(v, u)
        edge = torch.ones_like(angle)
        for k, (cosine, sine) in enumerate(lobes.T, start=1):
            edge += float(cosine) * torch.cos(k * angle) + float(sine) * torch.sin(k * angle)
        distance = distance / edge.clamp_min(0.3)
    return ((1.0 - distance) * min(long, wide) + 0.5).clamp(0.0, 1.0)
