"""``mar place``: implants proposed for a patient's bones, or a plausible variant, as a plan."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from MetalArtifactReductionLib.cli import add_command, note, progress_bar
from MetalArtifactReductionLib.errors import InputError, printable

from ..implants import procedures
from .options import add_ct, point, read_ct, whole_number

if TYPE_CHECKING:
    import numpy as np

    from MetalArtifactReductionLib.volume import CTVolume

_TEXT = (
    "Bones come from a segmentation with named vertebrae and femora (TotalSegmentator's names are "
    "known), or from one click in each vertebral body or femoral head; other places, as teeth, "
    "are found by themselves, and clicks choose among them. Writes a plan for mar "
    "voxelise, mar simulate and 3D Slicer, and prints how well each implant lies. Ends with 1 "
    "where a wanted screw could not be placed. Example: "
    "mar place ct.nii.gz plan.json --click L3=2,35,-610 --click L4=1,38,-645"
)


def add_place(commands: Any) -> None:
    """Add the command to ``mar``."""
    parser = add_command(commands, "place", _place, "propose implants for the bones of a CT", _TEXT)
    add_ct(parser)
    parser.add_argument("output", type=Path, metavar="OUTPUT.json", help="plan to write")
    parser.add_argument(
        "--kind",
        choices=tuple(procedures()),
        default="spine",
        metavar="KIND",
        help="%(choices)s (default: %(default)s)",
    )
    add_bones(parser)
    parser.add_argument(
        "--levels", metavar="L2-L5", help="of the labelled vertebrae: L2-L5, or L3,L4,S1"
    )
    parser.add_argument(
        "--sides", choices=("left", "right", "both"), default="both", help="default: %(default)s"
    )
    parser.add_argument("--no-rods", action="store_true", help="screws only")
    parser.add_argument(
        "--rod-diameter", type=float, metavar="MM", help="default: 5.5, and 3.5 in the neck"
    )
    parser.add_argument(
        "--material",
        metavar="NAME",
        default="Ti6Al4V",
        help="of what fits vertebrae and hips best: Ti6Al4V (default), CoCrMo, 316L, ...; "
        "elsewhere, and in samples, a usual one",
    )
    parser.add_argument(
        "--sample",
        action="store_true",
        help="a plausible variant instead of the best fit: levels, sides, sizes and angles drawn",
    )
    parser.add_argument("--seed", type=whole_number, default=0, help="of the sample (0)")
    parser.add_argument("--force", action="store_true", help="replace an existing plan")


def add_bones(parser: argparse.ArgumentParser) -> None:
    """Where the bones are."""
    group = parser.add_argument_group("the bones")
    group.add_argument(
        "--segmentation",
        type=Path,
        metavar="FILE",
        help="labels on the CT's grid, or a folder of masks such as vertebrae_L1.nii.gz",
    )
    group.add_argument(
        "--labels",
        metavar="NAMES",
        help="names of the labels: a CSV (label,name), a JSON, totalsegmentator or verse",
    )
    group.add_argument(
        "--click",
        type=click,
        action="append",
        default=[],
        metavar="L3=R,A,S",
        help="point in a vertebral body, or hip=R,A,S in a femoral head; mm, RAS",
    )
    group.add_argument(
        "--bone-threshold",
        type=float,
        metavar="HU",
        help="with clicks and no segmentation: bone is brighter (default: found from the bone at "
        "each clicked vertebra, which a given one moves by 10 HU at most; 200 for hips)",
    )


def click(text: str) -> tuple[str, tuple[float, float, float]]:
    """``L3=R,A,S``."""
    name, equals, place = text.partition("=")
    if not equals or not name.strip():
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME=R,A,S, as in L3=2.5,-31,840")
    return name.strip(), point(place)


def _place(options: argparse.Namespace) -> int:
    from MetalArtifactReductionLib.files.leftovers import claimed
    from MetalArtifactReductionLib.files.whole import check_path_free, written_whole
    from MetalArtifactReductionLib.physics.materials import material

    from ..cases.plan_quality import plan_quality, quality_records, quality_text
    from ..implants.rod import Rod
    from ..placement.anatomy import Anatomy
    from ..placement.neck.locate import LEVELS as NECK
    from ..placement.patient import Bones, measure_patient
    from ..placement.procedures import ProposalOptions, proposed_plan, sampled_plan
    from ..placement.spine.levels import parse_levels, vertebra_masks
    from ..placement.spine.propose import missing_screws

    if options.output.suffix.lower() != ".json":
        raise InputError(f"{options.output}: a plan is a JSON file; end the name in .json")
    clicks = _clicks(options.click)
    levels = parse_levels(options.levels or "")
    sides = ("left", "right") if options.sides == "both" else (options.sides,)
    metal = material(options.material).name
    if options.rod_diameter is not None:
        Rod(diameter_mm=options.rod_diameter)  # checks it before the work
    check_path_free(options.output, inputs=_inputs(options), overwrite=options.force)
    volume = read_ct(options.ct, options.series)
    labels = labels_of(options.segmentation, options.labels, volume)
    bones = Bones(labels, clicks, options.bone_threshold)
    with claimed(options.output):
        with progress_bar("placing", options.quiet) as progress:
            patient = measure_patient(
                volume,
                bones,
                procedures()[options.kind].site,
                levels=levels,
                sides=sides,
                progress=progress,
            )
            if options.sample:
                plan = sampled_plan(patient, options.kind, options.seed)
            else:
                wanted = ProposalOptions(sides, not options.no_rods, options.rod_diameter, metal)
                plan = proposed_plan(patient, options.kind, wanted)
            site = procedures()[options.kind].site
            known = labels or ({"bone": bones.everything(volume)} if site == "hip" else {})
            rows = plan_quality(plan, Anatomy(volume, known, patient.vertebrae))
        data = plan.to_dict() | {"quality": quality_records(rows)}
        with written_whole(options.output, overwrite=options.force) as temporary:
            temporary.write_text(json.dumps(data, indent=2) + "\n", encoding="utf-8")
    note(plan.warnings)
    print(printable(quality_text(rows)))
    missing = []
    if options.kind in ("spine", "lateral-mass") and not options.sample:
        labelled = [one for one in vertebra_masks(labels) if site == "spine" or one in NECK]
        missing = missing_screws(plan.implants, clicks or levels or labelled, sides)
    if missing:
        note([f"{options.output} is written without the screws of {', '.join(missing)}"])
    return int(bool(missing))


def labels_of(
    segmentation: Path | None, names: str | None, volume: CTVolume
) -> dict[str, np.ndarray]:
    """The labels that the options name, or none."""
    from MetalArtifactReductionLib.files.inputs import check_readable

    from ..cases.label_files import read_bones

    if segmentation is None:
        if names is not None:
            raise InputError("--labels names the labels of a --segmentation, and there is none")
        return {}
    check_readable(segmentation, folder=True)
    return read_bones(segmentation, volume, names)


def _clicks(
    given: list[tuple[str, tuple[float, float, float]]],
) -> dict[str, tuple[float, float, float]]:
    """By name, levels as labels have them; hips called the same get numbers, vertebrae must not."""
    from ..placement.spine.levels import level_of

    found: dict[str, tuple[float, float, float]] = {}
    for name, place in given:
        name = level_of(name) or name
        if name.lower() == "hip":
            name = f"hip {len(found) + 1}"
        if name in found:
            raise InputError(f"--click {name} is given twice; click once into each vertebra")
        found[name] = place
    return found


def _inputs(options: argparse.Namespace) -> list[Path]:
    paths = (options.ct, options.segmentation, options.labels)
    return [Path(path) for path in paths if path is not None]
