"""The CTs without metal that plans and training slices are made of."""

from __future__ import annotations

from pathlib import Path

from MetalArtifactReductionLib.errors import InputError
from MetalArtifactReductionLib.files.volumes import read_volume
from MetalArtifactReductionLib.volume import CTVolume


def clean_ct(folder: Path, name: str) -> CTVolume:
    """One of them by its name; ends the program where it cannot be read, and says where it is."""
    try:
        return read_volume(folder / f"{name}.nii.gz")
    except InputError as error:
        raise SystemExit(
            f"{error}; where the CTs come from: Testing/Experiments/README.md"
        ) from None
