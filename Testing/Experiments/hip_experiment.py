"""The hip paper's table beside ours.

python Testing/Experiments/hip_experiment.py 1 --data DATA --output FOLDER
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from MetalArtifactReductionLib.commands.messages import progress_bar
from MetalArtifactReductionLib.commands.options import add_command, count


def add_hip_experiment(commands: Any) -> None:
    """Add the command to ``mar``."""
    parser = add_command(
        commands,
        "hip-experiment",
        _run,
        "train and measure the trace CNN as its paper did",
        "1: one patient at a time; 2: several patients, with and without a common brightness, and "
        "a patient that was not trained on. Trainings that are in FOLDER already are taken, or "
        "gone on with.",
    )
    parser.add_argument("number", type=int, choices=(1, 2), help="which experiment")
    parser.add_argument("--data", type=Path, required=True, help="folder with the public CTs")
    parser.add_argument(
        "--output", type=Path, required=True, metavar="FOLDER", help="trainings and tables"
    )
    parser.add_argument("--hips", nargs="+", help="of these CTs alone: ov, coad, acrin")
    parser.add_argument("--steps", type=count, help="of every training; its own if not given")
    parser.add_argument("--masks", type=count, default=1000, help="varied masks of a training")
    parser.add_argument("--pairs", type=count, default=26, help="tested pairs each patient")
    parser.add_argument(
        "--physics-slices",
        type=int,
        default=2,
        help="slices each patient with a physically simulated artifact; 0: none",
    )
    parser.add_argument("--seed", type=int, default=0, help="of masks, networks and samples")
    parser.add_argument(
        "--precision",
        default="32-true",
        choices=("32-true", "bf16-mixed", "16-mixed"),
        help="of the training's arithmetic (default: %(default)s)",
    )


def _run(options: argparse.Namespace) -> None:
    from hip_experiments import HipExperiment, HipExperimentParameters

    from MetalArtifactReductionLib.files.whole import written_whole

    parameters = HipExperimentParameters(
        options.masks,
        options.pairs,
        options.physics_slices,
        options.steps,
        options.seed,
        options.precision,
    )
    with progress_bar(f"experiment {options.number}", options.quiet) as progress:
        experiment = HipExperiment(
            options.number,
            options.data,
            options.output,
            parameters,
            hips=options.hips,
            progress=progress,
        )
        _make_folder(options.output)
        text = experiment.run()
    print(text)
    file = options.output / f"experiment-{options.number}.txt"
    with written_whole(file, overwrite=True) as temporary:
        temporary.write_text(text + "\n", encoding="utf-8")


def _make_folder(folder: Path) -> None:
    from MetalArtifactReductionLib.errors import OutputError

    try:
        folder.mkdir(exist_ok=True)
    except OSError as error:
        raise OutputError(
            f"{folder}: cannot be made ({error.strerror}); choose another folder"
        ) from None


if __name__ == "__main__":
    import sys

    from MetalArtifactReductionLib.cli import main

    sys.exit(main(["hip-experiment", *sys.argv[1:]], [add_hip_experiment]))
