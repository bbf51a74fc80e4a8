"""Stents that follow a bent vessel."""

from __future__ import annotations

import json

import numpy as np
import pytest

from MetalArtifactReductionLib.errors import InputError
from SimulateImplantsLib.implants.registry import implant_from_dict
from SimulateImplantsLib.implants.stent import Stent

ARC_MM = 120.0


def bent() -> Stent:
    """A quarter of a radian and more of a circle of 120 mm in the plane of x and z."""
    angle = np.linspace(0.0, 0.8, 9)
    x, z = ARC_MM * (1 - np.cos(angle)), ARC_MM * np.sin(angle)
    return Stent(24.0, path_mm=tuple((float(a), 0.0, float(b)) for a, b in zip(x, z, strict=True)))


def test_a_bent_stent_lies_about_its_path() -> None:
    points = bent().mesh().points
    across = np.hypot(np.hypot(points[:, 0] - ARC_MM, points[:, 2]) - ARC_MM, points[:, 1])
    assert across.max() == pytest.approx(12.0, abs=0.1)
    assert across.min() == pytest.approx(12.0 - 0.4, abs=0.1)
    angle = np.arctan2(points[:, 2], ARC_MM - points[:, 0])
    assert angle.min() == pytest.approx(0.0, abs=0.01) and angle.max() == pytest.approx(
        0.8, abs=0.01
    )


def test_it_holds_as_much_metal_as_a_straight_one() -> None:
    straight = Stent(24.0, length_mm=0.8 * ARC_MM)
    assert bent().mesh().volume_mm3 == pytest.approx(straight.mesh().volume_mm3, rel=0.01)


def test_it_comes_back_from_json() -> None:
    assert implant_from_dict(json.loads(json.dumps(bent().to_dict()))) == bent()


@pytest.mark.parametrize(
    ("path", "fault"),
    [
        (((0, 0, 0), (0, 0, 30), (0, 12, 36), (0, 0, 42)), "bends to a radius"),
        (((0, 0, 0), (0, 0, 8)), "ring_mm of 12 is longer than the stent"),
        (((0, 0), (0, 9)), "two or more points of three"),
    ],
)
def test_a_path_that_cannot_be_followed(path: tuple[tuple[float, ...], ...], fault: str) -> None:
    with pytest.raises(InputError, match=fault):
        Stent(path_mm=path)  # type: ignore[arg-type]
