"""``mar train``: train the networks of a configuration."""

from __future__ import annotations

import argparse
from dataclasses import replace
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
    from ..methods.registry import task_names, trainable
    from ..weights import own_folder

    folder = str(own_folder()).replace("%", "%%")
    parser = add_command(
        commands,
        "train",
        _train,
        "train the network of a method, on your own CTs",
        "With --cts the slices without metal are found in every CT, what is left out is told, "
        "implants are placed in them, and the network is trained on simulated scans, with some of "
        "the CTs held out. RUN gets checkpoint, weights, best weights, curves (CSV, PNG) and "
        "validation pictures; with --cts also packed slices and a model card. Weights in "
        f"{folder} are in every list of methods. A kill or Ctrl-C loses at most a minute; "
        "--resume goes on from there, with the same result as without the interruption. On "
        "several machines start the same command with torchrun.",
    )
    parser.add_argument(
        "what",
        metavar="METHOD|CONFIG",
        help=f"{', '.join(trainable())}; or a configuration, .toml, of a task: "
        f"{', '.join(task_names())}",
    )
    source = parser.add_mutually_exclusive_group()
    source.add_argument(
        "--cts", type=Path, metavar="FOLDER", help="CTs: volumes, or DICOM, every series of it"
    )
    source.add_argument(
        "--data", type=Path, metavar="FOLDER", help="with what the configuration names"
    )
    parser.add_argument(
        "--output",
        type=Path,
        required=True,
        metavar="RUN|FILE.safetensors",
        help="folder to make for the training; or weights, then the folder is FILE-training",
    )
    _add_own_cts(parser)
    parser.add_argument("--resume", action="store_true", help="go on with the training in RUN")
    parser.add_argument("--steps", type=count, help="instead of the configuration's")
    parser.add_argument("--minutes", type=float, help="stop after so many, resumable")
    parser.add_argument(
        "--accelerator", choices=("auto", "cpu", "gpu", "mps"), help="auto takes a GPU if any"
    )
    parser.add_argument("--devices", type=count, help="how many of them, in each machine")
    parser.add_argument("--nodes", type=count, help="machines, under torchrun")
    parser.add_argument("--strategy", help="of Lightning Fabric, as ddp (auto)")
    add_dry_run(parser)


def _add_own_cts(parser: argparse.ArgumentParser) -> None:
    """What to take of them, and where to begin."""
    parser.add_argument(
        "--held-out",
        action="append",
        default=[],
        metavar="CT",
        help="with --cts: validate on this one, by its name; may be repeated (every sixth)",
    )
    parser.add_argument(
        "--metal", metavar="KIND", help="with --cts: realistic, random, mixed (default) or simple"
    )
    parser.add_argument(
        "--from",
        dest="pretrained",
        metavar="WEIGHTS",
        help="begin with shipped weights or a file: prior, unet, cgan",
    )


def _config(options: argparse.Namespace) -> TrainingConfig:
    """The configuration of a file, or a method's own, with what the command line says."""
    from ..errors import InputError
    from ..methods.registry import recipe_of, task_names
    from ..training.config import read_config

    named = options.what.endswith(".toml")
    if options.cts is None and (options.held_out or options.metal):
        raise InputError("--held-out and --metal are for --cts; a configuration says its own")
    if not named and options.cts is None and options.data is None:
        raise InputError(f"{options.what}: what to train on? give a folder of CTs (--cts FOLDER)")
    config = read_config(
        Path(options.what) if named else recipe_of(options.what),
        task_names(),
        steps=options.steps,
        minutes=options.minutes,
        accelerator=options.accelerator,
        devices=options.devices,
        nodes=options.nodes,
        strategy=options.strategy,
        precision=None if named or _halves(options.accelerator) else "32-true",
    )
    if options.pretrained is not None:
        config = replace(config, options={**config.options, "pretrained": options.pretrained})
    return config


def _halves(accelerator: str | None) -> bool:
    """Whether 16-bit numbers are fast: on a processor they can be ten times slower."""
    import torch

    from ..tomography import fast_bfloat16

    gpu = accelerator in (None, "auto", "gpu") and torch.cuda.is_available()
    return gpu or (accelerator != "mps" and fast_bfloat16(torch.device("cpu")))


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
    from ..methods.registry import make_task
    from ..training.record import training_folder

    config = _config(options)
    for package in ("lightning_fabric", "matplotlib"):
        if find_spec(package) is None:
            raise InputError(
                f"training needs the package {package}: run `pip install "
                f"{package.replace('_', '-')}`"
            )
    if options.cts is not None:
        from .train_cts import tell_dry_run, train_on_cts

        (tell_dry_run if options.dry_run else train_on_cts)(config, options)
        return
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
