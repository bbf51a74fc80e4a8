"""Implants of a scene voxelised and simulated; slice views along and across them."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from MetalArtifactReductionLib import mrml
from MetalArtifactReductionLib.errors import Cancelled, InputError
from MetalArtifactReductionLib.mrml.jobs import SceneJobs
from MetalArtifactReductionLib.mrml.volumes import vtk_matrix
from MetalArtifactReductionLib.physics.acquisition import preset
from mrml_support import affine, rotation
from SimulateImplantsLib.cases.options import SimulationOptions
from SimulateImplantsLib.implants import implant_from_dict
from SimulateImplantsLib.implants.rod import Rod
from SimulateImplantsLib.implants.user_mesh import UserMesh
from SimulateImplantsLib.mrml import (
    PLANES,
    add_fraction,
    add_implant,
    add_line,
    add_plan,
    add_sample,
    change_parameters,
    fraction_in_background,
    implants_of,
    plan_of,
    set_matrix,
    show_aligned,
    simulate_in_background,
    simulate_node,
    slice_to_ras,
)
from SimulateImplantsLib.placement.geometry import axis_placement
from SimulateImplantsLib.placement.plan import PlacementPlan

pytestmark = pytest.mark.usefixtures("forked_jobs")

SHAPE = (8, 64, 64)
SPACING_MM = (1.5, 1.5, 2.5)
SCANNER = preset("parallel", views=90)
QUICK = SimulationOptions(SCANNER, "missing-trace")
RESULTS = ("corrupted", "ideal", "reference")


def cylinder_of_water() -> np.ndarray:
    _, y, x = np.mgrid[tuple(slice(0, n) for n in SHAPE)]
    return np.where((x - 32) ** 2 + (y - 32) ** 2 < 26**2, 40, -1000).astype(np.int16)


@pytest.fixture
def ct(add_volume: Any) -> Any:
    matrix = affine(np.diag([-1.0, -1.0, 1.0]), SPACING_MM)
    matrix[:3, 3] = (48.0, 48.0, -8.75)  # the middle of the volume lies near the origin
    return add_volume(cylinder_of_water(), matrix, name="Water")


def add_rod_at(scene: Any, where: tuple[float, float, float], like: Any = None) -> Any:
    x, y, z = where
    rod = Rod(diameter_mm=6.0, length_mm=40.0)
    return add_implant(scene, rod, axis_placement((x - 20, y, z), (x, y, z)), like=like)


def ids(scene: Any) -> list[str]:
    return [scene.GetNthNode(i).GetID() for i in range(scene.GetNumberOfNodes())]


def values(node: Any) -> np.ndarray:
    return mrml.volume_from_node(node).hu


def sphere(centre: tuple[float, float, float], radius: float) -> Any:
    import vtk

    source = vtk.vtkSphereSource()
    source.SetCenter(*centre)
    source.SetRadius(radius)
    source.SetThetaResolution(24)
    source.SetPhiResolution(16)
    source.Update()
    return source.GetOutput()


def rod_volume_mm3(diameter: float = 6.0, length: float = 40.0) -> float:
    """A cylinder with hemispherical ends."""
    r = 0.5 * diameter
    return float(np.pi * r**2 * (length - diameter) + 4 / 3 * np.pi * r**3)


def test_fraction_is_where_the_implant_is(scene: Any, ct: Any) -> None:
    add_rod_at(scene, (0.0, 6.0, 0.0))
    node, warnings = add_fraction(scene, ct)
    assert warnings == ()
    fraction = values(node)
    voxel = np.prod(SPACING_MM)
    assert fraction.sum() * voxel == pytest.approx(rod_volume_mm3(), rel=0.01)
    index = np.argwhere(fraction > 0)
    weight = fraction[tuple(index.T)]
    centre = np.average(index[:, ::-1], axis=0, weights=weight)
    ras = (mrml.volume_from_node(ct).ijk_to_ras @ np.append(centre, 1.0))[:3]
    np.testing.assert_allclose(ras, [0, 6, 0], atol=0.05)
    assert mrml.results_of(scene, ct, "fraction") == [node]
    jobs = SceneJobs(scene)
    again, warnings = fraction_in_background(jobs, ct).result()
    late = fraction_in_background(jobs, ct)
    ct.SetOrigin(1.0, 2.0, 3.0)
    with pytest.raises(InputError, match="was moved or resampled"):
        late.result()
    jobs.close()
    assert warnings == () and np.array_equal(values(again), fraction)
    assert mrml.results_of(scene, ct, "fraction") == [node, again]


def test_fraction_moves_with_the_implant_and_not_with_a_registration(
    scene: Any, ct: Any, add_transform: Any
) -> None:
    turn = rotation(2)
    matrix = np.eye(4)
    matrix[:3, :3] = turn * np.sign(np.linalg.det(turn))
    matrix[:3, 3] = (30.0, 200.0, -10.0)
    alone = values(add_fraction(scene, ct, only=[add_rod_at(scene, (0.0, 6.0, 0.0))])[0])
    registration = add_transform(matrix)
    ct.SetAndObserveTransformNodeID(registration.GetID())
    one = add_rod_at(scene, (0.0, 6.0, 0.0), like=ct)
    np.testing.assert_allclose(values(add_fraction(scene, ct, only=[one])[0]), alone, atol=1e-5)
    registration.SetMatrixTransformToParent(vtk_matrix(np.eye(4)))
    np.testing.assert_allclose(values(add_fraction(scene, ct, only=[one])[0]), alone, atol=1e-5)
    moved = one.matrix()
    moved[0, 3] += 1.5  # a voxel to the left in an array that runs from right to left
    set_matrix(one, moved)
    shifted = values(add_fraction(scene, ct, only=[one])[0])
    np.testing.assert_allclose(shifted[:, :, :-1], alone[:, :, 1:], atol=1e-5)


@pytest.mark.parametrize("model", ["physics", "trace-maximum", "missing-trace"])
def test_simulation_adds_its_results(scene: Any, ct: Any, model: Any) -> None:
    add_rod_at(scene, (0.0, 6.0, 0.0))
    before = values(ct).copy()
    nodes = simulate_node(scene, ct, SimulationOptions(SCANNER, model, 3))
    np.testing.assert_array_equal(values(ct), before)
    found = {role: mrml.results_of(scene, ct, role) for role in RESULTS}
    assert found == {
        "corrupted": [nodes.corrupted],
        "ideal": [nodes.ideal],
        "reference": [nodes.reference],
    }
    fraction = values(nodes.fraction)
    touched = fraction.any(axis=(1, 2))
    assert 0 < touched.sum() < len(fraction)
    for node in (nodes.corrupted, nodes.ideal, nodes.reference):
        np.testing.assert_array_equal(values(node)[~touched], before[~touched])
    assert values(nodes.ideal)[fraction > 0.99].min() > 2900
    np.testing.assert_array_equal(values(nodes.ideal)[fraction == 0], before[fraction == 0])
    streaks = np.abs(values(nodes.corrupted) - values(nodes.reference))[fraction == 0]
    assert streaks.max() > 50
    # Shown and windowed for metal, together in one folder.
    import slicer

    display = nodes.corrupted.GetDisplayNode()
    assert (display.GetWindow(), display.GetLevel()) == (5000.0, 1500.0)
    assert nodes.implants.GetSegmentation().GetNthSegment(0).GetColor()[2] > 0.5  # not yellow
    composite = scene.GetNthNodeByClass(0, "vtkMRMLSliceCompositeNode")
    assert composite.GetBackgroundVolumeID() == nodes.corrupted.GetID()
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(scene)
    for node in (nodes.corrupted, nodes.ideal, nodes.reference, nodes.fraction, nodes.parameters):
        item = hierarchy.GetItemByDataNode(node)
        assert hierarchy.GetItemParent(item) == nodes.folder
    assert nodes.corrupted.GetAttribute("MetalArtifactReduction.model") == model


def test_parameters_make_it_again(scene: Any, ct: Any, tmp_path: Path) -> None:
    from MetalArtifactReductionLib.physics.acquisition import AcquisitionParameters

    add_rod_at(scene, (0.0, 6.0, 0.0))
    nodes = simulate_node(scene, ct, SimulationOptions(SCANNER, seed=5))
    mrml.save_scene(scene, tmp_path / "case.mrb")
    loaded = mrml.load_scene(tmp_path / "case.mrb")
    text = loaded.GetFirstNodeByClass("vtkMRMLTextNode").GetText()
    record = json.loads(text)
    assert record["seed"] == 5
    # Only from the record, into a scene that has the CT alone.
    for one in implants_of(scene):
        scene.RemoveNode(one.model)
    (item,) = record["placed_implants"]
    implant = implant_from_dict(item["implant"])
    add_implant(scene, implant, np.array(item["placement"]), like=ct)
    again = simulate_node(
        scene,
        ct,
        SimulationOptions(
            AcquisitionParameters.from_dict(record["acquisition"]), record["model"], record["seed"]
        ),
    )
    np.testing.assert_array_equal(values(again.corrupted), values(nodes.corrupted))


def test_the_same_in_a_process_of_its_own(scene: Any, ct: Any) -> None:
    """Families by their parameters, a surface in memory by its triangles."""
    add_rod_at(scene, (0.0, 6.0, 0.0))
    ball = UserMesh.from_polydata(sphere((0.0, -14.0, 0.0), 4.0), "316L")
    add_implant(scene, ball, like=ct)
    options = SimulationOptions(SCANNER, seed=3)
    expected = simulate_node(scene, ct, options)
    jobs = SceneJobs(scene)
    seen: list[float] = []
    handle = simulate_in_background(
        jobs, ct, options, on_progress=lambda one: seen.append(one.fraction)
    )
    for one in implants_of(scene):
        set_matrix(one, np.eye(4))  # too late to count
    nodes = handle.result()
    jobs.close()
    assert seen == sorted(seen)
    for role in (*RESULTS, "fraction"):
        mine, theirs = (values(getattr(one, role)) for one in (nodes, expected))
        np.testing.assert_array_equal(mine, theirs)
    np.testing.assert_array_equal(nodes.result.ideal.hu, expected.result.ideal.hu)
    assert not isinstance(nodes.result.metal_fraction, np.memmap)  # the file is gone
    assert nodes.parameters.GetText() == expected.parameters.GetText()
    assert nodes.warnings == expected.warnings


def test_background_simulations_that_cannot_be(scene: Any, ct: Any) -> None:
    jobs = SceneJobs(scene)
    with pytest.raises(InputError, match="no implant in the scene"):
        simulate_in_background(jobs, ct, SimulationOptions(SCANNER))
    add_rod_at(scene, (900.0, 6.0, 0.0))
    before = ids(scene)
    handle = simulate_in_background(jobs, ct, SimulationOptions(SCANNER))
    with pytest.raises(InputError, match="outside"):
        handle.result()
    assert ids(scene) == before
    jobs.close()


def test_simulation_without_reference(scene: Any, ct: Any) -> None:
    add_rod_at(scene, (0.0, 6.0, 0.0))
    nodes = simulate_node(scene, ct, replace(QUICK, with_reference=False))
    assert nodes.reference is None
    assert mrml.results_of(scene, ct, "reference") == []


def test_progress_rises_to_the_end(scene: Any, ct: Any) -> None:
    add_rod_at(scene, (0.0, 6.0, 0.0))
    seen: list[float] = []
    simulate_node(scene, ct, QUICK, progress=lambda done, _: seen.append(done))
    assert seen == sorted(seen)
    assert seen[-1] == 1.0


def test_implant_half_outside_warns_and_outside_is_refused(scene: Any, ct: Any) -> None:
    one = add_rod_at(scene, (48.0, 6.0, 0.0))
    _, warnings = add_fraction(scene, ct)
    assert any("outside the CT" in text for text in warnings)
    far = one.matrix()
    far[2, 3] = 500.0
    set_matrix(one, far)
    before = ids(scene)
    with pytest.raises(InputError, match="outside"):
        simulate_node(scene, ct, QUICK)
    with pytest.raises(InputError, match="outside"):
        add_fraction(scene, ct)
    assert ids(scene) == before


def test_nothing_is_added_on_error_or_cancel(scene: Any, ct: Any) -> None:
    with pytest.raises(InputError, match="no implant in the scene: add or propose one first"):
        simulate_node(scene, ct, QUICK)
    with pytest.raises(InputError, match="choose a CT volume"):
        simulate_node(scene, None, QUICK)
    add_rod_at(scene, (0.0, 6.0, 0.0))
    before = ids(scene)
    with pytest.raises(InputError, match="unknown simulation model"):
        SimulationOptions(SCANNER, "magic")  # type: ignore[arg-type]
    calls = iter([False, False, True])  # the third question comes from the simulation
    with pytest.raises(Cancelled):
        simulate_node(scene, ct, QUICK, cancel=lambda: next(calls))
    assert ids(scene) == before

    def closes_the_scene(done: float, _message: str) -> None:
        if done > 0.5 and ct.GetScene() is not None:
            scene.RemoveNode(ct)

    with pytest.raises(Cancelled, match="removed from the scene"):
        simulate_node(scene, ct, QUICK, progress=closes_the_scene)
    assert set(ids(scene)) < set(before)


def test_scaled_transform_is_refused(scene: Any, ct: Any) -> None:
    """Units wrong by 1000, by a transform that the user put over an implant."""
    one = add_rod_at(scene, (0.0, 6.0, 0.0))
    scale = scene.AddNewNodeByClass("vtkMRMLLinearTransformNode", "Metres")
    scale.SetMatrixTransformToParent(vtk_matrix(np.diag([0.001, 0.001, 0.001, 1.0])))
    one.transform.SetAndObserveTransformNodeID(scale.GetID())
    with pytest.raises(InputError, match=r"rigid|scale"):
        add_fraction(scene, ct)


def test_ct_in_wrong_units_is_refused(scene: Any, add_volume: Any) -> None:
    wrong = add_volume(cylinder_of_water() * 1000.0, affine(np.eye(3), SPACING_MM), name="Milli")
    add_rod_at(scene, (0.0, 6.0, 0.0))
    with pytest.raises(InputError, match="Milli"):
        simulate_node(scene, wrong, QUICK)


def test_own_surface_is_simulated(scene: Any, ct: Any) -> None:
    import vtk

    cube = vtk.vtkCubeSource()
    cube.SetXLength(9.0)
    cube.SetYLength(6.0)
    cube.SetZLength(5.0)
    cube.Update()
    implant = UserMesh.from_polydata(cube.GetOutput(), "CoCrMo")
    add_implant(scene, implant, name="Block")
    nodes = simulate_node(scene, ct, QUICK)
    voxel = np.prod(SPACING_MM)
    assert values(nodes.fraction).sum() * voxel == pytest.approx(9 * 6 * 5, rel=0.01)
    record = json.loads(nodes.parameters.GetText())
    assert record["placed_implants"][0]["implant"]["material"] == "CoCrMo"


def test_plans_go_into_a_scene_and_back(scene: Any, ct: Any) -> None:
    add_rod_at(scene, (0.0, 6.0, 0.0), like=ct)
    plan = PlacementPlan.from_json(plan_of(scene, ct).to_json())
    for one in implants_of(scene):
        scene.RemoveNode(one.model)
    (again,) = add_plan(scene, plan, like=ct)
    assert again.implant == Rod(diameter_mm=6.0, length_mm=40.0)
    np.testing.assert_allclose(again.matrix(ct), plan.implants[0].matrix, atol=1e-9)
    with pytest.raises(InputError, match="no implant in the scene"):
        plan_of(mrml.headless_scene())


@pytest.mark.parametrize("plane", PLANES)
@pytest.mark.parametrize("seed", range(4))
def test_aligned_slices_hold_the_axis(plane: str, seed: int) -> None:
    axis = np.random.default_rng(seed).normal(size=3)
    place = axis_placement((5, 6, 7), np.array([5, 6, 7]) + axis)
    matrix = slice_to_ras(place, plane, at_mm=12.0)
    turn = matrix[:3, :3]
    np.testing.assert_allclose(turn.T @ turn, np.eye(3), atol=1e-9)
    np.testing.assert_allclose(matrix[:3, 3], place[:3, 3] + 12.0 * place[:3, 2], atol=1e-9)
    along = abs(float(turn[:, 2] @ place[:3, 2]))
    assert along == pytest.approx(1.0 if plane == "across" else 0.0, abs=1e-9)
    # Head or front up; the patient's left, or the back, on the right.
    assert max(turn[1, 1], turn[2, 1]) > 0
    assert max(-turn[0, 0], -turn[1, 0]) > 0


def test_aligned_slices_of_a_pedicle_screw_look_like_radiology() -> None:
    """A screw that points forwards: the flat plane is axial, the upright one sagittal."""
    place = axis_placement((20, -60, 0), (20, -10, 0))
    flat, upright, across = (slice_to_ras(place, plane)[:3, :3] for plane in PLANES)
    np.testing.assert_allclose(flat, np.diag([-1.0, 1.0, 1.0]), atol=1e-9)
    np.testing.assert_allclose(upright.T, [[0, -1, 0], [0, 0, 1], [1, 0, 0]], atol=1e-9)
    np.testing.assert_allclose(across.T, [[-1, 0, 0], [0, 0, 1], [0, 1, 0]], atol=1e-9)


def test_slice_view_turns_to_the_screw(scene: Any) -> None:
    from SimulateImplantsLib.implants.pedicle_screw import PedicleScrew

    place = axis_placement((20, -60, 0), (5, -20, 10))
    one = add_implant(scene, PedicleScrew(), place)
    add_line(one)
    view = scene.AddNewNodeByClass("vtkMRMLSliceNode")
    show_aligned(view, one, "along")
    shown = np.array([[view.GetSliceToRAS().GetElement(i, j) for j in range(4)] for i in range(4)])
    np.testing.assert_allclose(shown, slice_to_ras(place, "along", 22.5), atol=1e-9)
    # Both ends of the screw lie in the plane.
    to_slice = np.linalg.inv(shown)
    for depth in (0.0, 45.0):
        assert (to_slice @ place @ [0, 0, depth, 1])[2] == pytest.approx(0.0, abs=1e-9)
    with pytest.raises(InputError, match="no slice plane 'askew'"):
        show_aligned(view, one, "askew")


def test_sample_is_a_patient_with_named_bones(scene: Any) -> None:
    nodes = add_sample(scene, "spine", shape=(20, 64, 64), spacing_mm=(4.0, 3.0, 3.0))
    assert values(nodes.ct).shape == (20, 64, 64)
    segments = nodes.bone.GetSegmentation()
    names = {segments.GetNthSegment(i).GetName() for i in range(segments.GetNumberOfSegments())}
    assert "vertebrae_L3" in names
    with pytest.raises(InputError, match="no phantom 'knee'"):
        add_sample(scene, "knee")


def test_changed_length_changes_the_fraction(scene: Any, ct: Any) -> None:
    one = add_rod_at(scene, (0.0, 6.0, 0.0))
    change_parameters(one, length_mm=20.0)
    fraction = values(add_fraction(scene, ct)[0])
    expected = rod_volume_mm3(length=20.0)
    assert fraction.sum() * np.prod(SPACING_MM) == pytest.approx(expected, rel=0.01)
