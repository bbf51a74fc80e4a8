"""Surfaces are closed, oriented, free of self-intersections; volumes and frames are right."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import vtk

from MetalArtifactReductionLib.errors import InputError
from SimulateImplantsLib.implants import implant_from_dict, implant_kinds, parameter_ranges
from SimulateImplantsLib.implants.acetabular_cup import AcetabularCup
from SimulateImplantsLib.implants.base import Implant
from SimulateImplantsLib.implants.bent_wires import (
    AneurysmClip,
    SkinStaple,
    Staple,
    SternalWire,
    SurgicalClip,
)
from SimulateImplantsLib.implants.bone_plate import BonePlate
from SimulateImplantsLib.implants.bone_screw import BoneScrew
from SimulateImplantsLib.implants.cage import InterbodyCage
from SimulateImplantsLib.implants.coil import EmbolisationCoil
from SimulateImplantsLib.implants.cranial_plate import BurrHoleCover, CranialPlate
from SimulateImplantsLib.implants.cross_link import CrossLink
from SimulateImplantsLib.implants.dental import Braces, Bridge, Crown, DentalImplant, Filling
from SimulateImplantsLib.implants.dual_mobility_cup import DualMobilityCup
from SimulateImplantsLib.implants.external_fixator import ExternalFixator
from SimulateImplantsLib.implants.femoral_head import FemoralHead
from SimulateImplantsLib.implants.hip_stem import HipStem
from SimulateImplantsLib.implants.mesh import Mesh
from SimulateImplantsLib.implants.nail import CephalomedullaryNail
from SimulateImplantsLib.implants.pacemaker import Pacemaker
from SimulateImplantsLib.implants.pedicle_screw import PedicleScrew
from SimulateImplantsLib.implants.plate import AnteriorPlate
from SimulateImplantsLib.implants.port import Catheter, Port
from SimulateImplantsLib.implants.rays import enclosed_volumes
from SimulateImplantsLib.implants.resurfacing_head import ResurfacingHead
from SimulateImplantsLib.implants.rod import Rod
from SimulateImplantsLib.implants.stent import Stent
from SimulateImplantsLib.implants.total_hip import TotalHip
from SimulateImplantsLib.implants.total_knee import TotalKnee
from SimulateImplantsLib.implants.total_shoulder import TotalShoulder
from SimulateImplantsLib.implants.wires import Lead, Wire

FAMILIES = [
    PedicleScrew(),
    PedicleScrew(4.0, 25, head_angle_deg=30, head_azimuth_deg=200, slot_azimuth_deg=35),
    PedicleScrew(8.5, 60, set_screw=False, rod_diameter_mm=6.35),
    Rod(),
    Rod.through([(0, 0, 0), (2, 3, 35), (0, 6, 70), (-2, 4, 105)], 6.35),
    CrossLink(),
    InterbodyCage(),
    InterbodyCage(30, 11, 10, 4, wall_mm=2.4, windows=2, corner=0.9, material="PEEK"),
    AnteriorPlate(),
    AnteriorPlate(length_mm=62, levels=3, screw_diameter_mm=0),
    HipStem(),
    HipStem(180, 125, 52, 14, 36, 16),
    FemoralHead(),
    FemoralHead(28, -3.5),
    AcetabularCup(screws=3),
    AcetabularCup(40, 22, liner=False),
    TotalHip(side="right"),
    TotalKnee(),
    TotalShoulder(),
    Pacemaker(),
    Port(),
    Catheter(),
    DualMobilityCup(),
    DualMobilityCup(56, 3.9, 0),
    ResurfacingHead(),
    HipStem(265, 135, 46, 18, 38, 17),
    BonePlate(),
    BonePlate(6, 1, 13, 11, 3.3, 11, 3.5, 24),
    ExternalFixator(),
    TotalKnee(58, 52, 62, 40, 14, 25),
    CephalomedullaryNail(),
    CephalomedullaryNail(length_mm=360, bow_radius_mm=1500, locking_screws=2, side="right"),
    BoneScrew(),
    BoneScrew(10.5, 95, 9.7, 2.0, 27.0, 3.0, 1.6),
    Filling(),
    Crown(7, 9, 8, 0.4, 0.5),
    Bridge(),
    DentalImplant(),
    Braces(),
    Wire(path_mm=((0, 0, 0), (2, 3, 35), (0, 20, 70), (-2, 4, 105))),
    Lead(path_mm=((0, 0, 0), (20, 30, 0), (40, 10, -80))),
    SternalWire(),
    Staple(),
    SkinStaple(),
    SurgicalClip(),
    AneurysmClip(),
    EmbolisationCoil(4.0),
    Stent(length_mm=40),
    Stent(path_mm=((0, 0, 0), (1, 0, 25), (6, 3, 50))),
    CranialPlate(30, 40),
    BurrHoleCover(),
]


def vtk_edges(surface: vtk.vtkPolyData) -> int:
    """Boundary and non-manifold edges as vtkFeatureEdges counts them."""
    edges = vtk.vtkFeatureEdges()
    edges.SetInputData(surface)
    edges.FeatureEdgesOff()
    edges.ManifoldEdgesOff()
    edges.BoundaryEdgesOn()
    edges.NonManifoldEdgesOn()
    edges.ColoringOff()
    edges.Update()
    return int(edges.GetOutput().GetNumberOfCells())


def vtk_volume(surface: vtk.vtkPolyData) -> float:
    properties = vtk.vtkMassProperties()
    properties.SetInputData(surface)
    return float(properties.GetVolume())


def check_surfaces(implant: Implant) -> None:
    parts = implant.parts()
    assert len({part.name for part in parts}) == len(parts)
    for part in parts:
        surface = part.surface
        assert vtk_edges(surface) == 0, part.name
        # The divergence theorem gives a positive volume only with outward normals.
        assert part.mesh.volume_mm3 == pytest.approx(vtk_volume(surface), rel=1e-6)
        below, once, more = enclosed_volumes(part.mesh, 160)
        assert below + more < 1e-4 * once, part.name


@pytest.mark.parametrize("implant", FAMILIES, ids=lambda implant: implant.kind)
def test_closed_outward_not_self_intersecting(implant: Implant) -> None:
    check_surfaces(implant)


@pytest.mark.parametrize(
    "kind", [k for k in implant_kinds() if k not in ("user-mesh", "total-hip")]
)
def test_any_parameters_give_a_sound_surface_or_one_line(kind: str) -> None:
    rng = np.random.default_rng(7)
    made = 0
    for _ in range(6):
        parameters: dict[str, object] = {"kind": kind}
        for name, limits in parameter_ranges(kind).items():
            value = rng.uniform(limits.minimum, limits.maximum)
            parameters[name] = round(value) if limits.unit == "" and limits.step == 1 else value
        try:
            implant = implant_from_dict(parameters)
        except InputError as error:
            assert "\n" not in str(error) and kind in str(error)
            continue
        check_surfaces(implant)
        made += 1
    assert made >= 1


def test_surface_of_all_parts_is_one_polydata() -> None:
    screw = PedicleScrew()
    surface = screw.surface()
    assert surface.GetNumberOfPolys() == sum(len(p.mesh.triangles) for p in screw.parts())
    assert vtk_edges(surface) == 0
    back = Mesh.from_polydata(surface)
    assert back.volume_mm3 == pytest.approx(screw.mesh().volume_mm3)


# --- volumes against closed formulas -------------------------------------------------------------


def capsule(diameter: float, length: float) -> float:
    r = diameter / 2
    return np.pi * r**2 * (length - diameter) + 4 / 3 * np.pi * r**3


@pytest.mark.parametrize("diameter", [4.75, 5.5, 6.0, 6.35])
def test_straight_rod_volume(diameter: float) -> None:
    assert Rod(diameter, 80).mesh().volume_mm3 == pytest.approx(capsule(diameter, 80), rel=2e-3)


def test_bent_rod_volume_is_that_of_its_length() -> None:
    # Pappus: a tube's volume is section times length of the centre line.
    radius, diameter = 120.0, 5.5
    angle = np.linspace(0, 1.0, 9)
    path = np.stack([radius * np.cos(angle), 0 * angle, radius * np.sin(angle)], axis=-1)
    rod = Rod(diameter, path_mm=tuple(map(tuple, path)))
    assert rod.mesh().volume_mm3 == pytest.approx(capsule(diameter, radius), rel=4e-3)


def test_femoral_head_volume() -> None:
    head = FemoralHead(32.0)
    radius, mouth = head.mouth_mm
    flat = np.sqrt(16.0**2 - mouth**2)
    cap = np.pi * (16.0 + mouth) * (3 * flat**2 + (16.0 + mouth) ** 2) / 6
    depth = head.engagement_mm
    bore = np.pi * depth / 3 * (radius**2 + radius * 6.0 + 36.0)
    expected = 4 / 3 * np.pi * 16.0**3 - cap - bore
    assert head.mesh().volume_mm3 == pytest.approx(expected, rel=2e-3)


def test_cup_and_liner_volumes() -> None:
    cup = AcetabularCup(52, 32, 3.5)
    shell, liner = cup.parts()
    assert liner.mesh.volume_mm3 == pytest.approx(2 / 3 * np.pi * (22.5**3 - 16**3), rel=2e-3)
    hemisphere = 2 / 3 * np.pi * (26**3 - 22.5**3)
    # Three radial holes: the solid angle of a cone of the hole's opening, three times.
    opening = 0.5 * 7.6 / 26
    holes = 3 * (1 - np.cos(opening)) * hemisphere
    assert shell.mesh.volume_mm3 == pytest.approx(hemisphere - holes, rel=3e-3)
    assert (shell.material, liner.material) == ("Ti6Al4V", "UHMWPE")


def test_screw_volume_between_core_and_envelope() -> None:
    screw = PedicleScrew(6.5, 45)
    shaft = next(part for part in screw.parts() if part.name == "shaft").mesh
    head, thin = (d / 2 for d in screw.core_diameters_mm)
    assert 2 * head < 6.5 and head > thin
    radius = np.linalg.norm(shaft.points[:, :2], axis=1)
    z = shaft.points[:, 2]
    body = (z > 3) & (z < 38)
    # Nothing inside the conical core, nothing outside the thread (0.5 %: polygons of equal area).
    cone = np.interp(z, [2.5, 45 - 0.9 * 6.5], [head, thin])
    assert (radius[body] > 0.995 * cone[body]).all()
    assert radius[body].max() == pytest.approx(3.25, rel=5e-3)
    assert radius[body].min() < 1.02 * cone[body].max()


def test_cage_volume_without_teeth() -> None:
    cage = InterbodyCage(30, 24, 12, lordosis_deg=0, wall_mm=4, corner=0.0, tooth_height_mm=0)
    # Outline corners of 1 mm, window corners of 0.8 mm.
    area = 30 * 24 - (4 - np.pi) - (22 * 16 - (4 - np.pi) * 0.8**2)
    assert cage.mesh().volume_mm3 == pytest.approx(12 * area, rel=1e-3)


# --- frames and dimensions -----------------------------------------------------------------------


def radius_profile(mesh: Mesh, azimuth: float) -> tuple[np.ndarray, np.ndarray]:
    """Outline of a surface in the half plane at an azimuth, cut by vtkCutter: z and radius."""
    plane = vtk.vtkPlane()
    plane.SetNormal(-np.sin(azimuth), np.cos(azimuth), 0)
    cutter = vtk.vtkCutter()
    cutter.SetCutFunction(plane)
    cutter.SetInputData(mesh.to_polydata())
    cutter.Update()
    output = cutter.GetOutput()
    points = np.array([output.GetPoint(i) for i in range(output.GetNumberOfPoints())])
    along = points[:, 0] * np.cos(azimuth) + points[:, 1] * np.sin(azimuth)
    points, along = points[along > 0], along[along > 0]
    order = np.argsort(points[:, 2])
    return points[order, 2], along[order]


def crests(mesh: Mesh, azimuth: float, low: float, high: float) -> np.ndarray:
    z, r = radius_profile(mesh, azimuth)
    grid = np.arange(low, high, 0.02)
    inside = np.interp(grid, z, r) > np.interp(grid, z, r).max() - 0.3
    starts = np.flatnonzero(np.diff(inside.astype(int)) == 1)
    ends = np.flatnonzero(np.diff(inside.astype(int)) == -1)
    ends = ends[ends > starts[0]]
    count = min(len(starts), len(ends))
    return 0.5 * (grid[starts[:count]] + grid[ends[:count]])


@pytest.mark.parametrize("pitch", [2.0, 2.7, 4.0])
def test_thread_pitch_and_hand(pitch: float) -> None:
    shaft = PedicleScrew(6.5, 45, pitch_mm=pitch, core_taper_mm=0.0).parts()[0].mesh
    at_zero = crests(shaft, 0.0, 8, 38)
    np.testing.assert_allclose(np.diff(at_zero), pitch, atol=0.03)
    # A right-handed helix climbs a quarter of the pitch on a quarter turn from x to y.
    at_quarter = crests(shaft, np.pi / 2, 8, 38)
    climb = np.mod(at_quarter[1] - at_zero[1], pitch)
    assert climb == pytest.approx(pitch / 4, abs=0.05)


def test_pedicle_screw_frame() -> None:
    screw = PedicleScrew(5.5, 40, head_angle_deg=0)
    parts = {part.name: part.mesh for part in screw.parts()}
    assert parts["shaft"].bounds_mm[1][2] == pytest.approx(40)
    assert parts["tulip"].bounds_mm[1][2] < 0  # all of the tulip above the entry point
    seat = screw.rod_seat()
    np.testing.assert_allclose(seat.direction, [1, 0, 0], atol=1e-12)
    np.testing.assert_allclose(seat.up, [0, 0, -1], atol=1e-12)
    assert seat.position[2] < parts["tulip"].bounds_mm[0][2] + 9


@pytest.mark.parametrize("angle", [0.0, 12.0, 30.0])
@pytest.mark.parametrize("azimuth", [0.0, 77.0, 250.0])
def test_tulip_tilts_about_the_ball_and_the_slot_is_empty(angle: float, azimuth: float) -> None:
    screw = PedicleScrew(head_angle_deg=angle, head_azimuth_deg=azimuth, slot_azimuth_deg=20.0)
    seat = screw.rod_seat()
    assert np.rad2deg(np.arccos(-seat.up[2])) == pytest.approx(angle, abs=1e-6)
    if angle:
        expected = np.deg2rad(azimuth)
        np.testing.assert_allclose(
            seat.up[:2] / np.linalg.norm(seat.up[:2]), [np.cos(expected), np.sin(expected)]
        )
    assert seat.up @ seat.direction == pytest.approx(0, abs=1e-12)
    rod = Rod.through([seat.position - 12 * seat.direction, seat.position + 12 * seat.direction])
    locator = vtk.vtkImplicitPolyDataDistance()
    locator.SetInput(next(p for p in screw.parts() if p.name == "tulip").surface)
    distance = [locator.EvaluateFunction(p) for p in rod.mesh().points]
    assert min(distance) > -0.03  # the rod lies in the slot without cutting the tulip
    assert min(distance) < 0.3  # and on its bottom


@pytest.mark.parametrize("direction", [(1, 0, 0), (0.1, 1, 0.2), (0.6, 0.5, -0.3)])
def test_facing_turns_the_slot_to_the_rod(direction: tuple[float, float, float]) -> None:
    unit = np.array(direction) / np.linalg.norm(direction)
    screw = PedicleScrew().facing(np.array(direction))
    seat = screw.rod_seat()
    assert abs(seat.direction @ unit) == pytest.approx(1, abs=1e-9)
    assert screw.head_angle_deg == pytest.approx(abs(np.rad2deg(np.arcsin(unit[2]))), abs=1e-6)
    steep = PedicleScrew().facing(np.array([0.2, 0.0, 1.0]))
    assert steep.head_angle_deg == 30.0


def test_rod_goes_through_the_seats() -> None:
    seats = np.array([[0, 0, 0], [3, 2, 32], [1, 5, 66], [-2, 3, 99]], dtype=float)
    rod = Rod.through(seats, overhang_mm=8)
    line, tangent = rod.centre_line()
    fine = np.concatenate([a + (b - a) * np.linspace(0, 1, 20)[:, None] for a, b in pairwise(line)])
    for seat in seats:
        assert np.linalg.norm(fine - seat, axis=1).min() < 0.05
    np.testing.assert_allclose(np.linalg.norm(tangent, axis=1), 1)
    assert np.linalg.norm(line[0] - seats[0]) == pytest.approx(8, abs=0.01)
    distance = np.linalg.norm(rod.mesh().points[:, None] - fine[None], axis=-1).min(axis=1)
    assert distance.max() == pytest.approx(2.75, rel=0.01)


def test_cross_link_between_two_rods() -> None:
    link, placement = CrossLink.between(
        np.array([-20.0, 5, 0]),
        np.array([20.0, 5, 4]),
        np.array([0, 0, 1]),
        up=np.array([0, -1, 0]),
    )
    ends = placement @ np.array([[-0.5, 0.5], [0, 0], [0, 0], [0, 0]]) * link.distance_mm
    ends = ends[:3] + placement[:3, 3:]
    np.testing.assert_allclose(ends.T, [[-20, 5, 0], [20, 5, 4]], atol=1e-9)
    assert np.linalg.det(placement[:3, :3]) == pytest.approx(1)
    assert placement[:3, 1] @ [0, -1, 0] > 0.9
    # The hooks clasp rods: no metal on the rods' axes, metal around them.
    for x in (-0.5, 0.5):
        offset = link.mesh().points[:, :2] - [x * link.distance_mm, 0]
        radius = np.linalg.norm(offset, axis=1)
        assert radius.min() > 2.7


def test_stem_and_head_meet_at_the_taper() -> None:
    stem, head = HipStem(offset_mm=44.0, neck_shaft_angle_deg=131.0), FemoralHead(32, 4.0)
    centre = stem.head_centre_mm()
    assert centre[0] == pytest.approx(44.0)
    shaft_angle = np.rad2deg(np.arccos(centre @ [0, 0, -1] / np.linalg.norm(centre)))
    assert shaft_angle == pytest.approx(131.0)
    pose = stem.head_pose(head.neck_length_mm)
    assert np.linalg.norm(pose[:3, 3]) == pytest.approx(np.linalg.norm(centre) + 4.0)
    # Taper and bore touch: the stem's highest point on the neck's axis is the bore's bottom.
    along = stem.mesh().points @ (centre / np.linalg.norm(centre))
    bottom = np.linalg.norm(pose[:3, 3]) + head.bore_depth_z_mm
    assert along.max() == pytest.approx(bottom, abs=1e-6)
    low, high = stem.mesh().bounds_mm
    assert low[2] == pytest.approx(-stem.length_mm)
    # Symmetric front to back, wider than deep.
    assert high[1] == pytest.approx(-low[1], abs=1e-9)
    assert high[1] - low[1] < stem.proximal_width_mm


@pytest.mark.parametrize("side", ["left", "right"])
def test_total_hip_cup_faces_down_out_and_forward(side: str) -> None:
    hip = TotalHip(side=side, inclination_deg=45, anteversion_deg=20)
    poses = hip.component_poses()
    np.testing.assert_allclose(poses["cup"][:3, 3], poses["head"][:3, 3])
    axis = poses["cup"][:3, 2]
    front = 1 if side == "left" else -1
    assert axis[0] < 0 and axis[2] < 0 and front * axis[1] > 0
    # Murray 1993, radiographic: anteversion out of the coronal plane, inclination within it.
    assert np.rad2deg(np.arcsin(front * axis[1])) == pytest.approx(20)
    assert np.rad2deg(np.arctan2(-axis[0], -axis[2])) == pytest.approx(45)
    assert {"CoCrMo", "Ti6Al4V", "UHMWPE"} == {part.material for part in hip.parts()}
