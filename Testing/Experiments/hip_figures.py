"""How good the hip paper's method is on slices that it was not trained on, with its own measures.

Images lie between 0 (air) and 1 (the brightest pixel of the clean slice). The mean square error is
that of the image. The paper does not say what its PSNR is relative to: its corrected images fit a
peak of 2 in the first experiment (41.0 dB from 3.6e-4; the default of scikit-image for images that
may be negative) and of 1 in the second (36.9 dB from 2.3e-4), so both are given.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import astuple, dataclass

import numpy as np
import torch

from MetalArtifactReductionLib.metal import perturb_mask
from MetalArtifactReductionLib.methods.base import InpaintingContext
from MetalArtifactReductionLib.methods.linear import interpolate_trace
from MetalArtifactReductionLib.methods.nmar.inpainter import NMAR
from MetalArtifactReductionLib.methods.trace_cnn.brightness import brightness_factor
from MetalArtifactReductionLib.methods.trace_cnn.channels import MaxFill, MaxFillParameters
from MetalArtifactReductionLib.methods.trace_cnn.data import Hip
from MetalArtifactReductionLib.methods.trace_cnn.inpainter import estimated_sinogram, matched
from MetalArtifactReductionLib.tomography import FilteredBackProjection, ImageGrid
from MetalArtifactReductionLib.tomography.attenuation import MU_WATER_PER_MM, hu_to_mu
from MetalArtifactReductionLib.weights import Weights

OUTPUTS = ("full", "trace", "matched")
"""The network's whole sinogram; only its trace; that with the line of :func:`.matched`."""


@dataclass(frozen=True)
class HipFigures:
    """Means over slices.

    :param mse: of the image, 0..1.
    :param psnr_1: dB, peak 1.
    :param ssim: structural similarity (Wang et al. 2004, scikit-image, windows of 7 pixels).
    :param rmse_hu: over the body.
    """

    mse: float
    psnr_1: float
    ssim: float
    rmse_hu: float

    @property
    def psnr_2(self) -> float:
        """DB, peak 2."""
        return self.psnr_1 + 20 * float(np.log10(2))


class HipTest:
    """Held-out slices of one hip with varied metal, all on the rays that the network sees.

    :param hip: its metal-bearing slices are used, which no training has seen.
    :param count: pairs of slice and varied mask.
    :param seed: of the masks.
    """

    def __init__(self, hip: Hip, count: int, seed: int = 1) -> None:
        self.hip = hip
        rows, cols = hip.volume.hu.shape[1:]
        row_mm, col_mm = hip.volume.spacing_mm[1:]
        self.grid = ImageGrid(rows, cols, (row_mm, col_mm))
        self.fill = MaxFill(self.grid)
        masks = []
        for k in range(count):
            rng = np.random.default_rng((seed, 2, k))
            mask = hip.masks[rng.integers(len(hip.masks))]
            masks.append(perturb_mask(mask, self.grid.spacing_mm, rng))
        self.masks = torch.from_numpy(np.stack(masks))
        slices = hip.hip[np.arange(count) % len(hip.hip)]
        self.clean = self.fill.sinogram(hu_to_mu(torch.from_numpy(hip.volume.hu[slices])))
        self.trace = self.fill.trace(self.masks)
        self.truth = self.fill.reconstruct(self.clean)

    def figures(self, sinogram: torch.Tensor) -> HipFigures:
        """Of the images that the sinograms ``(count, views, bins)`` give."""
        from skimage.metrics import structural_similarity

        images = self.fill.reconstruct(sinogram)
        peak = self.truth.amax(dim=(1, 2), keepdim=True)
        shown, truth = (images / peak).numpy(), (self.truth / peak).numpy()
        mse = ((shown - truth) ** 2).mean(axis=(1, 2))
        ssim = [
            structural_similarity(a, b, data_range=1.0) for a, b in zip(shown, truth, strict=True)
        ]
        body = self.truth > 0.5 * MU_WATER_PER_MM
        error_hu = (images - self.truth)[body] * (1000.0 / MU_WATER_PER_MM)
        return HipFigures(
            float(mse.mean()),
            float((-10 * np.log10(mse)).mean()),
            float(np.mean(ssim)),
            float((error_hu**2).mean().sqrt()),
        )

    def uncorrected(self) -> HipFigures:
        """The trace filled with the maximum."""
        return self.figures(self.fill.filled(self.clean, self.trace))

    def linear(self) -> HipFigures:
        """Linear interpolation."""
        return self.figures(interpolate_trace(self.clean, self.trace))

    def nmar(self) -> HipFigures:
        """NMAR, whose prior is made from the image with the filled trace."""
        projector = self.fill.from_slices
        image = FilteredBackProjection(projector)(self.fill.filled(self.clean, self.trace))
        context = InpaintingContext(image, self.masks, projector)
        return self.figures(NMAR(passes=1)(self.clean, self.trace, context))

    def network(self, weights: Weights) -> dict[str, HipFigures]:
        """The network's, by :data:`OUTPUTS`."""
        facts = weights.facts.method
        fill = MaxFill(self.grid, MaxFillParameters.from_dict(facts["fill"]))
        reference = facts["brightness_reference"]
        factor = 1.0
        if reference is not None:
            factor = brightness_factor(self.hip.quantiles, np.asarray(reference))
        found = estimated_sinogram(
            weights.network,
            fill,
            self.clean,
            self.trace,
            facts["unit"],
            factor,
        )
        inside = torch.where(self.trace, found, self.clean)
        results = (found, inside, matched(found, self.clean, self.trace))
        return {
            name: self.figures(sinogram) for name, sinogram in zip(OUTPUTS, results, strict=True)
        }


def mean_figures(figures: Sequence[HipFigures]) -> HipFigures:
    """The mean over patients."""
    return HipFigures(
        *(float(np.mean(values)) for values in zip(*map(astuple, figures), strict=True))
    )


def over_hips(tests: Sequence[HipTest], measure: Callable[[HipTest], HipFigures]) -> HipFigures:
    """The mean of a measure over patients."""
    return mean_figures([measure(test) for test in tests])


def table(rows: Mapping[str, HipFigures | tuple[float, float, float]]) -> str:
    """One row a method; the paper's rows are its MSE, PSNR and SSIM."""
    lines = [
        f"{'':52}  {'MSE':>9}  {'PSNR dB':>7}  {'peak 2':>6}  {'SSIM':>6}  {'RMSE HU':>7}",
    ]
    for name, row in rows.items():
        if isinstance(row, HipFigures):
            lines.append(
                f"{name:52}  {row.mse:9.3e}  {row.psnr_1:7.2f}  {row.psnr_2:6.2f}  "
                f"{row.ssim:6.4f}  {row.rmse_hu:7.1f}"
            )
        else:
            lines.append(f"{name:52}  {row[0]:9.3e}  {row[1]:7.2f}  {'':6}  {row[2]:6.4f}")
    return "\n".join(lines)
