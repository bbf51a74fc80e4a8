"""Commands that this package adds to ``mar`` (its entry-point group names this module)."""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path
from typing import Any

from MetalArtifactReductionLib.cli import add_command, add_compute_options, progress_bar
from MetalArtifactReductionLib.errors import printable

from .commands.dataset import add_dataset
from .commands.options import add_allow_metal
from .commands.place import add_place
from .commands.simulate import add_simulate
from .commands.voxelise import add_voxelise


def add_commands(commands: Any) -> None:
    """Called by ``mar`` with its sub-parsers."""
    add_place(commands)
    add_voxelise(commands)
    add_simulate(commands)
    add_dataset(commands)
    _add_demo(commands)


def _add_demo(commands: Any) -> None:
    parser = add_command(
        commands,
        "demo",
        _demo,
        "see the whole job on a phantom, or on a CT of yours, with known truth",
        "Puts a hip prosthesis into a phantom pelvis (or rods into the thickest bones of --input), "
        "simulates the scan with its artifacts, finds the metal, corrects it by each method, and "
        "writes volumes, a scene for 3D Slicer, a picture and a table. Takes half a minute on two "
        "idle cores, two for a CT of 512 x 512.",
    )
    parser.add_argument("--input", type=Path, metavar="CT", help="a CT without metal")
    add_allow_metal(parser)
    parser.add_argument(
        "--output", type=Path, default=Path("mar-demo"), help="new folder (default: mar-demo)"
    )
    parser.add_argument("--seed", type=int, default=0, help="of the phantom and the noise")
    add_compute_options(parser)


def _demo(options: argparse.Namespace) -> None:
    from MetalArtifactReductionLib.files.leftovers import claimed
    from MetalArtifactReductionLib.files.volumes import read_volume
    from MetalArtifactReductionLib.files.whole import check_new_folder
    from MetalArtifactReductionLib.tomography import as_device

    from .cases.clean import require_no_metal
    from .cases.demo import run_demo

    device = str(as_device(options.device))
    volume = None if options.input is None else read_volume(options.input)
    check_new_folder(options.output)
    if volume is not None and not options.allow_metal:
        require_no_metal(volume, options.input)
    if not options.quiet:  # on the terminal, and at once
        minutes = "half a minute" if volume is None else "two minutes"
        print(f"this takes about {minutes} on two idle cores", file=sys.stderr)
    began = time.monotonic()
    with claimed(options.output), progress_bar("demo", options.quiet) as progress:
        result = run_demo(
            options.output, volume, seed=options.seed, device=device, progress=progress
        )
    print(result.table)
    print(f"\nDone in {time.monotonic() - began:.0f} s.")
    look = f"Look at {result.picture}; the volumes and scene.mrb for 3D Slicer lie beside it."
    print(printable(look))
