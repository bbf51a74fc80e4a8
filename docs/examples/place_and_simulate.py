"""Place and simulate: python docs/examples/place_and_simulate.py FOLDER [CT BONES].

BONES is a segmentation of CT with vertebrae (TotalSegmentator's names). Without them a phantom
of the lumbar spine gets the screws.
"""

import sys
from pathlib import Path

from MetalArtifactReductionLib import read_volume, write_volume
from MetalArtifactReductionLib.files.pictures import comparison_picture
from MetalArtifactReductionLib.physics.acquisition import PRESETS
from SimulateImplantsLib import (
    Bones,
    PlacedImplant,
    SimulationOptions,
    measure_patient,
    proposed_plan,
    simulate_implants,
)
from SimulateImplantsLib.cases.label_files import read_bones
from SimulateImplantsLib.phantoms import lumbar_spine_phantom


def main(folder: Path, ct: Path | None = None, bones: Path | None = None) -> None:
    """Write plan.json, corrupted.nii.gz, reference.nii.gz and place_and_simulate.png."""
    folder.mkdir()
    if ct is None or bones is None:
        phantom = lumbar_spine_phantom(3, (3.0, 1.8, 1.8), (40, 90, 100))
        volume, labels = phantom.volume, dict(phantom.labels)
    else:
        volume = read_volume(ct)
        labels = read_bones(bones, volume)

    patient = measure_patient(volume, Bones(labels), "spine", levels=("L3", "L4"))
    plan = proposed_plan(patient, "spine")
    (folder / "plan.json").write_text(plan.to_json(), encoding="utf-8")
    placed = [PlacedImplant(one.make(), one.matrix) for one in plan.implants]
    print("placed:", *(one.kind for one in plan.implants))

    scanner = SimulationOptions(PRESETS["parallel"], seed=1)
    result, _ = simulate_implants(placed, volume, scanner)
    write_volume(result.corrupted, folder / "corrupted.nii.gz")
    write_volume(result.reference, folder / "reference.nii.gz")

    k = int(result.metal_fraction.sum(axis=(1, 2)).argmax())  # the slice with most metal
    images = {"clean": volume, "with artifacts": result.corrupted, "truth": result.ideal}
    comparison_picture(
        {name: image.hu[k] for name, image in images.items()},
        folder / "place_and_simulate.png",
        ijk_to_ras=volume.ijk_to_ras,
    )


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
