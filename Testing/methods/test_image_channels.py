"""What the image prior's network is given: where data are missing and where beams harden."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from analytic import Ellipse, rasterize
from MetalArtifactReductionLib.metal.neighbourhood import widened
from MetalArtifactReductionLib.metal.trace import metal_trace
from MetalArtifactReductionLib.methods import create_method
from MetalArtifactReductionLib.methods.base import InpaintingContext
from MetalArtifactReductionLib.methods.image_prior.channels import CHANNELS, image_inputs
from MetalArtifactReductionLib.physics.acquisition import preset
from MetalArtifactReductionLib.physics.materials import material
from MetalArtifactReductionLib.physics.scanner import Scanner
from MetalArtifactReductionLib.physics.slice_models import physics_slice
from MetalArtifactReductionLib.tomography import ImageGrid, Reprojection
from MetalArtifactReductionLib.tomography.attenuation import MU_WATER_PER_MM, hu_to_mu
from MetalArtifactReductionLib.tomography.smoothing import without_ringing

SIZE, PIXEL = 128, 2.5
GRID = ImageGrid(SIZE, SIZE, (PIXEL, PIXEL))
BELOW, ITSELF, ABOVE, LI, NMAR, METAL, MISSING, SQUARES, PRODUCTS = range(CHANNELS)


def disc(radius_mm: float, x_mm: float = 0.0, y_mm: float = 0.0) -> torch.Tensor:
    return torch.from_numpy(rasterize([Ellipse(1.0, radius_mm, radius_mm, x_mm, y_mm)], GRID))


def channels_of(volume_hu: torch.Tensor, metal: torch.Tensor, slices: list[int]) -> torch.Tensor:
    """As the correction computes them, of some slices of a volume."""
    scanner = Reprojection(GRID, torch.device("cpu"))
    mu = hu_to_mu(volume_hu[slices])
    context = InpaintingContext(
        mu, metal[slices], scanner.projector, np.array(slices), volume_hu=volume_hu.numpy()
    )
    sinogram = scanner.projector(mu)
    trace = metal_trace(scanner.projector, metal[slices])
    inputs = image_inputs(sinogram, trace, context, scanner.reconstruct)
    assert torch.equal(inputs.channels[:, ITSELF], inputs.corrupted)
    assert torch.equal(inputs.channels[:, NMAR], inputs.nmar)
    for index, method in ((LI, create_method("li")), (NMAR, create_method("nmar", passes=1))):
        filled = method(sinogram, trace, replace(context, shared={}))
        image = without_ringing(scanner.reconstruct(filled), mu, metal[slices] > 0)
        image = image / MU_WATER_PER_MM - 1.0
        assert torch.allclose(inputs.channels[:, index], image.clamp(-1.1, 2.0), atol=2e-3)
    return inputs.channels


def test_missing_data_are_the_share_of_views_that_metal_hides() -> None:
    """A disc of radius r hides ``2 asin(r / d) / pi`` of the half turn at the distance d."""
    radius, x_mm, y_mm = 25.0, 20.0, -10.0
    metal = disc(radius, x_mm, y_mm)[None]
    volume = torch.where(metal > 0.5, 3000.0, disc(140.0)[None] * 1000 - 1000)
    missing = channels_of(volume, metal, [0])[0, MISSING]
    line = (np.arange(SIZE) - (SIZE - 1) / 2) * PIXEL
    distance = torch.from_numpy(np.hypot(line[None, :] - x_mm, -line[:, None] - y_mm))
    hidden = distance < radius - 2 * PIXEL
    assert missing[hidden].numpy() == pytest.approx(1.0, abs=0.02)
    outside = (distance > 1.3 * radius) & (disc(150.0) == 1)
    # The trace is the disc's shadow and one bin on either side; a bin's ends are blurred.
    widths = [
        2 * torch.asin((radius + extra) / distance[outside]) / np.pi for extra in (0.0, 2 * PIXEL)
    ]
    assert bool((missing[outside] > widths[0] - 0.02).all())
    assert bool((missing[outside] < widths[1] + 0.02).all())
    assert float((missing[outside] - (widths[0] + widths[1]) / 2).abs().mean()) < 0.015


def test_neighbours_metal_and_limits() -> None:
    levels = torch.tensor([-200.0, 50.0, 300.0])[:, None, None]
    volume = torch.where(disc(140.0) > 0.5, levels, torch.tensor(-1000.0))
    metal = torch.zeros(3, SIZE, SIZE)
    metal[:, 60:66, 70:74] = torch.tensor([1.0, 0.5, 1.0])[:, None, None]
    volume = torch.where(metal > 0, 9000.0, volume)
    found = channels_of(volume, metal, [0, 2])
    at = (slice(None), 30, 64)
    assert found[:, BELOW][at].tolist() == pytest.approx([-0.2, 0.05], abs=1e-4)
    assert found[:, ITSELF][at].tolist() == pytest.approx([-0.2, 0.3], abs=1e-4)
    assert found[:, ABOVE][at].tolist() == pytest.approx([0.05, 0.3], abs=1e-4)
    assert torch.equal(found[:, METAL], metal[[0, 2]])
    assert float(found[:, : NMAR + 1].max()) == 2.0 and bool(found.isfinite().all())
    # Nothing of one slice is in another's channels, but for the neighbours' own.
    alone = channels_of(volume, metal, [2])
    assert torch.allclose(alone[0], found[1], atol=1e-4)


def scans(alloy: str, metal: torch.Tensor, **beam: object) -> tuple[torch.Tensor, torch.Tensor]:
    """HU with and without metal of a body with two bones; the spectrum is all that is not ideal.

    One ray a cell: no partial volume, whose streaks are others.
    """
    ideal = {"photons_per_ray": None, "scatter_to_primary": 0.0, "floor_photons": 1e-12}
    ideal |= {"focal_spot_mm": 0.0, "samples_per_bin": 1, "hu_clip": None}
    chosen = preset("parallel", **ideal, views=360, window="hann", cutoff=0.7)
    scanner = Scanner(GRID, chosen.with_changes(**beam))
    hu = disc(120) * 1040 - 1000 + 600 * disc(14, 50, 10) + 600 * disc(14, -50, -20)
    scan = physics_slice(scanner, hu, metal[None], [material(alloy)], None, True)
    images = scanner.reconstruct(scan.sinograms)
    return images[0], images[1]


def explained(wrong: torch.Tensor, by: list[torch.Tensor]) -> tuple[float, np.ndarray]:
    """R^2 and coefficients of a linear regression with a constant."""
    y = wrong.double().numpy()
    known = np.stack([*(x.double().numpy() for x in by), np.ones_like(y)], axis=1)
    coefficients, *_ = np.linalg.lstsq(known, y, rcond=None)
    left = ((y - known @ coefficients) ** 2).sum()
    return float(1 - left / ((y - y.mean()) ** 2).sum()), coefficients


@pytest.mark.parametrize("alloy", ["Ti6Al4V", "CoCrMo"])
def test_beam_hardening_has_the_shape_of_its_channels(alloy: str) -> None:
    """Streaks of a polychromatic beam, which the simulated scanner makes without any expansion."""
    metal = disc(7, 30, 0) + disc(7, -35, 5)
    where = (disc(112) == 1) & ~widened((metal > 0)[None], (2, 2))[0]
    strength = {}
    for kvp in (80.0, 140.0):
        corrupted, truth = scans(alloy, metal, kvp=kvp)
        found = channels_of(corrupted[None], (metal > 0.3)[None].float(), [0])[0][:, where]
        streaks = (corrupted - truth)[where] / 1000
        hardening = [torch.sinh(found[SQUARES]), torch.sinh(found[PRODUCTS])]
        interpolated = [found[ITSELF] - found[LI]]
        of_li, _ = explained(streaks, interpolated)
        of_hardening, (squares, products, _) = explained(streaks, hardening)
        of_both, _ = explained(streaks, hardening + interpolated)
        # The signal that remains lies below the straight line: - a L^2 - b L p, a and b > 0.
        assert squares < 0 and products < 0
        strength[kvp] = -squares
        assert of_hardening > 0.75 and of_hardening > of_li + 0.15
        assert of_both > of_li + 0.15
    assert strength[80.0] > strength[140.0], "a softer beam hardens more"


def test_without_hardening_there_are_no_such_streaks() -> None:
    metal = disc(7, 30, 0) + disc(7, -35, 5)
    where = (disc(112) == 1) & ~widened((metal > 0)[None], (2, 2))[0]
    rms = []
    for beam in ({"kvp": 80.0}, {"monoenergetic_kev": 70.0}):
        corrupted, truth = scans("CoCrMo", metal, **beam)
        rms.append(float((corrupted - truth)[where].square().mean().sqrt()))
    assert rms[1] < 0.25 * rms[0]
