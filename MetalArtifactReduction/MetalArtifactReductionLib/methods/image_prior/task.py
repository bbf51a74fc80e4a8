"""The task ``"image-prior"``: a U-Net that proposes slices free of metal artifacts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ...errors import InputError
from ...tomography import as_device
from ...training.block_workers import BlockWorkers
from ...training.config import from_options, require_whole
from ...training.slice_bank import read_bank
from ...training.task import Batch, Task, Validation
from ...weights import WeightsFacts, initial_network
from .channels import CHANNELS
from .network import BLOCKS, FEATURES, ImagePrior
from .samples import ImageBlock, ImageSampleParameters, ImageSampler, block_maker

UNIT = 10.0
"""Errors are counted in 100 HU, so that losses are near 1."""

LEAST_SQUARE = 1e-3
VALIDATION_GANTRIES = 3


@dataclass(frozen=True)
class ImageOptions:
    """The table ``[options]`` of a configuration.

    :param bank: file of training slices, see :mod:`...training.slice_bank`, in the data folder.
    :param validation: file of slices that are not trained on; None: no validation.
    :param features, blocks: of the network, see :class:`.network.ImagePrior`.
    :param learning_rate: of Adam.
    :param pretrained: weights to start from.
    :param gradient_weight: of the error of neighbouring pixels' differences: keeps edges.
    :param scale_weight: of the likelihood that trains the error's scale.
    :param gantries, size, window, slices, crops, crop: see
        :class:`.samples.ImageSampleParameters`.
    :param workers: processes that simulate samples beside the training; 0 simulates them in it.
    :param worker_device: torch device that they simulate on.
    :param validation_blocks: simulated blocks that are validated on.
    :param name: of the method that the weights make.
    """

    bank: str = "training-slices.npz"
    validation: str | None = None
    features: tuple[int, ...] = FEATURES
    blocks: tuple[int, ...] = BLOCKS
    learning_rate: float = 4e-4
    pretrained: str | None = None
    gradient_weight: float = 0.3
    scale_weight: float = 0.05
    gantries: int = 20
    size: int = 512
    window: int = 16
    slices: int = 8
    crops: int = 8
    crop: int = 320
    workers: int = 0
    worker_device: str = "auto"
    validation_blocks: int = 4
    name: str = "prior"

    def __post_init__(self) -> None:
        """Check what would fail later.

        :raises InputError: names the option and its value.
        """
        counts = ("gantries", "size", "window", "slices", "crops", "crop", "validation_blocks")
        require_whole(self, *counts)
        if self.crop % 16 or self.size % 16:
            raise InputError(f"crop {self.crop} and size {self.size} must be multiples of 16")
        if not self.learning_rate > 0:
            raise InputError(f"learning_rate is {self.learning_rate!r}; give a number above 0")


class ImageTask(Task):
    """See the module's docstring."""

    name = "image-prior"
    best = "rmse_body_hu"
    half_weights = True

    def __init__(
        self, options: ImageOptions, sampler: ImageSampler, validation: ImageSampler | None
    ) -> None:
        self.options, self.sampler, self._validation = options, sampler, validation
        self._held_out: list[ImageBlock] = []
        self.arguments = {
            "in_channels": CHANNELS,
            "features": list(options.features),
            "blocks": list(options.blocks),
        }

    def networks(self) -> dict[str, torch.nn.Module]:
        """The one network."""
        network = initial_network(
            "image-prior", ImagePrior, self.arguments, self.options.pretrained
        )
        return {"generator": network}

    def optimizer(
        self, name: str, parameters: Iterable[torch.nn.Parameter]
    ) -> torch.optim.Optimizer:
        """Adam."""
        return torch.optim.Adam(parameters, lr=self.options.learning_rate, betas=(0.9, 0.99))

    def batch(self, indices: Sequence[int], device: torch.device) -> Batch:
        """Pieces of slices, simulated now."""
        return self.sampler.samples(indices, device)

    def loss(
        self, part: str, networks: Mapping[str, torch.nn.Module], batch: Batch
    ) -> tuple[torch.Tensor, Mapping[str, float | torch.Tensor]]:
        """Root mean square, absolute and gradient error of each piece, and the scale's likelihood.

        The root of each piece's mean square makes pieces of small and of huge errors count alike.
        """
        channels, target, weight = batch["channels"], batch["target"], batch["weight"]
        corrupted, nmar = channels[:, 1], channels[:, 4]
        proposed, log_scale = networks[part](channels, corrupted, nmar)
        total = weight.sum(dim=(1, 2)).clamp_min(1.0)
        rms, absolute = _errors(proposed, target, weight, total)
        error = UNIT * (proposed - target)
        edges = sum(
            ((error.diff(dim=d).abs() * weight.narrow(d, 1, weight.shape[d] - 1)).sum((1, 2)))
            for d in (1, 2)
        )
        magnitude = (proposed - target).detach().abs()
        likelihood = (weight * (magnitude * torch.exp(-log_scale) + log_scale)).sum((1, 2)) / total
        o = self.options
        loss = rms + absolute + o.gradient_weight * edges / total + o.scale_weight * likelihood
        with torch.no_grad():
            of_nmar = _errors(nmar, target, weight, total)[0].mean()
        figures = {
            "rms": rms.detach().mean(),
            "rms_of_nmar": of_nmar,
            "scale": likelihood.detach().mean(),
        }
        return loss.mean(), figures

    def validate(self, network: torch.nn.Module, device: torch.device) -> Validation:
        """RMSE in HU on simulated scans that are always the same."""
        if self._validation is None:
            return Validation()
        if not self._held_out:
            count = self.options.validation_blocks
            self._held_out = [self._validation.block(b, device) for b in range(count)]
        return measured(network, self._held_out)

    def facts(self) -> WeightsFacts:
        """What runs these weights, and what they were trained on."""
        return WeightsFacts(
            "image-prior",
            self.arguments,
            {
                "inpainter": "image-prior",
                "name": self.options.name,
                "volumes": [v.name for v in self.sampler.bank.volumes],
            },
        )

    def settings(self) -> Mapping[str, Any]:
        """All options but the places of files and who simulates."""
        left_out = ("bank", "validation", "workers", "worker_device")
        return {k: v for k, v in asdict(self.options).items() if k not in left_out}


def _errors(
    image: torch.Tensor, target: torch.Tensor, weight: torch.Tensor, total: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Root mean square and mean absolute error of each piece in 100 HU."""
    error = UNIT * (image - target)
    square = (weight * error**2).sum(dim=(1, 2)) / total
    return torch.sqrt(square + LEAST_SQUARE), (weight * error.abs()).sum(dim=(1, 2)) / total


@torch.no_grad()
def measured(network: torch.nn.Module, blocks: Sequence[ImageBlock]) -> Validation:
    """RMSE over the body and near metal: of the network, NMAR and the uncorrected image."""
    sums = np.zeros((2, 3, 2))
    images: dict[str, np.ndarray] = {}
    for block in blocks:
        for k in np.flatnonzero(block.metal.flatten(1).any(dim=1).cpu().numpy()):
            channels = block.channels[k : k + 1].float()
            corrupted, nmar = channels[:, 1], channels[:, 4]
            proposed, _ = network(channels, corrupted, nmar)
            target, weight = block.target[k].float(), block.weight[k].float()
            body = (weight > 0.5) & (target > -0.9)
            for region, where in enumerate((body, body & (weight > 1.5))):
                for method, image in enumerate((proposed, nmar, corrupted)):
                    square = (1000.0 * (image[0] - target))[where].double() ** 2
                    sums[region, method] += float(square.sum()), square.numel()
            if not images:
                shown = {
                    "with metal": corrupted[0],
                    "NMAR": nmar[0],
                    "network": proposed[0],
                    "without metal": target,
                }
                images = {n: 1000.0 * x.float().cpu().numpy() for n, x in shown.items()}
    rmse = np.sqrt(sums[..., 0] / np.maximum(sums[..., 1], 1.0))
    figures = {
        f"{prefix}rmse_{region}_hu": float(rmse[i, j])
        for i, region in enumerate(("body", "near_metal"))
        for j, prefix in enumerate(("", "nmar_", "uncorrected_"))
    }
    pixel = blocks[0].pixel_mm
    return Validation(figures, images, (pixel, pixel))


def make_task(options: dict[str, Any], data: Path | None, seed: int) -> ImageTask:
    """The task of a configuration.

    :raises InputError: options or files that cannot be used.
    """
    given = from_options(ImageOptions, options, "[options]")
    if data is None:
        raise InputError(
            "the folder with the training slices is not given (data=..., --data FOLDER)"
        )
    parameters = ImageSampleParameters(
        given.gantries, given.size, given.window, given.slices, given.crops, given.crop
    )
    bank = read_bank(data / given.bank, given.slices + 2)
    workers = None
    if given.workers > 0:
        where = str(as_device(given.worker_device))
        path = data / given.bank
        workers = BlockWorkers(given.workers, block_maker, path, parameters, seed, where)
    sampler = ImageSampler(bank, parameters, seed, workers)
    validation = None
    if given.validation is not None:
        fewer = replace(parameters, gantries=min(VALIDATION_GANTRIES, given.gantries))
        held_out = read_bank(data / given.validation, given.slices + 2)
        validation = ImageSampler(held_out, fewer, seed + 1)
    return ImageTask(given, sampler, validation)
