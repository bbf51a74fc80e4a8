"""The shipped image prior on a real CT that it was not trained on; and its bound in mode best."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch

from cli_support import ct_hu, metal_truth
from MetalArtifactReductionLib.correction import CorrectionResult, correct_volume
from MetalArtifactReductionLib.files.volumes import read_volume
from MetalArtifactReductionLib.metal.certain import certain_metal
from MetalArtifactReductionLib.methods import Method, create_method
from MetalArtifactReductionLib.methods.base import InpaintingContext, Proposal
from MetalArtifactReductionLib.methods.image_prior import inpainter
from MetalArtifactReductionLib.methods.image_prior.channels import CHANNELS
from MetalArtifactReductionLib.methods.image_prior.network import ImagePrior
from MetalArtifactReductionLib.physics.acquisition import preset
from MetalArtifactReductionLib.physics.materials import material
from MetalArtifactReductionLib.physics.scanner import Scanner
from MetalArtifactReductionLib.physics.slice_models import physics_slice
from MetalArtifactReductionLib.tomography import ImageGrid
from MetalArtifactReductionLib.tomography.attenuation import hu_to_mu
from MetalArtifactReductionLib.volume import CTVolume
from MetalArtifactReductionLib.weights import SHIPPED, WeightsFacts, read_facts, save_weights
from support import shared_data

SIDE = 192
CT = "tcga_coad_AY-4070A_abdomen_pelvis"
PLACES = ((96, 96), (98, 122))
"""Rows and columns: in soft tissue, in bone."""


@pytest.fixture(scope="module")
def clean() -> CTVolume:
    """Three slices of a pelvis, 192 x 192 pixels around the bones."""
    assert CT not in read_facts(SHIPPED / "prior.safetensors").method["volumes"]
    volume = read_volume(shared_data(f"{CT}.nii.gz"))
    cut = (slice(38, 41), slice(227, 227 + SIDE), slice(161, 161 + SIDE))
    hu = volume.hu[cut].clip(-1000, 3000).astype(np.float32)
    _, row_mm, col_mm = volume.spacing_mm
    return CTVolume(hu, np.diag([col_mm, row_mm, 3.0, 1.0]))


def discs(radius: float, *places: tuple[int, int]) -> np.ndarray:
    """Share of the pixels, in all three slices."""
    row, col = np.mgrid[:SIDE, :SIDE]
    shares = [(radius + 0.5 - np.hypot(row - r, col - c)).clip(0, 1) for r, c in places]
    return np.repeat(np.maximum.reduce(shares)[None], 3, axis=0).astype(np.float32)


def rms(x: np.ndarray) -> float:
    return float(np.sqrt(np.mean(np.square(x, dtype=np.float64))))


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("method", ["prior", "prior-strict"])
def test_a_mask_where_no_metal_is_does_little(
    clean: CTVolume, method: str, place: tuple[int, int]
) -> None:
    mask = discs(6.0, place)
    mask[[0, 2]] = 0.0
    body = (mask[1] == 0) & (clean.hu[1] > -900)
    # Left alone altogether, for there are no streaks ...
    untouched = correct_volume(clean, mask, method)
    assert np.array_equal(untouched.corrected.hu, clean.hu)
    # ... and changed by less than the noise where it is corrected all the same.
    forced = correct_volume(
        clean, mask, method, method_options={"refine_metal": False}, always=True
    )
    assert 0.5 < rms(forced.change_hu[1][body]) < 10.0
    assert not forced.change_hu[[0, 2]].any()


@pytest.fixture(scope="module")
def scans(clean: CTVolume) -> tuple[CTVolume, np.ndarray, np.ndarray]:
    """With two rods of CoCrMo, of a scanner that no training draws; without; and the rods."""
    _, row_mm, col_mm = clean.spacing_mm
    scanner = Scanner(ImageGrid(SIDE, SIDE, (row_mm, col_mm)), preset("reference", bins=None))
    metal = discs(5.0, (70, 60), (75, 130))
    rng = torch.Generator().manual_seed(1)
    images = []
    for hu, share in zip(clean.hu, metal, strict=True):
        normals = torch.randn(2, *scanner.cells.sinogram_shape, generator=rng)
        scan = physics_slice(
            scanner,
            torch.from_numpy(hu),
            torch.from_numpy(share)[None],
            [material("CoCrMo")],
            normals,
            True,
        )
        images.append(scanner.reconstruct(scan.sinograms).numpy())
    with_metal, without = np.stack(images, axis=1)
    return clean.with_hu(with_metal.clip(-1024, 3071).astype(np.float32)), without, metal


Corrected = Callable[[str], CorrectionResult]


@pytest.fixture(scope="module")
def corrected(scans: tuple[CTVolume, np.ndarray, np.ndarray]) -> Corrected:
    """By a method; read only."""
    metal = (scans[2] > 0.02).astype(np.float32)
    return cache(lambda method: correct_volume(scans[0], metal, method))


def test_the_expected_error_is_as_large_as_the_error(
    scans: tuple[CTVolume, np.ndarray, np.ndarray], corrected: Corrected
) -> None:
    """Mean absolute error against what is expected, where little and where much is expected."""
    _, truth, metal = scans
    found = corrected("prior")
    assert found.expected_error_hu is not None
    shown = certain_metal(scans[0].hu, (metal > 0.02).astype(np.float32))
    counted = (metal == 0) & (truth > -900) & ~shown
    error = np.abs(found.corrected.hu - truth)[counted]
    expected = found.expected_error_hu[counted]
    order = np.argsort(expected)
    groups = [(expected[part].mean(), error[part].mean()) for part in np.array_split(order, 5)]
    assert 0.5 < error.mean() / expected.mean() < 2.0
    for said, true in groups:
        assert 0.4 < true / said < 2.5
    true_errors = [true for _, true in groups]
    assert true_errors == sorted(true_errors), "where more is expected, more is wrong"
    assert true_errors[-1] > 3 * true_errors[0]


def test_both_modes_are_better_than_nmar(
    scans: tuple[CTVolume, np.ndarray, np.ndarray], corrected: Corrected
) -> None:
    original, truth, metal = scans
    # Beside what is shown as metal: the scanner's blur of it stays.
    shown = certain_metal(original.hu, (metal > 0.02).astype(np.float32))
    counted = (metal == 0) & (truth > -900) & ~shown
    errors = {
        method: rms((corrected(method).corrected.hu - truth)[counted])
        for method in ("prior", "prior-strict", "nmar")
    }
    errors["uncorrected"] = rms((original.hu - truth)[counted])
    assert errors["nmar"] < 0.5 * errors["uncorrected"], errors
    # Rods in a small piece of a body are easy for NMAR, too.
    assert errors["prior"] < 0.8 * errors["nmar"], errors
    assert errors["prior"] < errors["prior-strict"] < 0.9 * errors["nmar"], errors


@pytest.mark.parametrize(("method", "most_hu"), [("prior", 1.0), ("nmar", 0.1)])
def test_bfloat16_changes_the_result_by_far_less_than_the_noise(
    scans: tuple[CTVolume, np.ndarray, np.ndarray],
    monkeypatch: pytest.MonkeyPatch,
    method: str,
    most_hu: float,
) -> None:
    """Processors that compute it fast do; the others must show the same."""
    metal = (scans[2] > 0.02).astype(np.float32)
    images = []
    for fast in (True, False):
        monkeypatch.setattr(inpainter, "fast_bfloat16", lambda device, fast=fast: fast)
        images.append(correct_volume(scans[0], metal, method).corrected.hu)
    assert 0.0 < rms(images[0] - images[1]) < most_hu


# The bound of mode best, with a network that changes what it should not


def proposal_of(path: Path) -> tuple[np.ndarray, np.ndarray, Proposal, CorrectionResult]:
    """Relative to the bound: changes outside the trace of the network's image and the result's."""
    method = create_method(str(path), mode="best", refine_metal=False)
    seen: list[tuple[torch.Tensor, torch.Tensor, InpaintingContext, Proposal, torch.Tensor]] = []

    class Spy(Method):
        name = "spy"

        def __call__(self, sinogram, trace, context):  # type: ignore[no-untyped-def]
            raise AssertionError("the image itself is asked for")

        def propose(self, sinogram, trace, context):  # type: ignore[no-untyped-def]
            proposal = method.propose(sinogram, trace, context)  # type: ignore[attr-defined]
            image = method.network_proposal(sinogram, trace, context).proposed  # type: ignore[attr-defined]
            seen.append((sinogram, trace, context, proposal, 1000 * image))
            return proposal

    ct = CTVolume(ct_hu(dtype="float32"), np.diag([1.9, 2.0, 3.0, 1.0]))
    result = correct_volume(ct, metal_truth().astype(np.float32), Spy(), always=True)
    ((sinogram, trace, context, proposal, image),) = seen
    bound = 0.05 + 0.05 * sinogram.clamp_min(0)
    raw, final = (
        ((context.projector(hu_to_mu(hu).clamp_min(0)) - sinogram) / bound)[~trace].numpy()
        for hu in (image, proposal.hu)
    )
    rays = (~trace).sum(dim=(1, 2))
    assert proposal.outside_trace is not None
    assert torch.equal(proposal.outside_trace[:, 2], rays.float())
    return raw, final, proposal, result


def weights(path: Path, tail: float) -> Path:
    torch.manual_seed(4)
    arguments = {"in_channels": CHANNELS, "features": [8, 8], "blocks": [1, 1]}
    network = ImagePrior(**arguments)  # type: ignore[arg-type]
    torch.nn.init.normal_(network.tail.weight, std=tail)
    method = {"inpainter": "image-prior", "name": "prior"}
    save_weights(path, network, WeightsFacts("image-prior", arguments, method))
    return path


def test_small_changes_outside_the_trace_pass_and_are_told(tmp_path: Path) -> None:
    raw, final, _, result = proposal_of(weights(tmp_path / "w.safetensors", 0.015))
    assert np.abs(raw).max() < 1.0
    assert np.array_equal(raw, final), "nothing is bounded"
    told = result.parameters["outside_trace"]
    assert isinstance(told, dict) and told["bounded_share_of_rays"] == 0.0
    assert 0.001 < told["rms_line_integral"] < 0.05
    assert 0.0005 < told["rms_line_integral_share"] < told["rms_line_integral"]


def test_large_changes_outside_the_trace_are_taken_back(tmp_path: Path) -> None:
    raw, final, _, result = proposal_of(weights(tmp_path / "w.safetensors", 0.1))
    excess = [rms(np.maximum(np.abs(x) - 1.0, 0.0)) for x in (raw, final)]
    assert np.abs(raw).max() > 2.0 and (np.abs(raw) > 1).mean() > 0.05
    assert excess[1] < 0.35 * excess[0]
    assert (np.abs(final) > 1).mean() < 0.4 * (np.abs(raw) > 1).mean()
    told = result.parameters["outside_trace"]
    assert isinstance(told, dict)
    share = (np.abs(raw) > 1).mean()  # and a few rays that only drawing the others back changes
    assert share <= told["bounded_share_of_rays"] + 1e-4 < share + 5e-3


def test_strict_tells_that_nothing_outside_the_trace_changed(tmp_path: Path) -> None:
    ct = CTVolume(ct_hu(dtype="float32"), np.diag([1.9, 2.0, 3.0, 1.0]))
    path = str(weights(tmp_path / "w.safetensors", 0.1))
    options = {"mode": "strict", "refine_metal": False}
    found = correct_volume(ct, metal_truth().astype(np.float32), path, method_options=options)
    told = found.parameters["outside_trace"]
    assert isinstance(told, dict) and set(told.values()) == {0.0}


def test_slices_left_alone_expect_no_error_and_tell_no_change(
    clean: CTVolume, scans: tuple[CTVolume, np.ndarray, np.ndarray]
) -> None:
    """Metal in one slice, a mask on what is none in another: as if the latter were not there."""
    with_metal, _, metal = scans
    hu = np.stack([clean.hu[0], with_metal.hu[1]])
    mask = np.stack([discs(6.0, PLACES[0])[0], (metal[1] > 0.02).astype(np.float32)])
    both = correct_volume(CTVolume(hu, clean.ijk_to_ras), mask, "prior")
    alone = correct_volume(CTVolume(hu, clean.ijk_to_ras), mask * [[[0.0]], [[1.0]]], "prior")
    assert np.array_equal(both.corrected.hu[0], hu[0])
    assert both.expected_error_hu is not None and alone.expected_error_hu is not None
    assert not both.expected_error_hu[0].any() and both.expected_error_hu[1].mean() > 1.0
    assert both.expected_error_hu == pytest.approx(alone.expected_error_hu, abs=1e-3)
    told = both.parameters["outside_trace"]
    assert isinstance(told, dict) and told["rms_line_integral"] > 0
    assert told == pytest.approx(alone.parameters["outside_trace"])
