"""Pairs of corrupted and clean sinograms from a patient's own clean slices and metal.

Masks of the patient's metal are varied in size and position, each is laid on a random clean
slice, the trace is filled and the slice reconstructed and projected again
(:mod:`.channels`); the slice's clean sinogram is the target.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import torch
import torch.nn.functional as F

from ...errors import InputError
from ...metal import PerturbationParameters, perturb_mask
from ...progress import Cancel, Progress, check_cancelled, report
from ...tomography import ImageGrid
from ...tomography.attenuation import hu_to_mu
from .channels import MaxFill, MaxFillParameters
from .network import REACH, wrapped_views

AT_ONCE = 8


@dataclass(frozen=True, eq=False)
class HipPatient:
    """What one patient gives to training.

    :param name: for messages.
    :param slices_hu: clean slices ``(n, rows, cols)``.
    :param masks: metal fraction to vary, ``(m, rows, cols)``, on the same grid.
    :param spacing_mm: ``(row, col)``.
    :param brightness: see :mod:`.brightness`.
    """

    name: str
    slices_hu: np.ndarray
    masks: np.ndarray
    spacing_mm: tuple[float, float]
    brightness: float = 1.0


@dataclass(frozen=True)
class HipSampleParameters:
    """How the pairs are made.

    :param masks: number of varied masks over all patients.
    :param seed: of masks, slices and crops.
    :param perturbation: of the masks.
    :param fill: the rays.
    :param crop: views and bins of a training sample.
    :param off_trace: share of the crops that lie anywhere; the others are centred on the trace.
    """

    masks: int = 1000
    seed: int = 0
    perturbation: PerturbationParameters = field(default_factory=PerturbationParameters)
    fill: MaxFillParameters = field(default_factory=MaxFillParameters)
    crop: tuple[int, int] = (80, 80)
    off_trace: float = 0.1

    def __post_init__(self) -> None:
        """Reject what gives no sample."""
        if self.masks < 1:
            raise ValueError(f"masks is {self.masks}; give 1 or more")
        if min(self.crop) <= 2 * REACH:
            raise ValueError(f"crop is {self.crop}; give more than {2 * REACH} views and bins")
        if not 0 <= self.off_trace <= 1:
            raise ValueError(f"off_trace is {self.off_trace}; give a share of 0 to 1")


@dataclass(frozen=True, eq=False)
class _Pair:
    """One mask on one slice: what is stored of it.

    Half precision keeps a line integral of 8 to within 0.004, a hundredth of what is corrected.
    """

    clean: int
    trace: np.ndarray  # bits of (views, bins)
    corrupted: torch.Tensor  # float16 (views, bins)


class HipSamples:
    """All pairs; crops of them are the training's samples.

    A network of convolutions learns the same from crops as from whole sinograms, at a fraction of
    the time, since most of a sinogram is not trace. Crops are centred on the trace or lie anywhere;
    beyond the first and last view they go on around the half turn. The loss leaves out
    :data:`...training.REACH` values at the crop's border, where the zero padding is seen.

    :param patients: at least one.
    :raises InputError: no slice, or no metal in a patient's masks.
    """

    def __init__(
        self,
        patients: Sequence[HipPatient],
        parameters: HipSampleParameters | None = None,
        *,
        device: str | torch.device = "cpu",
        progress: Progress | None = None,
        cancel: Cancel | None = None,
    ) -> None:
        self.parameters = p = parameters or HipSampleParameters()
        _check(patients)
        self.fills: list[MaxFill] = []
        self._clean: list[torch.Tensor] = []
        self._pairs: list[_Pair] = []
        counts = np.diff(np.linspace(0, p.masks, len(patients) + 1).round().astype(int))
        for number, (patient, count) in enumerate(zip(patients, counts, strict=True)):
            rows, cols = patient.slices_hu.shape[1:]
            grid = ImageGrid(rows, cols, patient.spacing_mm)
            fill = MaxFill(grid, p.fill, device)
            self.fills.append(fill)
            first = len(self._clean)
            for layer in patient.slices_hu:
                image = hu_to_mu(torch.from_numpy(layer[None].astype(np.float32))).to(device)
                self._clean.append(fill.sinogram(image)[0] * patient.brightness)
            for start in range(0, count, AT_ONCE):
                check_cancelled(cancel)
                report(progress, len(self._pairs) / p.masks, f"preparing masks on {patient.name}")
                keys = range(start, min(start + AT_ONCE, count))
                self._pairs += self._make(patient, first, number, keys)

    def __len__(self) -> int:
        """Number of pairs."""
        return len(self._pairs)

    def pair(self, index: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """A whole corrupted sinogram, its clean one, and the trace: ``(views, bins)`` each.

        Line integrals times the patient's brightness factor.
        """
        pair = self._pairs[index]
        clean = self._clean[pair.clean]
        bits = np.unpackbits(pair.trace, count=clean.numel()).reshape(clean.shape)
        return pair.corrupted.float(), clean, torch.from_numpy(bits > 0).to(clean.device)

    @cached_property
    def fingerprint(self) -> str:
        """Differs when the slices, the masks or their preparation do."""
        digest = hashlib.sha256()
        for clean in self._clean:
            digest.update(clean.cpu().numpy().tobytes())
        for pair in self._pairs:
            digest.update(pair.trace.tobytes())
            digest.update(pair.clean.to_bytes(4, "little"))
        return digest.hexdigest()[:16]

    def crop(self, number: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Training sample ``number``: corrupted, clean, trace, ``(crop views, crop bins)`` each.

        It depends on the seed and the number alone.
        """
        p = self.parameters
        rng = np.random.default_rng((p.seed, 1, number))
        images = self.pair(int(rng.integers(len(self))))
        trace = images[2]
        views, bins = trace.shape
        middle = np.array([rng.integers(views), rng.integers(bins)])
        if rng.random() >= p.off_trace:
            where = torch.nonzero(trace.reshape(-1))[:, 0]
            if len(where):
                at = int(where[int(rng.integers(len(where)))])
                middle = np.array(divmod(at, bins))
        high, wide = min(p.crop[0], views), p.crop[1]
        # One half turn of margin, so that a crop may start anywhere.
        top = int(middle[0]) - high // 2 + high
        left = int(np.clip(middle[1] - wide // 2, 0, max(0, bins - wide)))
        parts = []
        for image in images:
            part = wrapped_views(image, high)[top : top + high, left : left + wide]
            parts.append(F.pad(part, (0, wide - part.shape[1])))
        return parts[0], parts[1], parts[2]

    def _make(self, patient: HipPatient, first: int, number: int, keys: range) -> list[_Pair]:
        """Pair ``k`` of a patient depends on (seed, patient, k) alone."""
        with_metal = np.flatnonzero(patient.masks.reshape(len(patient.masks), -1).any(axis=1))
        masks, slices = [], []
        for key in keys:
            rng = np.random.default_rng((self.parameters.seed, 0, number, key))
            mask = patient.masks[rng.choice(with_metal)]
            masks.append(perturb_mask(mask, patient.spacing_mm, rng, self.parameters.perturbation))
            slices.append(first + int(rng.integers(len(patient.slices_hu))))
        fill = self.fills[number]
        traces = fill.trace(torch.from_numpy(np.stack(masks)).to(fill.projector.device))
        clean = torch.stack([self._clean[k] for k in slices])
        corrupted = fill.corrupted(clean, traces).half()
        bits = [np.packbits(trace.cpu().numpy()) for trace in traces]
        return [_Pair(*pair) for pair in zip(slices, bits, corrupted, strict=True)]


def _check(patients: Sequence[HipPatient]) -> None:
    if not patients:
        raise InputError("no patient to train on; give at least one volume")
    for patient in patients:
        if len(patient.slices_hu) == 0:
            raise InputError(f"{patient.name}: no clean slice to train on; choose some")
        if not patient.masks.any():
            raise InputError(f"{patient.name}: the masks hold no metal; give others")
        if patient.masks.shape[1:] != patient.slices_hu.shape[1:]:
            raise InputError(
                f"{patient.name}: masks of {patient.masks.shape[1:]} pixels for slices of "
                f"{patient.slices_hu.shape[1:]}; resample the masks to the slices"
            )
