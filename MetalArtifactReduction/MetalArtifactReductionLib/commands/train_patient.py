"""``mar train-patient``: a network for one patient, from the patient's own clean slices."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from .messages import progress_bar
from .options import (
    add_command,
    add_compute_options,
    add_input,
    add_metal_options,
    count,
    metal_of,
    metal_table,
    read_input,
)


def add_train_patient(commands: Any) -> None:
    """Add the command to ``mar``."""
    parser = add_command(
        commands,
        "train-patient",
        _train_patient,
        "train a network on one CT's own clean slices",
        "Variants of the CT's metal are laid on its clean slices above and below the metal; a "
        "small network learns to undo what they do. Its weights are a method: mar correct INPUT "
        "OUTPUT --method FOLDER/weights.safetensors. 'mar correct --method patient' does both at "
        "once and keeps nothing.",
    )
    add_input(parser)
    parser.add_argument(
        "folder", type=Path, metavar="FOLDER", help="gets weights, checkpoint and curves"
    )
    parser.add_argument(
        "--corrected", type=Path, metavar="FILE", help="correct the CT too and write it there"
    )
    add_metal_options(parser).add_argument(
        "--mask", type=Path, metavar="FILE", help="metal mask on the input's grid"
    )
    parser.set_defaults(segmentation="kmeans")
    for name in ("above", "below"):
        parser.add_argument(
            f"--{name}", type=int, default=11, help=f"clean slices {name} the metal (default: 11)"
        )
    parser.add_argument(
        "--margin", type=int, default=1, help="slices next to metal that are left out (default: 1)"
    )
    parser.add_argument(
        "--slices", type=int, nargs="+", default=(), help="train on these slices instead"
    )
    parser.add_argument("--steps", type=count, default=400, help="of training (default: 400)")
    parser.add_argument("--masks", type=count, default=1000, help="varied masks (default: 1000)")
    parser.add_argument("--seed", type=int, default=0, help="of masks, samples and network")
    parser.add_argument(
        "--start",
        choices=("linear", "maximum"),
        default="linear",
        help="what the trace is filled with before the network (default: %(default)s)",
    )
    parser.add_argument("--resume", action="store_true", help="go on with FOLDER's training")
    parser.add_argument("--force", action="store_true", help="replace an existing output")
    add_compute_options(parser)


def _train_patient(options: argparse.Namespace) -> None:
    import torch

    from ..correction import correct_volume
    from ..correction.options import CorrectionOptions
    from ..correction.working_grid import WorkingGrid
    from ..errors import InputError, printable
    from ..files.leftovers import claimed
    from ..files.volumes import check_output, write_volume
    from ..files.whole import written_whole
    from ..methods.registry import create_method
    from ..training.record import training_folder

    chosen = CorrectionOptions(device=options.device, batch_slices=options.batch_slices).settled()
    names = ("above", "below", "margin", "slices", "steps", "masks", "seed", "start", "folder")
    asked = {name: getattr(options, name) for name in (*names, "resume")}
    training = create_method("patient", **asked)
    volume = read_input(options)
    if options.corrected is not None:
        check_output(volume, options.corrected, overwrite=options.force)
    fraction, found = metal_of(options, volume)
    if found is not None and not options.quiet:
        print(metal_table(found))
    if not fraction.any():
        raise InputError("the metal mask is empty; segment the metal or lower the threshold")
    outputs = () if options.corrected is None else (options.corrected,)
    with (
        training_folder(options.folder, options.resume),
        claimed(*outputs),
        progress_bar("training", options.quiet) as progress,
    ):
        if options.corrected is None:
            common = WorkingGrid(volume)
            seen = common.to_prepare(common.there(fraction))
            training.prepare(*seen, torch.device(chosen.device), progress)
        else:
            result = correct_volume(volume, fraction, training, options=chosen, progress=progress)
            with written_whole(options.corrected, overwrite=options.force) as temporary:
                write_volume(result.corrected, temporary)
    print(printable(f"{options.folder / 'weights.safetensors'}"))
