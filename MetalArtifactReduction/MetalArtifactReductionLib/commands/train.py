"""``mar train``: train the networks of a configuration."""

from __future__ import annotations

import argparse
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import printable
from .dry_run import add_dry_run
from .messages import progress_bar
from .options import add_command, count

if TYPE_CHECKING:
    from ..training.config import TrainingConfig


def add_train(commands: Any) -> None:
    """Add the command to ``mar``."""
    from ..methods.registry import task_names

    parser = add_command(
        commands,
        "train",
        _train,
        "train a network of one configuration file",
        "The configurations of the shipped weights lie in the repository under "
        "Testing/Experiments/configurations. RUN gets checkpoint, weights, best weights, curves "
        "(CSV, PNG) and validation pictures. Ctrl-C stops at once and keeps the steps that are "
        "done; --resume goes on from there, with the same result as without the interruption. On "
        "several machines start the same command with torchrun.",
    )
    parser.add_argument(
        "config",
        type=Path,
        metavar="CONFIG",
        help=f"configuration, .toml, of a task: {', '.join(task_names())}",
    )
    parser.add_argument(
        "--data", type=Path, metavar="FOLDER", help="with the CTs that the configuration names"
    )
    parser.add_argument(
        "--output", type=Path, required=True, metavar="RUN", help="folder to make for the training"
    )
    parser.add_argument("--resume", action="store_true", help="go on with the training in RUN")
    parser.add_argument("--steps", type=count, help="instead of the configuration's")
    parser.add_argument("--minutes", type=float, help="stop after so many, resumable")
    parser.add_argument(
        "--accelerator", choices=("auto", "cpu", "gpu", "mps"), help="auto takes a GPU if any"
    )
    parser.add_argument("--devices", type=count, help="how many of them")
    add_dry_run(parser)


def _tell_dry_run(options: argparse.Namespace, config: TrainingConfig) -> None:
    from ..methods.registry import make_task
    from .dry_run import told, training_cost

    with progress_bar("trying a few steps", options.quiet) as progress:
        progress(0.0, "reading what it is trained on")
        task = make_task(config.task, config.options, options.data, config.training.seed)
        cost = training_cost(config, task)
    steps = f"{config.training.steps} steps of {config.training.batch_size} samples"
    told(f"would train {config.task}: {steps}, into {options.output}", str(cost))


def _train(options: argparse.Namespace) -> None:
    from ..errors import InputError
    from ..methods.registry import make_task, task_names
    from ..training.config import read_config
    from ..training.record import training_folder

    config = read_config(
        options.config,
        task_names(),
        steps=options.steps,
        minutes=options.minutes,
        accelerator=options.accelerator,
        devices=options.devices,
    )
    for package in ("lightning_fabric", "matplotlib"):
        if find_spec(package) is None:
            raise InputError(
                f"training needs the package {package}: run `pip install "
                f"{package.replace('_', '-')}`"
            )
    if options.dry_run:
        _tell_dry_run(options, config)
        return
    with (
        training_folder(options.output, options.resume),
        progress_bar("train", options.quiet) as progress,
    ):
        progress(0.0, "reading what it is trained on")
        from ..training.trainer import train  # takes seconds

        task = make_task(config.task, config.options, options.data, config.training.seed)
        result = train(
            task,
            config.training,
            options.output,
            resume=options.resume,
            progress=progress,
        )
    if not result.main:
        return
    steps = f"{result.step} steps in {result.seconds / 60:.1f} minutes"
    print(printable(f"{steps}: {options.output}"))
    for name, value in result.figures.items():
        print(f"  {name} {value:.4g}")
