"""Jobs on a scene: the same nodes as without a process, and none where it did not end well."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from MetalArtifactReductionLib import mrml
from MetalArtifactReductionLib.correction.options import CorrectionOptions
from MetalArtifactReductionLib.errors import Cancelled, InputError, printable
from MetalArtifactReductionLib.evaluation.before_after import compare_before_after
from MetalArtifactReductionLib.jobs.call import call_job
from MetalArtifactReductionLib.jobs.queue import JobFailed, JobState
from MetalArtifactReductionLib.mrml.jobs import SceneJobs
from MetalArtifactReductionLib.mrml.transaction import all_or_none
from MetalArtifactReductionLib.tomography.trace import TraceParameters
from mrml_support import affine, rotation
from support import HANG_S, REPOSITORY

pytestmark = pytest.mark.usefixtures("forked_jobs")

SPACING_MM = (2.0, 2.0, 3.0)


def two_rods(slices: int = 6) -> np.ndarray:
    z, y, x = np.mgrid[0:slices, 0:72, 0:80]
    hu = np.where((x - 40) ** 2 + (y - 36) ** 2 < 32**2, 40.0, -1000.0)
    hu += np.random.default_rng(0).normal(0, 5, hu.shape)
    rods = ((x - 25) ** 2 + (y - 36) ** 2 < 9) | ((x - 55) ** 2 + (y - 36) ** 2 < 9)
    hu[(z > 0) & (z < slices - 1) & rods] = 3071
    return np.round(hu).astype(np.int16)


@pytest.fixture
def ct(add_volume: Any) -> Any:
    return add_volume(two_rods(), affine(np.diag([-1.0, -1.0, 1.0]), SPACING_MM), name="Hips")


@pytest.fixture
def jobs(scene: Any) -> Iterator[SceneJobs]:
    jobs = SceneJobs(scene)
    yield jobs
    jobs.close()


def names(scene: Any) -> list[str]:
    return [scene.GetNthNode(i).GetID() for i in range(scene.GetNumberOfNodes())]


def test_same_nodes_as_without_a_process(
    scene: Any, add_volume: Any, add_transform: Any, jobs: SceneJobs
) -> None:
    axial = affine(np.diag([-1.0, -1.0, 1.0]), SPACING_MM)
    sagittal = np.column_stack([axial[:, 1], axial[:, 2], axial[:, 0], axial[:, 3]])
    ct = add_volume(np.ascontiguousarray(two_rods().transpose(2, 0, 1)), sagittal)
    ct.SetAndObserveTransformNodeID(add_transform(affine(rotation(2), (1, 1, 1))).GetID())
    options = CorrectionOptions(
        reconstruction="frequency-split", trace=TraceParameters(dilation_bins=2)
    )
    expected = mrml.correct_node(scene, ct, options=options)
    seen: list[float] = []
    handle = jobs.correct(
        ct,
        options=options,
        on_progress=lambda handle: seen.append(handle.fraction),
    )
    assert handle.state is JobState.WAITING and not jobs.idle
    nodes = handle.result()
    assert handle.done and jobs.idle and handle.error == ""
    assert seen == sorted(seen)
    for one, other in (
        (nodes.corrected, expected.corrected),
        (nodes.change_map, expected.change_map),
    ):
        np.testing.assert_array_equal(
            mrml.volume_from_node(one, world=True).hu, mrml.volume_from_node(other, world=True).hu
        )
        np.testing.assert_allclose(
            mrml.volume_from_node(one, world=True).ijk_to_ras,
            mrml.volume_from_node(other, world=True).ijk_to_ras,
        )
    np.testing.assert_array_equal(
        mrml.fraction_from_node(nodes.metal, ct), mrml.fraction_from_node(expected.metal, ct)
    )
    assert nodes.folder == expected.folder
    ours, theirs = (
        json.loads(node.GetAttribute("MetalArtifactReduction.parameters"))
        for node in (nodes.corrected, expected.corrected)
    )
    assert ours == theirs
    assert nodes.facts() == expected.facts()


def test_metal_of_the_user_is_used(scene: Any, ct: Any, jobs: SceneJobs) -> None:
    metal, _ = mrml.propose_metal(scene, ct, threshold_hu=2000.0)
    handle = jobs.correct(ct, metal, "li", device="cpu", keep_fraction=True)
    nodes = handle.wait(HANG_S).nodes
    assert nodes.metal is metal
    np.testing.assert_array_equal(
        nodes.result.metal_fraction, mrml.fraction_from_segmentation(metal, ct)
    )
    assert mrml.results_of(scene, ct, "fraction") == [nodes.fraction]


def test_proposal(scene: Any, ct: Any, jobs: SceneJobs) -> None:
    node, found = jobs.propose_metal(ct).result()
    expected, same = mrml.propose_metal(scene, ct)
    assert found.components == same.components
    np.testing.assert_array_equal(found.fraction, same.fraction)
    np.testing.assert_array_equal(
        mrml.fraction_from_node(node, ct), mrml.fraction_from_node(expected, ct)
    )
    before = names(scene)
    again, found = jobs.propose_metal(ct, threshold_hu=2900.0, into=node).result()
    assert again is node and found.threshold_hu == 2900.0
    assert names(scene) == before


def test_measured_where_it_was_corrected(scene: Any, ct: Any, jobs: SceneJobs) -> None:
    nodes = jobs.correct(ct, method="li", always=True, device="cpu", measure=True).result()
    table = mrml.results.table_of(scene, nodes.corrected)
    assert table in mrml.results_of(scene, ct, "table")
    found = {one.key: one for one in mrml.results.measures_in(table)}
    before, after, fraction = mrml.results.corrected_volumes(nodes.corrected)
    expected = {one.key: one for one in compare_before_after(before, after.hu, fraction)}
    assert len(found) > 5 and found.keys() <= expected.keys()
    for key, one in found.items():
        assert one.before == pytest.approx(expected[key].before, abs=0.01)
        assert one.after == pytest.approx(expected[key].after, abs=0.01)
    # Nothing is kept twice: what the result says is what the nodes hold.
    np.testing.assert_array_equal(nodes.result.corrected.hu, after.hu)


def test_what_is_wrong_is_said_and_adds_nothing(
    scene: Any, ct: Any, add_volume: Any, jobs: SceneJobs
) -> None:
    mask = add_volume((two_rods() > 2000).astype(np.uint8), affine(np.eye(3), SPACING_MM), "Mask")
    clean = add_volume(np.minimum(two_rods(), 300), affine(np.eye(3), SPACING_MM), "Clean")
    before = names(scene)
    with pytest.raises(InputError, match="Mask"):  # at once
        jobs.correct(mask)
    with pytest.raises(InputError, match="no metal"):
        jobs.correct(clean, device="cpu").result()
    handle = jobs.correct(ct, method="magic", device="cpu").wait(HANG_S)
    assert handle.state is JobState.FAILED and "unknown method 'magic'" in handle.error
    assert "Traceback" in handle.log and not handle.faulty
    with pytest.raises(InputError, match="no metal"):
        jobs.propose_metal(clean).result()
    handle = jobs.correct(ct, device="cpu")
    handle.cancel()
    with pytest.raises(Cancelled, match="cancelled"):
        handle.result()
    assert names(scene) == before
    assert len(jobs.handles) == 4
    for handle in list(jobs.handles):
        jobs.forget(handle)
    assert jobs.handles == []


def test_a_volume_that_leaves_the_scene_takes_its_job_along(
    scene: Any, ct: Any, jobs: SceneJobs
) -> None:
    handle = jobs.correct(ct, device="cpu")
    jobs.poll()
    scene.RemoveNode(ct)
    assert handle.wait(HANG_S).state is JobState.CANCELLED and "removed" in handle.error
    assert scene.GetNumberOfNodesByClass("vtkMRMLScalarVolumeNode") == 0


def test_closing_the_scene_cancels_its_jobs(scene: Any, ct: Any, jobs: SceneJobs) -> None:
    handles = [jobs.correct(ct, device="cpu") for _ in range(3)]
    jobs.poll()
    scene.Clear(False)
    for handle in handles:
        assert handle.wait(HANG_S).state is JobState.CANCELLED
    assert jobs.idle
    assert scene.GetNumberOfNodesByClass("vtkMRMLScalarVolumeNode") == 0


def test_files_are_written_beside_a_correction_and_after_the_scene_is_closed(
    scene: Any, ct: Any, jobs: SceneJobs
) -> None:
    slow = jobs.correct(ct, device="cpu")
    jobs.poll()
    written = jobs.write(call_job(printable, "first"))
    jobs.poll()
    assert [one.state for one in (slow, written)] == [JobState.RUNNING] * 2
    ended: list[Any] = []
    waits = jobs.write(call_job(printable, "second"), ended.append)
    scene.Clear(False)
    assert [waits.result(), written.result()] == ["second", "first"] and ended == [waits]
    assert slow.wait(HANG_S).state is JobState.CANCELLED and jobs.idle


def test_an_error_in_taking_results_over_ends_the_job(scene: Any, jobs: SceneJobs) -> None:
    def add_nodes(_job: Any) -> None:
        raise ValueError("no such column")

    ended: list[Any] = []
    handle = jobs.add(call_job(printable, "text"), (), add_nodes, on_end=ended.append)
    with pytest.raises(JobFailed, match="not taken over: no such column"):
        handle.result()
    assert handle.state is JobState.FAILED and handle.nodes is None and ended == [handle]
    assert handle.faulty


@pytest.mark.parametrize("end", ["handle", "scene", "jobs"])
def test_nothing_half_added_stays(scene: Any, jobs: SceneJobs, end: str) -> None:
    def add_nodes(_job: Any) -> Iterator[None]:
        with all_or_none(scene) as added:
            for _ in range(6):
                added(scene.AddNewNodeByClass("vtkMRMLModelNode"))
                yield

    handle = jobs.add(call_job(printable, "text"), (), add_nodes)
    while scene.GetNumberOfNodesByClass("vtkMRMLModelNode") < 2:
        jobs.poll()
    {"handle": handle.cancel, "scene": lambda: scene.Clear(False), "jobs": jobs.close}[end]()
    assert handle.wait(HANG_S).state is JobState.CANCELLED
    assert scene.GetNumberOfNodesByClass("vtkMRMLModelNode") == 0


def test_who_ended_first_is_told_first(scene: Any, jobs: SceneJobs) -> None:
    told: list[str] = []

    def slowly(_job: Any) -> Iterator[None]:
        for _ in range(200):
            yield

    for title, add_nodes in (("first", slowly), ("second", lambda _job: None)):
        job = call_job(printable, "quick", title=title)
        jobs.add(job, (), add_nodes, on_end=lambda handle: told.append(handle.title))
    for handle in list(jobs.handles):
        handle.wait(HANG_S)
    assert told == ["first", "second"]


def test_reading_and_adding_need_no_torch(scene: Any) -> None:
    """Torch takes seconds to import; the process does that while the panel stays quick."""
    import subprocess
    import sys

    script = (
        "import sys\n"
        "from support import ForkedJob\n"  # both jobs' processes from one that has torch
        "from MetalArtifactReductionLib.jobs import job\n"
        "job.start_python = ForkedJob\n"
        "from MetalArtifactReductionLib import mrml\n"
        "from MetalArtifactReductionLib.mrml.jobs import SceneJobs\n"
        "import numpy as np\n"
        "from MetalArtifactReductionLib.volume import CTVolume\n"
        "hu = np.full((4, 64, 64), -1000.0, np.float32); hu[:, 16:48, 16:48] = 40\n"
        "hu[1:3, 30:34, 30:34] = 3071\n"
        "scene = mrml.headless_scene()\n"
        "node = mrml.node_from_volume(scene, CTVolume(hu, np.diag([2.0, 2, 3, 1])), 'CT')\n"
        "jobs = SceneJobs(scene)\n"
        "nodes = jobs.correct(node, method='li', device='cpu').result()\n"
        "assert nodes.corrected.GetScene() is scene\n"
        "from SimulateImplantsLib.cases.options import SimulationOptions\n"
        "from SimulateImplantsLib.implants.rod import Rod\n"
        "from SimulateImplantsLib.mrml import add_implant, simulate_in_background\n"
        "from MetalArtifactReductionLib.physics.acquisition import preset\n"
        "middle = np.eye(4); middle[:3, 3] = 60, 60, 2\n"
        "add_implant(scene, Rod(diameter_mm=6.0, length_mm=15.0), middle)\n"
        "options = SimulationOptions(preset('parallel', views=90), 'missing-trace')\n"
        "nodes = simulate_in_background(jobs, node, options).result()\n"
        "assert nodes.corrupted.GetScene() is scene\n"
        "assert 'torch' not in sys.modules\n"
    )
    command = [sys.executable, "-c", script]
    done = subprocess.run(
        command,
        cwd=REPOSITORY / "Testing",
        capture_output=True,
        text=True,
        timeout=HANG_S,
        check=False,
    )
    assert done.returncode == 0, done.stderr
