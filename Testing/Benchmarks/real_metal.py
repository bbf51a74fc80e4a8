"""Streaks of real metal before and after, where nobody knows the truth."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from held_out_cases import corrected

from MetalArtifactReductionLib.evaluation.metrics import (
    NEAR_METAL_PIXELS,
    flat_region,
    streak_amplitude,
)
from MetalArtifactReductionLib.evaluation.without_reference import (
    ReferenceFreeMetrics,
    evaluate_without_reference,
    soft_tissue_near_metal,
)
from MetalArtifactReductionLib.files.volumes import read_volume
from MetalArtifactReductionLib.metal import segment_metal
from MetalArtifactReductionLib.metal.body import body_mask, within_pixels
from MetalArtifactReductionLib.volume import CTVolume
from SimulateImplantsLib.voxels.metal import slices_of

REAL: Mapping[str, str] = {
    "nail": "totalseg_example_hip_nail_3mm",
    "dental": "tcga_thca_E3-A3E5_dental_metal",
    "sternal wires": "lungfcp_01-0001_sternal_wires",
}
"""Name -> CT with metal that a real scanner saw."""

REGIONS_FROM = "nmar"
"""Method in whose image soft tissue is looked for: the same regions for every method."""


STREAK_REACH_MM = 30.0


@dataclass(frozen=True)
class RealMetal:
    """One volume by every method.

    :param name: one of :data:`REAL`.
    :param volume: the slices that were measured, as scanned.
    :param images: label -> HU, the uncorrected ones first.
    :param figures: label -> streaks, noise, shells.
    :param elsewhere_hu: the same amplitude in soft tissue 30 to 60 mm from metal: what anatomy has
        of it, below which no correction should go.
    :param shown: the slice that the corrections change most, for a picture.
    """

    name: str
    volume: CTVolume
    images: Mapping[str, np.ndarray]
    figures: Mapping[str, ReferenceFreeMetrics]
    elsewhere_hu: float
    shown: int


def real_metal(
    data: Path,
    methods: Mapping[str, str],
    *,
    slices: int = 12,
    names: Sequence[str] = tuple(REAL),
    device: str = "cpu",
) -> Iterator[RealMetal]:
    """Correct the neighbouring slices that hold most metal, and measure in the same regions.

    :param data: folder with the CTs of :data:`REAL`.
    :param methods: label -> method; one of them must be :data:`REGIONS_FROM`.
    :param slices: how many; fewer where the volume has fewer.
    """
    for name in names:
        whole = read_volume(data / f"{REAL[name]}.nii.gz")
        metal = segment_metal(whole).fraction
        count = min(slices, len(whole.hu))
        amount = np.convolve(metal.sum(axis=(1, 2)), np.ones(count), mode="valid")
        first = int(amount.argmax())
        volume, metal = slices_of(whole, first, count), metal[first : first + count]
        images = {label: hu for label, (hu, _) in corrected(volume, methods, metal, device).items()}
        regions = images[REGIONS_FROM]
        spacing = volume.spacing_mm
        body = body_mask(regions, spacing)
        tissue = soft_tissue_near_metal(
            regions, metal, spacing_mm=spacing, body=body, reach_mm=STREAK_REACH_MM
        )
        wider = soft_tissue_near_metal(
            regions, metal, spacing_mm=spacing, body=body, reach_mm=2 * STREAK_REACH_MM
        )
        elsewhere = streak_amplitude(regions[wider & ~tissue])
        marked = metal > 0
        far = body & ~marked & ~within_pixels(marked, NEAR_METAL_PIXELS)
        quiet = flat_region(regions, far & marked.any(axis=(1, 2), keepdims=True))
        figures = {
            label: evaluate_without_reference(
                hu, metal, spacing_mm=spacing, soft_tissue=tissue, noise_region=quiet, body=body
            )
            for label, hu in images.items()
        }
        change = np.abs(regions - volume.hu).sum(axis=(1, 2))
        yield RealMetal(name, volume, images, figures, elsewhere, int(change.argmax()))
