"""Voxelising and simulating implants as a job: a function of the child and what its parent calls.

The parent's half needs no torch: a user interface stays quick, and the process loads it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from MetalArtifactReductionLib.jobs.job import Job
from MetalArtifactReductionLib.jobs.task import TaskRequest, TaskResult
from MetalArtifactReductionLib.progress import check_cancelled
from MetalArtifactReductionLib.volume import CTVolume

from ..implants import implant_from_dict
from ..implants.mesh import Mesh
from ..implants.user_mesh import UserMesh
from ..voxels.voxelize import PlacedImplant, voxelize

if TYPE_CHECKING:
    from MetalArtifactReductionLib.physics.acquisition import AcquisitionParameters
    from MetalArtifactReductionLib.physics.simulation import SimulationResult

VOXELIZATION_SHARE = 0.2
"""Of the progress."""


def simulation_job(
    volume: CTVolume,
    implants: Sequence[PlacedImplant],
    acquisition: AcquisitionParameters,
    *,
    model: str = "physics",
    seed: int = 0,
    device: str = "auto",
    with_reference: bool = True,
    title: str = "simulation",
) -> Job:
    """:func:`..voxels.voxelize.voxelize` and ``simulate_volume`` as a job.

    :raises OutputError: no room for the inputs.
    """
    arrays = {"hu": volume.hu}
    described: list[dict[str, Any]] = []
    for index, one in enumerate(implants):
        implant = one.implant
        item: dict[str, Any] = {"placement": one.placement.tolist(), "name": one.name}
        if isinstance(implant, UserMesh) and not implant.path:
            (part,) = implant.parts()
            arrays[f"points{index}"] = part.mesh.points
            arrays[f"triangles{index}"] = part.mesh.triangles
            item["surface"] = index
            item["material"] = implant.material
            item["crossing"] = implant.allow_self_intersection
        else:
            item["implant"] = implant.to_dict()
        described.append(item)
    arguments = {
        "ijk_to_ras": volume.ijk_to_ras.tolist(),
        "implants": described,
        "acquisition": acquisition.to_dict(),
        "model": model,
        "seed": seed,
        "device": device,
        "with_reference": with_reference,
    }
    return Job(f"{__name__}:simulate", arguments, arrays, title=title)


def simulation_result(job: Job, volume: CTVolume) -> tuple[SimulationResult, tuple[str, ...]]:
    """What a job of :func:`simulation_job` found and its warnings; before it is closed.

    :param volume: the one that was given to it.
    """
    from MetalArtifactReductionLib.physics.simulation import SimulationResult

    values = job.values
    reference = job.array("reference") if values["with_reference"] else None
    result = SimulationResult(
        corrupted=volume.with_hu(job.array("corrupted")),
        ideal=volume.with_hu(job.array("ideal")),
        reference=None if reference is None else volume.with_hu(reference),
        metal_fraction=job.array("metal"),
        labels=job.array("labels"),
        sinograms=None,
        parameters=dict(values["parameters"]),
    )
    return result, tuple(values["warnings"])


def simulate(request: TaskRequest) -> TaskResult:
    """The child's half of :func:`simulation_job`."""
    from MetalArtifactReductionLib.physics.acquisition import AcquisitionParameters
    from MetalArtifactReductionLib.physics.simulation import simulate_volume
    from MetalArtifactReductionLib.tomography import as_device

    given = request.arguments
    volume = CTVolume(
        np.array(request.arrays["hu"], dtype=np.float32), np.array(given["ijk_to_ras"])
    )
    acquisition = AcquisitionParameters.from_dict(given["acquisition"])
    device = str(as_device(given["device"]))
    voxels = voxelize(
        [_placed(item, request) for item in given["implants"]],
        volume,
        progress=lambda done, text: request.progress(VOXELIZATION_SHARE * done, text),
        cancel=request.cancel,
    )
    check_cancelled(request.cancel)
    result = simulate_volume(
        volume,
        voxels.fractions,
        acquisition,
        model=given["model"],
        seed=given["seed"],
        device=device,
        batch_slices=2,
        with_reference=given["with_reference"],
        progress=lambda done, text: request.progress(
            VOXELIZATION_SHARE + (1 - VOXELIZATION_SHARE) * done, text
        ),
        cancel=request.cancel,
    )
    arrays = {
        "corrupted": result.corrupted.hu,
        "ideal": result.ideal.hu,
        "metal": result.metal_fraction,
        "labels": result.labels,
    }
    if result.reference is not None:
        arrays["reference"] = result.reference.hu
    values = {
        "parameters": result.parameters,
        "warnings": list(voxels.warnings),
        "with_reference": result.reference is not None,
    }
    return TaskResult(values, arrays)


def _placed(item: dict[str, Any], request: TaskRequest) -> PlacedImplant:
    placement = np.array(item["placement"], dtype=float)
    if "implant" in item:
        return PlacedImplant(implant_from_dict(item["implant"]), placement, item["name"])
    index = item["surface"]
    mesh = Mesh(
        np.array(request.arrays[f"points{index}"]), np.array(request.arrays[f"triangles{index}"])
    )
    surface = UserMesh("", item["material"], 1.0, item["crossing"], mesh)
    return PlacedImplant(surface, placement, item["name"])
