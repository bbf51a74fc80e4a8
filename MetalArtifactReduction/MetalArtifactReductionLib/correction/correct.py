"""Correct the metal artifacts of a CT volume: :func:`correct_volume` describes the whole method."""

from __future__ import annotations

import time
from collections.abc import Callable, Container, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
import torch

from ..errors import DeviceError, InputError
from ..metal.certain import certain_metal
from ..metal.segmentation import segment_metal
from ..metal.threshold import clip_level
from ..metal.trace import metal_trace
from ..methods.base import InpaintingContext, Method, Proposal
from ..methods.registry import create_method
from ..progress import Cancel, Progress, check_cancelled, out_of_memory, part, report
from ..tomography import ImageGrid, Reprojection, as_device
from ..tomography.attenuation import hu_to_mu
from ..tomography.trace import wider_trace
from ..volume import CTVolume
from .artifact_strength import SecondOpinion, SoftTissue, strength_along
from .dense_tissue import keep_dense, teeth_shares
from .metal_blur import with_blur
from .options import CorrectionOptions
from .recombination import (
    agreed_change,
    keep_bone,
    put_metal_back,
    recombine,
    restore_padding,
    without_rims,
)
from .result import CorrectionResult
from .working_grid import WorkingGrid

LARGEST_METAL_SHARE = 0.3
"""Of the body in the slices that hold metal; both hips of a thin patient hold less than a tenth."""

_TISSUE_ABOVE_HU = -500.0


def correct_volume(
    volume: CTVolume,
    metal_fraction: np.ndarray | None = None,
    method: str | Method | None = None,
    *,
    options: CorrectionOptions | None = None,
    progress: Progress | None = None,
    cancel: Cancel | None = None,
    **changes: Any,
) -> CorrectionResult:
    """Correct every slice with artifacts of metal; the others come back bit-identical.

    The reconstructed image is all there is: it is projected, the bins whose rays meet metal are
    filled by the method (no other bin changes), and the sinogram is reconstructed again. Certain
    metal is shown as it was. Of the change each place takes what leads towards the learned proposal
    (:func:`.recombination.agreed_change`), and each slice as much as there is an artifact. Computed
    in one orientation and order of pixel size (:mod:`.working_grid`), so the result does not depend
    on how the scan is stored.

    >>> row, col = np.mgrid[-32:32, -32:32]
    >>> hu = np.where(np.hypot(row, col) < 28, 40.0, -1000.0)  # a body of soft tissue
    >>> hu[np.hypot(row, col - 9) < 3] = 3071.0  # and a rod in two of its slices
    >>> slices = np.stack([np.minimum(hu, 40.0), hu, hu, np.minimum(hu, 40.0)])
    >>> volume = CTVolume(slices.astype(np.float32), np.diag([2.0, 2.0, 2.0, 1.0]))
    >>> result = correct_volume(volume, method="li", always=True)
    >>> result.told, np.abs(result.change_hu).max(axis=(1, 2)) > 0
    ('corrected 2 slices', array([False,  True,  True, False]))

    :param volume: the CT; never modified.
    :param metal_fraction: share of each voxel that is metal, 0..1, or a mask, on the volume's
        grid; found by :func:`..metal.segment_metal` when None.
    :param method: instead of that of the options: a name, a file of weights, or a method made
        already.
    :param options: everything else that can be chosen; the defaults if None.
    :param progress: told after every batch. :param cancel: asked before every batch.
    :param changes: single options, ``device="auto"``, that go before those of ``options``.
    :raises InputError: unusable volume, mask, method or option; no metal; missing weights.
    :raises DeviceError: unknown device; too little memory for even a single slice.
    :raises Cancelled: when ``cancel`` said so.
    """
    options = (options or CorrectionOptions()).changed(**changes)
    return corrected_by(Reprojection, volume, metal_fraction, method, options, progress, cancel)


def corrected_by(
    scan_of: Callable[[ImageGrid, torch.device, str], Reprojection],
    volume: CTVolume,
    metal_fraction: np.ndarray | None,
    method: str | Method | None,
    options: CorrectionOptions,
    progress: Progress | None,
    cancel: Cancel | None,
    only: Container[int] | None = None,
) -> CorrectionResult:
    """:func:`correct_volume` by ``scan_of(grid, device, window)``, ``only`` these of its slices."""
    made = create_method(method or options.method, **options.method_options)
    opinion = SecondOpinion.on(made)
    device = as_device(options.device)
    _check(volume, metal_fraction)

    times = [time.perf_counter()]
    report(progress, 0.0, "looking for metal")
    check_cancelled(cancel)
    volume = volume.with_hu(volume.hu)  # float32, whatever numbers the array held
    given_metal = _metal_of(volume, metal_fraction, options)
    common = WorkingGrid(volume)
    volume, metal = common.volume, common.there(given_metal)
    with_metal = np.flatnonzero(metal.any(axis=(1, 2)))
    if only is not None:  # of the others the metal counts
        with_metal = with_metal[[common.number(k) in only for k in with_metal.tolist()]]
    times.append(time.perf_counter())

    seen = common.to_prepare(metal)
    made.prepare(*seen, device, part(progress, 0.0, made.preparation), cancel)
    progress = part(progress, made.preparation, 1.0)
    times.append(time.perf_counter())

    _, rows, cols = volume.hu.shape
    scan = scan_of(ImageGrid(rows, cols, volume.spacing_mm[1:]), device, options.window)
    work = _Work(volume, metal, made, opinion, scan, options)
    _in_batches(work.correct, with_metal, options.batch_slices, device, progress, cancel)
    work.take_what_is_needed()
    times.append(time.perf_counter())
    result = common.back(work.result(volume, np.diff(times).tolist()), given_metal)
    report(progress, 1.0, result.told)
    return result


class _Work:
    """What is done to each batch of slices, and what the batches gave, put together."""

    def __init__(
        self,
        volume: CTVolume,
        metal_fraction: np.ndarray,
        method: Method,
        opinion: SecondOpinion,
        scan: Reprojection,
        options: CorrectionOptions,
    ) -> None:
        self._hu, self._spacing_mm = volume.hu, volume.spacing_mm
        self._metal_fraction = metal_fraction
        self._clipped_from_hu = clip_level(volume.hu)
        self._certain = certain_metal(volume.hu, metal_fraction)
        self._method, self._scan, self._options = method, scan, options
        self._opinion = opinion
        self._gains = np.full(len(volume.hu), np.nan)
        self.strength = np.ones(len(volume.hu), np.float32)
        self.corrected_hu = volume.hu.copy()
        self.expected_error_hu: np.ndarray | None = None
        self._outside = np.zeros((len(volume.hu), 4))

    def correct(self, slices: np.ndarray) -> None:
        """One batch, by its indices."""
        method, scan, options = self._method, self._scan, self._options
        sides_mm = self._spacing_mm[1:]
        given_hu, marked, certain = (
            x[slices] for x in (self._hu, self._metal_fraction, self._certain)
        )
        # What the scanner pads with must not matter.
        original_hu, fraction = (
            torch.from_numpy(x).to(scan.device) for x in (given_hu.clip(min=-1024.0), marked)
        )
        image_mu = hu_to_mu(original_hu)

        sinogram = scan.sinogram(slices, image_mu)
        teeth = teeth_shares(given_hu, marked, sides_mm)
        blurred = with_blur(given_hu, marked, certain, teeth, sides_mm)
        trace = metal_trace(
            scan.projector, torch.from_numpy(blurred).to(scan.device), options.trace
        )
        context = InpaintingContext(image_mu, fraction, scan.projector, slices, volume_hu=self._hu)
        proposal = method.propose(sinogram, trace, context)
        if proposal is not None:
            free_of_metal_hu = proposal.hu
            scan.keep(slices, trace, lambda: scan.projector(hu_to_mu(free_of_metal_hu)))
        else:
            filled = wider_trace(trace, method.wider_bins)
            inpainted = replace_in_trace(sinogram, filled, method(sinogram, filled, context))
            scan.keep(slices, filled, lambda: inpainted)
            free_of_metal_hu = recombine(
                options.reconstruction,
                original_hu,
                fraction,
                sinogram,
                inpainted,
                scan.reconstruct,
                scan.projector.grid.spacing_mm,
            )
        # Only now: the method may have asked the same network.
        proposed_hu = self._opinion(sinogram, trace, context)
        seen = original_hu, proposed_hu, fraction
        tissue = self._soft_tissue(slices, proposed_hu.cpu().numpy())
        if not options.always:
            free_of_metal_hu = agreed_change(free_of_metal_hu, *seen[:2], sides_mm)
            self._gains[slices] = [around.gain for around in tissue]
        free_of_metal_hu = without_rims(
            free_of_metal_hu, *seen, torch.from_numpy(teeth).to(scan.device), sides_mm
        )
        free_of_metal_hu = keep_bone(free_of_metal_hu, *seen)
        free_of_metal_hu = self._keep_dense(slices, tissue, free_of_metal_hu)
        metal = method.shown_metal(context)
        corrected_hu = put_metal_back(
            free_of_metal_hu, original_hu, metal, torch.from_numpy(certain).to(scan.device)
        )
        self.corrected_hu[slices] = restore_padding(corrected_hu.cpu().numpy(), given_hu)
        if proposal is not None:
            self._keep(slices, proposal)

    def _soft_tissue(self, slices: np.ndarray, proposed_hu: np.ndarray) -> list[SoftTissue]:
        spacing_mm = self._spacing_mm[1:]
        return [
            SoftTissue(self._hu[k], proposed, self._metal_fraction[k], spacing_mm)
            for k, proposed in zip(slices, proposed_hu, strict=True)
        ]

    def _keep_dense(
        self, slices: np.ndarray, tissue: Sequence[SoftTissue], corrected_hu: torch.Tensor
    ) -> torch.Tensor:
        kept = [
            keep_dense(
                corrected,
                self._hu[k],
                around.streaks_hu,
                self._metal_fraction[k],
                self._spacing_mm[1:],
                self._clipped_from_hu,
            )
            for k, around, corrected in zip(slices, tissue, corrected_hu.cpu().numpy(), strict=True)
        ]
        return torch.from_numpy(np.stack(kept)).to(corrected_hu)

    def _keep(self, slices: np.ndarray, proposal: Proposal) -> None:
        if proposal.expected_error_hu is not None:
            if self.expected_error_hu is None:
                self.expected_error_hu = np.zeros_like(self.corrected_hu)
            self.expected_error_hu[slices] = proposal.expected_error_hu.cpu().numpy()
        if proposal.outside_trace is not None:
            self._outside[slices] = proposal.outside_trace.double().cpu().numpy()

    def take_what_is_needed(self) -> None:
        """Keep as much of each slice's change as it needs; where it needs none, nothing at all."""
        self.strength = strength_along(self._gains, self._metal_fraction, self._spacing_mm)
        for k in np.flatnonzero((self.strength > 0) & (self.strength < 1)):
            change = self.corrected_hu[k] - self._hu[k]
            self.corrected_hu[k] = self._hu[k] + self.strength[k] * change
        left = self.strength == 0
        self.corrected_hu[left] = self._hu[left]
        self._outside[left] = 0.0
        self._outside[:, 0] *= self.strength**2
        if self.expected_error_hu is not None:
            self.expected_error_hu[left] = 0.0

    def result(self, volume: CTVolume, seconds: Sequence[float]) -> CorrectionResult:
        """What all batches came to, on the working grid.

        :param volume: the uncorrected one.
        :param seconds: of segmentation, preparation and correction.
        """
        return CorrectionResult(
            corrected=volume.with_hu(self.corrected_hu),
            metal_fraction=self._metal_fraction,
            change_hu=self.corrected_hu - volume.hu,
            expected_error_hu=self.expected_error_hu,
            method=self._method.name,
            parameters=self._record(),
            timings=dict(zip(("segmentation", "preparation", "correction"), seconds, strict=True)),
            strength=self.strength,
        )

    def _record(self) -> dict[str, object]:
        """Everything needed to repeat the correction, and how much it changed outside the trace.

        The latter as line integrals of rays that met no metal, 0 by methods that change none, see
        :class:`.methods.base.Proposal`.
        """
        change, value, rays, bounded = (float(x) for x in self._outside.sum(axis=0))
        return {
            "method": self._method.name,
            "method_parameters": dict(self._method.parameters),
            "reconstruction": self._options.reconstruction,
            "trace": asdict(self._options.trace),
            "window": self._options.window,
            "geometry": asdict(self._scan.projector.geometry),
            "always": self._options.always,
            "strength": {
                int(k): round(float(self.strength[k]), 3)
                for k in np.flatnonzero(self._metal_fraction.any(axis=(1, 2)))
            },
            "outside_trace": {
                "rms_line_integral": (change / rays) ** 0.5 if rays else 0.0,
                "rms_line_integral_share": (change / value) ** 0.5 if value else 0.0,
                "bounded_share_of_rays": bounded / rays if rays else 0.0,
            },
        }


def replace_in_trace(
    sinogram: torch.Tensor, trace: torch.Tensor, inpainted: torch.Tensor
) -> torch.Tensor:
    """The inpainted values inside the trace and the measured ones, bit by bit, outside.

    :raises ValueError: when the method returned another shape or values that are not finite.
    """
    if inpainted.shape != sinogram.shape:
        raise ValueError(
            f"the method returned shape {tuple(inpainted.shape)} for {tuple(sinogram.shape)}"
        )
    filled = torch.where(trace, inpainted.to(sinogram.dtype), sinogram)
    if not bool(torch.isfinite(filled).all()):
        raise ValueError("the method returned values that are not finite")
    return filled


def _check(volume: CTVolume, metal_fraction: np.ndarray | None) -> None:
    """What can be found wrong with volume and mask before the work starts."""
    if not isinstance(volume, CTVolume):
        raise InputError(
            f"a CTVolume is needed, not {type(volume).__name__}; read a file with read_volume(path)"
            ", or make one of an array in HU: CTVolume(hu, ijk_to_ras)"
        )
    if not np.isfinite(volume.hu).all():
        raise InputError("the volume holds NaN or infinite values; repair or export it again")
    if metal_fraction is None:
        return
    if metal_fraction.shape != volume.hu.shape:
        raise InputError(
            f"the metal mask has shape {metal_fraction.shape} but the volume {volume.hu.shape}; "
            "make the mask on the volume's own grid"
        )
    if not np.isfinite(metal_fraction).all():
        raise InputError("the metal mask holds NaN or infinite values; give fractions 0..1")
    marked = metal_fraction > 0
    slices = marked.any(axis=(1, 2))
    tissue = int(np.count_nonzero(volume.hu[slices] > _TISSUE_ABOVE_HU))
    share = np.count_nonzero(marked) / max(tissue, 1)
    if share > LARGEST_METAL_SHARE:
        raise InputError(
            f"the metal mask covers {min(share, 1.0):.0%} of the body in its slices, metal never "
            "does: mark the metal only (is the mask inverted, or of the bones?)"
        )


def _metal_of(
    volume: CTVolume, metal_fraction: np.ndarray | None, options: CorrectionOptions
) -> np.ndarray:
    """The metal, given or found, as float32 0..1."""
    if metal_fraction is None:
        metal_fraction = segment_metal(
            volume,
            options.segmentation,
            threshold_hu=options.threshold_hu,
            clean_up=options.clean_up,
        ).fraction
    metal: np.ndarray = np.clip(metal_fraction, 0.0, 1.0).astype(np.float32)
    if not metal.any():
        raise InputError("the metal mask is empty; segment the metal or lower the threshold")
    return metal


def _in_batches(
    work: Callable[[np.ndarray], None],
    slices: np.ndarray,
    batch_slices: int,
    device: torch.device,
    progress: Progress | None,
    cancel: Cancel | None,
) -> None:
    """Run ``work`` on batches; halve them when memory runs out.

    :raises DeviceError: when a single slice does not fit.
    """
    done = 0
    while done < slices.size:
        check_cancelled(cancel)
        batch = slices[done : done + batch_slices]
        try:
            work(batch)
        except (MemoryError, RuntimeError) as error:
            if not out_of_memory(error):
                raise
            if batch.size == 1:
                raise DeviceError(
                    f"not enough memory on {device} for a single slice; close other programs or "
                    "choose another device"
                ) from error
            batch_slices = max(1, batch.size // 2)
            if device.type == "cuda":
                torch.cuda.empty_cache()
            message = f"memory is short: going on with {batch_slices} slices at once"
            report(progress, done / slices.size, message)
            continue
        done += batch.size
        report(progress, done / slices.size, f"corrected {done} of {slices.size} slices")
