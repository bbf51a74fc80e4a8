"""A procedural patient as nodes: a CT and its labelled bones, for users without data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from MetalArtifactReductionLib.errors import InputError
from MetalArtifactReductionLib.mrml import apply_window, node_from_volume, show_in_slice_views
from MetalArtifactReductionLib.mrml.transaction import all_or_none
from MetalArtifactReductionLib.progress import Progress

from ..phantoms import lumbar_spine_phantom, pelvis_phantom
from .bone import segmentation_from_labels

SAMPLES = {"spine": "Lumbar spine phantom", "pelvis": "Pelvis phantom"}


@dataclass(frozen=True)
class SampleNodes:
    """A procedural patient.

    :param ct: scalar volume node.
    :param bone: segmentation node, segments named as TotalSegmentator names them.
    """

    ct: Any
    bone: Any


def add_sample(
    scene: Any,
    which: str = "spine",
    *,
    seed: int = 0,
    spacing_mm: tuple[float, float, float] = (2.0, 1.2, 1.2),
    shape: tuple[int, int, int] = (110, 288, 288),
    show: bool = True,
    progress: Progress | None = None,
) -> SampleNodes:
    """Make a phantom and add it to the scene.

    :param which: "spine" or "pelvis".
    :param seed: another patient for every seed.
    :param spacing_mm: (slice, row, col).
    :param shape: (slices, rows, cols).
    :raises InputError: unknown phantom.
    """
    if which not in SAMPLES:
        raise InputError(f"no phantom '{which}': choose one of {', '.join(SAMPLES)}")
    make = lumbar_spine_phantom if which == "spine" else pelvis_phantom
    phantom = make(seed, spacing_mm, shape, progress=progress)
    with all_or_none(scene) as added:
        ct = added(node_from_volume(scene, phantom.volume, SAMPLES[which]))
        apply_window(ct, "bone")
        bone = added(segmentation_from_labels(scene, phantom.labels, ct, f"{SAMPLES[which]} bones"))
        if show:
            show_in_slice_views(scene, ct)
    return SampleNodes(ct, bone)
