"""Presets, descriptions as JSON, and the errors of wrong parameters."""

from __future__ import annotations

import csv
import json
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest

from MetalArtifactReductionLib.errors import InputError
from SimulateImplantsLib.implants import (
    base,
    entries,
    implant_from_dict,
    implant_from_preset,
    implant_kinds,
    parameter_ranges,
    presets,
)
from SimulateImplantsLib.implants.acetabular_cup import AcetabularCup
from SimulateImplantsLib.implants.base import Implant
from SimulateImplantsLib.implants.cross_link import CrossLink
from SimulateImplantsLib.implants.femoral_head import FemoralHead
from SimulateImplantsLib.implants.hip_stem import HipStem
from SimulateImplantsLib.implants.nail import CephalomedullaryNail
from SimulateImplantsLib.implants.pedicle_screw import PedicleScrew
from SimulateImplantsLib.implants.rod import Rod
from SimulateImplantsLib.implants.total_hip import TotalHip
from SimulateImplantsLib.implants.user_mesh import UserMesh


@pytest.mark.parametrize("preset", presets(), ids=lambda p: f"{p.kind}: {p.name}")
def test_presets_make_implants_that_survive_json(preset) -> None:
    implant = implant_from_preset(preset.kind, preset.name)
    for name, value in preset.parameters.items():
        assert getattr(implant, name) == value
    assert preset.source
    text = json.dumps(implant.to_dict())
    again = implant_from_dict(json.loads(text))
    assert again == implant
    assert json.dumps(again.to_dict()) == text


@pytest.mark.parametrize("table", ["presets.csv", "ranges.csv"])
def test_tables_have_as_many_columns_in_every_row(table: str) -> None:
    with (Path(base.__file__).parent / table).open(encoding="utf-8", newline="") as file:
        assert len({len(row) for row in csv.reader(file)}) == 1


def test_presets_cover_the_sizes_of_each_family() -> None:
    def values(kind: str, name: str) -> set[float]:
        return {preset.parameters[name] for preset in presets(kind)}

    assert values("rod", "diameter_mm") == {3.5, 4.75, 5.5, 6.0, 6.35}
    assert min(values("pedicle-screw", "diameter_mm")) == 4.0
    assert max(values("pedicle-screw", "diameter_mm")) == 8.5
    assert (
        min(values("pedicle-screw", "length_mm")),
        max(values("pedicle-screw", "length_mm")),
    ) == (
        25,
        60,
    )
    assert values("acetabular-cup", "diameter_mm") == set(range(40, 63, 2))
    assert values("femoral-head", "diameter_mm") == {22, 26, 28, 32, 36}
    kinds = {preset.kind for preset in presets()}
    assert kinds == {entry.kind for entry in entries() if entry.label} - {"total-hip"}
    names = [(preset.kind, preset.name) for preset in presets()]
    assert len(set(names)) == len(names)


def test_ranges_name_real_parameters_and_hold_the_defaults() -> None:
    for kind, family in implant_kinds().items():
        known = {item.name: item.default for item in fields(family)}  # type: ignore[arg-type]
        for name, limits in parameter_ranges(kind).items():
            assert name in known
            assert limits.minimum < limits.maximum and limits.step > 0 and limits.source
            if isinstance(known[name], float | int):
                assert limits.minimum <= known[name] <= limits.maximum


@pytest.mark.parametrize(
    "implant",
    [
        PedicleScrew(7.5, 50, thread_depth_mm=1.1, head_angle_deg=12.5, set_screw=False),
        Rod.through([(0, 0, 0), (1.25, 3, 30), (0, 0, 61)]),
        CrossLink(33.3),
        TotalHip(HipStem(offset_mm=42), FemoralHead(36, 4), AcetabularCup(56, 36), side="right"),
    ],
    ids=lambda implant: implant.kind,
)
def test_dict_round_trip(implant: Implant) -> None:
    again = implant_from_dict(json.loads(json.dumps(implant.to_dict())))
    assert again == implant and hash(again) == hash(implant)
    np.testing.assert_array_equal(again.mesh().points, implant.mesh().points)


def test_numpy_numbers_become_plain_ones() -> None:
    screw = PedicleScrew(np.float32(6.5), np.int64(45))  # type: ignore[arg-type]
    assert json.loads(json.dumps(screw.to_dict()))["length_mm"] == 45
    assert isinstance(screw.diameter_mm, float)


@pytest.mark.parametrize(
    ("description", "words"),
    [
        ({"kind": "pedicle-screw", "diameter_mm": 65}, ("65 mm", "4 to 10.5 mm")),
        ({"kind": "pedicle-screw", "length_mm": 0.045}, ("0.045", "25 to 100")),
        ({"kind": "pedicle-screw", "diameter_mm": float("nan")}, ("nan", "not a number")),
        ({"kind": "pedicle-screw", "diameter_mm": "6.5"}, ("'6.5'", "not a number")),
        ({"kind": "pedicle-screw", "diameter_mm": True}, ("True", "not a number")),
        ({"kind": "pedicle-screw", "head_angle_deg": 31}, ("31 deg", "0 to 30")),
        ({"kind": "pedicle-screw", "set_screw": "yes"}, ("set_screw", "yes")),
        ({"kind": "pedicle-screw", "material": "copper"}, ("copper", "Ti6Al4V")),
        ({"kind": "pedicle-screw", "core_taper_mm": 2.9}, ("core_taper_mm of 2.9", "less than")),
        ({"kind": "pedicle-screw", "diamter_mm": 6}, ("diamter_mm", "did you mean diameter_mm")),
        ({"kind": "pedicle-screw", "preset": "6 x 99"}, ("6 x 99", "6.5 x 45 mm")),
        ({"kind": "screw"}, ("'screw'", "pedicle-screw")),
        ({}, ("None", "pedicle-screw")),
        ({"kind": "rod", "path_mm": [[0, 0, 0]]}, ("path_mm", "two or more")),
        ({"kind": "rod", "path_mm": [[0, 0, 0], [0, 0, 0]]}, ("0 mm apart", "0.1 mm")),
        ({"kind": "rod", "path_mm": [[0, 0, 0], [0, 9, 9], [0, 0, 18]]}, ("bends", "5.5 mm")),
        ({"kind": "acetabular-cup", "diameter_mm": 44, "head_mm": 36}, ("36", "heads up to 31")),
        ({"kind": "femoral-head", "diameter_mm": 22, "neck_length_mm": 8}, ("8", "larger head")),
        ({"kind": "hip-stem", "offset_mm": 28, "proximal_width_mm": 36}, ("28", "or more")),
        ({"kind": "interbody-cage", "wall_mm": 8, "width_mm": 14}, ("wall_mm of 8", "thinner")),
        ({"kind": "anterior-plate", "levels": 4}, ("26", "longer plate")),
        ({"kind": "anterior-plate", "levels": 1.5}, ("1.5", "whole number")),
        ({"kind": "cephalomedullary-nail", "side": "medial"}, ("medial", "'left'")),
        ({"kind": "total-hip", "stem": {"kind": "rod"}}, ("stem", "hip-stem")),
        (
            {"kind": "total-hip", "head": {"kind": "femoral-head", "diameter_mm": 28}},
            ("28 mm", "32 mm"),
        ),
        ({"kind": "user-mesh"}, ("path", "STL")),
        ({"kind": "user-mesh", "path": "no/such.stl"}, ("no/such.stl", "no such file")),
    ],
    ids=lambda value: str(value)[:60] if isinstance(value, dict) else "",
)
def test_one_line_names_value_and_remedy(description: dict, words: tuple[str, ...]) -> None:
    with pytest.raises(InputError) as caught:
        implant_from_dict(description)
    message = str(caught.value)
    assert "\n" not in message
    for word in words:
        assert word in message


def test_rod_needs_screws_apart() -> None:
    with pytest.raises(InputError, match="two or more screws, 1 given"):
        Rod.through([(0, 0, 0)])
    with pytest.raises(InputError, match=r"seats 2 and 3 are 0\.00 mm apart"):
        Rod.through([(0, 0, 0), (0, 0, 30), (0, 0, 30)])


def test_material_names_are_canonical() -> None:
    assert PedicleScrew(material="ti6al4v").material == "Ti6Al4V"
    assert implant_from_preset("rod", "5.5 mm stainless steel").material == "316L"


def test_user_mesh_from_memory_asks_for_a_file() -> None:
    mesh = UserMesh.from_polydata(Rod().surface(), "316L")
    assert mesh.parts()[0].material == "316L"
    with pytest.raises(InputError, match="save it as STL"):
        mesh.to_dict()


def test_nail_frame_and_lag_screw() -> None:
    nail = CephalomedullaryNail(length_mm=200, bend_deg=0.0, neck_shaft_angle_deg=130)
    parts = {part.name: part.mesh for part in nail.parts()}
    low, high = parts["nail"].bounds_mm
    assert high[2] - low[2] == pytest.approx(200)
    lag = parts["lag screw"]
    along = lag.points @ nail.lag_axis
    assert along.max() == pytest.approx(nail.lag_tip_mm @ nail.lag_axis)
    away = np.linalg.norm(lag.points - along[:, None] * nail.lag_axis, axis=1)
    assert away.max() == pytest.approx(5.25, rel=5e-3)
    assert nail.lag_tip_mm[0] > 40  # medial, in the femoral head
    # The lag screw's hole is free: no point of the nail's outside within its cylinder.
    outside = parts["nail"].points
    outside = outside[np.linalg.norm(outside[:, :2], axis=1) > 7.7]
    along = outside @ nail.lag_axis
    away = np.linalg.norm(outside - along[:, None] * nail.lag_axis, axis=1)
    assert away.min() > 5.2
    bent = CephalomedullaryNail(length_mm=200, bend_deg=5.0).parts()[0].mesh
    assert bent.points[bent.points[:, 2].argmin(), 0] < -5  # away from the head
    assert bent.volume_mm3 == pytest.approx(
        CephalomedullaryNail(length_mm=200, bend_deg=0.0).parts()[0].mesh.volume_mm3, rel=2e-3
    )
