"""Every method on constructs, scanners and real metal that none was trained on: tables.

    python Testing/Benchmarks/compare_methods.py DATA [--judge nmar] [--cache FOLDER]
        [--method LABEL=NAME ...] [--plans 3] [--slices 2] [--acquisition unseen] [--group GROUP]
        [--detectability] [--seeds 6] [--real] [--csv FILE] [--pictures FOLDER]

Realistic constructs in held-out slices (spine, hip prostheses, nails) are simulated with the
reference scanner and with one that no training draws (geometry, spectrum, kernel, scatter), and
corrected from the image alone. For every method: the measures against the scan without metal;
rims and cortical bone at the metal; what it does to a scan without metal that it is told to
correct. The row "bound" is the truth with the metal put back that was found in the image: as good
as a correction can be that keeps all of it.

``--detectability`` asks an observer for lesions beside the metal (needs the packages of
Testing/Benchmarks/requirements.txt), ``--real`` measures streaks of real metal, ``--judge`` holds
one method to what is demanded of it and lists the cases where it does harm. DATA holds the public
CTs that held_out_cases.py and real_metal.py name. LABEL=NAME takes any method or file of weights
and replaces the default list; li and nmar are always measured.
"""

from __future__ import annotations

import argparse
import csv
import io
import sys
from collections.abc import Iterable, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch
from held_out_cases import ACQUISITIONS, GROUPS, HeldOut, corrected, held_out_cases, measured
from judgement import BOUND, LI, NMAR, Demand, Measured, judge, judge_detectability, judge_real
from lesions import Detectability, detectability
from method_tables import (
    csv_lines,
    demand_table,
    exceptions_table,
    kinds_table,
    lesion_table,
    real_table,
    safety_table,
    show,
    show_measures,
)
from real_metal import RealMetal, real_metal
from safety import fake_metal, measure_safety

from MetalArtifactReductionLib.correction.recombination import put_metal_back
from MetalArtifactReductionLib.errors import InputError, MARError
from MetalArtifactReductionLib.evaluation.comparison import ScanWithTruth
from MetalArtifactReductionLib.files.pictures import comparison_picture
from MetalArtifactReductionLib.files.whole import check_path_free, written_whole
from MetalArtifactReductionLib.metal import segment_metal
from MetalArtifactReductionLib.metal.certain import certain_metal
from MetalArtifactReductionLib.methods.registry import methods as known_methods
from MetalArtifactReductionLib.methods.registry import require_method

DEFAULT_METHODS = (LI, NMAR, "trace-cnn", "unet", "cgan", "prior", "prior-strict")
DEFAULT_JUDGED = "prior"


def measure_cases(
    held_out: Iterable[HeldOut],
    methods: Mapping[str, str],
    pictures: Path | None = None,
    device: str = "cpu",
) -> list[Measured]:
    """Every case by every method; a picture of the first case of every group."""
    out: list[Measured] = []
    pictured = set()
    for one in held_out:
        case, place = one.case, f"{one.acquisition} {one.group}"
        metal = segment_metal(case.corrupted).fraction
        images = corrected(case.corrupted, methods, metal, device)
        images[BOUND] = (with_metal_back(case, metal), 0.0)
        kept = np.flatnonzero(case.metal.any(axis=(1, 2)))
        spacing = case.corrupted.spacing_mm
        clean = case.corrupted.with_hu(case.reference_hu)
        for row in measured(case, images):
            hu = images[row.method][0]
            safety = measure_safety(
                hu[kept],
                case.reference_hu[kept],
                case.metal[kept],
                spacing_mm=spacing,
                shown_metal=metal[kept],
            )
            fake = None
            if row.method in methods:
                fake = fake_metal(clean, metal, methods[row.method], device=device)
            out.append(
                Measured(one.acquisition, one.group, one.implants, one.area_mm2, row, safety, fake)
            )
        print(f"{one.acquisition}, {case.name}: {one.implants}, {one.area_mm2:.0f} mm²", flush=True)
        if pictures is not None and place not in pictured:
            pictured.add(place)
            k = int(case.metal.sum(axis=(1, 2)).argmax())
            shown = {label: hu[k] for label, (hu, _) in images.items() if label != BOUND}
            shown["without metal"] = case.reference_hu[k]
            draw(
                shown,
                pictures / f"{place.replace(' ', '-')}.png",
                case.corrupted.ijk_to_ras,
                "without metal",
            )
    return out


def with_metal_back(case: ScanWithTruth, metal: np.ndarray) -> np.ndarray:
    """The truth with the metal that was found put back: no method that does so can be better."""
    certain = certain_metal(case.corrupted.hu, metal)
    arrays = (case.reference_hu, case.corrupted.hu, metal, certain)
    return put_metal_back(*(torch.from_numpy(array) for array in arrays)).numpy()


def draw(
    images: Mapping[str, np.ndarray],
    path: Path,
    ijk_to_ras: np.ndarray,
    truth: str | None = None,
) -> None:
    """One slice by every method at the windows of soft tissue and bone."""
    comparison_picture(images, path, ijk_to_ras=ijk_to_ras, difference_to=truth, overwrite=True)
    print(path)


def chosen_methods(given: Sequence[str]) -> dict[str, str]:
    """Label -> method, li and nmar first.

    :raises InputError: not LABEL=NAME, or a method that cannot be used here.
    """
    if given:
        for text in given:
            if "=" not in text:
                raise InputError(f"--method {text!r}: give LABEL=NAME, for example nmar=nmar")
        methods = {LI: LI, NMAR: NMAR} | dict(text.split("=", 1) for text in given)
    else:
        methods = {name: name for name in DEFAULT_METHODS if name in known_methods()}
    for method in methods.values():
        require_method(method)
    return methods


def parsed() -> argparse.Namespace:
    """Options of the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path, help="folder with the CTs")
    parser.add_argument("--method", action="append", default=[], metavar="LABEL=NAME")
    parser.add_argument("--judge", help="label of the method held to the demands (default: prior)")
    parser.add_argument("--plans", type=int, default=3, help="constructs a group")
    parser.add_argument("--slices", type=int, default=2, help="neighbouring slices of each")
    parser.add_argument("--group", action="append", choices=list(GROUPS))
    parser.add_argument("--acquisition", action="append", choices=list(ACQUISITIONS))
    parser.add_argument("--cache", type=Path, help="folder of simulated cases, made if absent")
    parser.add_argument("--detectability", action="store_true", help="lesions beside the metal")
    parser.add_argument("--seeds", type=int, default=6, help="scans with and without lesions")
    parser.add_argument("--real", action="store_true", help="real metal")
    parser.add_argument("--csv", type=Path, help="every case's figures")
    parser.add_argument("--pictures", type=Path, help="folder for pictures")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=1)
    return parser.parse_args()


def run(options: argparse.Namespace) -> None:
    """Measure and print.

    :raises MARError: options that cannot be used, before any work.
    """
    methods = chosen_methods(options.method)
    judged = options.judge or (DEFAULT_JUDGED if DEFAULT_JUDGED in methods else "")
    if judged and judged not in methods:
        raise InputError(f"--judge {judged!r} is not measured; use one of {', '.join(methods)}")
    if options.detectability and find_spec("mareval") is None:
        raise InputError(
            "--detectability needs mar-eval: pip install -r Testing/Benchmarks/requirements.txt"
        )
    if options.csv is not None:
        check_path_free(options.csv, overwrite=True)
    if options.pictures is not None:
        options.pictures.mkdir(parents=True, exist_ok=True)
    names = options.acquisition or list(ACQUISITIONS)
    every = list(
        held_out_cases(
            options.data,
            options.plans,
            options.slices,
            {name: ACQUISITIONS[name] for name in names},
            groups=options.group or tuple(GROUPS),
            cache=options.cache,
        )
    )
    found = measure_cases(every, methods, options.pictures, options.device)
    show_measures(found)
    show("At the metal, and where there is none", safety_table(found))
    demands: list[tuple[str, Demand]] = []
    for name in names if judged else ():
        here = [one for one in found if one.acquisition == name]
        demands += [(name, demand) for demand in judge(judged, here)]
    lesions: dict[str, list[Detectability]] = {}
    for name in names if options.detectability else ():
        scans = [one for one in every if one.acquisition == name]
        lesions[name] = detectability(scans, methods, seeds=options.seeds, device=options.device)
        show(f"Lesions beside metal, {name}", lesion_table(lesions[name]))
        if judged:
            demands += [(name, demand) for demand in judge_detectability(judged, lesions[name])]
    real: list[RealMetal] = []
    for volume in real_metal(options.data, methods, device=options.device) if options.real else ():
        real.append(volume)
        if options.pictures is not None:
            shown = {label: hu[volume.shown] for label, hu in volume.images.items()}
            path = options.pictures / f"real-{volume.name.replace(' ', '-')}.png"
            draw(shown, path, volume.volume.ijk_to_ras)
    show("Real metal", real_table(real))
    if judged:
        demands += [("real metal", demand) for demand in judge_real(judged, real)]
        show(f"{judged}, case by case", kinds_table(found, judged))
        show(f"Cases in which {judged} does harm", exceptions_table(found, judged))
        show(f"What is demanded of {judged}", demand_table(demands))
    if options.csv is not None:
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerows(csv_lines(found, lesions, real))
        with written_whole(options.csv, overwrite=True) as temporary:
            temporary.write_text(text.getvalue(), encoding="utf-8")


def main() -> None:
    """Print the tables, or one line about what is wrong with the options."""
    options = parsed()
    torch.set_num_threads(options.threads)
    try:
        run(options)
    except MARError as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
