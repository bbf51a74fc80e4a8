"""How well placed implants lie, said of nodes in a scene."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from MetalArtifactReductionLib.errors import InputError
from MetalArtifactReductionLib.mrml import node_from_volume
from phantom_support import vertebrae
from SimulateImplantsLib.implants.hip_stem import HipStem
from SimulateImplantsLib.implants.pedicle_screw import PedicleScrew
from SimulateImplantsLib.mrml import (
    add_implant,
    implants_of,
    placement_quality,
    quality_table,
    set_matrix,
)
from SimulateImplantsLib.phantoms import Phantom
from SimulateImplantsLib.placement.geometry import axis_placement


@pytest.fixture
def ct(scene: Any, spine: Phantom) -> Any:
    return node_from_volume(scene, spine.volume, "Spine")


def screw_along(scene: Any, truth: Any, diameter: float, aside: np.ndarray) -> Any:
    """A screw along the true axis of a pedicle, moved aside."""
    entry = truth.entry_ras + aside
    return add_implant(
        scene,
        PedicleScrew(diameter_mm=diameter, length_mm=40),
        axis_placement(entry, entry + truth.direction),
    )


def test_constructed_breaches_are_graded(scene: Any, ct: Any, spine: Phantom) -> None:
    """Moved towards the canal by known distances from the middle of the pedicle."""
    truth = next(t for t in spine.truth.pedicles if (t.level, t.side) == ("L4", "left"))
    medial = np.cross(truth.direction, [0.0, 0.0, 1.0])
    centre = next(t for t in spine.truth.vertebrae if t.level == "L4").canal_ras
    medial *= np.sign(medial @ (centre - truth.isthmus_ras)) / np.linalg.norm(medial)
    wanted_mm = (-1.5, 1.0, 3.0, 5.0)
    for wanted in wanted_mm:
        screw_along(scene, truth, 4.0, (0.5 * truth.width_mm - 2.0 + wanted) * medial)
    rows = placement_quality(scene, ct, vertebrae(spine))
    for wanted, row in zip(wanted_mm, rows, strict=True):
        assert row.breach_mm == pytest.approx(max(wanted, 0.0), abs=1.0)
        assert row.grade in ("A" if wanted < 0 else "ABC" if wanted < 2 else "BCD")
        if wanted > 2:
            assert row.breach_direction == "medial"
        # A screw without level and side gets them from where it lies.
        assert (row.implant.level, row.implant.side) == ("L4", "left")
    assert [row.breach_mm for row in rows] == sorted(row.breach_mm for row in rows)


def test_quality_rows_and_table(proposed: Any, spine: Phantom) -> None:
    scene, node, result = proposed
    rows = placement_quality(scene, node, vertebrae(spine))
    assert [row.implant for row in rows] == implants_of(scene)
    assert len(rows) == len(result.implants)
    for row in rows:
        assert row.touches == ()  # rods in their heads are no collision
        if row.implant.kind == "pedicle-screw":
            assert row.grade == "A"
            assert 0.9 < row.share_in_bone <= 1.0
            assert 100 < row.mean_hu < 700
            assert row.min_hu <= row.mean_hu
            assert 0 < row.convergence_deg < 40
        else:
            assert np.isnan(row.breach_mm)
        assert row.outside == 0
    hierarchy = scene.GetFirstNodeByClass("vtkMRMLSubjectHierarchyNode")
    hierarchy.SetItemParent(
        hierarchy.GetItemParent(hierarchy.GetItemByDataNode(rows[0].implant.model)),
        study := hierarchy.CreateStudyItem(hierarchy.GetSceneItemID(), "Study"),
    )
    table = quality_table(scene, rows)
    assert hierarchy.GetItemParent(hierarchy.GetItemByDataNode(table)) == study
    assert table.GetNumberOfRows() == len(rows)
    titles = [table.GetTable().GetColumnName(i) for i in range(table.GetNumberOfColumns())]
    assert titles[:5] == ["Implant", "Level", "Side", "Size", "Grade"]
    assert table.GetCellText(0, 4) == "A"
    shown = float(table.GetTable().GetValueByName(0, "Mean HU").ToString())
    assert shown == pytest.approx(rows[0].mean_hu, abs=0.06)
    rod = next(i for i, row in enumerate(rows) if row.implant.kind == "rod")
    assert table.GetTable().GetValueByName(rod, "Breach (mm)").ToString() == ""
    assert quality_table(scene, rows[:1], into=table) is table
    assert table.GetNumberOfRows() == 1


def test_colliding_screws_are_named(scene: Any, ct: Any, spine: Phantom) -> None:
    truth = next(t for t in spine.truth.pedicles if (t.level, t.side) == ("L3", "left"))
    first = screw_along(scene, truth, 5.0, np.zeros(3))
    second = screw_along(scene, truth, 5.0, np.array([1.0, 0.0, 0.0]))
    apart = screw_along(scene, truth, 5.0, np.array([0.0, 0.0, 60.0]))
    rows = {row.implant.name: row for row in placement_quality(scene, ct)}
    assert rows[first.name].touches == (second.name,)
    assert rows[second.name].touches == (first.name,)
    assert rows[apart.name].touches == ()


def test_stem_through_a_stem_touches(scene: Any, ct: Any) -> None:
    place = axis_placement((0, 0, 0), (0, 0, 1))
    add_implant(scene, HipStem(), place, name="One")
    place = place.copy()
    place[0, 3] += 4.0
    add_implant(scene, HipStem(), place, name="Other")
    rows = placement_quality(scene, ct)
    assert [row.touches for row in rows] == [("Other",), ("One",)]


def test_quality_of_what_cannot_be_graded(scene: Any, ct: Any, spine: Phantom) -> None:
    with pytest.raises(InputError, match="no implant in the scene"):
        placement_quality(scene, ct)
    truth = next(t for t in spine.truth.pedicles if (t.level, t.side) == ("L3", "left"))
    screw = screw_along(scene, truth, 5.0, np.zeros(3))
    (row,) = placement_quality(scene, ct, {"bone": spine.bone_mask()})
    assert (row.grade, row.note) == ("A", "")  # by the image alone
    assert row.share_in_bone > 0.8
    (row,) = placement_quality(scene, ct, {"vertebrae_L4": spine.labels["vertebrae_L4"]})
    assert row.grade == "A"
    set_matrix(screw, np.linalg.inv(np.diag([1.0, -1, -1, 1])) @ screw.matrix())
    (row,) = placement_quality(scene, ct, {"bone": spine.bone_mask()})
    assert row.grade == "" and row.note.endswith("not graded")
    set_matrix(screw, np.linalg.inv(np.diag([1.0, -1, -1, 1])) @ screw.matrix())
    place = screw.matrix()
    place[2, 3] += 900.0
    set_matrix(screw, place)
    (row,) = placement_quality(scene, ct, vertebrae(spine))
    assert row.note == "partly outside the CT: not graded"
    with pytest.raises(InputError, match="resample it to the CT's geometry"):
        placement_quality(scene, ct, {"bone": np.ones((2, 3, 4), bool)})
