"""What is refused as not CT, and what is told about a volume."""

from __future__ import annotations

import json

import numpy as np
import pytest

from MetalArtifactReductionLib.errors import InputError
from MetalArtifactReductionLib.files.checks import check_is_ct, clipped_at, describe
from MetalArtifactReductionLib.files.volumes import read_volume
from MetalArtifactReductionLib.volume import CTVolume
from support import shared_data

AXIAL = np.diag([-0.8, -0.9, 2.5, 1.0])


def body(shape: tuple[int, int, int] = (3, 96, 96), seed: int = 1) -> np.ndarray:
    """Fat around soft tissue with bone, in air, with noise."""
    rng = np.random.default_rng(seed)
    row, col = np.mgrid[: shape[1], : shape[2]]
    radius = np.hypot(row - shape[1] / 2, col - shape[2] / 2)
    limit = min(shape[1:])
    hu = np.full(shape, -1000.0)
    hu[:, radius < 0.42 * limit] = -90
    hu[:, radius < 0.36 * limit] = 45
    hu[:, radius < 0.06 * limit] = 700
    return (hu + rng.normal(0, 12, shape)).astype(np.float32)


def refused(hu: np.ndarray) -> str:
    with pytest.raises(InputError) as raised:
        check_is_ct(CTVolume(hu.astype(np.float32), AXIAL))
    assert "\n" not in str(raised.value)
    return str(raised.value)


@pytest.mark.parametrize("shape", [(1, 64, 64), (2, 65, 127), (1, 1024, 1023), (5, 64, 300)])
def test_ct_passes(shape: tuple[int, int, int]) -> None:
    check_is_ct(CTVolume(body(shape), AXIAL))


def test_metal_and_padding_pass() -> None:
    hu = body()
    hu[:, 40:44, 40:44] = 30710
    hu[:, :5] = -3024
    check_is_ct(CTVolume(hu, AXIAL))


def test_nan_and_infinity_are_located() -> None:
    hu = body()
    hu[2, 7, 5] = np.nan
    hu[2, 8, 5] = np.inf
    assert "2 voxels are NaN or infinite, the first in slice 2, row 7, column 5" in refused(hu)


def test_out_of_range() -> None:
    hu = body()
    hu[0, 0, 0] = 1e6
    assert "out of any HU range" in refused(hu) and "1e+06" in refused(hu)
    hu[0, 0, 0] = -1e5
    assert "-100000" in refused(hu)


def test_unsigned_ct_names_its_offset() -> None:
    assert "offset 1024 not applied; subtract 1024" in refused(np.clip(body() + 1024, 0, 4095))
    assert "subtract 32768" in refused(body() + 32768)


def test_mr_masks_fractions_and_attenuation() -> None:
    rng = np.random.default_rng(2)
    mr = np.abs(body() + 1000) * rng.uniform(0.5, 1.5, (3, 96, 96))
    assert "no air or fat" in refused(np.round(np.clip(mr, 0, 1600)) % 900)
    assert "a mask, a map or" in refused(body() > 300)
    assert "from 0 to 0.0" in refused(np.clip((body() + 1000) * 0.0192 / 1000, 0, None))
    assert "values from 7 to 7" in refused(np.full((2, 64, 64), 7))


def test_sizes() -> None:
    assert "axial slices of 8 x 96 voxels" in refused(body((3, 96, 8)))
    assert "2049" in refused(np.zeros((1, 20, 2049)))


def test_description_names_what_is_there() -> None:
    hu = body((4, 96, 128))
    hu[:, :10] = -2048
    hu[:, 50:54, 60:64] = 3071
    facts = describe(CTVolume(hu, AXIAL))
    assert facts["matrix"] == [128, 96, 4]
    assert facts["spacing_mm"] == [0.8, 0.9, 2.5]
    assert facts["orientation"] == "LPS"
    assert facts["stored_as"] == "axial"
    assert facts["padding_hu"] == -2048
    assert facts["padding_fraction"] == pytest.approx(10 / 96, abs=1e-4)
    assert facts["clipped_at_hu"] == 3071
    assert (facts["hu_min"], facts["hu_max"]) == (-2048, 3071)
    # Percentiles are of the patient and the air around, not of the padding.
    expected = np.percentile(hu[:, 10:], [1, 50, 99])
    assert list(facts["hu_percentiles"].values()) == pytest.approx(expected, abs=0.06)
    json.dumps(facts)


def test_unclipped_metal_is_not_clipped() -> None:
    hu = body()
    hu[1, 50:54, 50:54] = np.random.default_rng(4).normal(8000, 300, (4, 4))
    assert clipped_at(hu) is None
    assert clipped_at(body()) is None


@pytest.mark.parametrize(
    ("name", "clipped", "orientation"),
    [
        ("totalseg_example_hip_nail_3mm", None, "RAS"),
        ("tcga_thca_E3-A3E5_dental_metal", 2976.0, "LPS"),
        ("lungfcp_01-0001_sternal_wires", 3071.0, "LPS"),
    ],
)
def test_real_metal(name: str, clipped: float | None, orientation: str) -> None:
    facts = describe(read_volume(shared_data(f"{name}.nii.gz")))
    assert facts["clipped_at_hu"] == clipped
    assert facts["orientation"] == orientation
    assert facts["voxel_type"] == "int16"
