"""Can a low-contrast lesion beside metal be found? A channelised Hotelling observer's answer.

Discs of soft tissue, some HU brighter than their surroundings, are put into the patient 8 to 15 mm
from the metal; scans with and without them, each with its own noise, are simulated and corrected.
The observer knows size and place of the lesion and nothing else: it learns from the other cases
what streaks and noise look like, and is asked about the case left out (Vaishnav et al.: CT metal
artifact reduction algorithms: toward a framework for objective performance assessment. Med. Phys.
47, 2020). Template, decisions and areas under the curve are those of the package mar-eval.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from held_out_cases import ACQUISITIONS, HeldOut, corrected
from scipy import ndimage

from MetalArtifactReductionLib.evaluation.comparison import UNCORRECTED
from MetalArtifactReductionLib.evaluation.without_reference import distance_mm
from MetalArtifactReductionLib.metal import segment_metal
from MetalArtifactReductionLib.metal.body import body_mask
from MetalArtifactReductionLib.physics.acquisition import AcquisitionParameters
from MetalArtifactReductionLib.physics.simulation import simulate_volume
from MetalArtifactReductionLib.volume import CTVolume
from SimulateImplantsLib.voxels.metal import slices_of

WITHOUT_METAL = "without metal"
"""Row of the scan without metal: what noise and anatomy leave to be seen."""

CONTRASTS_HU = (10.0, 20.0, 40.0)
DIAMETER_MM = 8.0
FROM_METAL_MM = (8.0, 15.0)
"""Distance of a lesion's centre from the metal."""

PLACES = 4
"""Lesions a slice, at most."""

CHANNELS = 6
_SOFT_TISSUE_HU = (0.0, 120.0)
_SUBSAMPLES = 5


@dataclass(frozen=True)
class Detectability:
    """How well lesions of one contrast are found in the images of one method.

    :param method: label, :data:`UNCORRECTED` or :data:`WITHOUT_METAL`.
    :param contrast_hu: of the lesions.
    :param auc: area under the ROC curve, mean over the cases; 0.5 is guessing.
    :param standard_error: of that mean.
    :param gain: mean of the cases' AUC minus that of the uncorrected image.
    :param p_gain: of the paired one-tailed t test over cases for a gain above 0.
    """

    method: str
    contrast_hu: float
    auc: float
    standard_error: float
    gain: float
    p_gain: float


def detectability(
    held_out: Sequence[HeldOut],
    methods: Mapping[str, str],
    *,
    acquisitions: Mapping[str, AcquisitionParameters] = ACQUISITIONS,
    seeds: int = 6,
    contrasts_hu: Sequence[float] = CONTRASTS_HU,
    device: str = "cpu",
    told: Callable[[str], None] = print,
) -> list[Detectability]:
    """Simulate, correct and observe; one slice of every case, the one with most metal.

    :param held_out: cases of one acquisition, at least three that have room for a lesion.
    :param methods: label -> method.
    :param acquisitions: where the cases' acquisitions are looked up.
    :param seeds: scans of every slice with the lesions, and as many without.
    :param told: one line a case.
    """
    samples = []
    for number, one in enumerate(held_out):
        k = int(one.case.metal.sum(axis=(1, 2)).argmax())
        patient = slices_of(one.clean, k, 1)
        places = lesion_places(patient, one.case.metal[k : k + 1])
        if not places:
            told(f"{one.case.name}: no soft tissue for a lesion beside the metal; left out")
            continue
        fractions = {name: fraction[k : k + 1] for name, fraction in one.fractions.items()}
        metal = segment_metal(one.case.corrupted).fraction[k : k + 1]  # as a user would
        channels = laguerre_gauss_channels(patient.spacing_mm[1:])
        found: dict[tuple[str, float], np.ndarray] = {}
        for row, contrast in enumerate((0.0, *contrasts_hu)):
            shown = with_lesions(patient, places, contrast)
            scan = acquisitions[one.acquisition]
            first_seed = (number * 100 + row) * 1000  # no two scans of a run share their noise
            seen: dict[str, list[np.ndarray]] = {}
            for seed in range(first_seed, first_seed + seeds):
                images = _images(shown, fractions, metal, methods, seed, scan, device)
                for label, hu in images.items():
                    outputs = [channel_outputs(hu[0], place, channels) for place in places]
                    seen.setdefault(label, []).extend(outputs)
            found |= {(label, contrast): np.stack(outputs) for label, outputs in seen.items()}
        samples.append(found)
        told(f"{one.case.name}: {len(places)} lesions")
    return observe(samples, [UNCORRECTED, *methods, WITHOUT_METAL], contrasts_hu)


def observe(
    samples: Sequence[Mapping[tuple[str, float], np.ndarray]],
    labels: Sequence[str],
    contrasts_hu: Sequence[float],
) -> list[Detectability]:
    """Leave one case out, learn from the others, decide, and average over the cases.

    :param samples: for each case (label, contrast) -> channel outputs ``(samples, channels)``;
        contrast 0 is without lesion.
    :raises ValueError: fewer than three cases.
    """
    from mareval import (
        cho_decision_values,
        cho_template,
        compute_auc,
        paired_ttest_one_tailed,
    )

    if len(samples) < 3:
        raise ValueError(f"{len(samples)} cases with lesions: leaving one out needs 3 or more")
    areas: dict[tuple[str, float], np.ndarray] = {}
    for label in labels:
        for contrast in contrasts_hu:
            of_cases = []
            for left_out, own in enumerate(samples):
                others = [case for number, case in enumerate(samples) if number != left_out]
                template = cho_template(
                    np.concatenate([case[label, contrast] for case in others]),
                    np.concatenate([case[label, 0.0] for case in others]),
                )
                present, absent = own[label, contrast], own[label, 0.0]
                decisions = cho_decision_values(np.concatenate([present, absent]), template)
                truth = [1] * len(present) + [0] * len(absent)
                of_cases.append(compute_auc(decisions, truth))
            areas[label, contrast] = np.array(of_cases)
    out = []
    for (label, contrast), own_areas in areas.items():
        before = areas[labels[0], contrast]
        gain, p_gain = 0.0, math.nan
        if label != labels[0] and not np.array_equal(before, own_areas):
            gain, p_gain = paired_ttest_one_tailed(before, own_areas)
        error = float(own_areas.std(ddof=1) / math.sqrt(len(own_areas)))
        mean = float(own_areas.mean())
        out.append(Detectability(label, contrast, mean, error, gain, p_gain))
    return out


def _images(
    patient: CTVolume,
    fractions: Mapping[str, np.ndarray],
    metal: np.ndarray,
    methods: Mapping[str, str],
    seed: int,
    acquisition: AcquisitionParameters,
    device: str,
) -> dict[str, np.ndarray]:
    """One scan, uncorrected and by every method, and the same scan without metal."""
    scan = simulate_volume(patient, fractions, acquisition, seed=seed, device=device)
    assert scan.reference is not None
    images = corrected(scan.corrupted, methods, metal, device)
    return {label: hu for label, (hu, _) in images.items()} | {WITHOUT_METAL: scan.reference.hu}


def lesion_places(
    patient: CTVolume, metal: np.ndarray, count: int = PLACES
) -> list[tuple[int, int]]:
    """Rows and columns of lesions in muscle or organs near metal, as far apart as can be.

    :param patient: one slice without metal.
    :param metal: the metal fraction, same shape.
    :returns: at most ``count``; the first is the one nearest to metal.
    """
    spacing = patient.spacing_mm
    distance = distance_mm(metal > 0.02, spacing)[0]
    smooth = ndimage.gaussian_filter(patient.hu[0], [1.5 / s for s in spacing[1:]])
    low, high = _SOFT_TISSUE_HU
    bad = (smooth < low) | (smooth > high) | ~body_mask(patient.hu, spacing)[0]
    room = ndimage.distance_transform_edt(~bad, sampling=spacing[1:])
    fits = (distance >= FROM_METAL_MM[0]) & (distance <= FROM_METAL_MM[1])
    fits &= room > DIAMETER_MM / 2 + 1.0
    candidates = np.argwhere(fits)
    if not len(candidates):
        return []
    places = [candidates[int(distance[fits].argmin())]]
    while len(places) < count:
        apart = np.min(
            [np.hypot(*((candidates - place) * spacing[1:]).T) for place in places], axis=0
        )
        if apart.max() < 2.0 * DIAMETER_MM:
            break
        places.append(candidates[int(apart.argmax())])
    return [(int(row), int(col)) for row, col in places]


def with_lesions(
    patient: CTVolume, places: Sequence[tuple[int, int]], contrast_hu: float
) -> CTVolume:
    """The patient with discs of :data:`DIAMETER_MM`, exact at their edges to a 25th of a pixel."""
    hu = patient.hu.copy()
    _, rows, cols = hu.shape
    offsets = (np.arange(_SUBSAMPLES) - (_SUBSAMPLES - 1) / 2) / _SUBSAMPLES
    y = ((np.arange(rows)[:, None] + offsets).ravel())[:, None]
    x = ((np.arange(cols)[:, None] + offsets).ravel())[None, :]
    for row, col in places:
        radius = np.hypot((y - row) * patient.spacing_mm[1], (x - col) * patient.spacing_mm[2])
        inside = (radius <= DIAMETER_MM / 2).reshape(rows, _SUBSAMPLES, cols, _SUBSAMPLES)
        hu += contrast_hu * inside.mean(axis=(1, 3))
    return patient.with_hu(hu)


def laguerre_gauss_channels(pixel_mm: tuple[float, float], count: int = CHANNELS) -> np.ndarray:
    """Round channels for a round signal at a known place (Gallas and Barrett, JOSA A 20, 2003).

    ``sqrt(2) / a exp(-pi r^2 / a^2) L_n(2 pi r^2 / a^2)`` with ``a`` the lesion's diameter, cut off
    before the metal begins; the outputs are integrals over the image in HU mm, whatever the pixel.

    :returns: ``(rows, cols, channels)`` with odd rows and columns.
    """
    from scipy.special import eval_laguerre

    reach = FROM_METAL_MM[0] - 0.5
    half = [int(reach / size) for size in pixel_mm]
    y = np.arange(-half[0], half[0] + 1)[:, None] * pixel_mm[0]
    x = np.arange(-half[1], half[1] + 1)[None, :] * pixel_mm[1]
    square = (x**2 + y**2) / DIAMETER_MM**2
    gauss = math.sqrt(2.0) / DIAMETER_MM * np.exp(-math.pi * square)
    bank = [gauss * eval_laguerre(n, 2.0 * math.pi * square) for n in range(count)]
    inside = x**2 + y**2 <= reach**2
    return np.stack(bank, axis=-1) * inside[..., None] * (pixel_mm[0] * pixel_mm[1])


def channel_outputs(hu: np.ndarray, place: tuple[int, int], channels: np.ndarray) -> np.ndarray:
    """What the channels see at a place of an image ``(rows, cols)``; ``(channels,)``.

    :raises ValueError: a place too near to the image's edge.
    """
    from mareval import apply_channels, extract_roi

    rows, cols = channels.shape[:2]
    for at, size, length in zip(place, (rows, cols), hu.shape, strict=True):
        if at < size // 2 or at + size // 2 >= length:
            raise ValueError(f"place {place} is too near to the edge of an image {hu.shape}")
    region = extract_roi(hu, place, (rows, cols)).astype(np.float64)
    outputs: np.ndarray = apply_channels(region.reshape(1, -1), channels.reshape(rows * cols, -1))
    return outputs[0]
