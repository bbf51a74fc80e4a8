"""Cages with their markers, plates with their screws: parts that fit into each other."""

from __future__ import annotations

from dataclasses import replace

import vtk

from SimulateImplantsLib.implants.cage import InterbodyCage
from SimulateImplantsLib.implants.plate import AnteriorPlate


def test_markers_come_with_peek() -> None:
    peek = InterbodyCage(material="PEEK")
    assert [part.material for part in peek.parts()] == ["PEEK"] + ["tantalum"] * 4
    assert [part.material for part in InterbodyCage().parts()] == ["Ti6Al4V"]
    ring, *pins = peek.parts()
    locator = vtk.vtkImplicitPolyDataDistance()
    locator.SetInput(ring.surface)
    for pin in pins:  # inside the ring everywhere
        assert max(locator.EvaluateFunction(p) for p in pin.mesh.points) < 0


def test_plate_screws_leave_through_the_holes() -> None:
    plate = AnteriorPlate()
    body, *screws = plate.parts()
    assert len(screws) == 4
    locator = vtk.vtkImplicitPolyDataDistance()
    locator.SetInput(body.surface)
    for screw in screws:
        deepest = min(locator.EvaluateFunction(p) for p in screw.mesh.points)
        assert deepest > -0.6  # the tilted head may bite into the rim, the shaft runs free
        assert screw.mesh.bounds_mm[0][1] < -10
    upper = replace(plate, screw_diameter_mm=0)
    assert [part.name for part in upper.parts()] == ["plate"]
