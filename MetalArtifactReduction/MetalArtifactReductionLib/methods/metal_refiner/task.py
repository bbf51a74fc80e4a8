"""The task ``"metal-refiner"``: how much of what a segmentation holds is metal.

Blocks are simulated as for the image prior and segmented as in use; pieces around the metal are all
that is kept of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from ...errors import InputError
from ...metal.neighbourhood import widened
from ...metal.segmentation import segment_metal
from ...tomography import as_device
from ...training.block_workers import Arrays, BlockWorkers
from ...training.blocks_in_turn import BlocksInTurn
from ...training.clean_blocks import draw_block
from ...training.config import from_options, require_whole
from ...training.gantries import CLIP_HU, Gantries, draw_beam, scanned
from ...training.slice_bank import SliceBank, read_bank
from ...training.task import Batch, Task, Validation
from ...volume import CTVolume
from ...weights import WeightsFacts
from .network import DILATIONS, FEATURES, MetalRefiner, refiner_channels

SEGMENTED_SHARE = 0.7
CLIPPED_SHARE = 0.75
REACH = 3
"""Pixels around the segmentation that the loss counts."""


@dataclass(frozen=True)
class MetalOptions:
    """The table ``[options]`` of a configuration.

    :param bank: file of training slices in the data folder, see :mod:`...training.slice_bank`.
    :param validation: file of slices that are not trained on; None: no validation.
    :param features, dilations: of :class:`.network.MetalRefiner`.
    :param learning_rate: of Adam.
    :param gantries: scanners that differ, see :mod:`...training.gantries`.
    :param size: sides of the simulated images.
    :param slices: neighbouring slices of a block.
    :param pieces: taken of each block.
    :param piece: sides of a piece in pixels.
    :param uses: times that a block's pieces are seen.
    :param workers, worker_device: as for the image prior.
    :param validation_blocks: simulated blocks that are validated on.
    """

    bank: str = "training-slices.npz"
    validation: str | None = None
    features: int = FEATURES
    dilations: tuple[int, ...] = DILATIONS
    learning_rate: float = 1e-3
    gantries: int = 8
    size: int = 512
    slices: int = 6
    pieces: int = 64
    piece: int = 64
    uses: int = 6
    workers: int = 0
    worker_device: str = "cpu"
    validation_blocks: int = 4
    window: int = 8

    def __post_init__(self) -> None:
        """Check what would fail later.

        :raises InputError: names the option and its value.
        """
        counts = ("gantries", "size", "slices", "pieces", "piece", "uses", "window")
        require_whole(self, *counts, "validation_blocks")
        if not 8 <= self.piece <= self.size:
            raise InputError(f"piece is {self.piece}; give 8 to size ({self.size}) pixels")
        if not self.learning_rate > 0:
            raise InputError(f"learning_rate is {self.learning_rate!r}; give a number above 0")


class MetalSampler:
    """Simulates blocks and cuts pieces; block ``b`` follows from the seed and ``b`` alone."""

    def __init__(self, bank: SliceBank, options: MetalOptions, seed: int) -> None:
        self.bank, self.options, self.seed = bank, options, seed
        self.gantries = Gantries(options.gantries, options.size, seed)

    def block(self, number: int, device: torch.device) -> Arrays:
        """Pieces: ``channels`` ``(pieces, channels, rows, cols)``; ``metal`` and ``weight``."""
        o = self.options
        rng = np.random.default_rng([self.seed, 0, number])
        gantry = number % len(self.gantries)
        scanner = self.gantries.scanner(gantry, device).with_beam(**draw_beam(rng))
        pixel_mm = scanner.grid.spacing_mm[0]
        clean = draw_block(self.bank, o.slices + 2, o.size, pixel_mm, rng, device)
        hu, _ = scanned(scanner, clean, int(rng.integers(2**31)), with_reference=False)
        if rng.random() < CLIPPED_SHARE:
            hu = hu.clamp(*CLIP_HU)
        truth = clean.fractions.sum(dim=0).clamp(0.0, 1.0)
        found = segmented(hu, truth, pixel_mm, rng)
        channels = refiner_channels(hu[:-2], hu[1:-1], hu[2:], found[1:-1])
        counted = widened(found[1:-1] > 0, (REACH, REACH))
        return _pieces(channels, truth[1:-1], counted, o.pieces, o.piece, rng)


def segmented(
    hu: torch.Tensor, truth: torch.Tensor, pixel_mm: float, rng: np.random.Generator
) -> torch.Tensor:
    """Metal as the segmentation finds it, or a user's threshold."""
    threshold, wide = float(rng.uniform(700.0, 2800.0)), rng.random() < 0.2
    if rng.random() < SEGMENTED_SHARE:
        volume = CTVolume(hu.cpu().numpy(), np.diag([pixel_mm, pixel_mm, 3.0, 1.0]))
        try:
            return torch.from_numpy(segment_metal(volume).fraction).to(hu.device)
        except InputError:
            pass  # nothing bright enough: go on with a threshold
    found = (hu > threshold) & widened(truth > 0, (2, 2))
    if wide:
        found = widened(found, (1, 1))
    return found.float()


def _pieces(
    channels: torch.Tensor,
    truth: torch.Tensor,
    counted: torch.Tensor,
    count: int,
    side: int,
    rng: np.random.Generator,
) -> Arrays:
    """Around random pixels of the segmentation, turned and mirrored."""
    at = torch.nonzero(counted).cpu().numpy()
    rows, cols = truth.shape[1:]
    out: dict[str, list[np.ndarray]] = {"channels": [], "metal": [], "weight": []}
    whole = {"channels": channels, "metal": truth, "weight": counted.float()}
    arrays = {name: x.half().cpu().numpy() for name, x in whole.items()}
    for _ in range(count):
        k, row, col = at[int(rng.integers(len(at)))] if len(at) else (0, rows // 2, cols // 2)
        top = int(np.clip(row - rng.integers(side // 4, side * 3 // 4), 0, rows - side))
        left = int(np.clip(col - rng.integers(side // 4, side * 3 // 4), 0, cols - side))
        turns, mirrored = int(rng.integers(4)), rng.random() < 0.5
        for name, x in arrays.items():
            cut = np.rot90(x[k][..., top : top + side, left : left + side], turns, (-2, -1))
            out[name].append(cut[..., ::-1] if mirrored else cut)
    return {name: np.stack(x) for name, x in out.items()}


def piece_maker(
    path: Path, options: MetalOptions, seed: int, device: str
) -> Callable[[int], Arrays]:
    """For :class:`...training.block_workers.BlockWorkers`."""
    torch.set_num_threads(1)
    sampler, where = MetalSampler(read_bank(path), options, seed), torch.device(device)
    return lambda number: sampler.block(number, where)


class MetalTask(Task):
    """See the module's docstring."""

    name = "metal-refiner"

    def __init__(
        self,
        options: MetalOptions,
        sampler: MetalSampler,
        workers: BlockWorkers | None,
        validation: MetalSampler | None,
    ) -> None:
        self.options, self.sampler = options, sampler
        self._workers, self._validation = workers, validation
        self._blocks = BlocksInTurn[Arrays](options.window, options.pieces * options.uses)
        self._held_out: list[Batch] = []
        self.arguments = {"features": options.features, "dilations": list(options.dilations)}

    def networks(self) -> dict[str, torch.nn.Module]:
        """The one network."""
        return {"generator": MetalRefiner(**self.arguments)}  # type: ignore[arg-type]

    def optimizer(
        self, name: str, parameters: Iterable[torch.nn.Parameter]
    ) -> torch.optim.Optimizer:
        """Adam."""
        return torch.optim.Adam(parameters, lr=self.options.learning_rate)

    def batch(self, indices: Sequence[int], device: torch.device) -> Batch:
        """Pieces by number, from some blocks in turn."""
        o = self.options
        chosen: dict[str, list[np.ndarray]] = {}
        for index in indices:
            block = self._blocks.block(index, lambda number: self._made(number, device))
            piece = (index // o.window) % o.pieces
            for name, array in block.items():
                chosen.setdefault(name, []).append(array[piece])
        return {
            name: torch.from_numpy(np.stack(x).astype(np.float32)).to(device)
            for name, x in chosen.items()
        }

    def _made(self, number: int, device: torch.device) -> Arrays:
        if self._workers is None or not self._workers.makes(number):
            return self.sampler.block(number, device)
        return self._workers.get(number)

    def loss(
        self, part: str, networks: Mapping[str, torch.nn.Module], batch: Batch
    ) -> tuple[torch.Tensor, Mapping[str, float | torch.Tensor]]:
        """Cross-entropy near the segmentation; Dice of half and more, for the curves."""
        logits = networks[part](batch["channels"])
        weight, metal = batch["weight"], batch["metal"]
        entropy = F.binary_cross_entropy_with_logits(logits, metal, reduction="none")
        loss = (weight * entropy).sum() / weight.sum().clamp_min(1.0)
        with torch.no_grad():
            figures = {
                "dice": _dice(torch.sigmoid(logits) * weight, metal),
                "dice_of_segmentation": _dice(batch["channels"][:, -1], metal),
            }
        return loss, figures

    def validate(self, network: torch.nn.Module, device: torch.device) -> Validation:
        """The same figures on other CTs."""
        if self._validation is None:
            return Validation()
        if not self._held_out:
            for number in range(self.options.validation_blocks):
                arrays = self._validation.block(number, device)
                self._held_out.append(
                    {n: torch.from_numpy(x.astype(np.float32)) for n, x in arrays.items()}
                )
        sums: dict[str, float] = {}
        for held_out in self._held_out:
            batch = {name: x.to(device) for name, x in held_out.items()}
            loss, figures = self.loss("generator", {"generator": network}, batch)
            for name, value in {"loss": loss, **figures}.items():
                sums[name] = sums.get(name, 0.0) + float(value) / len(self._held_out)
        return Validation(sums)

    def facts(self) -> WeightsFacts:
        """What the weights are."""
        names = [v.name for v in self.sampler.bank.volumes]
        return WeightsFacts("metal-refiner", self.arguments, {"volumes": names})

    def settings(self) -> Mapping[str, Any]:
        """All options but the places of files and who simulates."""
        left_out = ("bank", "validation", "workers", "worker_device")
        return {k: v for k, v in asdict(self.options).items() if k not in left_out}


def _dice(share: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
    found, true = share >= 0.5, truth >= 0.5
    return 2.0 * (found & true).sum() / (found.sum() + true.sum()).clamp_min(1)


def make_task(options: dict[str, Any], data: Path | None, seed: int) -> MetalTask:
    """The task of a configuration.

    :raises InputError: options or files that cannot be used.
    """
    given = from_options(MetalOptions, options, "[options]")
    if data is None:
        raise InputError(
            "the folder with the training slices is not given (data=..., --data FOLDER)"
        )
    sampler = MetalSampler(read_bank(data / given.bank, given.slices + 2), given, seed)
    workers = None
    if given.workers > 0:
        where = str(as_device(given.worker_device))
        workers = BlockWorkers(given.workers, piece_maker, data / given.bank, given, seed, where)
    validation = None
    if given.validation is not None:
        held_out = read_bank(data / given.validation, given.slices + 2)
        validation = MetalSampler(held_out, given, seed + 1)
    return MetalTask(given, sampler, workers, validation)
