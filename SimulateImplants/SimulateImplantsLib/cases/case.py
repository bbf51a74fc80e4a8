"""Implants put into a CT, their artifacts simulated, and the folder of files that this gives."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from MetalArtifactReductionLib.errors import InputError
from MetalArtifactReductionLib.files.grids import geometry_difference
from MetalArtifactReductionLib.files.masks import read_mask
from MetalArtifactReductionLib.files.volumes import write_array_like, write_volume
from MetalArtifactReductionLib.physics.acquisition import AcquisitionParameters
from MetalArtifactReductionLib.physics.materials import material
from MetalArtifactReductionLib.physics.simulation import simulate_volume
from MetalArtifactReductionLib.physics.simulation_result import SimulationResult, Sinograms
from MetalArtifactReductionLib.progress import Cancel, Progress, check_cancelled, part
from MetalArtifactReductionLib.volume import CTVolume

from ..implants import implant_from_dict
from ..voxels.metal import Metal, slices_of, voxelize_metal
from ..voxels.voxelize import PlacedImplant, voxelize
from .options import SimulationOptions
from .records import FORMAT, RECORD, read_record, write_fractions, write_labels

SHARE = 0.2
"""Of the progress: voxelising."""


@dataclass(frozen=True, eq=False)
class SimulatedCase:
    """A simulation with what was implanted.

    :param simulation: corrupted, ideal and reference volumes, metal fraction.
    :param fractions: share of each voxel by material, float32.
    :param labels: which implant takes a voxel (1-based), 0 for none; of masks: which material.
    :param names: of the labels 1, 2, ...
    :param record: everything needed to make the same again, of JSON types.
    :param warnings: one line each, for the user.
    """

    simulation: SimulationResult
    fractions: Mapping[str, np.ndarray]
    labels: np.ndarray
    names: tuple[str, ...]
    record: Mapping[str, Any]
    warnings: tuple[str, ...] = ()


def simulate_metal(
    volume: CTVolume,
    metal: Metal,
    options: SimulationOptions,
    *,
    progress: Progress | None = None,
    cancel: Cancel | None = None,
) -> SimulatedCase:
    """Voxelise implants and shapes and simulate their artifacts.

    :raises InputError: see :func:`voxelize_metal` and :func:`simulate_volume`.
    """
    voxels = voxelize_metal(
        metal,
        volume,
        progress=part(progress, 0, SHARE),
        cancel=cancel,
    )
    check_cancelled(cancel)
    case = simulate_fractions(
        volume,
        voxels.fractions,
        options,
        progress=part(progress, SHARE, 1),
        cancel=cancel,
    )
    names = tuple(voxels.volumes_mm3)
    implants = [
        {
            "name": name,
            "implant": placed.implant.to_dict(),
            "placement": placed.placement.tolist(),
        }
        for name, placed in zip(names, metal.implants, strict=False)
    ]
    record = {
        **case.record,
        "placed_implants": implants,
        "shapes": [dict(shape) for shape in metal.shapes],
        "labels": list(names),
        "volumes_mm3": voxels.volumes_mm3,
    }
    return replace(case, labels=voxels.labels, names=names, record=record, warnings=voxels.warnings)


def simulate_fractions(
    volume: CTVolume,
    fractions: Mapping[str, np.ndarray],
    options: SimulationOptions,
    *,
    progress: Progress | None = None,
    cancel: Cancel | None = None,
) -> SimulatedCase:
    """Simulate the artifacts of metal given as fractions of the voxels.

    :param fractions: material name -> ``(slices, rows, cols)``, 0..1.
    :raises InputError: see :func:`simulate_volume`.
    """
    fractions = {material(name).name: fraction for name, fraction in fractions.items()}
    simulation = simulate_volume(
        volume,
        fractions,
        options.acquisition,
        **options.work(),
        progress=progress,
        cancel=cancel,
    )
    record = simulation.parameters | {
        "case_format": FORMAT,
        "every_slice": options.every_slice,
        "with_reference": options.with_reference,
        "ct": _identity(volume),
        "labels": list(fractions),
    }
    return SimulatedCase(simulation, fractions, simulation.labels, tuple(fractions), record)


def simulate_implants(
    implants: Sequence[PlacedImplant],
    volume: CTVolume,
    options: SimulationOptions,
    *,
    progress: Progress | None = None,
    cancel: Cancel | None = None,
) -> tuple[SimulationResult, tuple[str, ...]]:
    """The same without a record, for implants that a scene keeps: the result, and warnings.

    >>> from MetalArtifactReductionLib.physics.acquisition import PRESETS
    >>> rod = PlacedImplant(implant_from_dict({"kind": "rod", "length_mm": 60}))
    >>> body = np.hypot(*np.mgrid[-16:16, -16:16]) < 14
    >>> hu = np.where(body, 40.0, -1000.0).astype(np.float32)
    >>> grid = np.diag([3.0, 3.0, 10.0, 1.0])
    >>> grid[:2, 3] = -48.0
    >>> volume = CTVolume(np.stack([hu] * 3), grid)
    >>> options = SimulationOptions(PRESETS["parallel"], seed=1)
    >>> result, _ = simulate_implants([rod], volume, options)
    >>> bool(result.corrupted.hu[1].max() > result.reference.hu[1].max() + 2000)
    True

    :raises InputError: see :func:`voxelize` and :func:`simulate_volume`.
    """
    voxels = voxelize(implants, volume, progress=part(progress, 0, SHARE), cancel=cancel)
    check_cancelled(cancel)
    result = simulate_volume(
        volume,
        voxels.fractions,
        options.acquisition,
        **options.work(),
        progress=part(progress, SHARE, 1),
        cancel=cancel,
    )
    return result, voxels.warnings


def simulate_again(
    volume: CTVolume,
    record_file: Path,
    options: SimulationOptions,
    *,
    progress: Progress | None = None,
    cancel: Cancel | None = None,
) -> SimulatedCase:
    """Repeat a simulation from the JSON that it left; on the same machine bit for bit.

    :param volume: the same clean CT, whole.
    :param record_file: ``simulation.json``; where masks were simulated, in its folder.
    :param options: only device, batches and whether sinograms are kept; the record says the rest.
    :raises InputError: not such a file, or another CT.
    """
    record = read_record(record_file)
    try:
        recorded = ("model", "seed", "every_slice", "with_reference")
        options = replace(
            options,
            acquisition=AcquisitionParameters.from_dict(record["acquisition"]),
            **{name: record[name] for name in recorded},
        )
        cut, expected = record.get("cut"), record["ct"]
        if cut is not None:
            volume = slices_of(volume, int(cut["first_slice"]), int(record["shape"][0]))
        _check_identity(volume, expected, record_file)
        placed = [
            PlacedImplant(
                implant_from_dict(item["implant"]), np.array(item["placement"], float), item["name"]
            )
            for item in record.get("placed_implants", ())
        ]
        metal = Metal(placed, record.get("shapes", ()))
        files = record.get("files", {}).get("fractions", {})
    except (KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{record_file}: is not complete ({error}); use the original") from None
    if metal.implants or metal.shapes:
        case = simulate_metal(volume, metal, options, progress=progress, cancel=cancel)
    else:
        masks = {name: read_mask(record_file.parent / file, volume) for name, file in files.items()}
        case = simulate_fractions(volume, masks, options, progress=progress, cancel=cancel)
    kept: dict[str, Any] = {key: record[key] for key in ("cut", "source") if key in record}
    return replace(case, record={**case.record, **kept})


def write_case(
    case: SimulatedCase, folder: Path, suffix: str, *, clean: CTVolume | None = None
) -> dict[str, Any]:
    """Write every volume and the record of a case into a folder.

    :param folder: there already, and empty (see ``outputs.new_folder``).
    :param suffix: of :func:`suffix_for`.
    :param clean: also write the CT that went in, as ``clean``.
    :returns: what the record says about the files.
    """
    simulation = case.simulation
    grid = simulation.corrupted
    files: dict[str, Any] = {}
    for role, volume in (
        ("clean", clean),
        ("corrupted", simulation.corrupted),
        ("ideal", simulation.ideal),
        ("reference", simulation.reference),
    ):
        if volume is not None:
            files[role] = f"{role}{suffix}"
            write_volume(volume, folder / files[role], dtype=_stored_type(volume))
    files["metal_fraction"] = f"metal-fraction{suffix}"
    write_array_like(simulation.metal_fraction, grid, folder / files["metal_fraction"])
    files["fractions"] = write_fractions(case.fractions, grid, folder, suffix)
    files["labels"] = f"labels{suffix}"
    write_labels(case.labels, grid, folder / files["labels"])
    if simulation.sinograms is not None:
        files["sinograms"] = "sinograms.npz"
        _write_sinograms(folder / files["sinograms"], simulation.sinograms)
    text = json.dumps({**case.record, "files": files}, indent=2)
    (folder / RECORD).write_text(text + "\n", encoding="utf-8")
    return files


def _stored_type(volume: CTVolume) -> str:
    """int16 where the CT came in whole numbers and the metal leaves room, else float32."""
    whole = volume.source is not None and np.dtype(volume.source.dtype).kind in "iu"
    limits = np.iinfo(np.int16)
    fits = limits.min <= float(volume.hu.min()) and float(volume.hu.max()) <= limits.max
    return "int16" if whole and fits else "float32"


def _write_sinograms(path: Path, sinograms: Sinograms) -> None:
    arrays = {
        "slices": sinograms.slices,
        "corrupted": sinograms.corrupted,
        "metal_path_mm": sinograms.metal_path_mm,
    }
    if sinograms.reference is not None:
        arrays["reference"] = sinograms.reference
    np.savez(path, **arrays)  # type: ignore[arg-type]


def _identity(volume: CTVolume) -> dict[str, Any]:
    """What tells one CT from another; no path, which may name a patient."""
    source = volume.source.path if volume.source else None
    return {
        "name": source.name if source else "",
        "hu_sha256": hashlib.sha256(np.ascontiguousarray(volume.hu).tobytes()).hexdigest(),
        "ijk_to_ras": volume.ijk_to_ras.tolist(),
    }


def _check_identity(volume: CTVolume, expected: Mapping[str, Any], record: Path) -> None:
    own = _identity(volume)
    matrix = np.array(expected["ijk_to_ras"], float)
    difference = geometry_difference(volume.hu.shape, volume.ijk_to_ras, volume.hu.shape, matrix)
    if own["hu_sha256"] != expected["hu_sha256"] or difference:
        raise InputError(
            f"{record}: was made from another CT ({expected.get('name') or 'unnamed'}"
            f"{', ' + difference if difference else ''}); give that one"
        )
