"""Validation of sinogram generators in HU, on simulated scans that are always the same."""

from __future__ import annotations

import numpy as np
import torch

from ...metal.body import body_mask, within_pixels
from ...tomography.attenuation import mu_to_hu
from ...training.task import Validation
from .inpainter import filled_by
from .samples import Block, SinogramSampler

NEAR_METAL_PIXELS = 20


class SinogramValidation:
    """Simulates its blocks once, keeps them, and measures networks on them.

    :param sampler: of volumes that are not trained on.
    :param blocks: how many of its blocks.
    """

    def __init__(self, sampler: SinogramSampler, blocks: int) -> None:
        self._sampler, self._count = sampler, blocks
        self._blocks: list[Block] = []

    def measure(self, network: torch.nn.Module, device: torch.device) -> Validation:
        """RMSE over the body and near metal, of the network and of its start."""
        if not self._blocks:
            self._blocks = [self._sampler.block(b, device) for b in range(self._count)]
        sums = np.zeros((2, 2, 2))
        images: dict[str, np.ndarray] = {}
        for block in self._blocks:
            filled = filled_by(network, block.channels, block.start, block.measured, block.trace)
            start = torch.where(block.trace, block.start, block.measured)
            found = [
                mu_to_hu(block.scanner.reconstruct(sinogram)).cpu().numpy()
                for sinogram in (filled, start)
            ]
            reference = block.reference_hu.cpu().numpy()
            for region, where in enumerate(_regions(block, reference)):
                for method, image in enumerate(found):
                    square = (image - reference)[where].astype(np.float64) ** 2
                    sums[region, method] += square.sum(), square.size
            if not images:
                k = int(block.trace.flatten(1).sum(dim=1).argmax())
                images = {
                    "with metal": block.corrupted_hu[k].cpu().numpy(),
                    "start": found[1][k],
                    "network": found[0][k],
                    "without metal": reference[k],
                }
        rmse = np.sqrt(sums[..., 0] / np.maximum(sums[..., 1], 1.0))
        grid = self._blocks[0].scanner.projector.grid
        return Validation(
            {
                "rmse_body_hu": float(rmse[0, 0]),
                "rmse_near_metal_hu": float(rmse[1, 0]),
                "start_rmse_body_hu": float(rmse[0, 1]),
                "start_rmse_near_metal_hu": float(rmse[1, 1]),
            },
            images,
            grid.spacing_mm,
        )


def _regions(block: Block, reference_hu: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Body without metal, and what of it lies near metal."""
    metal = block.metal.cpu().numpy() > 0.02
    spacing = block.scanner.projector.grid.spacing_mm
    body = body_mask(reference_hu, (1.0, *spacing)) & ~metal
    return body, body & within_pixels(metal, NEAR_METAL_PIXELS)
