"""Metal artifacts simulated into a clean CT volume, slice by slice, with known truth."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version
from typing import Any, Literal, get_args

import numpy as np
import torch

from ..errors import InputError
from ..progress import Cancel, Progress, check_cancelled, report
from ..tomography import ImageGrid
from ..volume import CTVolume
from .acquisition import PRESETS, AcquisitionParameters
from .materials import Material, material
from .noise import standard_normals
from .scanner import BEAM_PARAMETERS, Scanner
from .simulation_result import SimulationResult, Sinograms
from .slice_models import SliceScan, physics_slice, relative_mu, trace_slice

Model = Literal["physics", "trace-maximum", "missing-trace"]
MODELS: tuple[str, ...] = get_args(Model)
"""What a simulation computes in a slice:

- ``"physics"``: polychromatic acquisition with noise, scatter and beam-hardening correction,
  see :class:`Scanner` and :class:`AcquisitionParameters`.
- ``"trace-maximum"``: the metal trace in the sinogram of the input is filled with that
  sinogram's largest value, as if metal stopped as much as the thickest anatomy.
- ``"missing-trace"``: the metal trace is set to 0, as if its data were lost.

The last two use the geometry and the reconstruction of the acquisition and nothing else.
"""

FORMAT = 1
"""Of the record of parameters; changes when the same parameters no longer give the same volume."""

OVERLAP = 1e-3
"""Rounding that the sum of the fractions in a voxel may have above 1."""


def _check_choices(model: str, seed: int, batch_slices: int) -> None:
    if model not in MODELS:
        raise InputError(f"unknown simulation model {model!r}; use one of {', '.join(MODELS)}")
    if isinstance(seed, bool) or not isinstance(seed, int | np.integer) or seed < 0:
        raise InputError(f"seed {seed!r} must be a whole number, 0 or more")
    if batch_slices < 1:
        raise InputError(f"batch_slices {batch_slices} must be 1 or more")


def simulate_volume(
    volume: CTVolume,
    implants: Mapping[str, np.ndarray],
    parameters: AcquisitionParameters = PRESETS["reference"],
    *,
    model: Model = "physics",
    seed: int = 0,
    device: str = "cpu",
    batch_slices: int = 8,
    slices: Sequence[int] | None = None,
    every_slice: bool = False,
    with_reference: bool = True,
    keep_sinograms: bool = False,
    progress: Progress | None = None,
    cancel: Cancel | None = None,
) -> SimulationResult:
    """Simulate the artifacts of implants in a CT volume.

    Slices without implant, and pixels outside the scan field of view, keep the input's values: the
    scan's noise and blur begin and end with the implant. Each slice draws from its own seed.

    :param volume: clean CT in HU; not modified.
    :param implants: fraction of each voxel ``(slices, rows, cols)`` by material name. They displace
        tissue; their sum must not pass 1.
    :param parameters: the acquisition, computed as ``model`` says, one of ``MODELS``.
    :param seed: of the noise, not negative. :param device: torch device.
    :param batch_slices: slices between two reports of progress and checks of ``cancel``; on the CPU
        shared out to the threads, at some 100 MB each for 512 x 512.
    :param slices: only these indices, or None for all; implants elsewhere are ignored.
    :param every_slice: also scan slices without implant. :param with_reference: also without metal.
    :param keep_sinograms: return the sinograms too (a few MB a slice).
    :param progress: called with the fraction done before every batch, as ``cancel`` is.
    :raises InputError: no implant in the volume or outside the field of view, fractions of another
        shape or not within 0..1, unknown material or model. :raises Cancelled: on request.
    """
    _check_choices(model, seed, batch_slices)
    materials = [material(name) for name in implants]
    chosen, implants = _chosen_slices(volume, implants, slices, every_slice)
    scanner = _scanner(_grid(volume), parameters, device)
    _check_places(scanner, implants, chosen)
    images = [volume.hu.copy() for _ in range(2 if with_reference else 1)]
    kept: list[SliceScan] = []

    def simulate(some: Sequence[int]) -> list[SliceScan]:
        how = model, int(seed), with_reference
        scans = [_scan(scanner, volume, implants, materials, index, *how) for index in some]
        return _into(images, scanner, scans, some)

    for batch in _in_batches(chosen, batch_slices, progress, cancel):
        scans = _side_by_side(simulate, batch, scanner.device)
        kept += scans if keep_sinograms else []
    return SimulationResult(
        corrupted=volume.with_hu(images[0]),
        ideal=volume.with_hu(_ideal(volume.hu, implants, materials, chosen, parameters)),
        reference=volume.with_hu(images[1]) if with_reference else None,
        metal_fraction=_metal_fraction(implants, materials),
        labels=_labels(implants),
        sinograms=_sinograms(kept, chosen) if keep_sinograms else None,
        parameters=_record(volume, implants, materials, parameters, model, int(seed), chosen),
    )


def _check_places(
    scanner: Scanner, implants: Mapping[str, np.ndarray], chosen: Sequence[int]
) -> None:
    for name, fraction in implants.items():
        scanner.require_inside(fraction[chosen].max(axis=0), f"implant of {name}")


def _in_batches(
    chosen: Sequence[int], size: int, progress: Progress | None, cancel: Cancel | None
) -> Iterator[Sequence[int]]:
    """The indices in batches, between which progress is told and a wish to stop heard."""
    for done in range(0, len(chosen), size):
        check_cancelled(cancel)
        report(progress, done / len(chosen), f"simulating slice {done + 1} of {len(chosen)}")
        yield chosen[done : done + size]
    report(progress, 1.0, "artifacts simulated")


def _side_by_side(
    simulate: Callable[[Sequence[int]], list[SliceScan]], batch: Sequence[int], device: torch.device
) -> list[SliceScan]:
    """Slices in pairs; on the CPU a thread has pairs of its own: those of one slice mostly wait."""
    usual = torch.get_num_threads()
    threads = min(usual, len(batch))
    count = max(threads, -(-len(batch) // 2))
    parts = [part.tolist() for part in np.array_split(batch, count)]
    if device.type != "cpu" or threads == 1:
        return [scan for part in parts for scan in simulate(part)]
    try:
        with ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(1,)) as pool:
            return [scan for scans in pool.map(simulate, parts) for scan in scans]
    finally:
        torch.set_num_threads(usual)


def _scanner(grid: ImageGrid, parameters: AcquisitionParameters, device: str) -> Scanner:
    """Its gantry may be that of the simulation before."""
    beam = {name: getattr(parameters, name) for name in BEAM_PARAMETERS}
    usual = {name: getattr(PRESETS["reference"], name) for name in BEAM_PARAMETERS}
    return _gantry(grid, parameters.with_changes(**usual), device).with_beam(**beam)


@lru_cache(maxsize=1)
def _gantry(grid: ImageGrid, parameters: AcquisitionParameters, device: str) -> Scanner:
    """Kept: it takes as long as six slices, and the cases of a dataset mostly share it."""
    return Scanner(grid, parameters, device)


def _grid(volume: CTVolume) -> ImageGrid:
    _, rows, cols = volume.hu.shape
    return ImageGrid(rows, cols, volume.spacing_mm[1:])


def _into(
    images: list[np.ndarray], scanner: Scanner, scans: Sequence[SliceScan], indices: Sequence[int]
) -> list[SliceScan]:
    """Reconstruct slices into the volumes, where they are seen; the scans, on the CPU.

    Together, as the tables of the reconstruction are larger than the processor's cache.
    """
    seen = scanner.seen.cpu().numpy()
    sliced = scanner.reconstruct(torch.cat([scan.sinograms for scan in scans])).cpu().numpy()
    for index, pair in zip(indices, sliced.reshape(len(scans), -1, *seen.shape), strict=True):
        for image, one in zip(images, pair, strict=True):
            image[index][seen] = _clipped(one, scanner.parameters)[seen]
    return [SliceScan(scan.sinograms.cpu(), scan.metal_path_mm.cpu()) for scan in scans]


def _scan(
    scanner: Scanner,
    volume: CTVolume,
    implants: Mapping[str, np.ndarray],
    materials: Sequence[Material],
    index: int,
    model: str,
    seed: int,
    with_reference: bool,
) -> SliceScan:
    """One slice by one of the models."""
    hu = torch.from_numpy(volume.hu[index]).to(scanner.device)
    stack = np.stack([fraction[index] for fraction in implants.values()]).astype(np.float32)
    fractions = torch.from_numpy(stack).to(scanner.device)
    if model != "physics":
        fill = model == "trace-maximum"
        return trace_slice(scanner, hu, fractions, materials, fill, with_reference)
    normals = None
    if scanner.parameters.photons_per_ray is not None:
        normals = standard_normals(seed, index, (2, *scanner.cells.sinogram_shape))
    return physics_slice(scanner, hu, fractions, materials, normals, with_reference)


def _check_fractions(volume: CTVolume, implants: Mapping[str, np.ndarray]) -> None:
    if not implants:
        raise InputError("no implant given; pass at least one material with its fraction")
    total = np.zeros(volume.hu.shape, np.float32)
    for name, fraction in implants.items():
        if fraction.shape != volume.hu.shape:
            raise InputError(
                f"fraction of {name} has shape {fraction.shape}, the volume {volume.hu.shape}; "
                "voxelise the implant on the volume's grid"
            )
        low, high = float(fraction.min()), float(fraction.max())  # NaN fails the comparison
        if not (low >= 0.0 and high <= 1.0 + OVERLAP):
            raise InputError(f"fraction of {name} spans {low:g} to {high:g}; it must be in 0..1")
        total += fraction
    if float(total.max()) == 0.0:
        raise InputError("no implant in the volume: every fraction is 0; check its position")
    if float(total.max()) > 1.0 + OVERLAP:
        raise InputError(
            f"implants fill a voxel {float(total.max()):.3f} times; count overlaps once"
        )


def _chosen_slices(
    volume: CTVolume,
    implants: Mapping[str, np.ndarray],
    slices: Sequence[int] | None,
    every_slice: bool,
) -> tuple[list[int], Mapping[str, np.ndarray]]:
    """Indices to project, increasing, and the implants in them."""
    _check_fractions(volume, implants)
    count = volume.hu.shape[0]
    wanted = range(count) if slices is None else sorted({int(i) for i in slices})
    for index in wanted:
        if not 0 <= index < count:
            raise InputError(f"slice {index} is not in the volume; use 0 to {count - 1}")
    if every_slice:
        chosen = list(wanted)
    else:
        chosen = [i for i in wanted if any(f[i].any() for f in implants.values())]
    if not chosen:
        raise InputError("none of the slices asked for holds an implant; use every_slice=True")
    if slices is not None:
        implants = {name: _only(fraction, chosen) for name, fraction in implants.items()}
    return chosen, implants


def _only(fraction: np.ndarray, chosen: Sequence[int]) -> np.ndarray:
    kept = np.zeros_like(fraction)
    kept[chosen] = fraction[chosen]
    return kept


def _clipped(hu: np.ndarray, parameters: AcquisitionParameters) -> np.ndarray:
    return hu if parameters.hu_clip is None else np.clip(hu, *parameters.hu_clip)


def _ideal(
    hu: np.ndarray,
    implants: Mapping[str, np.ndarray],
    materials: Sequence[Material],
    chosen: Sequence[int],
    parameters: AcquisitionParameters,
) -> np.ndarray:
    """The input with every implant at its HU; voxels without implant as they are."""
    ideal: np.ndarray = hu.copy()
    for index in chosen:
        stack = np.stack([fraction[index] for fraction in implants.values()])
        inside = stack.sum(axis=0) > 0
        share = stack[:, inside]
        values = [
            1000.0 * (relative_mu(implant, parameters.reference_energy_kev) - 1.0)
            for implant in materials
        ]
        tissue = np.maximum(hu[index][inside], -1000.0)
        mixed = tissue * (1.0 - share.sum(axis=0)) + np.array(values) @ share
        ideal[index][inside] = _clipped(mixed, parameters)
    return ideal


def _metal_fraction(
    implants: Mapping[str, np.ndarray], materials: Sequence[Material]
) -> np.ndarray:
    total = np.zeros_like(next(iter(implants.values())), np.float32)
    for fraction, implant in zip(implants.values(), materials, strict=True):
        if implant.is_metal:
            total += fraction
    return total.clip(0.0, 1.0)


def _labels(implants: Mapping[str, np.ndarray]) -> np.ndarray:
    largest = np.zeros_like(next(iter(implants.values())), np.float32)
    labels, total = np.zeros(largest.shape, np.uint8), np.zeros_like(largest)
    for number, fraction in enumerate(implants.values(), start=1):
        labels[fraction > largest] = number
        np.maximum(largest, fraction, out=largest)
        total += fraction
    labels[total < 0.5] = 0
    return labels


def _sinograms(kept: Sequence[SliceScan], chosen: Sequence[int]) -> Sinograms:
    stacked = torch.stack([scan.sinograms for scan in kept]).numpy()
    paths = torch.stack([scan.metal_path_mm for scan in kept]).numpy()
    reference = stacked[:, 1] if stacked.shape[1] == 2 else None
    return Sinograms(np.array(chosen), stacked[:, 0], reference, paths)


def _record(
    volume: CTVolume,
    implants: Mapping[str, np.ndarray],
    materials: Sequence[Material],
    parameters: AcquisitionParameters,
    model: str,
    seed: int,
    chosen: Sequence[int],
) -> dict[str, Any]:
    """Everything that decides the result, as plain JSON types."""
    try:
        library = version("metal-artifact-reduction")
    except PackageNotFoundError:  # inside Slicer the extension is not a Python distribution
        library = "extension"
    voxel_mm3 = float(np.prod(volume.spacing_mm))
    return {
        "software": f"MetalArtifactReductionLib {library}",
        "format": FORMAT,
        "model": model,
        "seed": seed,
        "shape": list(volume.hu.shape),
        "spacing_mm": list(volume.spacing_mm),
        "slices": list(chosen),
        "acquisition": parameters.to_dict(),
        "implants": [
            {
                "label": number,
                "material": implant.name,
                "density_g_cm3": implant.density_g_cm3,
                "composition": dict(implant.composition),
                "is_metal": implant.is_metal,
                "volume_mm3": float(fraction.sum(dtype=np.float64)) * voxel_mm3,
            }
            for number, (implant, fraction) in enumerate(
                zip(materials, implants.values(), strict=True), start=1
            )
        ],
    }
