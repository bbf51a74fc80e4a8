"""Another beam on the same gantry is the scanner that would have been built with it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from MetalArtifactReductionLib.errors import InputError
from MetalArtifactReductionLib.physics.acquisition import AcquisitionParameters, preset
from MetalArtifactReductionLib.physics.materials import material
from MetalArtifactReductionLib.physics.scanner import BEAM_PARAMETERS, Scanner
from MetalArtifactReductionLib.physics.slice_models import physics_slice
from MetalArtifactReductionLib.tomography import ImageGrid
from MetalArtifactReductionLib.training.gantries import draw_beam

GRID = ImageGrid(64, 64, (5.0, 5.0))
GANTRIES: dict[str, dict[str, Any]] = {
    "fan": {"views": 60, "bins": 120, "bin_mm": 7.0, "window": "hamming"},
    "parallel": {"geometry": "parallel", "views": 60, "bins": None, "bin_mm": None},
}


def scene() -> tuple[torch.Tensor, torch.Tensor]:
    """Body with bone, and a rod."""
    y, x = torch.meshgrid(torch.arange(64.0) - 31.5, torch.arange(64.0) - 31.5, indexing="ij")
    hu = torch.where((x / 26) ** 2 + (y / 20) ** 2 <= 1, 40.0, -1000.0)
    hu = torch.where(torch.hypot(x - 10, y) < 5, 800.0, hu)
    return hu, (torch.hypot(x + 8, y - 3) < 2.5).float()


def scanned(scanner: Scanner) -> tuple[torch.Tensor, torch.Tensor]:
    """Sinograms with and without metal, with the same noise, and their images."""
    hu, metal = scene()
    rng = torch.Generator().manual_seed(5)
    normals = torch.randn(2, *scanner.cells.sinogram_shape, generator=rng)
    scan = physics_slice(scanner, hu, metal[None], [material("CoCrMo")], normals, True)
    return scan.sinograms, scanner.reconstruct(scan.sinograms)


@pytest.mark.parametrize("gantry", GANTRIES)
def test_it_equals_a_scanner_built_anew(gantry: str) -> None:
    base = Scanner(GRID, preset("reference", **GANTRIES[gantry]))
    before = scanned(base)
    changes: list[dict[str, Any]] = [draw_beam(np.random.default_rng(seed)) for seed in range(3)]
    changes += [
        {"monoenergetic_kev": 70.0, "water_correction": False},
        {"kvp": 100, "energies": 5, "detector": "photon-counting", "scatter_to_primary": 0.3},
        {"photons_per_ray": None, "hu_clip": None},
    ]
    for change in changes:
        beam = base.with_beam(**change)
        fresh = Scanner(GRID, preset("reference", **GANTRIES[gantry]).with_changes(**change))
        assert beam.parameters == fresh.parameters
        for one, other, old in zip(scanned(beam), scanned(fresh), before, strict=True):
            assert torch.equal(one, other)
            assert not torch.allclose(one, old, atol=1e-4)
        assert beam.cells is base.cells, "the projectors are what is costly"
    for one, other in zip(scanned(base), before, strict=True):
        assert torch.equal(one, other), "the first scanner stays what it was"
    assert base.parameters == preset("reference", **GANTRIES[gantry])


def test_beams_do_not_pile_up() -> None:
    base = Scanner(GRID, preset("reference", **GANTRIES["fan"]))
    there = base.with_beam(kvp=80, scatter_to_primary=0.5)
    back = there.with_beam(
        kvp=base.parameters.kvp, scatter_to_primary=base.parameters.scatter_to_primary
    )
    assert torch.equal(scanned(back)[0], scanned(base)[0])


def test_what_needs_other_projectors_is_refused() -> None:
    base = Scanner(GRID, preset("reference", **GANTRIES["fan"]))
    every = set(AcquisitionParameters.__dataclass_fields__)
    fixed = every - set(BEAM_PARAMETERS)
    # All that says where rays run or how the image is filtered.
    assert fixed == {
        "geometry",
        "views",
        "bins",
        "bin_mm",
        "offset_bins",
        "source_isocentre_mm",
        "source_detector_mm",
        "curved_detector",
        "focal_spot_mm",
        "samples_per_bin",
        "window",
        "cutoff",
    }
    for name in sorted(fixed | {"colour"}):
        with pytest.raises(InputError, match=f"'{name}' cannot be changed.*kvp") as caught:
            base.with_beam(**{name: getattr(base.parameters, name, 1)})
        assert "\n" not in str(caught.value)
    with pytest.raises(InputError, match="kvp 20"):
        base.with_beam(kvp=20)
