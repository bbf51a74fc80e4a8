"""Voxelising and simulating implants as a job: a function of the child and what its parent calls.

The parent's half needs no torch: a user interface stays quick, and the process loads it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from MetalArtifactReductionLib.jobs.job import Job
from MetalArtifactReductionLib.jobs.task import TaskRequest, TaskResult
from MetalArtifactReductionLib.physics.simulation_result import SimulationResult
from MetalArtifactReductionLib.volume import CTVolume

from ..implants import implant_from_dict
from ..implants.mesh import Mesh
from ..implants.user_mesh import UserMesh
from ..voxels.voxelize import PlacedImplant
from .options import SimulationOptions


def simulation_job(
    volume: CTVolume,
    implants: Sequence[PlacedImplant],
    options: SimulationOptions,
    *,
    title: str = "simulation",
) -> Job:
    """``simulate_implants`` as a job.

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
        "options": options.to_dict(),
    }
    return Job(f"{__name__}:simulate", arguments, arrays, title=title)


def simulation_result(job: Job, volume: CTVolume) -> tuple[SimulationResult, tuple[str, ...]]:
    """What a job of :func:`simulation_job` found and its warnings.

    Volumes are mapped from their files, which must be let go of before the job is closed.

    :param volume: the one that was given to it.
    """
    values = job.values
    reference = job.array("reference", mapped=True) if values["with_reference"] else None
    result = SimulationResult(
        corrupted=volume.with_hu(job.array("corrupted", mapped=True)),
        ideal=volume.with_hu(job.array("ideal", mapped=True)),
        reference=None if reference is None else volume.with_hu(reference),
        metal_fraction=job.array("metal", mapped=True),
        labels=job.array("labels"),
        sinograms=None,
        parameters=dict(values["parameters"]),
    )
    return result, tuple(values["warnings"])


def simulate(request: TaskRequest) -> TaskResult:
    """The child's half of :func:`simulation_job`."""
    from .case import simulate_implants

    given = request.arguments
    volume = CTVolume(
        np.array(request.arrays["hu"], dtype=np.float32), np.array(given["ijk_to_ras"])
    )
    result, warnings = simulate_implants(
        [_placed(item, request) for item in given["implants"]],
        volume,
        SimulationOptions.from_dict(given["options"]),
        progress=request.progress,
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
        "warnings": list(warnings),
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
