"""Real metal: does a correction keep metal, teeth and bone, and leave alone what was fine?

    python Testing/Benchmarks/metal_kept.py DATA [--method nmar ...] [--volume dental ...]
        [--always] [--pictures FOLDER] [--csv FILE]

Corrects the slices named in :data:`REAL` and prints one line a volume and method. DATA holds the
CTs as NIfTI, in any folder below; those that are absent are named and left out. ``--pictures``
writes every measured slice, original and corrected, in both windows.

Certain metal: brighter than 2200 HU and 0.85 of the clip level, three voxels or more joined in
three dimensions, in the body and not in touch with the air around it. The figures are

- kept, worst: share of it that stays at 0.9 of its value or at 2000 HU and more; that of the worst
  component.
- gone: of its pieces within single slices, those without any voxel of 2000 HU.
- dense: of voxels of 1200 to 2200 HU, 3 pixels or more from it and within 20 mm, the share that
  lost over 300 HU.
- ring: 1 to 3 pixels around it, mean change; dark: share below -200 HU there, was and is.
- quiet: in slices that a reader found free of streaks, RMS change within 20 pixels of metal.
- soft: standard deviation of soft tissue 3 to 30 pixels from metal, was and is: streaks and anatomy
  together, so compare the two only.
- left: slices that were left as they are, of those with metal.
"""

from __future__ import annotations

import argparse
import csv
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import numpy as np
import torch
from scipy import ndimage

from MetalArtifactReductionLib.correction import correct_volume
from MetalArtifactReductionLib.correction.result import CorrectionResult
from MetalArtifactReductionLib.errors import MARError
from MetalArtifactReductionLib.evaluation.comparison import aligned_table
from MetalArtifactReductionLib.files.pictures import comparison_picture
from MetalArtifactReductionLib.files.volumes import read_volume
from MetalArtifactReductionLib.metal.body import body_mask
from MetalArtifactReductionLib.metal.segmentation import segment_metal
from MetalArtifactReductionLib.volume import CTVolume

METHODS = ("nmar", "prior-strict", "prior")

_ALL = np.ones((3, 3, 3), bool)
_IN_SLICE = _ALL & np.array([False, True, False])[:, None, None]


@dataclass(frozen=True)
class Real:
    """A CT with metal that a real scanner saw.

    :param file: its name without ending.
    :param slices: those that are measured; all with metal and five on either side if empty.
    :param quiet: those of them without streaks, as a reader saw them.
    """

    file: str
    slices: tuple[int, ...] = ()
    quiet: tuple[int, ...] = ()


REAL: Mapping[str, Real] = {
    "dental": Real("tcga_thca_E3-A3E5_dental_metal", (14, 15, 16, 17, 18), (14,)),
    "wires": Real("lungfcp_01-0001_sternal_wires", (2, 6, 10, 12, 13, 18, 22), (2, 6, 18, 22)),
    "nail": Real("totalseg_example_hip_nail_3mm"),
    "teeth": Real("metal_acrin_flt_breast_001_teeth", (3, 4, 5, 6)),
    "port": Real("metal_acrin_flt_breast_001_port", (3, 4, 5, 6, 7), (3, 4, 5, 6, 7)),
    "clip": Real("metal_sts_020_clip", (3, 4, 5, 6)),
    "contrast": Real("metal_cmb_crc_01068_contrast", (10, 17, 22, 30), (10, 30)),
}


@dataclass(frozen=True)
class Kept:
    """Figures of one volume by one method, see the module; NaN where nothing can be measured."""

    volume: str
    method: str
    kept: float
    worst: float
    gone: int
    pieces: int
    dense: float
    ring_hu: float
    dark_was: float
    dark_is: float
    quiet_hu: float
    soft_was_hu: float
    soft_is_hu: float
    left: int
    with_metal: int


def certain(hu: np.ndarray, spacing_mm: tuple[float, float, float]) -> np.ndarray:
    """Labels of the parts of certain metal; written without the product's own idea of it."""
    top = float(hu.max())
    clipped = (2000 <= top <= 4095 and (hu >= top).sum() >= 8) or 2900 <= top <= 3100
    labels, count = ndimage.label(hu > max(2200.0, 0.85 * top if clipped else 0.0), _ALL)
    sizes = np.bincount(labels.ravel(), minlength=count + 1)
    outside = ndimage.binary_dilation(~body_mask(hu, spacing_mm), np.ones((1, 5, 5), bool))
    sizes[np.unique(labels[outside])] = 0
    sizes[0] = 0
    return np.where((sizes >= 3)[labels], labels, 0)


def measure(
    name: str, hu: np.ndarray, parts: np.ndarray, quiet: np.ndarray, result: CorrectionResult
) -> Kept:
    """All figures.

    :param hu: the uncorrected slices ``(slices, rows, cols)``.
    :param parts: of :func:`certain`, same shape.
    :param quiet: bool ``(slices,)``.
    :param result: of the same slices.
    """
    got, spacing = result.corrected.hu, result.corrected.spacing_mm
    metal, change = parts > 0, got - hu
    held = (got >= 0.9 * hu) | (got >= 2000)
    pixels = np.stack([_distance(layer) for layer in metal])
    flat, count = ndimage.label(metal, _IN_SLICE)
    numbers = np.arange(1, count + 1)[ndimage.sum(metal, flat, np.arange(1, count + 1)) >= 3]
    body = body_mask(hu, spacing)
    ring = body & (pixels > 1) & (pixels <= 3)
    reach = np.stack([_distance(layer, spacing[1:]) for layer in metal]) <= 20
    dense = body & reach & (hu >= 1200) & (hu <= 2200) & (pixels >= 3)
    calm = body & ~metal & (pixels <= 20) & quiet[:, None, None]
    around = body & (pixels > 3) & (pixels <= 30)
    with_metal = int(result.metal_fraction.any(axis=(1, 2)).sum())
    return Kept(
        name,
        result.method,
        _mean(held[metal]),
        min((_mean(held[parts == part]) for part in np.unique(parts[metal])), default=np.nan),
        int((np.atleast_1d(ndimage.maximum(got, flat, numbers)) < 2000).sum()) if count else 0,
        len(numbers),
        _mean(change[dense] < -300),
        _mean(change[ring]),
        _mean(hu[ring] < -200),
        _mean(got[ring] < -200),
        float(np.sqrt(_mean(change[calm] ** 2))),
        _soft(hu, around),
        _soft(got, around),
        len(result.left_alone),
        with_metal,
    )


def corrected_slices(
    volume: CTVolume, slices: Sequence[int], method: str, always: bool, device: str
) -> CorrectionResult:
    """The slices by one method, which sees their neighbours, too."""
    metal = segment_metal(volume).fraction
    chosen = np.zeros_like(metal)
    chosen[list(slices)] = metal[list(slices)]
    return correct_volume(volume, chosen, method, always=always, device=device)


def real_volumes(data: Path, names: Sequence[str]) -> Iterator[tuple[str, CTVolume]]:
    """Those of :data:`REAL` that are there; the others are told."""
    for name in names:
        found = sorted(data.rglob(f"{REAL[name].file}.nii*"))
        if found:
            yield name, read_volume(found[0])
        else:
            print(f"{name}: no {REAL[name].file}.nii.gz in {data}", file=sys.stderr)


def run(options: argparse.Namespace) -> list[Kept]:
    """Correct, measure, print and draw."""
    rows = []
    for name, volume in real_volumes(options.data, options.volume or list(REAL)):
        parts, slices = certain(volume.hu, volume.spacing_mm), REAL[name].slices
        if not slices:
            with_metal = np.flatnonzero(segment_metal(volume).fraction.any(axis=(1, 2)))
            last = min(len(volume.hu) - 1, int(with_metal[-1]) + 5)
            slices = tuple(range(max(0, int(with_metal[0]) - 5), last + 1))
        used, quiet = (np.isin(np.arange(len(volume.hu)), s) for s in (slices, REAL[name].quiet))
        parts[~used] = 0
        images = {"original": volume.hu}
        for method in options.method or METHODS:
            result = corrected_slices(volume, slices, method, options.always, options.device)
            rows.append(measure(name, volume.hu, parts, quiet, result))
            images[method] = result.corrected.hu
            print(f"{name} {method}: {result.told}", file=sys.stderr, flush=True)
        for k in slices if options.pictures else ():
            comparison_picture(
                {label: hu[k] for label, hu in images.items()},
                options.pictures / f"{name}-{k:03}.png",
                ijk_to_ras=volume.ijk_to_ras,
                overwrite=True,
            )
    return rows


def table(rows: Sequence[Kept]) -> list[list[str]]:
    """Head and lines; percent and HU."""
    head = "volume,method,kept %,worst %,gone,dense lost %,ring HU,dark %,quiet HU,soft HU,left"
    lines = [head.split(",")]
    for row in rows:
        lines.append(
            [
                row.volume,
                row.method,
                f"{100 * row.kept:.1f}",
                f"{100 * row.worst:.1f}",
                f"{row.gone} of {row.pieces}",
                f"{100 * row.dense:.1f}",
                f"{row.ring_hu:.0f}",
                f"{100 * row.dark_was:.0f} -> {100 * row.dark_is:.0f}",
                f"{row.quiet_hu:.1f}",
                f"{row.soft_was_hu:.0f} -> {row.soft_is_hu:.0f}",
                f"{row.left} of {row.with_metal}",
            ]
        )
    return lines


def _distance(mask: np.ndarray, sampling: tuple[float, float] = (1.0, 1.0)) -> np.ndarray:
    if not mask.any():
        return np.full(mask.shape, np.inf)
    return np.asarray(ndimage.distance_transform_edt(~mask, sampling=sampling))


def _mean(values: np.ndarray) -> float:
    return float(values.mean()) if values.size else float("nan")


def _soft(hu: np.ndarray, where: np.ndarray) -> float:
    values = ndimage.gaussian_filter(hu, (0, 1.3, 1.3))[where]
    values = values[np.abs(values) < 250]
    return float(values.std()) if values.size else float("nan")


def main() -> None:
    """Print the table, or one line about what is wrong."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("data", type=Path, help="folder with the CTs, as NIfTI")
    parser.add_argument("--method", action="append", help=f"default: {', '.join(METHODS)}")
    parser.add_argument("--volume", action="append", choices=list(REAL), help="default: all")
    parser.add_argument("--always", action="store_true", help="correct without streaks, too")
    parser.add_argument("--pictures", type=Path, help="folder for pictures, made if absent")
    parser.add_argument("--csv", type=Path, help="all figures")
    parser.add_argument("--markdown", action="store_true", help="the table as Markdown")
    parser.add_argument("--device", default="cpu")
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.pictures:
        options.pictures.mkdir(parents=True, exist_ok=True)
    try:
        rows = run(options)
    except MARError as error:
        sys.exit(f"error: {error}")
    print(aligned_table(table(rows), markdown=options.markdown))
    if options.csv:
        with options.csv.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, [entry.name for entry in fields(Kept)])
            writer.writeheader()
            writer.writerows(asdict(row) for row in rows)


if __name__ == "__main__":
    main()
