"""Correct the metal artifacts of a CT volume: :func:`correct_volume` describes the whole method."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field

import numpy as np
import torch

from .artifact_strength import SecondOpinion, gain, strength_along
from .correction_result import CorrectionResult
from .errors import DeviceError, InputError
from .metal import TraceParameters, metal_trace, segment_metal
from .metal.certain import certain_metal
from .methods import Inpainter, InpaintingContext, create_inpainter
from .methods.protocol import NeedsVolume, Proposal, ProposesImage, ShowsMetal
from .progress import Cancel, Progress, check_cancelled, part, report
from .recombination import RECONSTRUCTIONS, keep_bone, put_metal_back, recombine, restore_padding
from .tomography import (
    FilteredBackProjection,
    ImageGrid,
    ParallelProjector,
    as_device,
    parallel_geometry_for,
)
from .tomography.attenuation import hu_to_mu
from .volume import CTVolume

VIEWS_PER_PIXEL = 1.41
FEWEST_VIEWS = 544
"""Also for small matrices: the filled trace has sharper ends than the image it came from, and
fewer views show them as fine radial lines at the skin."""

LARGEST_METAL_SHARE = 0.3
"""Of the body in the slices that hold metal; both hips of a thin patient hold less than a tenth."""

_TISSUE_ABOVE_HU = -500.0

PREPARATION = 0.9
"""Share of the progress of a method that first learns from the volume."""


@dataclass(frozen=True)
class CorrectionParameters:
    """Choices that no method has for itself.

    :param reconstruction: one of :data:`.recombination.RECONSTRUCTIONS`. The default has the
        smallest error and noise: RMSE in HU over the body / within 20 pixels of metal, from the
        image alone, mean of 13 slices of the simulated reference scanner (hips, nails, screws,
        rods, clips): NMAR with ``"replace"`` 61.4 / 294.1, ``"add-change"`` 61.4 / 294.1,
        ``"frequency-split"`` 63.8 / 307.5; linear interpolation 65.6 / 298.7, uncorrected
        130.6 / 596.1. On a noisier scanner (24 HU in muscle) the second was worse by 4 / 7 HU.
        Near metal most of it is the metal's own blur, which is put back with the metal.
    :param trace: what counts as a ray through metal.
    :param window: filter window of the reconstruction; ``"ramp"`` keeps the resolution.
    :param always: correct all slices with metal; False leaves those without an artifact as they
        are, see :mod:`.artifact_strength`.
    """

    reconstruction: str = "replace"
    trace: TraceParameters = field(default_factory=TraceParameters)
    window: str = "ramp"
    always: bool = False


def correct_volume(
    volume: CTVolume,
    metal_fraction: np.ndarray | None = None,
    method: str | Inpainter = "nmar",
    *,
    parameters: CorrectionParameters | None = None,
    method_options: Mapping[str, object] | None = None,
    device: str = "cpu",
    batch_slices: int = 8,
    progress: Progress | None = None,
    cancel: Cancel | None = None,
) -> CorrectionResult:
    """Correct every slice with artifacts of metal; the others come back bit-identical.

    The reconstructed image is all there is: it is projected, the bins whose rays meet metal are
    filled by the method (no other bin changes), and the sinogram is reconstructed again. Certain
    metal is shown as it was, and of the change as much is taken as there is an artifact.

    :param volume: the CT; never modified.
    :param metal_fraction: share of each voxel that is metal, 0..1, or a mask, on the volume's
        grid; found by :func:`.metal.segment_metal` when None.
    :param method: a name of :func:`.methods.method_names`, or an inpainter.
    :param parameters: see :class:`CorrectionParameters`.
    :param method_options: options of a method given by name.
    :param device: torch device: ``"cpu"``, ``"cuda"``, ``"mps"``, ...
    :param batch_slices: slices at once; bounds the memory, does not change the result.
    :param progress: told after every batch.
    :param cancel: asked before every batch.
    :raises InputError: unusable volume, mask, method or option; no metal.
    :raises DeviceError: unknown device; too little memory for even a single slice.
    :raises Cancelled: when ``cancel`` said so.
    """
    parameters = parameters or CorrectionParameters()
    inpainter = create_inpainter(method, **dict(method_options or {}))
    where = as_device(device)
    _check(volume, metal_fraction, parameters, batch_slices)

    started = time.perf_counter()
    report(progress, 0.0, "looking for metal")
    check_cancelled(cancel)
    if metal_fraction is None:
        metal_fraction = segment_metal(volume).fraction
    metal_fraction = np.clip(metal_fraction, 0.0, 1.0).astype(np.float32)
    with_metal = np.flatnonzero(metal_fraction.reshape(len(metal_fraction), -1).any(axis=1))
    if with_metal.size == 0:
        raise InputError("the metal mask is empty; segment the metal or lower the threshold")
    segmented = time.perf_counter()
    if isinstance(inpainter, NeedsVolume):
        told = part(progress, 0.0, PREPARATION)
        inpainter.prepare(volume, metal_fraction, where, told, cancel)
        progress = part(progress, PREPARATION, 1.0)
    prepared = time.perf_counter()

    _, rows, cols = volume.hu.shape
    grid = ImageGrid(rows, cols, volume.spacing_mm[1:])
    scanner = _Scanner(grid, parameters, where)
    scan = _Scan(volume.hu, metal_fraction, certain_metal(volume.hu, metal_fraction))
    opinion = SecondOpinion.on(inpainter)
    corrected = volume.hu.copy()
    expected_error: np.ndarray | None = None
    outside = np.zeros((len(corrected), 4))
    gains = np.full(len(corrected), np.nan)

    def correct(slices: np.ndarray) -> None:
        nonlocal expected_error
        batch = _batch(scan, slices, scanner, parameters)
        corrected[slices], proposal, gains[slices] = _correct_slices(
            scan, batch, inpainter, opinion, scanner, parameters
        )
        if proposal is None:
            return
        if proposal.expected_error_hu is not None:
            if expected_error is None:
                expected_error = np.zeros_like(corrected)
            expected_error[slices] = proposal.expected_error_hu.cpu().numpy()
        if proposal.outside_trace is not None:
            outside[slices] = proposal.outside_trace.double().cpu().numpy()

    _in_batches(correct, with_metal, batch_slices, where, progress, cancel)
    if parameters.always:
        gains[:] = np.nan
    strength = strength_along(gains, with_metal, volume.spacing_mm[0])
    _take(corrected, volume.hu, strength, with_metal)
    outside[:, 0] *= strength**2
    if expected_error is not None:
        expected_error[strength == 0] = 0.0
    result = CorrectionResult(
        corrected=volume.with_hu(corrected),
        metal_fraction=metal_fraction,
        change_hu=corrected - volume.hu,
        expected_error_hu=expected_error,
        method=inpainter.name,
        parameters={
            "method": inpainter.name,
            "method_parameters": dict(inpainter.parameters),
            **asdict(parameters),
            "geometry": asdict(scanner.projector.geometry),
            "outside_trace": _outside_trace(outside[strength > 0].sum(axis=0)),
        },
        strength=strength,
        timings={
            "segmentation": segmented - started,
            "preparation": prepared - segmented,
            "correction": time.perf_counter() - prepared,
        },
    )
    report(progress, 1.0, result.told)
    return result


@dataclass(frozen=True)
class _Scan:
    """The volume, and both answers to where the metal is: ``(slices, rows, cols)`` all."""

    hu: np.ndarray
    metal_fraction: np.ndarray
    certain: np.ndarray


_Batch = tuple[torch.Tensor, torch.Tensor, InpaintingContext]
"""Sinogram and trace ``(slices, views, bins)``, and the slices themselves."""


def _batch(
    scan: _Scan, slices: np.ndarray, scanner: _Scanner, parameters: CorrectionParameters
) -> _Batch:
    """The slices projected, with the rays that met metal."""
    image_mu = hu_to_mu(torch.from_numpy(scan.hu[slices]).to(scanner.device))
    fraction = torch.from_numpy(scan.metal_fraction[slices]).to(scanner.device)
    trace = metal_trace(scanner.projector, fraction, parameters.trace)
    context = InpaintingContext(
        image_mu, fraction, scanner.projector, slices, volume_hu=scan.hu
    )
    return scanner.projector(image_mu), trace, context


def _correct_slices(
    scan: _Scan,
    batch: _Batch,
    inpainter: Inpainter,
    opinion: SecondOpinion | None,
    scanner: _Scanner,
    parameters: CorrectionParameters,
) -> tuple[np.ndarray, Proposal | None, np.ndarray]:
    """Corrected HU ``(slices, rows, cols)`` of one batch, what a method proposed, and each slice's
    gain (NaN without a second opinion).
    """
    sinogram, trace, context = batch
    slices, fraction = context.slice_indices, context.metal_fraction
    original_hu = torch.from_numpy(scan.hu[slices]).to(scanner.device)
    proposal = None
    if isinstance(inpainter, ProposesImage):
        proposal = inpainter.propose(sinogram, trace, context)
    if proposal is not None:
        free_of_metal_hu = proposal.hu
    else:
        inpainted = replace_in_trace(sinogram, trace, inpainter(sinogram, trace, context))
        free_of_metal_hu = recombine(
            parameters.reconstruction,
            original_hu,
            fraction,
            sinogram,
            inpainted,
            scanner.reconstruct,
            scanner.projector.grid.spacing_mm,
        )
    gains = np.full(len(slices), np.nan)
    if opinion is not None:  # now: a method may have asked the same network
        proposed_hu = opinion(sinogram, trace, context)
        free_of_metal_hu = keep_bone(free_of_metal_hu, original_hu, proposed_hu)
        images = zip(*(x.cpu().numpy() for x in (original_hu, proposed_hu, fraction)), strict=True)
        gains = np.array([gain(*three, scanner.projector.grid.spacing_mm) for three in images])
    shown = inpainter.shown_metal(context) if isinstance(inpainter, ShowsMetal) else fraction
    certain = torch.from_numpy(scan.certain[slices]).to(scanner.device)
    corrected_hu = put_metal_back(free_of_metal_hu, original_hu, shown, certain)
    return restore_padding(corrected_hu.cpu().numpy(), scan.hu[slices]), proposal, gains


def _take(
    corrected: np.ndarray, original: np.ndarray, strength: np.ndarray, slices: np.ndarray
) -> None:
    """Of the change, as much as its slice's strength; of strength 0 nothing, bit by bit."""
    for k in slices:
        if strength[k] == 0:
            corrected[k] = original[k]
        elif strength[k] < 1:
            corrected[k] = original[k] + strength[k] * (corrected[k] - original[k])


def _outside_trace(sums: np.ndarray) -> dict[str, float]:
    """How much the data of rays that met no metal were changed.

    :param sums: see :class:`.methods.protocol.Proposal`; zeros for methods that change none.
    """
    change, value, rays, bounded = (float(x) for x in sums)
    return {
        "rms_line_integral": (change / rays) ** 0.5 if rays else 0.0,
        "rms_line_integral_share": (change / value) ** 0.5 if value else 0.0,
        "bounded_share_of_rays": bounded / rays if rays else 0.0,
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


class _Scanner:
    """Projector and reconstruction, made once and shared by all batches.

    The bins cover the diagonal of the image, so that corners of the rectangle outside the scanner's
    field of view project and come back like the rest.
    """

    def __init__(
        self, grid: ImageGrid, parameters: CorrectionParameters, device: torch.device
    ) -> None:
        self.device = device
        geometry = parallel_geometry_for(
            grid, views_per_pixel=VIEWS_PER_PIXEL, fewest_views=FEWEST_VIEWS
        )
        self.projector = ParallelProjector(grid, geometry, device)
        self.reconstruct = FilteredBackProjection(self.projector, parameters.window)


def _check(
    volume: CTVolume,
    metal_fraction: np.ndarray | None,
    parameters: CorrectionParameters,
    batch_slices: int,
) -> None:
    """Everything that can be found wrong before the work starts."""
    if parameters.reconstruction not in RECONSTRUCTIONS:
        raise InputError(
            f"unknown reconstruction {parameters.reconstruction!r}; choose one of "
            f"{', '.join(RECONSTRUCTIONS)}"
        )
    if batch_slices < 1:
        raise InputError(f"batch_slices is {batch_slices}; give 1 or more")
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
            if not _out_of_memory(error):
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


def _out_of_memory(error: BaseException) -> bool:
    """Torch says it in different words on the CPU, CUDA and MPS."""
    if isinstance(error, MemoryError | torch.cuda.OutOfMemoryError):
        return True
    text = str(error).lower()
    return "out of memory" in text or "can't allocate memory" in text or "not enough memory" in text
