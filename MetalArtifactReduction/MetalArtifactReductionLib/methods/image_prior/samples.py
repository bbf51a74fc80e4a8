"""Samples for the image prior: simulated scans, corrected from the image alone, in pieces.

See :mod:`...training.clean_blocks` for what is scanned and :mod:`...training.gantries` for what
scans it. The scanned image is all that the input is made of: it is projected again in the geometry
of the correction, as in use.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from ...metal.neighbourhood import widened
from ...metal.trace import metal_trace
from ...tomography import Reprojection
from ...tomography.attenuation import hu_to_mu
from ...training.block_workers import Arrays, BlockWorkers
from ...training.blocks_in_turn import BlocksInTurn
from ...training.clean_blocks import draw_block
from ...training.gantries import CLIP_HU, Gantries, draw_beam, scanned
from ...training.slice_bank import SliceBank, read_bank
from ..base import InpaintingContext
from .channels import image_inputs

NEAR_METAL_PIXELS = 20
METAL_WEIGHT, AIR_WEIGHT, NEAR_WEIGHT = 0.05, 0.1, 3.0


@dataclass(frozen=True)
class ImageSampleParameters:
    """How samples are drawn.

    :param gantries: scanners that differ, see :mod:`...training.gantries`.
    :param size: sides of the simulated images in pixels.
    :param window: blocks that are in use together; a batch takes its samples from them in turn.
    :param slices: neighbouring slices that make a block.
    :param crops: pieces taken of each slice, on average, before new blocks are simulated.
    :param crop: sides of a piece in pixels.
    :param clipped: share of the images that are clipped at 3071 HU, as most scanners do.
    :param true_mask: share of the slices whose metal mask is the true one; the others are
        thresholded in the corrupted image, as a user's are.
    """

    gantries: int = 20
    size: int = 512
    window: int = 16
    slices: int = 8
    crops: int = 8
    crop: int = 320
    clipped: float = 0.75
    true_mask: float = 0.3


@dataclass(frozen=True, eq=False)
class ImageBlock:
    """Simulated neighbouring slices on the device.

    :param channels: the network's input ``(slices, channels, rows, cols)``, half precision.
    :param target: the scan without metal, HU / 1000, ``(slices, rows, cols)``, half precision.
    :param weight: of each pixel in the loss, same shape.
    :param metal: the true fraction, same shape.
    :param pixel_mm: of the images.
    """

    channels: torch.Tensor
    target: torch.Tensor
    weight: torch.Tensor
    metal: torch.Tensor
    pixel_mm: float


class ImageSampler:
    """Draws blocks and pieces of them; block ``b`` follows from the seed and ``b`` alone.

    :param bank: clean slices and fitted metal.
    :param workers: processes that simulate the blocks; None simulates them here.
    """

    def __init__(
        self,
        bank: SliceBank,
        parameters: ImageSampleParameters,
        seed: int,
        workers: BlockWorkers | None = None,
    ) -> None:
        self.bank, self.parameters, self.seed = bank, parameters, seed
        self.gantries = Gantries(parameters.gantries, parameters.size, seed)
        self._workers = workers
        self._blocks = BlocksInTurn[ImageBlock](
            parameters.window, parameters.slices * parameters.crops
        )

    def samples(self, indices: Sequence[int], device: torch.device) -> dict[str, torch.Tensor]:
        """Pieces by number, stacked: channels, target, weight."""
        pieces = []
        for index in indices:
            block = self._blocks.block(index, lambda number: self._made(number, device))
            rng = np.random.default_rng([self.seed, 1, index])
            pieces.append(_piece(block, self.parameters.crop, rng))
        return {name: torch.stack([piece[name] for piece in pieces]) for name in pieces[0]}

    def _made(self, number: int, device: torch.device) -> ImageBlock:
        if self._workers is None or not self._workers.makes(number):
            return self.block(number, device)
        arrays = self._workers.get(number)
        pixel_mm = float(arrays.pop("pixel_mm"))
        tensors = {name: torch.from_numpy(array).to(device) for name, array in arrays.items()}
        return ImageBlock(**tensors, pixel_mm=pixel_mm)

    def block(self, number: int, device: torch.device) -> ImageBlock:
        """Simulate block ``number``."""
        p = self.parameters
        rng = np.random.default_rng([self.seed, 0, number])
        # In turn: with several processes each needs only some of the gantries.
        gantry = number % len(self.gantries)
        scanner = self.gantries.scanner(gantry, device).with_beam(**draw_beam(rng))
        pixel_mm = scanner.grid.spacing_mm[0]
        # One slice more on either side: the network sees the neighbours, too.
        clean = draw_block(self.bank, p.slices + 2, p.size, pixel_mm, rng, device)
        corrupted, reference = scanned(scanner, clean, int(rng.integers(2**31)))
        if rng.random() < p.clipped:
            corrupted = corrupted.clamp(*CLIP_HU)
        truth = clean.fractions.sum(dim=0).clamp(0.0, 1.0)[1:-1]
        found = _found_metal(corrupted[1:-1], truth, p.true_mask, rng)
        correction = self.gantries.correction(gantry, device)
        return _prepared(corrupted, reference[1:-1], truth, found, correction, pixel_mm)


def block_maker(
    path: Path, parameters: ImageSampleParameters, seed: int, device: str
) -> Callable[[int], Arrays]:
    """For :class:`...training.block_workers.BlockWorkers`: number -> the arrays of a block."""
    torch.set_num_threads(1)
    sampler, where = ImageSampler(read_bank(path), parameters, seed), torch.device(device)

    def make(number: int) -> Arrays:
        block = sampler.block(number, where)
        tensors = {name: getattr(block, name) for name in ("channels", "target", "weight", "metal")}
        arrays = {name: tensor.cpu().numpy() for name, tensor in tensors.items()}
        return arrays | {"pixel_mm": np.array(block.pixel_mm)}

    return make


def _found_metal(
    corrupted_hu: torch.Tensor, truth: torch.Tensor, true_share: float, rng: np.random.Generator
) -> torch.Tensor:
    """Masks as a user's segmentation makes them: by a threshold, now and then a little wide."""
    near = widened(truth > 0, (2, 2))
    out = truth.clone()
    for k in range(len(truth)):
        kind, threshold = rng.random(), float(rng.uniform(700.0, 2500.0))
        wide = rng.random() < 0.25
        if kind < true_share:
            continue
        found = (corrupted_hu[k] > threshold) & near[k]
        if bool(found.any()):
            out[k] = (widened(found[None], (1, 1))[0] if wide else found).float()
    return out


def _prepared(
    corrupted_hu: torch.Tensor,
    reference_hu: torch.Tensor,
    truth: torch.Tensor,
    found: torch.Tensor,
    correction: Reprojection,
    pixel_mm: float,
) -> ImageBlock:
    """Corrected as the correction does it."""
    projector = correction.projector
    image_mu = hu_to_mu(corrupted_hu[1:-1])
    context = InpaintingContext(
        image_mu,
        found,
        projector,
        np.arange(1, len(truth) + 1),
        volume_hu=corrupted_hu.cpu().numpy(),
    )
    sinogram = projector(image_mu)
    trace = metal_trace(projector, found)
    inputs = image_inputs(sinogram, trace, context, correction.reconstruct)
    metal = truth > 0.02
    weight = torch.where(reference_hu > -900.0, 1.0, AIR_WEIGHT)
    weight = torch.where(
        widened(metal, (NEAR_METAL_PIXELS, NEAR_METAL_PIXELS)), NEAR_WEIGHT * weight, weight
    )
    weight = torch.where(metal, METAL_WEIGHT, weight)
    # Slices without metal have nothing to correct.
    weight = weight * metal.any(dim=(1, 2), keepdim=True)
    return ImageBlock(
        inputs.channels.half(),
        (reference_hu / 1000.0).half(),
        weight.half(),
        truth.half(),
        pixel_mm,
    )


def _piece(block: ImageBlock, size: int, rng: np.random.Generator) -> dict[str, torch.Tensor]:
    """A piece of a random slice with metal, mostly around metal; turned and mirrored."""
    with_metal = torch.nonzero(block.metal.flatten(1).any(dim=1)).flatten()
    if len(with_metal) == 0:
        with_metal = torch.arange(len(block.metal))
    k = int(with_metal[int(rng.integers(len(with_metal)))])
    rows, cols = block.target.shape[1:]
    side = min(size, rows, cols)
    wanted = block.metal[k] > 0.5 if rng.random() < 0.65 else block.target[k] > -0.5
    at = torch.nonzero(wanted)
    row, col = (rows // 2, cols // 2) if len(at) == 0 else at[int(rng.integers(len(at)))]
    # Even corners: the network takes pixels in fours.
    top = int(np.clip(int(row) - rng.integers(0, side), 0, rows - side)) // 2 * 2
    left = int(np.clip(int(col) - rng.integers(0, side), 0, cols - side)) // 2 * 2
    box = (..., slice(top, top + side), slice(left, left + side))
    turns, mirrored = int(rng.integers(4)), rng.random() < 0.5
    piece = {
        "channels": block.channels[k][box],
        "target": block.target[k][box],
        "weight": block.weight[k][box],
    }
    turned = {name: torch.rot90(x, turns, (-2, -1)) for name, x in piece.items()}
    return {name: (x.flip(-1) if mirrored else x).float() for name, x in turned.items()}
