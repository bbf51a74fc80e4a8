"""``mar simulate``: implants into a clean CT, with their artifacts."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from MetalArtifactReductionLib.cli import add_command, add_compute_options, note, progress_bar
from MetalArtifactReductionLib.commands.dry_run import add_dry_run, told
from MetalArtifactReductionLib.errors import InputError, printable

from ..cases.options import MODELS, SimulationOptions
from .options import (
    acquisition_of,
    add_acquisition,
    add_allow_metal,
    add_ct,
    add_format,
    allow_negative_points,
    point,
    read_ct,
    simulation_cost,
    whole_number,
)

if TYPE_CHECKING:
    from MetalArtifactReductionLib.progress import Progress
    from MetalArtifactReductionLib.volume import CTVolume

    from ..cases.case import SimulatedCase
    from ..cases.shape_text import ShapeText
    from ..voxels.metal import Metal

_TEXT = (
    "Metal comes from a plan (mar place), from a mask, from simple shapes, or as rods in the "
    "thickest bones. Writes into a new folder: corrupted (with artifacts), reference (the same "
    "scan without metal: compare corrections with it), ideal (metal without artifacts), metal "
    "fraction, fractions of every material, labels, and simulation.json, from which --again makes "
    "them again. Example: mar simulate ct.nii.gz out --shape sphere:diameter=28 --at 80,20,-700 "
    "--material CoCrMo"
)


def add_simulate(commands: Any) -> None:
    """Add the command to ``mar``."""
    summary = "put metal into a clean CT and simulate its artifacts"
    parser = add_command(commands, "simulate", _simulate, summary, _TEXT)
    allow_negative_points(parser)
    add_ct(parser)
    add_allow_metal(parser)
    parser.add_argument("output", type=Path, metavar="OUTPUT", help="new folder")
    _add_metal(parser)
    add_acquisition(parser)
    parser.add_argument("--seed", type=whole_number, help="of the noise (default: 0)")
    parser.add_argument(
        "--every-slice", action="store_true", help="scan the slices without metal too"
    )
    parser.add_argument(
        "--no-reference",
        action="store_true",
        help="no scan without metal: half the time",
    )
    parser.add_argument(
        "--sinograms", action="store_true", help="write sinograms.npz too: 10 MB a slice"
    )
    add_format(parser)
    add_dry_run(parser)
    add_compute_options(parser)


def _add_metal(parser: argparse.ArgumentParser) -> None:
    metal = parser.add_argument_group("the metal (one of)").add_mutually_exclusive_group(
        required=True
    )
    metal.add_argument("--plan", type=Path, help="placed implants, from mar place or 3D Slicer")
    metal.add_argument(
        "--metal",
        type=Path,
        action="append",
        metavar="MASK",
        help="mask, or fraction 0..1, on the CT's grid; once for each --material",
    )
    metal.add_argument(
        "--shape",
        action="append",
        metavar="SHAPE",
        help="sphere:diameter=28, box:x=10,y=5,z=30, rod:diameter=5.5,length=60,axis=S, or any "
        "implant of the library; once for each --at",
    )
    metal.add_argument(
        "--rods",
        type=whole_number,
        nargs="?",
        const=2,
        metavar="N",
        help="so many rods in the thickest bones (2)",
    )
    metal.add_argument(
        "--again", type=Path, metavar="JSON", help="repeat what a simulation.json records"
    )
    parser.add_argument(
        "--at", type=point, action="append", default=[], metavar="R,A,S", help="centre in mm, RAS"
    )
    parser.add_argument(
        "--material",
        action="append",
        default=[],
        metavar="NAME",
        help="Ti6Al4V, CoCrMo, 316L, ...: one for all, or one for each mask or shape",
    )


def _simulate(options: argparse.Namespace) -> None:
    from MetalArtifactReductionLib.files.leftovers import claimed
    from MetalArtifactReductionLib.files.whole import check_new_folder, new_folder
    from MetalArtifactReductionLib.tomography import as_device

    from ..cases.case import write_case
    from ..cases.clean import require_no_metal
    from ..cases.records import suffix_for

    if options.again is not None:
        _check_only_again(options)
    shapes = _shapes(options)
    chosen = _chosen(options)
    plan = _plan(options)
    check_new_folder(options.output)
    as_device(options.device)
    volume = read_ct(options.ct, options.series)
    if not options.allow_metal:
        require_no_metal(volume, options.ct)
    suffix = suffix_for(volume, options.format)
    if options.dry_run:
        slices = _slices(options, volume, plan or shapes)
        told(
            f"would scan {slices} of {len(volume.hu)} slices of {options.ct} ({chosen.model}) and "
            f"write into {options.output}",
            str(simulation_cost(volume, chosen, slices)),
        )
        return
    with claimed(options.output):
        with progress_bar("simulating", options.quiet) as progress:
            case = _case(options, volume, plan or shapes, chosen, progress)
        with new_folder(options.output) as folder:
            files = write_case(case, folder, suffix)
    note(case.warnings)
    print(printable(summary_of(case)))
    written = ", ".join(sorted(f for f in files.values() if type(f) is str))
    print(printable(f"\n{options.output}: {written}"))


def _slices(options: argparse.Namespace, volume: CTVolume, metal: Metal | None) -> int:
    """How many slices would be scanned."""
    from MetalArtifactReductionLib.files.masks import read_mask

    from ..cases.rods_in_bone import rods_in_bone
    from ..voxels.metal import Metal, slices_with

    if options.every_slice:
        return len(volume.hu)
    if options.metal:
        masks = [read_mask(path, volume).any(axis=(1, 2)) for path in options.metal]
        return sum(map(any, zip(*masks, strict=True)))
    if options.rods is not None:
        metal = Metal(rods_in_bone(volume, options.rods))
    if metal is None:  # --again
        return len(volume.hu)
    return slices_with(metal, volume)[1]


def _case(
    options: argparse.Namespace,
    volume: CTVolume,
    metal: Metal | None,
    chosen: SimulationOptions,
    progress: Progress,
) -> SimulatedCase:
    """Run the simulation that the options ask for."""
    from MetalArtifactReductionLib.files.masks import read_mask

    from ..cases.case import simulate_again, simulate_fractions, simulate_metal
    from ..cases.rods_in_bone import rods_in_bone
    from ..voxels.metal import Metal

    if options.again is not None:
        return simulate_again(volume, options.again, chosen, progress=progress)
    if options.metal:
        names = _materials(options, len(options.metal), "--metal")
        fractions: dict[str, Any] = {}
        for path, name in zip(options.metal, names, strict=True):
            if name in fractions:
                raise InputError(f"material {name} is given to two masks; join them into one")
            fractions[name] = read_mask(path, volume)
        return simulate_fractions(volume, fractions, chosen, progress=progress)
    if options.rods is not None:
        material = _materials(options, 1, "--rods")[0] if options.material else "CoCrMo"
        metal = Metal(rods_in_bone(volume, options.rods, material))
    assert metal is not None  # one of the sources is required
    return simulate_metal(volume, metal, chosen, progress=progress)


def _plan(options: argparse.Namespace) -> Metal | None:
    if options.plan is None:
        return None
    from ..cases.plan_files import metal_of, read_plan

    if options.material:
        raise InputError("--material is for masks, shapes and rods; a plan has its own materials")
    return metal_of(read_plan(options.plan))


def _shapes(options: argparse.Namespace) -> Metal | None:
    """The shapes in the patient; refuses points without a shape and shapes without a point."""
    if not options.shape:
        if options.at:
            raise InputError("--at gives the place of a --shape, and there is none")
        if options.rods == 0:
            raise InputError("--rods 0: nothing to simulate; ask for 1 or more")
        return None
    from ..cases.shape_text import parse_shape
    from ..voxels.metal import Metal

    if len(options.at) != len(options.shape):
        raise InputError(
            f"{len(options.shape)} --shape and {len(options.at)} --at; give one point for each"
        )
    names = _materials(options, len(options.shape), "--shape") if options.material else []
    shapes: list[ShapeText] = [
        parse_shape(text, names[i] if names else None) for i, text in enumerate(options.shape)
    ]
    return Metal(
        [
            shape.at(place, f"{shape.implant.kind} {number}")
            for number, (shape, place) in enumerate(zip(shapes, options.at, strict=True), start=1)
        ]
    )


def _materials(options: argparse.Namespace, wanted: int, what: str) -> list[str]:
    """One material for each of ``wanted`` things, as the table writes them."""
    from MetalArtifactReductionLib.physics.materials import material

    given = [material(name).name for name in options.material]
    if len(given) == 1:
        return given * wanted
    if len(given) != wanted:
        raise InputError(
            f"{wanted} {what} and {len(given)} --material; give one material, or one for each"
        )
    return given


def _chosen(options: argparse.Namespace) -> SimulationOptions:

    return SimulationOptions(
        acquisition_of(options.preset, options.kvp, options.photons, options.set),
        options.model or MODELS[0],
        options.seed or 0,
        options.every_slice,
        not options.no_reference,
        options.sinograms,
        options.device,
        options.batch_slices,
    )


def _check_only_again(options: argparse.Namespace) -> None:
    names = ("model", "preset", "kvp", "photons", "set", "seed", "every_slice", "no_reference")
    for name in (*names, "at", "material"):
        if getattr(options, name) not in (None, False, []):
            raise InputError(
                f"--again repeats a simulation as it was; leave out --{name.replace('_', '-')}"
            )


def summary_of(case: SimulatedCase) -> str:
    """What was implanted, as a table, and which slices were scanned."""
    record = case.record
    by_material = {item["material"]: item["volume_mm3"] for item in record["implants"]}
    placed = record.get("volumes_mm3", {})
    width = max(map(len, (*placed, *by_material)))
    lines = [f"{name:<{width}}  {mm3 / 1000:6.2f} ml" for name, mm3 in placed.items()]
    lines += [f"{name:<{width}}  {mm3 / 1000:6.2f} ml" for name, mm3 in by_material.items()]
    scanned = record["slices"]
    lines.append(
        f"{record['model']} model, slices {scanned[0]} to {scanned[-1]} "
        f"({len(scanned)} of {record['shape'][0]}) scanned"
    )
    return "\n".join(lines)
