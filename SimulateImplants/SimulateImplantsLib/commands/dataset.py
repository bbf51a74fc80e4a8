"""``mar dataset``: many simulated cases for training and testing."""

from __future__ import annotations

import argparse
import time
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from MetalArtifactReductionLib.cli import add_command, note, progress_bar
from MetalArtifactReductionLib.commands.dry_run import add_dry_run, told
from MetalArtifactReductionLib.commands.options import add_dask
from MetalArtifactReductionLib.errors import InputError, printable

from ..cases.options import MODELS, SimulationOptions
from .options import (
    acquisition_of,
    add_acquisition,
    add_allow_metal,
    add_format,
    count,
    read_ct,
    simulation_cost,
    whole_number,
)

if TYPE_CHECKING:
    from ..dataset.plan import DatasetPlan

_TEXT = (
    "Each case is a folder: corrupted, reference, ideal, fractions, labels, plan.json and "
    "simulation.json, cut to the slices with metal. The same seed gives the same cases whatever "
    "the number of workers. Run the same command again to go on after a stop, or with more "
    "--cases to add some; cases.csv says which failed and why. Kinds: 'realistic' places what "
    "surgeons and dentists place where it belongs in what a CT shows (teeth, skull, chest, "
    "joints, limbs); spine and hips need labelled bones or clicks, named in CONFIG.json: "
    '{"cts": [{"ct": "a.nii.gz", "segmentation": "a-masks"}, "b.nii.gz"]}; '
    "'rods' go into the thickest bones and 'random' shapes anywhere, in any CT."
)


def add_dataset(commands: Any) -> None:
    """Add the command to ``mar``."""
    parser = add_command(
        commands, "dataset", _dataset, "simulate many cases into a folder, in parallel", _TEXT
    )
    parser.add_argument(
        "sources",
        type=Path,
        nargs="+",
        metavar="CONFIG.json|CT",
        help="a configuration, or clean CTs: files or folders of DICOM",
    )
    add_allow_metal(parser)
    parser.add_argument("output", type=Path, metavar="OUTPUT", help="folder, new or begun before")
    parser.add_argument("--cases", type=count, metavar="N", help="how many (10)")
    parser.add_argument("--seed", type=whole_number, help="another dataset for every seed (0)")
    parser.add_argument("--workers", type=count, metavar="K", help="processes at a time (1)")
    add_dask(parser)
    parser.add_argument(
        "--mix",
        type=mix,
        metavar="KIND=W,...",
        help="realistic=0.5,random=0.5 where bones are labelled; else rods=0.5,random=0.5",
    )
    parser.add_argument(
        "--metal-shapes",
        type=Path,
        metavar="NPZ",
        help="2-D metal shapes for the random kind: an array 'masks' (n, rows, cols)",
    )
    parser.add_argument(
        "--margin",
        type=whole_number,
        metavar="SLICES",
        help="kept on either side of the metal, as they are in the CT (2)",
    )
    parser.add_argument(
        "--slices",
        type=count,
        metavar="N",
        help="of a case at most, drawn where there is metal (all that it reaches)",
    )
    parser.add_argument("--clean", action="store_true", help="write the CT's own slices too")
    parser.add_argument(
        "--no-reference", action="store_true", help="no scan without metal: half the time"
    )
    add_acquisition(parser, several=True)
    add_format(parser)
    add_dry_run(parser)
    parser.add_argument("--device", default="cpu", help="cpu (default), cuda, cuda:1, mps, auto")


def mix(text: str) -> dict[str, float]:
    """``realistic=0.5,random=0.5``."""
    found: dict[str, float] = {}
    for part in text.split(","):
        kind, equals, weight = (piece.strip() for piece in part.partition("="))
        try:
            found[kind] = float(weight) if equals else float("nan")
        except ValueError:
            found[kind] = float("nan")
        if not kind or not 0 <= found[kind] < float("inf"):
            raise argparse.ArgumentTypeError(
                f"{part!r} is not a kind and its weight, as in realistic=0.5,random=0.5"
            )
    return found


def _dataset(options: argparse.Namespace) -> int:
    from MetalArtifactReductionLib.jobs.dask import Dask

    from ..dataset.run import LOG, open_dataset, run_dataset

    if options.dask and options.workers:
        raise InputError("--workers is for this machine; on a cluster Dask has its own workers")
    execute = Dask(options.dask) if options.dask else None
    plan, cases, workers = dataset_of(options)
    if options.dry_run:
        _tell_dry_run(plan, cases, workers, options)
        return 0
    open_dataset(plan, options.output)
    without = sum(not source.has_bones for source in plan.sources)
    if without and plan.mix.get("realistic", 0) > 0:
        note([f"{without} of {len(plan.sources)} CTs without labelled bones: no spine, no hips"])
    elif without and options.mix is None:
        note(
            ["no CT has labelled bones: rods and random shapes; --mix realistic=1 looks for sites"]
        )
    with progress_bar("dataset", options.quiet) as progress:
        summary = run_dataset(
            plan, options.output, cases, workers=workers, execute=execute, progress=progress
        )
    note(f"case {r.index} ({r.kind} in {r.ct}) failed: {r.reason}" for r in summary.failed)
    total = summary.made + summary.there
    made = f"{total} of {cases} cases, {summary.there} of them from before"
    print(printable(f"{options.output}: {made}"))
    if summary.failed:
        print(printable(f"{len(summary.failed)} failed, see {options.output / LOG}"))
    if not total:
        raise InputError(f"no case could be made: {summary.failed[0].reason}")
    return 1 if summary.failed else 0


_SLICES_A_CASE = 40
"""With metal, about: a hip prosthesis or two levels of screws in slices of 3 mm."""

_BYTES_A_VOXEL = 1.0
"""Of compressed HU, with the case's masks: 0.8 in cases of one slice of 39 CTs."""


def _tell_dry_run(plan: DatasetPlan, cases: int, workers: int, options: argparse.Namespace) -> None:
    from MetalArtifactReductionLib.commands.dry_run import Cost

    from ..dataset.plan import MARKER, case_folder, measured

    for source in plan.sources:
        source.check()
    left = [n for n in range(cases) if not (case_folder(options.output, n) / MARKER).exists()]
    kinds = ", ".join(f"{kind} {weight:g}" for kind, weight in plan.mix.items())
    volume = read_ct(plan.sources[0].path, plan.sources[0].series)
    scan = replace(plan.simulation, acquisition=plan.acquisitions[0])
    slices = min(plan.most_slices or _SLICES_A_CASE, len(volume.hu))
    one = simulation_cost(volume, scan, slices)
    seconds = (one.seconds or 0.0) * len(left)
    if plan.mix.get("realistic"):
        began = time.monotonic()
        with suppress(InputError):  # a CT that shows no place takes as long
            measured(plan.sources[0])
        seconds += (time.monotonic() - began) * min(len(plan.sources), len(left))
    seconds /= workers
    cost = Cost(seconds, None if one.memory is None else one.memory * workers)
    series = 2 + plan.simulation.with_reference + plan.clean
    disk = _BYTES_A_VOXEL * series * slices * volume.hu[0].size * len(left)
    told(
        f"would make {len(left)} of {cases} cases from {len(plan.sources)} CTs ({kinds}) in "
        f"{options.output}",
        f"{cost}, at {slices} slices a case; some {disk / 2**30:.1f} GiB on disk",
    )


def dataset_of(options: argparse.Namespace) -> tuple[DatasetPlan, int, int]:
    """The dataset that configuration and options ask for, cases and workers.

    What the command line says goes before the configuration.
    """
    from MetalArtifactReductionLib.tomography import as_device

    from ..dataset.config import DatasetConfig, read_config
    from ..dataset.plan import CTSource, DatasetPlan

    configs = [path for path in options.sources if path.suffix.lower() == ".json"]
    if configs and len(options.sources) > 1:
        raise InputError(f"{configs[0]}: give one configuration, or CTs; name all CTs in it")
    if configs:
        config = read_config(configs[0])
    else:
        config = DatasetConfig(tuple(CTSource(path) for path in options.sources))
    values = config.values

    def chosen(name: str, default: Any, key: str | None = None) -> Any:
        given = getattr(options, name)
        given_nothing = given is None or given is False
        return values.get(key or name, default) if given_nothing else given

    labelled = any(source.has_bones for source in config.sources)
    usual = {"realistic" if labelled else "rods": 0.5, "random": 0.5}
    changes = [f"{name}={_json(value)}" for name, value in values.get("acquisition", {}).items()]
    plan = DatasetPlan(
        sources=config.sources,
        seed=chosen("seed", 0),
        mix=_weights(chosen("mix", usual)),
        acquisitions=tuple(
            acquisition_of(name, options.kvp, options.photons, [*changes, *options.set])
            for name in chosen("preset", ["reference"], "presets")
        ),
        simulation=SimulationOptions(
            model=chosen("model", MODELS[0]),
            with_reference=not options.no_reference and values.get("reference", True),
            device=str(as_device(options.device)),
        ),
        margin_slices=chosen("margin", 2),
        most_slices=chosen("slices", None),
        outlines=chosen("metal_shapes", None),
        suffix=_suffix(chosen("format", None)),
        clean=chosen("clean", False),
        allow_metal=options.allow_metal,
    )
    if plan.outlines is not None:
        from ..placement.random_shapes import load_masks

        load_masks(plan.outlines)
    if plan.seed < 0:
        raise InputError(f"seed {plan.seed} must be 0 or more")
    return plan, chosen("cases", 10), chosen("workers", 1)


def _weights(given: Any) -> dict[str, float]:
    try:
        return {str(kind): float(weight) for kind, weight in given.items()}
    except (TypeError, ValueError):
        raise InputError(f"mix {given!r}: every kind needs a number, as its weight") from None


def _suffix(text: str | None) -> str | None:
    if text is None:
        return None
    suffix = text if text.startswith(".") else f".{text}"
    if suffix not in (".nii", ".nii.gz", ".nrrd", ".mha"):
        raise InputError(f"format {text!r} is unknown; use one of .nii, .nii.gz, .nrrd, .mha")
    return suffix


def _json(value: Any) -> str:
    import json

    return json.dumps(value)
