"""Constructs in slices that no network was trained on, under acquisitions it knows and does not.

Simulating a case costs more than correcting it: ``cache`` names a folder where finished cases are
kept and looked for, as ``.npz`` without pickled objects, which every later run then reads.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from MetalArtifactReductionLib.correction import correct_volume
from MetalArtifactReductionLib.evaluation.comparison import (
    UNCORRECTED,
    Row,
    ScanWithTruth,
    measure_images,
)
from MetalArtifactReductionLib.evaluation.metrics import NEAR_METAL_PIXELS, flat_region
from MetalArtifactReductionLib.files.volumes import read_volume
from MetalArtifactReductionLib.files.whole import written_whole
from MetalArtifactReductionLib.metal.body import body_mask, within_pixels
from MetalArtifactReductionLib.physics.acquisition import PRESETS, AcquisitionParameters
from MetalArtifactReductionLib.physics.simulation import FORMAT, simulate_volume
from MetalArtifactReductionLib.volume import CTVolume
from SimulateImplantsLib.cases.plan_files import metal_of, read_plan
from SimulateImplantsLib.voxels.metal import Metal, slices_of, slices_with, voxelize_metal

PLANS = Path(__file__).parents[1] / "Experiments" / "plans"

GROUPS: Mapping[str, tuple[str, str, tuple[int, int]]] = {
    "coad hip": (
        "tcga_coad_AY-4070A_abdomen_pelvis",
        "tcga_coad_AY-4070A_abdomen_pelvis-hip",
        (0, 86),
    ),
    "coad spine": (
        "tcga_coad_AY-4070A_abdomen_pelvis",
        "tcga_coad_AY-4070A_abdomen_pelvis-spine",
        (0, 86),
    ),
    "pancreatic spine": (
        "pancreatic_ct_cbct_CB001_abdomen",
        "pancreatic_ct_cbct_CB001_abdomen-heldout-spine",
        (0, 55),
    ),
}
"""Group -> CT, plans, first and last slice that were kept from training."""

ACQUISITIONS: Mapping[str, AcquisitionParameters] = {
    "reference": PRESETS["reference"],
    "unseen": AcquisitionParameters(
        source_isocentre_mm=600.0,
        source_detector_mm=1100.0,
        curved_detector=False,
        kvp=90.0,
        views=800,
        bin_mm=1.1,
        scatter_to_primary=0.02,
        window="cosine",
        photons_per_ray=2e6,
    ),
}
"""``unseen``: geometry, spectrum, kernel and scatter that no training draws."""

CASE_SEED = 11
_CACHE_FORMAT = 2


@dataclass(frozen=True)
class HeldOut:
    """A case and what it was made of.

    :param group: one of :data:`GROUPS`.
    :param acquisition: one of :data:`ACQUISITIONS`, or the caller's own name.
    :param case: the scan with metal, and the same scan without.
    :param clean: the patient before the scan.
    :param fractions: material -> fraction of each voxel, as ``clean``.
    :param implants: kinds of implant in these slices: ``"pedicle-screw + rod"``.
    :param area_mm2: metal in the slice that holds most of it.
    """

    group: str
    acquisition: str
    case: ScanWithTruth
    clean: CTVolume
    fractions: Mapping[str, np.ndarray]
    implants: str
    area_mm2: float


def cases(
    data: Path,
    plans: int,
    slices: int,
    acquisition: AcquisitionParameters = PRESETS["reference"],
    cache: Path | None = None,
) -> Iterator[tuple[str, ScanWithTruth]]:
    """Group and case, one after another; arguments as of :func:`held_out_cases`."""
    for held_out in held_out_cases(data, plans, slices, {"": acquisition}, cache=cache):
        yield held_out.group, held_out.case


def held_out_cases(
    data: Path,
    plans: int,
    slices: int,
    acquisitions: Mapping[str, AcquisitionParameters] = ACQUISITIONS,
    *,
    groups: Sequence[str] = tuple(GROUPS),
    cache: Path | None = None,
) -> Iterator[HeldOut]:
    """Every construct of every group under every acquisition.

    :param data: folder with the CTs that :data:`GROUPS` names.
    :param plans: constructs a group.
    :param slices: neighbouring slices of each.
    :param acquisitions: name -> how it is scanned.
    :param cache: folder for finished cases; made when absent.
    """
    if cache is not None:
        cache.mkdir(parents=True, exist_ok=True)
    for group in groups:
        name, stem, kept = GROUPS[group]
        whole: CTVolume | None = None
        for number, file in enumerate(sorted(PLANS.glob(f"{stem}-*.json"))[:plans]):
            metal: Metal | None = None
            for label, acquisition in acquisitions.items():
                case_name = f"{group} {number}"
                path = None
                if cache is not None:
                    path = cache / _file_name(case_name, file, plans, slices, acquisition)
                if path is not None and path.exists():
                    yield _load(path, group, label, case_name)
                    continue
                if whole is None:
                    whole = read_volume(data / f"{name}.nii.gz")
                    whole = slices_of(whole, kept[0], kept[1] - kept[0] + 1)
                if metal is None:
                    metal = metal_of(read_plan(file))
                    # Somewhere else in every construct: its lowest part, ..., its uppermost.
                    placed = _placed(metal, whole, (number + 0.5) / plans, slices)
                held_out = _scanned(group, label, case_name, *placed, acquisition)
                if path is not None:
                    _save(path, held_out)
                yield held_out


def measured(case: ScanWithTruth, images: Mapping[str, tuple[np.ndarray, float]]) -> list[Row]:
    """Figures in slices with metal; noise where the truth is flat near metal."""
    slices = np.flatnonzero(case.metal.any(axis=(1, 2)))
    reference, metal = case.reference_hu[slices], case.metal[slices]
    body = body_mask(reference, case.corrupted.spacing_mm)
    near = body & within_pixels(metal > 0.02, NEAR_METAL_PIXELS)
    return measure_images(case, images, flat_region(reference, near))


def corrected(
    volume: CTVolume,
    methods: Mapping[str, str],
    metal: np.ndarray | None,
    device: str = "cpu",
) -> dict[str, tuple[np.ndarray, float]]:
    """Label -> image and seconds; the metal is found once."""
    images = {UNCORRECTED: (volume.hu, 0.0)}
    for label, method in methods.items():
        result = correct_volume(volume, metal, method, device=device)
        metal = result.metal_fraction if metal is None else metal
        images[label] = (result.corrected.hu, result.timings["correction"])
    return images


_Placed = tuple[CTVolume, dict[str, np.ndarray], str]


def _placed(metal: Metal, volume: CTVolume, share: float, slices: int) -> _Placed:
    """Slices of the patient, fractions in them, and the kinds of implant they meet."""
    first, count = slices_with(metal, volume)
    start = int(np.clip(first + share * count - slices / 2, 0, len(volume.hu) - slices))
    slab = slices_of(volume, start, slices)
    # Voxelised whole: an implant outside the slab would be refused.
    voxels = voxelize_metal(metal, slices_of(volume, first, count))
    cut = slice(max(start - first, 0), start + slices - first)
    at = max(first - start, 0)
    fractions = {}
    for material, fraction in voxels.fractions.items():
        fractions[material] = np.zeros(slab.hu.shape, np.float32)
        fractions[material][at : at + len(fraction[cut])] = fraction[cut]
    names = list(voxels.volumes_mm3)
    present = [names[label - 1].split()[0] for label in np.unique(voxels.labels[cut]) if label]
    return slab, fractions, " + ".join(dict.fromkeys(present))


def _scanned(
    group: str,
    label: str,
    name: str,
    clean: CTVolume,
    fractions: Mapping[str, np.ndarray],
    implants: str,
    acquisition: AcquisitionParameters,
) -> HeldOut:
    scan = simulate_volume(clean, fractions, acquisition, seed=CASE_SEED)
    assert scan.reference is not None
    case = ScanWithTruth(name, scan.corrupted, scan.reference.hu, scan.metal_fraction)
    return HeldOut(group, label, case, clean, fractions, implants, _area_mm2(case))


def _area_mm2(case: ScanWithTruth) -> float:
    pixel = float(np.prod(case.corrupted.spacing_mm[1:]))
    return float(case.metal.sum(axis=(1, 2)).max()) * pixel


def _file_name(
    case: str, plan: Path, plans: int, slices: int, acquisition: AcquisitionParameters
) -> str:
    """Another name for whatever would be another case."""
    facts = [_CACHE_FORMAT, FORMAT, CASE_SEED, plans, slices, acquisition.to_dict()]
    text = json.dumps(facts, sort_keys=True) + plan.read_text(encoding="utf-8")
    return f"{case.replace(' ', '-')}-{hashlib.sha256(text.encode()).hexdigest()[:16]}.npz"


def _save(path: Path, held_out: HeldOut) -> None:
    case = held_out.case
    arrays: dict[str, Any] = {
        f"fraction {name}": array for name, array in held_out.fractions.items()
    }
    with written_whole(path, overwrite=True) as temporary:
        np.savez_compressed(
            temporary,
            corrupted_hu=case.corrupted.hu,
            reference_hu=case.reference_hu,
            metal=case.metal,
            clean_hu=held_out.clean.hu,
            ijk_to_ras=case.corrupted.ijk_to_ras,
            implants=np.array(held_out.implants),
            **arrays,
        )


def _load(path: Path, group: str, label: str, name: str) -> HeldOut:
    with np.load(path, allow_pickle=False) as stored:
        affine = stored["ijk_to_ras"]
        case = ScanWithTruth(
            name,
            CTVolume(stored["corrupted_hu"], affine),
            stored["reference_hu"],
            stored["metal"],
        )
        clean = CTVolume(stored["clean_hu"], affine)
        fractions = {
            key.removeprefix("fraction "): stored[key]
            for key in stored.files
            if key.startswith("fraction ")
        }
        implants = str(stored["implants"])
    return HeldOut(group, label, case, clean, fractions, implants, _area_mm2(case))
