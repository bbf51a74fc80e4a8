"""Rebinning of full and short scans against the exact line integrals of ellipses."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from analytic import Ellipse, fan_sinogram, parallel_sinogram, relative_error
from MetalArtifactReductionLib.tomography import FanGeometry, ImageGrid, ParallelGeometry
from MetalArtifactReductionLib.tomography.rebinning import (
    parker_weight,
    rays_of,
    rebinning,
    sampling,
)
from MetalArtifactReductionLib.tomography.reprojection import Reprojection

BODY = [Ellipse(0.02, 50, 38, 6, -9, 20), Ellipse(0.015, 11, 7, -20, 12, 40)]
WORK = Reprojection(ImageGrid(96, 96, (1.4, 1.4)), torch.device("cpu")).projector.geometry
SHORT = math.radians(215)
SCANS = {
    "curved": FanGeometry(500, 220, 1.0, 550.0, 950.0),
    "flat": FanGeometry(500, 220, 1.0, 550.0, 950.0, False, 0.25),
    "turned": FanGeometry(500, 220, 1.0, 550.0, 950.0, start_rad=1.3, direction=-1),
    "bins the other way": FanGeometry(500, 220, -1.0, 550.0, 950.0, False, 1.5, 0.4),
    "short": FanGeometry(360, 220, 1.0, 550.0, 950.0, range_rad=SHORT),
    "short, clockwise": FanGeometry(360, 220, -1.0, 550.0, 950.0, False, 0.0, -2.0, SHORT, -1),
    "shifted detector": FanGeometry(500, 170, 1.0, 550.0, 950.0, offset_bins=-25.0),
    "parallel": ParallelGeometry(360, 260, 0.6, 0.5, 0.7),
    "parallel, clockwise": ParallelGeometry(360, 260, 0.6, 0.0, -1.1, math.pi, -1),
    "parallel, full turn": ParallelGeometry(601, 260, -0.6, 0.25, 0.2, 2 * math.pi),
    "parallel, 200 degrees": ParallelGeometry(400, 260, 0.6, 0.0, 0.2, math.radians(200)),
}


def measured(geometry):
    exact = fan_sinogram if isinstance(geometry, FanGeometry) else parallel_sinogram
    return exact(BODY, geometry, samples=1)


def apply(rebin, sinogram):
    return rebin(torch.from_numpy(np.ascontiguousarray(sinogram, np.float32))[None])[0].numpy()


@pytest.mark.parametrize("name", SCANS)
def test_a_scan_rebinned_is_the_parallel_scan_of_the_same_object(name):
    rebin = rebinning(SCANS[name], WORK, torch.device("cpu"))
    found = apply(rebin, measured(SCANS[name]))
    assert relative_error(found, parallel_sinogram(BODY, WORK, samples=1)) < 5e-3


@pytest.mark.parametrize("name", SCANS)
def test_parallel_rays_sampled_are_the_scan(name):
    scan = SCANS[name]
    rebin = sampling(WORK, *rays_of(scan), torch.device("cpu"))
    found = apply(rebin, parallel_sinogram(BODY, WORK, samples=1))
    assert (
        relative_error(found, measured(scan)) < 1e-2
    )  # bins of 0.9 mm at the edge of an ellipse's shadow


@pytest.mark.parametrize("name", ["flat", "short", "parallel"])
def test_the_transpose_of_a_rebinning_is_exact(name):
    scan, random = SCANS[name], torch.Generator().manual_seed(0)
    x = torch.randn(2, scan.views, scan.bins, generator=random)
    y = torch.randn(2, WORK.views, WORK.bins, generator=random)
    rebin = rebinning(scan, WORK, torch.device("cpu"))
    found = rebin(x.requires_grad_())
    (found * y).sum().backward()
    torch.testing.assert_close(x.grad, rebin.transpose(y), rtol=1e-5, atol=1e-5)
    x, found = x.detach(), found.detach()
    there, back = (found * y).sum(), (x * rebin.transpose(y)).sum()
    assert float(there - back) == pytest.approx(0, abs=1e-4 * float(found.norm() * y.norm()))


def test_the_two_measurements_of_a_ray_sum_to_one():
    fan, start = np.meshgrid(np.linspace(-0.2, 0.2, 41), np.linspace(0, 2 * math.pi, 500)[:-1])
    there = np.mod(start + math.pi + 2 * fan, 2 * math.pi)  # the same ray from its other end
    inside = (start <= SHORT) | (there <= SHORT)
    total = parker_weight(start, fan, SHORT) + parker_weight(there, -fan, SHORT)
    np.testing.assert_allclose(total[inside], 1, atol=1e-9)
    assert inside.all()
