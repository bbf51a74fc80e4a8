"""Bodies of known truth that several files of tests use; each is made once in a run."""

from __future__ import annotations

import os
from pathlib import Path
from tempfile import mkdtemp

import numpy as np

from MetalArtifactReductionLib.files.volumes import write_array_like, write_volume
from SimulateImplantsLib.phantoms import Phantom, lumbar_spine_phantom, pelvis_phantom
from SimulateImplantsLib.placement import SpineProposal, propose_screws
from SimulateImplantsLib.placement.hip.measure import HipModel, measure_hip
from support import once

LEVELS = ("L3", "L4")
HIP_BONES = ("femur_left", "femur_right", "hip_left", "hip_right")


@once
def small_spine() -> Phantom:
    return lumbar_spine_phantom(3, (2.0, 1.4, 1.4), (96, 128, 128))


@once
def narrow_spine() -> Phantom:
    """For clicks; nothing beside the bodies."""
    return lumbar_spine_phantom(14, (1.7, 1.4, 1.4), (128, 120, 120))


@once
def proposed_spine() -> tuple[Phantom, SpineProposal]:
    """Screws from L2 to L5."""
    phantom = lumbar_spine_phantom(21, (1.8, 1.3, 1.3), (120, 140, 140))
    return phantom, propose_screws(phantom.labels, phantom.volume, levels=["L2", "L3", "L4", "L5"])


@once
def small_pelvis() -> Phantom:
    return pelvis_phantom(1, (3.0, 2.0, 2.0), (84, 126, 190))


@once
def pelvis_files() -> Path:
    """Of :func:`small_pelvis`: ``ct.nii.gz`` and, in ``masks``, the ``HIP_BONES``; read only."""
    folder, phantom = Path(mkdtemp(dir=os.environ["MADE_ONCE"])), small_pelvis()
    write_volume(phantom.volume, folder / "ct.nii.gz", dtype="int16")
    (folder / "masks").mkdir()
    for name in HIP_BONES:
        mask = phantom.labels[name].astype(np.uint8)
        write_array_like(mask, phantom.volume, folder / "masks" / f"{name}.nii.gz")
    return folder


@once
def turned_pelvis() -> Phantom:
    return pelvis_phantom(
        8, (2.5, 1.9, 1.9), (120, 126, 202), patient_rotation_deg=(5.0, 4.0, -6.0)
    )


@once
def labelled_hip(side: str) -> HipModel:
    """Of :func:`turned_pelvis`, measured by its labels."""
    phantom = turned_pelvis()
    femur, hip = (phantom.labels[f"{bone}_{side}"] for bone in ("femur", "hip"))
    return measure_hip(phantom.volume, femur=femur, hip=hip)


def vertebrae(phantom: Phantom) -> dict[str, np.ndarray]:
    """Masks of the ``LEVELS``."""
    return {name: mask for name, mask in phantom.labels.items() if name[-2:] in LEVELS}
