"""Correct a volume: python docs/examples/correct.py CT FOLDER."""

import sys
from pathlib import Path

import numpy as np

from MetalArtifactReductionLib import correct_volume, read_volume, segment_metal, write_volume
from MetalArtifactReductionLib.files.pictures import comparison_picture


def main(ct: Path, folder: Path) -> None:
    """Write corrected.nii.gz, change.nii.gz and correct.png into a new folder."""
    folder.mkdir()
    volume = read_volume(ct)
    print(volume)

    metal = segment_metal(volume)
    for part in metal.components:
        what = "metal" if part.kept else part.remark
        print(f"part {part.label}: {part.volume_mm3:.0f} mm3, {what}")

    result = correct_volume(volume, metal.fraction, method="nmar")
    print(result.told)
    write_volume(result.corrected, folder / "corrected.nii.gz")
    write_volume(volume.with_hu(result.change_hu), folder / "change.nii.gz", dtype="float32")

    k = int(np.abs(result.change_hu).sum(axis=(1, 2)).argmax())  # the slice that changed most
    comparison_picture(
        {"original": volume.hu[k], "corrected": result.corrected.hu[k]},
        folder / "correct.png",
        ijk_to_ras=volume.ijk_to_ras,
        difference_to="original",
    )


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
