"""``mar train METHOD --cts FOLDER``: weights for a method from a folder of CTs."""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import InputError, OutputError, printable
from .messages import note, progress_bar

if TYPE_CHECKING:
    from ..progress import Progress
    from ..training.config import TrainingConfig
    from ..training.packing import PackedCT
    from ..training.trainer import TrainingResult
    from ..volume import CTVolume


def tell_dry_run(config: TrainingConfig, options: argparse.Namespace) -> None:
    """What would be trained on what; its time is known only when it is packed."""
    from .dry_run import told

    steps = f"{config.training.steps} steps of {config.training.batch_size} samples"
    told(
        f"would pack {len(cts_in(options.cts))} CTs of {options.cts} and train {config.task}: "
        f"{steps}, into {places(options.output)[1]}"
    )


def places(output: Path) -> tuple[Path, Path]:
    """Folder of the training, and file of the weights: ``w.safetensors`` or a folder was asked."""
    from ..training.record import WEIGHTS
    from ..weights import SUFFIX

    if output.name.endswith(SUFFIX):
        return output.with_name(f"{output.name.removesuffix(SUFFIX)}-training"), output
    return output, output / WEIGHTS


def train_on_cts(config: TrainingConfig, options: argparse.Namespace) -> None:
    """Pack, train, write weights and card."""
    from ..training.record import CHECKPOINT, is_another_process, training_folder

    folder, weights = places(options.output)
    resume = options.resume and (folder / CHECKPOINT).exists()
    mine = not is_another_process()
    if weights.exists() and mine and not options.resume:
        raise OutputError(f"{weights}: exists already; go on with it (--resume), or name another")
    with (
        training_folder(folder, resume),
        progress_bar("train", options.quiet) as progress,
    ):
        packed = _packed(folder, options, progress)
        if mine and not options.quiet:
            note(_told(packed))
        progress(0.0, "reading what is packed")
        result = _trained(config, folder, resume, progress)
        if result.main:
            _publish(config, options, packed, result)
    if result.main:
        took = f"{result.step} steps in {result.seconds / 60:.1f} minutes"
        print(printable(f"{took}: {weights}"))
        for name, value in result.figures.items():
            print(f"  {name} {value:.4g}")


def _packed(folder: Path, options: argparse.Namespace, progress: Progress) -> list[PackedCT]:
    from ..training.packing import PackingOptions, pack

    given = PackingOptions(metal=options.metal or _usual_metal(), held_out=tuple(options.held_out))
    return pack(cts_in(options.cts), folder, given, resume=options.resume, progress=progress)


def _usual_metal() -> str:
    """Implants where they are installed."""
    from importlib.metadata import entry_points

    from ..training.metal_source import GROUP

    return "mixed" if "mixed" in {one.name for one in entry_points(group=GROUP)} else "simple"


def cts_in(folder: Path) -> Mapping[str, Callable[[], CTVolume]]:
    """Every CT of a folder, by a name of its own, with what reads it.

    :raises InputError: no such folder, or none in it.
    """
    from ..batch.cases import cases_from
    from ..files.volumes import read_volume

    if not folder.exists():
        raise InputError(f"{folder}: no such folder of CTs; check the name (--cts)")
    return {
        case.output.replace("/", "-"): partial(read_volume, case.input, **case.reading())
        for case in cases_from([str(folder)])
    }


def _told(packed: list[PackedCT]) -> list[str]:
    from ..training.card import left_out

    lines = []
    for one in packed:
        used = f"{one.slices} slices, {one.placements} placements, {one.use}" if one.use else "no"
        lines.append(f"{one.name}: {used}" + (f"; left out: {left_out(one)}" * bool(left_out(one))))
    return lines


def _trained(
    config: TrainingConfig,
    folder: Path,
    resume: bool,
    progress: Progress,
) -> TrainingResult:
    from ..methods.registry import make_task
    from ..training.trainer import train

    task = make_task(config.task, config.options, folder, config.training.seed)
    return train(task, config.training, folder, resume=resume, progress=progress)


def _publish(
    config: TrainingConfig,
    options: argparse.Namespace,
    packed: list[PackedCT],
    result: TrainingResult,
) -> None:
    """The weights under their name, and the card beside them."""
    import hashlib

    from .. import __version__
    from ..files.whole import written_whole
    from ..training.card import CardFacts, model_card
    from ..training.record import WEIGHTS

    folder, weights = places(options.output)
    content = (folder / WEIGHTS).read_bytes()
    if weights != folder / WEIGHTS:
        with written_whole(weights, overwrite=True) as place:
            place.write_bytes(content)
    facts = CardFacts(
        weights.stem,
        options.what if not options.what.endswith(".toml") else config.task,
        shlex.join(["mar", *sys.argv[1:]]),
        __version__,
        hashlib.sha256(content).hexdigest(),
        sum(parameter.numel() for parameter in result.network.parameters()),
        packed,
        config.training,
        config.options,
        result.step,
        result.seconds,
        result.figures,
    )
    with written_whole(weights.with_suffix(".md"), overwrite=True) as place:
        place.write_text(model_card(facts), encoding="utf-8")
