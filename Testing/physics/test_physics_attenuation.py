"""HU <-> attenuation."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from MetalArtifactReductionLib.physics.materials import material
from MetalArtifactReductionLib.tomography.attenuation import MU_WATER_PER_MM, hu_to_mu, mu_to_hu


def test_water_and_air_define_the_scale():
    mu = hu_to_mu(np.array([-1000.0, 0.0, 1000.0]))
    np.testing.assert_allclose(mu, [0.0, MU_WATER_PER_MM, 2 * MU_WATER_PER_MM], atol=1e-12)
    # The round value the field uses is water at 70 keV within half a per cent.
    at_70_kev = float(material("water").mu_per_mm(70.0))
    assert at_70_kev == pytest.approx(MU_WATER_PER_MM, rel=5e-3)


@pytest.mark.parametrize("padding", [-1024, -2000, -3024, -32768])
def test_padding_is_air(padding):
    assert hu_to_mu(np.array([padding], np.int16))[0] == 0.0
    assert hu_to_mu(torch.tensor([padding], dtype=torch.int16))[0] == 0.0


def test_round_trip_keeps_values_and_types():
    hu = np.linspace(-1000, 30000, 997, dtype=np.float32)
    back = mu_to_hu(hu_to_mu(hu))
    assert back.dtype == np.float32
    np.testing.assert_allclose(back, hu, atol=5e-3)
    tensor = mu_to_hu(hu_to_mu(torch.from_numpy(hu)))
    assert tensor.dtype == torch.float32
    np.testing.assert_allclose(tensor.numpy(), hu, atol=5e-3)
    assert hu_to_mu(hu.astype(np.float64)).dtype == np.float64
    assert hu_to_mu(hu.astype(np.int16)).dtype == np.float32


def test_input_is_not_modified():
    hu = np.full((2, 3), -3024.0, np.float32)
    hu_to_mu(hu)
    assert (hu == -3024.0).all()


def test_differentiable():
    hu = torch.tensor([100.0], requires_grad=True)
    hu_to_mu(hu).sum().backward()
    assert hu.grad.item() == pytest.approx(MU_WATER_PER_MM / 1000)
