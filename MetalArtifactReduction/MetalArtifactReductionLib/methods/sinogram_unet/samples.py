"""Samples for sinogram inpainting, simulated when they are asked for, on the training device.

A clean CT gets metal, the scanner of :mod:`...physics` measures and reconstructs it, with and
without the metal, and both images are projected again: the network sees what it will see in use,
and its target is the re-projection of the scan without metal. Nothing is stored but
the few blocks of slices that the pieces of the moment are taken from.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from ...metal.neighbourhood import widened
from ...metal.trace import metal_trace
from ...physics.acquisition import AcquisitionParameters, preset
from ...physics.materials import material
from ...physics.noise import standard_normals
from ...physics.scanner import Scanner
from ...physics.slice_models import physics_slice
from ...tomography import ImageGrid, Reprojection
from ...tomography.attenuation import hu_to_mu
from ...training.blocks_in_turn import BlocksInTurn
from ...training.clean_volumes import CleanVolume
from ...training.metal_source import MetalSource
from ..base import InpaintingContext
from ..nmar.inpainter import NMAR
from .channels import generator_input

BEAMS = ((100.0, 2e6), (120.0, 4e6), (140.0, 8e6))
"""Tube voltages and photons a ray that are drawn from."""

MOST_KEPT = 12
"""Scanners, and geometries of the correction: to build one takes about a second."""

CLIP_HU = (-1024.0, 3071.0)


@dataclass(frozen=True)
class SampleParameters:
    """How samples are drawn.

    :param start: what the network starts from, see :mod:`.channels`.
    :param window: blocks that are in use together; a batch takes its samples from them in turn.
    :param slices: neighbouring slices that make a block.
    :param crops: pieces taken of each slice, on average, before new blocks are simulated.
    :param crop: ``(views, bins)`` of a piece; both multiples of 16.
    :param clipped: share of the images that are clipped at 3071 HU, as most scanners do.
    :param true_mask: share of the slices whose metal mask is the true one; the others are
        thresholded in the corrupted image, as a user's are.
    """

    start: str = "nmar"
    window: int = 8
    slices: int = 4
    crops: int = 8
    crop: tuple[int, int] = (256, 256)
    clipped: float = 0.7
    true_mask: float = 0.3


@dataclass(frozen=True, eq=False)
class Block:
    """Simulated neighbouring slices, all tensors on the device.

    :param channels: the network's input ``(slices, channels, views, bins)``.
    :param start, measured, target: line integrals ``(slices, views, bins)``.
    :param trace: bool, same shape.
    :param corrupted_hu, reference_hu: images ``(slices, rows, cols)``.
    :param metal: the true fraction, same shape.
    :param scanner: that of the correction, for these images.
    """

    channels: torch.Tensor
    start: torch.Tensor
    measured: torch.Tensor
    target: torch.Tensor
    trace: torch.Tensor
    corrupted_hu: torch.Tensor
    reference_hu: torch.Tensor
    metal: torch.Tensor
    scanner: Reprojection


class SinogramSampler:
    """Draws blocks and pieces of them; block ``b`` follows from the seed and ``b`` alone.

    :param volumes: clean CTs, drawn evenly.
    :param metal: where the metal comes from.
    """

    def __init__(
        self,
        volumes: Sequence[CleanVolume],
        metal: MetalSource,
        parameters: SampleParameters,
        seed: int,
    ) -> None:
        self.volumes, self.metal, self.parameters, self.seed = volumes, metal, parameters, seed
        self._scanners: dict[tuple[object, ...], Scanner] = {}
        self._corrections: dict[ImageGrid, Reprojection] = {}
        self._nmar: dict[ImageGrid, NMAR] = {}
        self._blocks = BlocksInTurn[Block](parameters.window, parameters.slices * parameters.crops)

    def samples(self, indices: Sequence[int], device: torch.device) -> dict[str, torch.Tensor]:
        """Pieces by number, stacked: channels, start, measured, target, trace."""
        p = self.parameters
        pieces: list[dict[str, torch.Tensor]] = []
        for index in indices:
            block = self._blocks.block(index, lambda number: self.block(number, device))
            rng = np.random.default_rng([self.seed, 1, index])
            pieces.append(_piece(block, int(rng.integers(p.slices)), p.crop, rng))
        return {name: torch.stack([piece[name] for piece in pieces]) for name in pieces[0]}

    def block(self, number: int, device: torch.device) -> Block:
        """Simulate block ``number``."""
        p = self.parameters
        rng = np.random.default_rng([self.seed, 0, number])
        clean = self.volumes[int(rng.integers(len(self.volumes)))]
        volume = clean.volume
        # One slice more on either side: the network sees the neighbours, too.
        metal = self.metal.draw(clean.name, volume, p.slices + 2, rng)
        beam = BEAMS[int(rng.integers(len(BEAMS)))]
        clip = rng.random() < p.clipped
        flip = rng.random() < 0.5
        thresholds = [
            None if rng.random() < p.true_mask else float(rng.uniform(800.0, 2200.0))
            for _ in range(p.slices)
        ]
        _, rows, cols = volume.hu.shape
        grid = ImageGrid(rows, cols, volume.spacing_mm[1:])
        correction = self._correction(grid, device)
        scanner = self._scanner(grid, beam, device)
        corrupted, reference = [], []
        for k in range(p.slices + 2):
            hu = torch.from_numpy(volume.hu[metal.first + k]).to(device)
            stack = np.stack([fraction[k] for fraction in metal.fractions.values()])
            fractions = torch.from_numpy(stack).to(device)
            if flip:
                hu, fractions = hu.flip(-1), fractions.flip(-1)
            normals = standard_normals(
                int(np.random.SeedSequence([self.seed, number]).generate_state(1)[0]),
                k,
                (2, *scanner.cells.sinogram_shape),
            )
            materials = [material(name) for name in metal.fractions]
            scan = physics_slice(scanner, hu, fractions, materials, normals, with_reference=True)
            images = torch.where(scanner.seen, scanner.reconstruct(scan.sinograms), hu)
            corrupted.append(images[0].clamp(*CLIP_HU) if clip else images[0])
            reference.append(images[1])
        true = sum(
            (f for name, f in metal.fractions.items() if material(name).is_metal),
            np.zeros((p.slices + 2, grid.rows, grid.cols), np.float32),
        )
        truth = torch.from_numpy(np.ascontiguousarray(true[1:-1])).to(device).clamp(0.0, 1.0)
        return self._projected(
            torch.stack(corrupted),
            torch.stack(reference[1:-1]),
            truth.flip(-1) if flip else truth,
            thresholds,
            correction,
        )

    def _projected(
        self,
        corrupted_hu: torch.Tensor,
        reference_hu: torch.Tensor,
        truth: torch.Tensor,
        thresholds: Sequence[float | None],
        correction: Reprojection,
    ) -> Block:
        """Back to sinograms, as the correction does it."""
        projector = correction.projector
        image_mu = hu_to_mu(corrupted_hu[1:-1])
        fraction = truth.clone()
        near = widened(truth > 0, (2, 2))
        for k, threshold in enumerate(thresholds):
            if threshold is not None:
                found = (corrupted_hu[k + 1] > threshold) & near[k]
                if bool(found.any()):
                    fraction[k] = found.float()
        sinogram = projector(image_mu)
        trace = metal_trace(projector, fraction)
        context = InpaintingContext(
            image_mu,
            fraction,
            projector,
            np.arange(1, len(truth) + 1),
            volume_hu=corrupted_hu.cpu().numpy(),
        )
        if projector.grid not in self._nmar:
            _make_room(self._nmar)
            self._nmar[projector.grid] = NMAR(passes=1)
        nmar = self._nmar[projector.grid]
        seen = generator_input(self.parameters.start, sinogram, trace, context, nmar)
        return Block(
            seen.channels,
            seen.start,
            sinogram,
            projector(hu_to_mu(reference_hu)),
            trace,
            corrupted_hu[1:-1],
            reference_hu,
            truth,
            correction,
        )

    def _correction(self, grid: ImageGrid, device: torch.device) -> Reprojection:
        if grid not in self._corrections:
            _make_room(self._corrections)
            self._corrections[grid] = Reprojection(grid, device)
        return self._corrections[grid]

    def _scanner(self, grid: ImageGrid, beam: tuple[float, float], device: torch.device) -> Scanner:
        key = (grid, beam)
        if key not in self._scanners:
            _make_room(self._scanners)
            self._scanners[key] = Scanner(grid, lean_acquisition(grid, *beam), device)
        return self._scanners[key]


def _make_room(kept: dict[Any, Any]) -> None:
    """Let the oldest go: every CT has pixels of its own, and a hundred of them fill the memory."""
    if len(kept) >= MOST_KEPT:
        del kept[next(iter(kept))]


def lean_acquisition(grid: ImageGrid, kvp: float, photons: float) -> AcquisitionParameters:
    """The reference scanner in parallel beam, without what costs most and matters least here."""
    return preset(
        "parallel",
        kvp=kvp,
        photons_per_ray=photons,
        energies=8,
        starvation_filter_photons=0.0,
        scatter_to_primary=0.0,
    )


def _piece(
    block: Block, k: int, size: tuple[int, int], rng: np.random.Generator
) -> dict[str, torch.Tensor]:
    """A piece around a random element of slice ``k``'s trace, continued past the last view."""
    views, bins = block.trace.shape[1:]
    height, width = min(size[0], views), min(size[1], bins)
    at = torch.nonzero(block.trace[k])
    view, column = (views // 2, bins // 2) if len(at) == 0 else at[int(rng.integers(len(at)))]
    top = int(view) - int(rng.integers(0, height))
    left = int(np.clip(int(column) - int(rng.integers(0, width)), 0, bins - width))
    whole = {
        "channels": block.channels[k],
        "start": block.start[k],
        "measured": block.measured[k],
        "target": block.target[k],
        "trace": block.trace[k],
    }
    return {name: take_views(x, top, height, left, width) for name, x in whole.items()}


def take_views(x: torch.Tensor, top: int, height: int, left: int, width: int) -> torch.Tensor:
    """Views ``top`` to ``top + height - 1`` of half a turn, whose other side is seen beyond.

    :param x: ``(..., views, bins)``.
    :param top: may be negative, and the end may pass the last view, by less than all views.
    """
    views = x.shape[-2]
    inside = x[..., max(top, 0) : min(top + height, views), left : left + width]
    turned = x.flip(-1)[..., left : left + width]
    parts = [inside]
    if top < 0:
        parts.insert(0, turned[..., views + top :, :])
    if top + height > views:
        parts.append(turned[..., : top + height - views, :])
    return torch.cat(parts, dim=-2) if len(parts) > 1 else inside
