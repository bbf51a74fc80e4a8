"""Metal that training draws: realistic from plans, random, and mixed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from MetalArtifactReductionLib.errors import InputError
from MetalArtifactReductionLib.files.volumes import read_volume
from MetalArtifactReductionLib.metal.body import body_mask
from MetalArtifactReductionLib.physics.materials import material
from MetalArtifactReductionLib.training.metal_source import MetalSlices, MetalSource, metal_source
from MetalArtifactReductionLib.volume import CTVolume
from SimulateImplantsLib.dataset.training_metal import MixedMetal
from SimulateImplantsLib.placement.random_shapes import METALS
from support import REPOSITORY, shared_data
from training_support import small_ct

PLANS = REPOSITORY / "Testing" / "Experiments" / "plans"


def large_ct() -> CTVolume:
    """The small CT with four pixels for each of its own."""
    small = small_ct(12)
    hu = small.hu.repeat(4, axis=1).repeat(4, axis=2)
    return CTVolume(hu, np.diag([1.5, 1.5, 3.0, 1.0]))


def check(source: MetalSource, name: str, volume: CTVolume, draws: int) -> set[str]:
    """What must be true of every draw; the alloys that were drawn."""
    alloys: set[str] = set()
    sums = []
    for seed in range(draws):
        metal = source.draw(name, volume, 6, np.random.default_rng(seed))
        assert 0 <= metal.first <= len(volume.hu) - 6
        total = np.zeros((6, *volume.hu.shape[1:]), np.float32)
        for key, fraction in metal.fractions.items():
            assert fraction.shape == total.shape and fraction.dtype == np.float32
            assert fraction.min() >= 0.0 and fraction.max() <= 1.0 + 1e-3
            if material(key).is_metal and fraction.any():
                total += fraction
                alloys.add(key)
        assert total[1:-1].any(), "no metal in the slices that are trained on"
        slab = volume.hu[metal.first : metal.first + 6]
        inside = body_mask(slab, volume.spacing_mm) | (slab > -300)
        assert total[inside].sum() > 0.5 * total.sum()
        sums.append(float(total.sum()))
    again = source.draw(name, volume, 6, np.random.default_rng(0))
    repeated = sum(float(f.sum()) for k, f in again.fractions.items() if material(k).is_metal)
    assert repeated == pytest.approx(sums[0])
    assert len(set(sums)) > draws // 2
    return alloys


def test_random_metal() -> None:
    assert len(check(metal_source("random", {}), "large", large_ct(), 8)) > 1


def test_realistic_metal_on_a_real_ct() -> None:
    name = "acrin_flt_breast_001_abdomen_pelvis"
    volume = read_volume(shared_data(f"{name}.nii.gz"))
    source = metal_source("realistic", {"plans": str(PLANS)})
    assert check(source, name, volume, 6) <= {*METALS}


def test_a_ct_without_plans_gets_metal_of_what_it_shows() -> None:
    source = metal_source("realistic", {"plans": str(PLANS)})
    assert check(source, "nobody", large_ct(), 4)


def test_mixed_metal_draws_from_both() -> None:
    class Number:
        def __init__(self, number: int) -> None:
            self.number = number

        def draw(self, *_: object) -> MetalSlices:
            return MetalSlices(self.number, {})

    mixed = MixedMetal((Number(1), Number(2)))
    draws = [mixed.draw("", large_ct(), 6, np.random.default_rng(seed)) for seed in range(12)]
    assert {metal.first for metal in draws} == {1, 2}
    assert isinstance(metal_source("mixed", {"plans": str(PLANS)}), MixedMetal)


def test_a_folder_of_plans_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such folder of plans"):
        metal_source("realistic", {"plans": str(tmp_path / "none")})
