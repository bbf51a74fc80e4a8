"""The task ``"sinogram-unet"``: a masked U-Net, with or without a discriminator.

The losses are those of conditional adversarial inpainting: squared error times ``l2_weight``, plus
the adversarial loss if ``adversarial`` is on. The usual way is to train with squared error alone
first, and then adversarially from those weights (``pretrained``), some layers frozen if wanted.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch

from ...errors import InputError
from ...training.clean_volumes import CleanVolume, read_clean
from ...training.config import from_options, require_whole
from ...training.metal_source import MetalSource, metal_source
from ...training.task import Batch, Task, Validation
from ...weights import WeightsFacts, initial_network
from .channels import DIFFERENCE_SCALE, LINE_INTEGRAL_SCALE, STARTS, channel_count
from .discriminator import ConditionalDiscriminator
from .losses import image_error, least_squares_adversarial, trace_error
from .network import FEATURES, MaskedUNet
from .samples import SampleParameters, SinogramSampler
from .validation import SinogramValidation

LEAST_ERROR, LEAST_IMAGE_ERROR = 1e-3, 1e-4
"""Added to the errors that relative ones are divided by."""


@dataclass(frozen=True)
class SinogramOptions:
    """The table ``[options]`` of a configuration.

    :param volumes: CTs to train on, see :func:`...training.clean_volumes.read_clean`.
    :param validation: CTs to validate on, never trained on; none: no validation.
    :param metal: ``"simple"``, ``"packed"`` (implants of a bank), or what an installed package
        offers (``"realistic"``, ``"random"``, ``"mixed"``).
    :param metal_options: of that source; ``plans`` is a folder beside the configuration,
        ``shapes`` a file and ``packed`` banks in the data folder.
    :param validation_metal: as ``metal``; the same options.
    :param start: what the network starts from: ``"none"`` (``G = m U(x)`` as published), or a
        filling to which it adds: ``"li"``, ``"nmar"``.
    :param features: six numbers of channels, see :class:`.network.MaskedUNet`.
    :param learning_rate: of the generator (Adam).
    :param discriminator_rate: of the discriminator (Adam).
    :param l2_weight: of the squared error in the trace.
    :param image_weight: of :func:`.losses.image_error`, on top of ``l2_weight``.
    :param relative: divide both errors of a sample by those of what it starts from. Else hips,
        whose errors are hundreds of times those of screws, are nearly all that is learned.
    :param adversarial: weight of the adversarial loss; 0 trains without a discriminator.
    :param pretrained: weights to start from.
    :param freeze: layers that keep them, see :meth:`.network.MaskedUNet.freeze`.
    :param window, slices, crops, crop: see :class:`.samples.SampleParameters`.
    :param validation_blocks: simulated blocks that are validated on.
    :param name: of the method that the weights make.
    """

    volumes: tuple[str, ...] = ()
    validation: tuple[str, ...] = ()
    metal: str = "realistic"
    metal_options: Mapping[str, Any] = field(default_factory=dict)
    validation_metal: str | None = None
    start: str = "nmar"
    features: tuple[int, ...] = FEATURES
    learning_rate: float = 1e-3
    discriminator_rate: float = 2e-4
    l2_weight: float = 1.0
    image_weight: float = 0.0
    relative: bool = False
    adversarial: float = 0.0
    pretrained: str | None = None
    freeze: tuple[str, ...] = ()
    window: int = 8
    slices: int = 4
    crops: int = 8
    crop: tuple[int, int] = (256, 256)
    validation_blocks: int = 2
    name: str = "unet"

    def __post_init__(self) -> None:
        """Check what the networks would refuse later.

        :raises InputError: names the option and its value.
        """
        if self.start not in STARTS:
            raise InputError(f"start {self.start!r} is unknown; use one of {', '.join(STARTS)}")
        for name in ("learning_rate", "discriminator_rate"):
            value = getattr(self, name)
            if not (isinstance(value, int | float) and value > 0):
                raise InputError(f"{name} is {value!r}; give a number above 0")
        for name in ("l2_weight", "image_weight", "adversarial"):
            value = getattr(self, name)
            if not (isinstance(value, int | float) and value >= 0):
                raise InputError(f"{name} is {value!r}; give a number of 0 or more")
        if self.relative and self.start == "none":
            raise InputError('relative errors need a start; give start = "li" or "nmar"')
        if len(self.crop) != 2 or any(
            not isinstance(n, int) or n < 16 or n % 16 for n in self.crop
        ):
            raise InputError(f"crop is {list(self.crop)}; give [views, bins], multiples of 16")
        require_whole(self, "window", "slices", "crops", "validation_blocks")
        if self.l2_weight + self.image_weight + self.adversarial == 0:
            raise InputError("all weights of the loss are 0: there is nothing to train")


class SinogramTask(Task):
    """See the module.

    :param validation: images to validate on, or None.
    """

    best = "rmse_near_metal_hu"

    def __init__(
        self,
        options: SinogramOptions,
        sampler: SinogramSampler,
        validation: SinogramValidation | None = None,
    ) -> None:
        self.name = options.name
        self.options, self.sampler, self.validation = options, sampler, validation
        self.residual = options.start != "none"
        self.arguments = {
            "in_channels": channel_count(options.start),
            "features": list(options.features),
            "output_scale": DIFFERENCE_SCALE if self.residual else LINE_INTEGRAL_SCALE,
            "residual": self.residual,
        }

    def networks(self) -> dict[str, torch.nn.Module]:
        """The generator, and the discriminator if there is one."""
        generator = initial_network(
            "masked-unet", MaskedUNet, self.arguments, self.options.pretrained
        )
        assert isinstance(generator, MaskedUNet)
        try:
            generator.freeze(self.options.freeze)
        except ValueError as error:
            raise InputError(f"freeze: {error}") from None
        networks: dict[str, torch.nn.Module] = {"generator": generator}
        if self.options.adversarial > 0:
            networks["discriminator"] = ConditionalDiscriminator(channel_count(self.options.start))
        return networks

    def optimizer(
        self, name: str, parameters: Iterable[torch.nn.Parameter]
    ) -> torch.optim.Optimizer:
        """Adam; against a discriminator with the short memory that is usual there."""
        o = self.options
        rate = o.learning_rate if name == "generator" else o.discriminator_rate
        return torch.optim.Adam(parameters, lr=rate, betas=(0.5 if o.adversarial else 0.9, 0.999))

    def batch(self, indices: Sequence[int], device: torch.device) -> Batch:
        """Pieces of sinograms, simulated now."""
        return self.sampler.samples(indices, device)

    def loss(
        self, part: str, networks: Mapping[str, torch.nn.Module], batch: Batch
    ) -> tuple[torch.Tensor, Mapping[str, float | torch.Tensor]]:
        """Of the generator, then of the discriminator."""
        if part == "discriminator":
            return self._discriminator_loss(networks, batch)
        o = self.options
        filled = networks["generator"](
            batch["channels"], batch["start"], batch["measured"], batch["trace"]
        )
        batch["filled"] = filled.detach()
        square = trace_error(filled, batch["target"], batch["trace"])
        image = image_error(filled, batch["target"], batch["trace"])
        before = trace_error(batch["start"], batch["target"], batch["trace"])
        figures = {
            "l2": square.detach().mean(),
            "image": image.detach().mean(),
            "l2_of_start": before.mean(),
        }
        if o.relative:
            square = square / (before + LEAST_ERROR)
            image = image / (
                image_error(batch["start"], batch["target"], batch["trace"]) + LEAST_IMAGE_ERROR
            )
        loss = (o.l2_weight * square + o.image_weight * image).mean()
        if o.adversarial > 0:
            scores = networks["discriminator"](batch["channels"], self._shown(filled, batch))
            adversarial = least_squares_adversarial(scores, real=True)
            loss = loss + o.adversarial * adversarial
            figures["adversarial"] = adversarial.detach()
        return loss, figures

    def _discriminator_loss(
        self, networks: Mapping[str, torch.nn.Module], batch: Batch
    ) -> tuple[torch.Tensor, Mapping[str, float | torch.Tensor]]:
        if "filled" not in batch:
            with torch.no_grad():
                batch["filled"] = networks["generator"](
                    batch["channels"], batch["start"], batch["measured"], batch["trace"]
                )
        # Outside the trace both are what was measured, or the discriminator would look there.
        real = torch.where(batch["trace"], batch["target"], batch["measured"])
        discriminator = networks["discriminator"]
        on_real = discriminator(batch["channels"], self._shown(real, batch))
        on_filled = discriminator(batch["channels"], self._shown(batch["filled"], batch))
        loss = 0.5 * (
            least_squares_adversarial(on_real, real=True)
            + least_squares_adversarial(on_filled, real=False)
        )
        return loss, {
            "discriminator": loss.detach(),
            "score_real": on_real.detach().mean(),
            "score_filled": on_filled.detach().mean(),
        }

    def _shown(self, sinogram: torch.Tensor, batch: Batch) -> torch.Tensor:
        """A sinogram as the discriminator sees it: beside a filling, what differs from it."""
        if not self.residual:
            return sinogram / LINE_INTEGRAL_SCALE
        change = torch.where(batch["trace"], sinogram - batch["start"], 0.0)
        return change / DIFFERENCE_SCALE

    def validate(self, network: torch.nn.Module, device: torch.device) -> Validation:
        """Errors in HU on simulated scans that are always the same."""
        if self.validation is None:
            return Validation()
        return self.validation.measure(network, device)

    def facts(self) -> WeightsFacts:
        """What runs these weights, and what they were trained on."""
        o = self.options
        return WeightsFacts(
            "masked-unet",
            self.arguments,
            {
                "inpainter": "sinogram-unet",
                "name": o.name,
                "start": o.start,
                "metal": o.metal,
                "volumes": [one.name for one in self.sampler.volumes],
                "adversarial": o.adversarial,
            },
        )

    def settings(self) -> Mapping[str, Any]:
        """All options but the places of files."""
        values = asdict(self.options)
        values["metal_options"] = sorted(values["metal_options"])
        return values


def make_task(options: dict[str, Any], data: Path | None, seed: int) -> SinogramTask:
    """The task of a configuration.

    :raises InputError: options, CTs or metal that cannot be used.
    """
    given = from_options(SinogramOptions, options, "[options]")
    parameters = SampleParameters(given.start, given.window, given.slices, given.crops, given.crop)
    least = parameters.slices + 2
    volumes = read_clean(given.volumes, data, least)
    metal_options = dict(given.metal_options)
    if "shapes" in metal_options and data is not None:
        metal_options["shapes"] = str(data / str(metal_options["shapes"]))
    if "packed" in metal_options and data is not None:
        metal_options["packed"] = [str(data / one) for one in metal_options["packed"]]
    metal = _source(given.metal, metal_options)
    sampler = SinogramSampler(volumes, metal, parameters, seed)
    validation = None
    if given.validation:
        other = _source(given.validation_metal or given.metal, metal_options)
        held_out: list[CleanVolume] = read_clean(given.validation, data, least)
        validation = SinogramValidation(
            SinogramSampler(held_out, other, parameters, seed + 1), given.validation_blocks
        )
    return SinogramTask(given, sampler, validation)


def _source(kind: str, options: Mapping[str, Any]) -> MetalSource:
    try:
        return metal_source(kind, options)
    except TypeError as error:
        raise InputError(f"metal_options {sorted(options)} do not fit {kind!r}: {error}") from None
