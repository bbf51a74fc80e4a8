"""Acquisition parameters: checks, presets, JSON, geometry."""

from __future__ import annotations

import dataclasses

import pytest

from MetalArtifactReductionLib.errors import InputError
from MetalArtifactReductionLib.physics.acquisition import (
    PRESETS,
    AcquisitionParameters,
    preset,
)
from MetalArtifactReductionLib.tomography import FanGeometry, ImageGrid, ParallelGeometry


@pytest.mark.parametrize("name", PRESETS)
def test_json_round_trip_is_exact(name):
    parameters = PRESETS[name].with_changes(cutoff=0.1 + 0.2, hu_clip=(-1024.1, 3071.7))
    assert AcquisitionParameters.from_json(parameters.to_json()) == parameters
    assert AcquisitionParameters.from_json(PRESETS[name].to_json()) == PRESETS[name]


def test_every_field_travels_through_json():
    names = {field.name for field in dataclasses.fields(AcquisitionParameters)}
    assert set(PRESETS["reference"].to_dict()) == names


def test_reference_is_the_documented_scanner():
    geometry = PRESETS["reference"].geometry_for(ImageGrid(512, 512, (0.8, 0.8)))
    assert geometry == FanGeometry(1000, 900, 1.0, 550.0, 950.0)
    assert PRESETS["reference"].kvp == 120 and PRESETS["reference"].energies == 12


def test_geometry_that_covers_the_image():
    grid = ImageGrid(300, 400, (1.0, 0.8))
    fan = preset("wide-field").geometry_for(grid)
    reach = fan.source_isocentre_mm * abs(fan.fan_angles_rad[[0, -1]]).min()
    assert reach > grid.diagonal_mm / 2
    for bin_mm in (None, 0.5):
        parallel = preset("parallel", bin_mm=bin_mm).geometry_for(grid)
        assert isinstance(parallel, ParallelGeometry)
        assert abs(parallel.bin_positions_mm[[0, -1]]).min() >= grid.diagonal_mm / 2


def test_image_larger_than_the_gantry():
    with pytest.raises(InputError, match="parallel geometry"):
        preset("wide-field").geometry_for(ImageGrid(512, 512, (1.6, 1.6)))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"geometry": "cone"}, "geometry 'cone'"),
        ({"kvp": 70}, "kvp 70"),
        ({"kvp": "high"}, "kvp 'high'"),
        ({"kvp": None}, "kvp None"),
        ({"energies": 0}, "energies 0"),
        ({"energies": 4.5}, "whole number"),
        ({"views": 3}, "views 3"),
        ({"views": None}, "fan beam needs"),
        ({"bin_mm": -1.0}, "bin_mm -1.0"),
        ({"source_detector_mm": 400.0}, "source_detector_mm 400.0"),
        ({"detector": "film"}, "detector 'film'"),
        ({"photons_per_ray": 0}, "photons_per_ray 0"),
        ({"photons_per_ray": float("nan")}, "photons_per_ray nan"),
        ({"photons_per_ray": 20.0, "floor_photons": 30.0}, "nothing would be measured"),
        ({"floor_photons": 0.0}, "floor_photons 0.0"),
        ({"scatter_to_primary": -0.1}, "scatter_to_primary -0.1"),
        ({"samples_per_bin": True}, "samples_per_bin True"),
        ({"window": "boxcar"}, "window 'boxcar'"),
        ({"cutoff": 0.0}, "cutoff 0.0"),
        ({"hu_clip": (100.0, 3071.0)}, "hu_clip"),
        ({"hu_clip": (-1024.0, float("inf"))}, "hu_clip"),
        ({"hu_clip": 3071.0}, "hu_clip"),
        ({"kVp": 120}, "unknown acquisition parameter 'kVp'"),
    ],
)
def test_bad_values_are_named(changes, message):
    with pytest.raises(InputError, match=message) as error:
        preset("reference", **changes)
    assert "\n" not in str(error.value)


def test_bad_json_and_preset():
    with pytest.raises(InputError, match="not JSON"):
        AcquisitionParameters.from_json("{")
    with pytest.raises(InputError, match="JSON object"):
        AcquisitionParameters.from_json("[1]")
    with pytest.raises(InputError, match=r"unknown preset 'fast'.*reference"):
        preset("fast")


def test_presets_are_frozen():
    with pytest.raises(dataclasses.FrozenInstanceError):
        PRESETS["reference"].kvp = 80.0
