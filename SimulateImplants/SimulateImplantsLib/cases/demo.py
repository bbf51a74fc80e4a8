"""The whole main job in one run: metal in, artifacts, metal found, corrected, compared."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from MetalArtifactReductionLib.correction import correct_volume
from MetalArtifactReductionLib.correction.result import CorrectionResult
from MetalArtifactReductionLib.evaluation.comparison import (
    UNCORRECTED,
    ScanWithTruth,
    format_table,
    measure_images,
)
from MetalArtifactReductionLib.files.pictures import comparison_picture
from MetalArtifactReductionLib.files.volumes import write_array_like, write_volume
from MetalArtifactReductionLib.files.whole import check_new_folder, new_folder, written_whole
from MetalArtifactReductionLib.metal import MetalSegmentation, segment_metal
from MetalArtifactReductionLib.physics.acquisition import PRESETS, AcquisitionParameters
from MetalArtifactReductionLib.physics.simulation_result import SimulationResult
from MetalArtifactReductionLib.progress import Cancel, Progress, check_cancelled, part, report
from MetalArtifactReductionLib.volume import CTVolume

from ..implants.acetabular_cup import AcetabularCup
from ..implants.femoral_head import FemoralHead
from ..implants.hip_stem import HipStem
from ..implants.total_hip import TotalHip
from ..phantoms import HipTruth, pelvis_phantom
from ..voxels.voxelize import PlacedImplant
from .case import simulate_implants
from .options import SimulationOptions
from .rods_in_bone import rods_in_bone

METHODS = ("li", "nmar", "prior")
PICTURE = "comparison.png"
MOST_SLICES = 8
"""The demo ends in half a minute on two idle cores: longer volumes are cropped around the metal."""

PHANTOM_SCANNER = PRESETS["reference"].with_changes(views=720, bins=600, bin_mm=1.5)
"""The reference scanner with rays no denser than the phantom's pixels need: half the set-up."""


@dataclass(frozen=True)
class DemoResult:
    """What the demo made, besides its files.

    :param simulation: clean, corrupted, metal.
    :param metal: as it was found again in the corrupted volume.
    :param corrections: method -> result.
    :param table: the comparison as text.
    :param picture: path of the PNG.
    """

    simulation: SimulationResult
    metal: MetalSegmentation
    corrections: Mapping[str, CorrectionResult]
    table: str
    picture: Path


def run_demo(
    output: Path,
    volume: CTVolume | None = None,
    *,
    methods: Sequence[str] = METHODS,
    acquisition: AcquisitionParameters | None = None,
    seed: int = 0,
    device: str = "cpu",
    progress: Progress | None = None,
    cancel: Cancel | None = None,
) -> DemoResult:
    """Put metal into a CT, simulate its artifacts, find it, correct it, and compare.

    Without a volume a phantom pelvis gets a hip prosthesis; a volume gets rods in its thickest
    bones. Written into ``output``: every volume (.nrrd), ``scene.mrb`` for 3D Slicer,
    ``comparison.png``, ``table.md`` and ``simulation.json`` with all that makes it again.

    :param output: a new or empty folder.
    :param volume: clean CT; a phantom if None.
    :param methods: names of inpainting methods.
    :param acquisition: the simulated scanner; if None the reference scanner for a volume,
        :data:`PHANTOM_SCANNER` for the phantom.
    :param seed: of the phantom and of the noise.
    :raises OutputError: the folder holds something already, or cannot be written.
    :raises InputError: no bone for an implant, unknown method.
    """
    check_new_folder(output)
    scanner = acquisition or (PHANTOM_SCANNER if volume is None else PRESETS["reference"])
    volume, implants = _patient(volume, seed, progress)
    check_cancelled(cancel)
    options = SimulationOptions(scanner, seed=seed, device=device)
    simulation, _ = simulate_implants(
        implants, volume, options, progress=part(progress, 0.05, 0.5), cancel=cancel
    )
    metal = segment_metal(simulation.corrupted)
    corrections: dict[str, CorrectionResult] = {}
    for number, method in enumerate(methods):
        start = 0.5 + 0.3 * number / len(methods)
        corrections[method] = correct_volume(
            simulation.corrupted,
            metal.fraction,
            method,
            device=device,
            progress=part(progress, start, start + 0.3 / len(methods)),
            cancel=cancel,
        )
    report(progress, 0.8, "measuring")
    table = _table(simulation, corrections)
    check_cancelled(cancel)
    report(progress, 0.9, "writing")
    with new_folder(output) as folder:
        _write(folder, volume, simulation, metal, corrections, table)
    report(progress, 1.0, "done")
    return DemoResult(simulation, metal, corrections, table, output / PICTURE)


def _patient(
    volume: CTVolume | None, seed: int, progress: Progress | None
) -> tuple[CTVolume, list[PlacedImplant]]:
    """The CT, cropped, or a phantom if None, and what is put into it."""
    if volume is None:
        report(progress, 0.0, "building a phantom")
        phantom = pelvis_phantom(seed, (5.0, 1.25, 1.25), (MOST_SLICES, 320, 320))
        hips = [hip_prosthesis(hip) for hip in phantom.truth.hips if hip.side == "left"]
        return phantom.volume, hips
    report(progress, 0.0, "looking for bone")
    rods = rods_in_bone(volume)
    return cropped_around(volume, rods, MOST_SLICES), rods


def cropped_around(
    volume: CTVolume, implants: Sequence[PlacedImplant], most_slices: int
) -> CTVolume:
    """At most so many slices, centred on the middle of the implants; voxels stay where they are."""
    if len(volume.hu) <= most_slices:
        return volume
    to_ijk = np.linalg.inv(volume.ijk_to_ras)
    slices = []
    for one in implants:
        points = one.implant.mesh().points
        ras = points @ one.placement[:3, :3].T + one.placement[:3, 3]
        slices += [float(k) for k in ras @ to_ijk[2, :3] + to_ijk[2, 3]]
    middle = (min(slices) + max(slices)) / 2
    first = int(np.clip(round(middle - most_slices / 2), 0, len(volume.hu) - most_slices))
    matrix = volume.ijk_to_ras.copy()
    matrix[:3, 3] += first * matrix[:3, 2]
    return CTVolume(volume.hu[first : first + most_slices].copy(), matrix)


def _write(
    output: Path,
    volume: CTVolume,
    simulation: SimulationResult,
    metal: MetalSegmentation,
    corrections: Mapping[str, CorrectionResult],
    table: str,
) -> None:
    """All files."""
    corrupted = simulation.corrupted
    write_volume(volume, output / "clean.nrrd")
    write_volume(corrupted, output / "corrupted.nrrd", dtype="int16")
    write_array_like(metal.fraction, corrupted, output / "metal-found.nrrd")
    write_array_like(simulation.metal_fraction, corrupted, output / "metal-true.nrrd")
    if simulation.reference is not None:
        write_volume(simulation.reference, output / "reference.nrrd", dtype="int16")
    for method, result in corrections.items():
        write_volume(result.corrected, output / f"corrected-{method}.nrrd", dtype="int16")
        write_array_like(
            result.change_hu, corrupted, output / f"change-{method}.nrrd", dtype="int16"
        )
    for name, text in (
        ("table.md", table),
        ("simulation.json", simulation.parameters_json()),
    ):
        with written_whole(output / name) as temporary:
            temporary.write_text(text + "\n", encoding="utf-8")
    _write_scene(output / "scene.mrb", volume, corrupted, corrections)
    _write_picture(output / PICTURE, simulation, corrections)


def _write_scene(
    path: Path,
    clean: CTVolume,
    corrupted: CTVolume,
    corrections: Mapping[str, CorrectionResult],
) -> None:
    """A scene for 3D Slicer: clean and corrupted CT, and every correction with its change map."""
    from MetalArtifactReductionLib.mrml import (
        add_results,
        headless_scene,
        node_from_volume,
        save_scene,
    )

    scene = headless_scene()
    node_from_volume(scene, clean, "clean CT")
    node = node_from_volume(scene, corrupted, "CT with metal")
    metal = None
    for result in corrections.values():
        metal = add_results(scene, node, result, metal=metal).metal
    save_scene(scene, path)


def _write_picture(
    path: Path, simulation: SimulationResult, corrections: Mapping[str, CorrectionResult]
) -> None:
    """The slice where the artifacts are worst."""
    corrupted = simulation.corrupted.hu
    truth = (simulation.reference or simulation.ideal).hu
    error = np.where(simulation.metal_fraction > 0, 0.0, np.abs(corrupted - truth))
    k = int(error.mean(axis=(1, 2)).argmax())
    images = {
        "without metal": truth[k],
        "with metal": corrupted[k],
        **{method.upper(): result.corrected.hu[k] for method, result in corrections.items()},
    }
    comparison_picture(
        images,
        path,
        ijk_to_ras=simulation.corrupted.ijk_to_ras,
        difference_to="without metal",
    )


def hip_prosthesis(truth: HipTruth) -> PlacedImplant:
    """A total hip in a phantom's hip: stem along the shaft, head and cup in the joint's centre."""
    proximal = truth.shaft_axis * np.sign(
        truth.shaft_axis @ (truth.head_centre_ras - truth.shaft_point_ras)
    )
    to_head = truth.head_centre_ras - truth.shaft_point_ras
    medial = to_head - (to_head @ proximal) * proximal
    offset_mm = float(np.linalg.norm(medial))
    medial = medial / offset_mm
    stem = HipStem(offset_mm=round(float(np.clip(offset_mm, 36.0, 50.0))))
    cup_mm = float(2 * np.clip(round(truth.acetabulum_radius_mm + 1), 24, 29))
    hip = TotalHip(
        stem=stem,
        head=FemoralHead(diameter_mm=32.0),
        cup=AcetabularCup(diameter_mm=cup_mm, head_mm=32.0),
        side=truth.side,
    )
    placement = np.eye(4)
    placement[:3, :3] = np.stack([medial, np.cross(proximal, medial), proximal], axis=1)
    head_mm = hip.component_poses()["head"][:3, 3]
    placement[:3, 3] = truth.head_centre_ras - placement[:3, :3] @ head_mm
    return PlacedImplant(hip, placement, f"total hip, {truth.side}")


def _table(simulation: SimulationResult, corrections: Mapping[str, CorrectionResult]) -> str:
    """Input and methods against the same scan without metal, as Markdown."""
    truth = simulation.reference or simulation.ideal
    case = ScanWithTruth("demo", simulation.corrupted, truth.hu, simulation.metal_fraction)
    images = {UNCORRECTED: (simulation.corrupted.hu, 0.0)}
    for method, result in corrections.items():
        images[method] = (result.corrected.hu, result.timings["correction"])
    return format_table(measure_images(case, images), "markdown")
