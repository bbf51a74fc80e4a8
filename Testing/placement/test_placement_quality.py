"""How stems, nails, cups, cages and plates sit in bones whose shape is known exactly."""

from __future__ import annotations

import numpy as np
import pytest

from MetalArtifactReductionLib.errors import InputError
from MetalArtifactReductionLib.volume import CTVolume
from SimulateImplantsLib.implants.acetabular_cup import AcetabularCup
from SimulateImplantsLib.implants.cage import InterbodyCage
from SimulateImplantsLib.implants.femoral_head import FemoralHead
from SimulateImplantsLib.implants.hip_stem import HipStem
from SimulateImplantsLib.implants.nail import CephalomedullaryNail
from SimulateImplantsLib.implants.plate import AnteriorPlate
from SimulateImplantsLib.placement.anatomy import Anatomy
from SimulateImplantsLib.placement.hip.seat import Seat, seat_of
from SimulateImplantsLib.placement.quality import PlacedItem, measure_placement

OUTER_MM, CANAL_MM = 14.0, 6.0


def volume_of(bone: np.ndarray, spacing: tuple[float, float, float]) -> CTVolume:
    """Compact bone in soft tissue; the middle of the array is the origin of RAS."""
    matrix = np.diag([*spacing[::-1], 1.0])
    matrix[:3, 3] = -0.5 * (np.array(bone.shape[::-1]) - 1) * spacing[::-1]
    return CTVolume(np.where(bone, 1200, 40).astype(np.float32), matrix)


def grid(
    shape: tuple[int, int, int], spacing: tuple[float, float, float]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """RAS of the voxels: R, A, S."""
    s, a, r = (
        (np.arange(n) - 0.5 * (n - 1)) * step for n, step in zip(shape, spacing, strict=True)
    )
    return r[None, None, :], a[None, :, None], s[:, None, None]


@pytest.fixture(scope="module")
def shaft() -> Anatomy:
    """A femur as a tube along the S axis under a block of bone, in slices of 2 mm."""
    spacing, shape = (2.0, 0.8, 0.8), (140, 120, 120)
    r, a, s = grid(shape, spacing)
    radius = np.hypot(r, a) + 0 * s
    bone = ((radius < OUTER_MM) & (radius > CANAL_MM)) | ((radius < 44) & (s > 52))
    return Anatomy(volume_of(bone, spacing), {"femur_left": bone})


def upright(aside: float = 0.0, front: float = 0.0, up: float = 0.0) -> np.ndarray:
    """In a left femur medial is to the right of the patient: +x of the implant is +R."""
    matrix = np.eye(4)
    matrix[:3, 3] = aside, front, up
    return matrix


def nail(diameter: float) -> CephalomedullaryNail:
    """Straight, without screws beside it that matter here."""
    return CephalomedullaryNail(
        diameter_mm=diameter,
        bend_deg=0.0,
        locking_screws=0,
        lag_length_mm=60.0,
        neck_shaft_angle_deg=130.0,
        cannula_mm=4.0,
    )


def seat(implant: object, matrix: np.ndarray, anatomy: Anatomy) -> Seat:
    found = seat_of(implant, matrix, "left", anatomy)  # type: ignore[arg-type]
    assert found is not None
    return found


def test_nail_in_a_canal_and_out_of_it(shaft: Anatomy) -> None:
    loose, tight = seat(nail(9.0), upright(up=70), shaft), seat(nail(12.0), upright(up=70), shaft)
    for found in (loose, tight):
        assert found.breach_mm == 0
        assert found.share_in_bone > 0.99
    assert loose.contact < 0.3
    assert tight.contact > 0.9
    assert loose.min_hu == pytest.approx(40, abs=5)  # what the canal holds
    for aside, front, name in (
        (-15.0, 0.0, "lateral"),
        (14.0, 0.0, "medial"),
        (0.0, 15.0, "anterior"),
        (0.0, -16.0, "posterior"),
    ):
        breached = seat(nail(10.0), upright(aside, front, 70), shaft)
        wanted = float(np.hypot(aside, front)) + 0.5 * 15.5 - OUTER_MM  # its thick part
        assert breached.breach_mm == pytest.approx(wanted, abs=1.0)
        assert breached.breach_direction == name


def test_stem_fills_the_canal_or_pierces_the_cortex(shaft: Anatomy) -> None:
    slim = HipStem(length_mm=115, distal_diameter_mm=7, proximal_width_mm=22, offset_mm=34)
    down = upright(up=70)
    middle = seat(slim, down, shaft)
    assert middle.breach_mm == 0
    assert middle.share_in_bone == pytest.approx(1.0, abs=0.01)
    beside = seat(slim, upright(-5.0, 0.0, 70), shaft)
    assert beside.contact > middle.contact
    out = seat(slim, upright(-20.0, 0.0, 70), shaft)
    assert out.breach_direction == "lateral"
    # The stem's lateral side is 4 to 6 mm from its axis below the resection.
    assert 20 + 3.5 - OUTER_MM - 1 < out.breach_mm < 20 + 7.0 - OUTER_MM + 1
    assert out.share_in_bone < 0.6


def test_hollow_threshold_bone_serves_as_well_as_a_label(shaft: Anatomy) -> None:
    assert shaft.bone is not None
    plain = Anatomy(shaft.volume, {"bone": shaft.bone})
    for place in (upright(up=70), upright(-20.0, 0.0, 70)):
        stem = HipStem(length_mm=115, distal_diameter_mm=7, proximal_width_mm=22, offset_mm=34)
        assert seat(stem, place, plain) == seat(stem, place, shaft)


def test_a_cup_touches_its_socket_or_hangs_free() -> None:
    spacing, shape = (1.5, 1.0, 1.0), (60, 90, 90)
    r, a, s = grid(shape, spacing)
    distance = np.sqrt(r**2 + a**2 + s**2)
    bone = (distance > 26.0) & (distance < 34.0) & (s + 0 * r + 0 * a > 0)
    anatomy = Anatomy(volume_of(bone, spacing), {"hip_left": bone})
    down = np.diag([1.0, -1.0, -1.0, 1.0])  # opens downwards
    fits = seat(AcetabularCup(diameter_mm=52), down, anatomy)
    small = seat(AcetabularCup(diameter_mm=44, head_mm=28), down, anatomy)
    assert fits.contact > 0.9
    assert small.contact < 0.05
    low = down.copy()
    low[2, 3] = -12.0
    assert seat(AcetabularCup(diameter_mm=52), low, anatomy).contact < 0.3


def test_a_cage_between_endplates() -> None:
    spacing, shape = (1.0, 1.0, 1.0), (60, 70, 70)
    _, _, s = grid(shape, spacing)
    bone = np.broadcast_to(np.abs(s) > 6.0, shape).copy()
    anatomy = Anatomy(volume_of(bone, spacing), {"bone": bone})
    assert seat(InterbodyCage(height_mm=12, lordosis_deg=0), np.eye(4), anatomy).contact > 0.95
    low = InterbodyCage(height_mm=7, lordosis_deg=0)
    assert seat(low, np.eye(4), anatomy).contact == 0
    raised = np.eye(4)
    raised[2, 3] = 2.5
    assert seat(low, raised, anatomy).contact == pytest.approx(0.5, abs=0.1)


def test_a_plate_on_a_round_wall() -> None:
    spacing, shape = (1.5, 0.8, 0.8), (40, 90, 90)
    r, a, s = grid(shape, spacing)
    bone = np.hypot(r, a + 22.0) + 0 * s < 22.0
    anatomy = Anatomy(volume_of(bone, spacing), {"bone": bone})
    plate = AnteriorPlate(curvature_mm=22.0)
    assert seat(plate, np.eye(4), anatomy).contact > 0.95
    off = np.eye(4)
    off[1, 3] = 4.0
    assert seat(plate, off, anatomy).contact < 0.1


def test_rows_of_a_placement(shaft: Anatomy) -> None:
    items = [
        PlacedItem(nail(10.0), upright(up=60), "nail", side="left"),
        PlacedItem(FemoralHead(), upright(up=60), "head"),
        PlacedItem(FemoralHead(), upright(up=500), "far"),
    ]
    rows = measure_placement(items, shaft, lambda i, j: False)
    assert rows[0].touches == ("head",)
    assert rows[1].touches == ("nail",)
    assert np.isnan(rows[1].contact)
    assert rows[2].outside == 1.0
    assert rows[0].size == "10 x 180 mm"
    none = measure_placement(items[:2], shaft, lambda i, j: True)
    assert [row.touches for row in none] == [(), ()]
    with pytest.raises(InputError, match="resample it to the CT's geometry"):
        Anatomy(shaft.volume, {"bone": np.ones((2, 3, 4), bool)})
