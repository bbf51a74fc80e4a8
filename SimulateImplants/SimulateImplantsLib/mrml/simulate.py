"""From implants in a scene to volumes with their artifacts, as nodes beside the CT."""

from __future__ import annotations

import json
from collections.abc import Generator, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from MetalArtifactReductionLib.errors import Cancelled, InputError
from MetalArtifactReductionLib.jobs.call import call_job, result_of
from MetalArtifactReductionLib.mrml import (
    apply_window,
    node_from_fraction,
    node_from_volume,
    place_results,
    segmentation_from_fraction,
)
from MetalArtifactReductionLib.mrml.correct import ct_from_node, ct_view
from MetalArtifactReductionLib.mrml.display import layers_in_steps
from MetalArtifactReductionLib.mrml.hierarchy import mark_result
from MetalArtifactReductionLib.mrml.segmentations import add_surface, box_of
from MetalArtifactReductionLib.mrml.transaction import all_of, all_or_none
from MetalArtifactReductionLib.mrml.volumes import view_of
from MetalArtifactReductionLib.progress import Cancel, Progress
from MetalArtifactReductionLib.volume import CTVolume

from ..cases.job import simulation_job, simulation_result
from ..cases.options import SimulationOptions
from ..voxels.voxelize import PlacedImplant, Voxelization, voxelize
from .scene_implant import SceneImplant, placed_implants

if TYPE_CHECKING:
    from MetalArtifactReductionLib.jobs.job import Job
    from MetalArtifactReductionLib.mrml.jobs import HandleCallback, SceneJob, SceneJobs
    from MetalArtifactReductionLib.physics.simulation_result import SimulationResult

PARAMETERS_REFERENCE = "SimulateImplants.parameters"
"""Reference from every result to the text node with all that makes it again, as JSON."""
OUTLINE_COLOR = (0.20, 0.80, 0.95)
"""Of the implants' own voxels: metal that is found beside them has another one."""


@dataclass(frozen=True)
class SimulatedNodes:
    """What a simulation added to the scene.

    :param corrupted: the CT with the implants and their artifacts.
    :param ideal: the CT with the implants and no artifact.
    :param reference: the same scan without metal, or None.
    :param fraction: share of each voxel that is metal, 0..1.
    :param implants: segmentation of everything that was implanted.
    :param parameters: ``vtkMRMLTextNode``, JSON.
    :param folder: subject-hierarchy item that holds them.
    :param warnings: one line each, for the user.
    :param result: facts of the simulation itself; its volumes are the nodes' own, for a job's
        files go with it.
    """

    corrupted: Any
    ideal: Any
    reference: Any
    fraction: Any
    implants: Any
    parameters: Any
    folder: int
    warnings: tuple[str, ...]
    result: SimulationResult


def voxelize_implants(
    scene: Any,
    ct_node: Any,
    *,
    only: Iterable[SceneImplant] | None = None,
    progress: Progress | None = None,
    cancel: Cancel | None = None,
) -> tuple[Voxelization, list[PlacedImplant]]:
    """The implants of a scene on a CT's grid.

    :param only: these instead of all.
    :returns: fractions by material with warnings, and what was voxelised, in the CT's own RAS.
    :raises InputError: no CT, no implant, an implant completely outside, a placement that scales.
    """
    volume = ct_from_node(scene, ct_node)
    implants = placed_implants(scene, ct_node, only=only)
    return voxelize(implants, volume, progress=progress, cancel=cancel), implants


def add_fraction(
    scene: Any,
    ct_node: Any,
    *,
    only: Iterable[SceneImplant] | None = None,
    progress: Progress | None = None,
    cancel: Cancel | None = None,
) -> tuple[Any, tuple[str, ...]]:
    """Voxelise only: the implants' metal fraction as a volume node beside the CT.

    :returns: the node, and warnings, one line each.
    :raises InputError: see :func:`voxelize_implants`; nothing is added then.
    """
    voxels, implants = voxelize_implants(
        scene, ct_node, only=only, progress=progress, cancel=cancel
    )
    return _fraction_added(scene, ct_node, implants, voxels.metal_fraction()), voxels.warnings


def fraction_in_background(
    jobs: SceneJobs,
    ct_node: Any,
    *,
    only: Iterable[SceneImplant] | None = None,
    on_progress: HandleCallback | None = None,
    on_end: HandleCallback | None = None,
) -> SceneJob:
    """:func:`add_fraction` in a process of its own; its ``nodes`` will be what that returns.

    :raises InputError: no CT, no implant, a placement that scales.
    :raises OutputError: no room on the disk.
    """
    volume = ct_view(jobs.scene, ct_node)
    implants = placed_implants(jobs.scene, ct_node, only=only)

    def add_node(job: Job) -> Generator[None, None, tuple[Any, tuple[str, ...]]]:
        box, metal, warnings = result_of(job)
        _require_same_grid(ct_node, volume)
        fraction = np.zeros(volume.hu.shape, np.float32)
        fraction[box] = metal
        yield
        return _fraction_added(jobs.scene, ct_node, implants, fraction), warnings

    title = f"{ct_node.GetName()}: metal fraction"
    job = call_job(_fraction, implants, volume.hu.shape, volume.ijk_to_ras, title=title)
    return jobs.add(job, (ct_node,), add_node, on_progress, on_end)


def _fraction(
    implants: Sequence[PlacedImplant],
    shape: tuple[int, int, int],
    ijk_to_ras: np.ndarray,
    progress: Progress | None = None,
    cancel: Cancel | None = None,
) -> tuple[tuple[slice, ...], np.ndarray, tuple[str, ...]]:
    """The box of the metal and its fractions: the rest need not be sent."""
    grid = CTVolume(np.zeros(shape, np.float32), ijk_to_ras)
    voxels = voxelize(implants, grid, progress=progress, cancel=cancel)
    fraction = voxels.metal_fraction()
    box = box_of(fraction > 0)
    return box, np.ascontiguousarray(fraction[box]), voxels.warnings


def _require_same_grid(ct_node: Any, before: CTVolume) -> None:
    """:raises InputError: the CT is another one by now."""
    now = view_of(ct_node)
    same = now.hu.shape == before.hu.shape and np.allclose(now.ijk_to_ras, before.ijk_to_ras)
    if not same:
        raise InputError(
            f"'{ct_node.GetName()}' was moved or resampled while its implants were computed;"
            " nothing was added: start again"
        )


def _fraction_added(
    scene: Any, ct_node: Any, implants: Sequence[PlacedImplant], fraction: np.ndarray
) -> Any:
    title = f"Metal fraction {ct_node.GetName()}"
    with all_or_none(scene) as added:
        node = added(node_from_fraction(scene, fraction, view_of(ct_node), title, like=ct_node))
        record = json.dumps(implant_records(implants), sort_keys=True)
        mark_result(node, "fraction", ct_node, attributes={"implants": record})
        place_results(scene, ct_node, added.nodes, _folder_name(ct_node))
    return node


def simulate_node(
    scene: Any,
    ct_node: Any,
    options: SimulationOptions,
    *,
    only: Iterable[SceneImplant] | None = None,
    show: bool = True,
    progress: Progress | None = None,
    cancel: Cancel | None = None,
) -> SimulatedNodes:
    """Voxelise the scene's implants into a CT and simulate their artifacts.

    The CT is never modified. The new nodes lie under the same parent transform and appear all
    together or, on an error or cancel, not at all.

    :param ct_node: the clean CT, ``vtkMRMLScalarVolumeNode``.
    :param only: these implants instead of all.
    :param show: show the corrupted volume in the slice views.
    :raises InputError: see :func:`voxelize_implants`.
    :raises Cancelled: ``cancel`` said so, or the CT left the scene in the meantime.
    """
    from ..cases.case import simulate_implants

    volume = ct_from_node(scene, ct_node)
    implants = placed_implants(scene, ct_node, only=only)
    result, warnings = simulate_implants(
        implants, volume, options, progress=progress, cancel=cancel
    )
    # A callback may have let the user delete nodes or close the scene while this was computing.
    if ct_node.GetScene() is not scene:
        raise Cancelled("the CT was removed from the scene; nothing was added")
    return add_simulation(scene, ct_node, result, implants, warnings=warnings, show=show)


def simulate_in_background(
    jobs: SceneJobs,
    ct_node: Any,
    options: SimulationOptions,
    *,
    only: Iterable[SceneImplant] | None = None,
    show: bool = True,
    on_progress: HandleCallback | None = None,
    on_end: HandleCallback | None = None,
) -> SceneJob:
    """:func:`simulate_node` in a process of its own; returns at once.

    The implants are taken as they lie now: the user may go on editing them.

    :param jobs: of the CT's scene; somebody has to poll them.
    :returns: its ``nodes`` will be :class:`SimulatedNodes`.
    :raises InputError: no CT, no implant, a placement that scales.
    :raises OutputError: no room on the disk.
    """
    volume = ct_view(jobs.scene, ct_node)
    implants = placed_implants(jobs.scene, ct_node, only=only)
    title = f"{ct_node.GetName()}: {options.model}"
    job = simulation_job(volume, implants, options, title=title)

    def add_nodes(job: Job) -> Generator[None, None, SimulatedNodes]:
        _require_same_grid(ct_node, volume)
        result, warnings = simulation_result(job, view_of(ct_node))
        yield
        return (
            yield from _added(jobs.scene, ct_node, result, implants, warnings=warnings, show=show)
        )

    return jobs.add(job, (ct_node,), add_nodes, on_progress, on_end)


def add_simulation(
    scene: Any,
    ct_node: Any,
    result: SimulationResult,
    implants: Sequence[PlacedImplant],
    *,
    warnings: tuple[str, ...] = (),
    show: bool = True,
) -> SimulatedNodes:
    """Turn a finished simulation into nodes, wherever it was computed.

    :param implants: what was voxelised, in the CT's own RAS.
    """
    nodes: SimulatedNodes = all_of(
        _added(scene, ct_node, result, implants, warnings=warnings, show=show)
    )
    return nodes


def _added(
    scene: Any,
    ct_node: Any,
    result: SimulationResult,
    implants: Sequence[PlacedImplant],
    *,
    warnings: tuple[str, ...],
    show: bool,
) -> Generator[None, None, SimulatedNodes]:
    """:func:`add_simulation` with pauses, in which a user interface answers."""
    name, model = ct_node.GetName(), str(result.parameters["model"])
    attributes = {"model": model, "seed": result.parameters["seed"]}
    with all_or_none(scene) as added:
        text = added(
            scene.AddNewNodeByClass(
                "vtkMRMLTextNode", scene.GenerateUniqueName(f"Parameters {name}")
            )
        )
        record = result.parameters | {"ct": name, "placed_implants": implant_records(implants)}
        text.SetText(json.dumps(record, indent=2))
        references = {PARAMETERS_REFERENCE: text}
        volumes: dict[str, Any] = {}
        for role, label in (
            ("corrupted", "Artifacts"),
            ("ideal", "Ideal"),
            ("reference", "No implants"),
        ):
            data = getattr(result, role)
            if data is not None:
                node = added(node_from_volume(scene, data, f"{label} {name}", like=ct_node))
                mark_result(node, role, ct_node, references=references, attributes=attributes)
                apply_window(node, "metal")
                volumes[role] = node
                yield
        metal, title = result.metal_fraction, f"Metal fraction {name}"
        fraction = added(node_from_fraction(scene, metal, result.corrupted, title, like=ct_node))
        mark_result(fraction, "fraction", ct_node, references=references, attributes=attributes)
        yield
        segmentation = added(_outlines(scene, ct_node, result))
        yield
        add_surface(segmentation)
        mark_result(segmentation, "implants", ct_node, references=references)
        yield
        mark_result(text, "parameters", ct_node)
        folder = place_results(scene, ct_node, added.nodes, _folder_name(ct_node))
        if show:
            yield
            yield from layers_in_steps(scene, volumes["corrupted"])
    shown: dict[str, Any] = {role: view_of(node) for role, node in volumes.items()}
    return SimulatedNodes(
        volumes["corrupted"],
        volumes["ideal"],
        volumes.get("reference"),
        fraction,
        segmentation,
        text,
        folder,
        warnings,
        replace(result, **shown, metal_fraction=view_of(fraction).hu),
    )


def _outlines(scene: Any, ct_node: Any, result: SimulationResult) -> Any:
    """A segmentation of all implants."""
    name = f"Metal {ct_node.GetName()}"
    node = segmentation_from_fraction(
        scene, result.labels, result.corrupted, ct_node, name, threshold=1, surface_step=0
    )
    node.GetDisplayNode().SetVisibility3D(False)  # the models show it
    node.GetSegmentation().GetNthSegment(0).SetColor(*OUTLINE_COLOR)
    return node


def implant_records(implants: Sequence[PlacedImplant]) -> list[dict[str, Any]]:
    """Implants and placements as JSON types, enough to place them again."""
    records = []
    for one in implants:
        try:
            description = one.implant.to_dict()
        except InputError:  # a surface from memory; its model node stays in the scene
            description = {"kind": one.implant.kind, "material": one.implant.material}
        records.append(
            {"name": one.name, "implant": description, "placement": one.placement.tolist()}
        )
    return records


def _folder_name(ct_node: Any) -> str:
    return f"Implants {ct_node.GetName()}"
