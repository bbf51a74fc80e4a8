"""A procedural patient as nodes: a CT and its labelled bones, for users without data."""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from MetalArtifactReductionLib.errors import InputError
from MetalArtifactReductionLib.jobs.call import call_job, result_of
from MetalArtifactReductionLib.mrml import apply_window, node_from_volume, show_in_slice_views
from MetalArtifactReductionLib.mrml.transaction import all_of, all_or_none
from MetalArtifactReductionLib.progress import Progress

from ..phantoms import lumbar_spine_phantom, pelvis_phantom
from ..phantoms.truth import Phantom
from .bone import labels_in_steps

if TYPE_CHECKING:
    from MetalArtifactReductionLib.mrml.jobs import HandleCallback, SceneJob, SceneJobs

SPACING_MM = (2.0, 1.2, 1.2)
SHAPE = (110, 288, 288)
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
    spacing_mm: tuple[float, float, float] = SPACING_MM,
    shape: tuple[int, int, int] = SHAPE,
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
    phantom = _maker(which)(seed, spacing_mm, shape, progress=progress)
    nodes: SampleNodes = all_of(_added(scene, which, phantom, show))
    return nodes


def sample_in_background(
    jobs: SceneJobs,
    which: str = "spine",
    *,
    on_progress: HandleCallback | None = None,
    on_end: HandleCallback | None = None,
) -> SceneJob:
    """:func:`add_sample` in a process of its own; its ``nodes`` will be :class:`SampleNodes`."""
    return jobs.add(
        call_job(_maker(which), 0, SPACING_MM, SHAPE, title=SAMPLES[which]),
        (),
        lambda job: _added(jobs.scene, which, result_of(job), True),
        on_progress,
        on_end,
    )


def _maker(which: str) -> Callable[..., Phantom]:
    if which not in SAMPLES:
        raise InputError(f"no phantom '{which}': choose one of {', '.join(SAMPLES)}")
    return lumbar_spine_phantom if which == "spine" else pelvis_phantom


def _added(
    scene: Any, which: str, phantom: Phantom, show: bool
) -> Generator[None, None, SampleNodes]:
    with all_or_none(scene) as added:
        ct = added(node_from_volume(scene, phantom.volume, SAMPLES[which]))
        apply_window(ct, "bone")
        yield
        name = f"{SAMPLES[which]} bones"
        bone = added((yield from labels_in_steps(scene, phantom.labels, ct, name)))
        if show:
            show_in_slice_views(scene, ct)
    return SampleNodes(ct, bone)
