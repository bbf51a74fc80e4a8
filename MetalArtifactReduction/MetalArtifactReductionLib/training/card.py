"""The model card of weights trained on own CTs: what they saw, and how good they are."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields

from .packing import HELD_OUT, LEAST_SLICES, TRAINING, PackedCT
from .parameters import MAY_CHANGE, TrainerParameters


@dataclass(frozen=True)
class CardFacts:
    """What a card tells.

    :param name: of the weights. :param method: that uses them. :param command: that made them.
    :param version: of this software. :param sha256: of the file. :param parameters: of its network.
    :param packed: the CTs. :param training: the table ``[training]``.
    :param options: the table ``[options]``. :param steps: done. :param seconds: of them.
    :param figures: of the last validation.
    """

    name: str
    method: str
    command: str
    version: str
    sha256: str
    parameters: int
    packed: Sequence[PackedCT]
    training: TrainerParameters
    options: Mapping[str, object]
    steps: int
    seconds: float
    figures: Mapping[str, float]


def model_card(facts: CardFacts) -> str:
    """Markdown: for who is given the file."""
    t = facts.training
    settings = {
        one.name: getattr(t, one.name)
        for one in fields(t)
        if one.name not in (*MAY_CHANGE, "steps")
    }
    used = [one for one in facts.packed if one.use]
    metals: Counter[str] = Counter()
    for one in used:
        metals.update(one.metals)
    lines = [
        f"# `{facts.name}`: weights for `{facts.method}`",
        "",
        "Trained on the CTs below. Not a medical device; what it fills in may look right and be "
        "wrong.",
        "",
        "| | |",
        "|---|---|",
        f"| made by | `{facts.command}`, version {facts.version} |",
        f"| file | SHA-256 `{facts.sha256}`, {facts.parameters:,} parameters |",
        f"| training | {facts.steps} of {t.steps} steps in {facts.seconds / 60:.1f} minutes; "
        f"{_listed(settings)} |",
        f"| options | {_listed(facts.options)} |",
        f"| implants | {sum(one.placements for one in used)} placements; voxels full of "
        f"{_listed(dict(metals.most_common())) or 'none'} |",
        "",
        "## Figures",
        "",
        f"On CTs that were not trained on ({_names(used, HELD_OUT)}), with metal and scanners "
        "simulated in the same way; not on real metal:",
        "",
        "| figure | value |",
        "|---|---:|",
        *(f"| {name.replace('_', ' ')} | {value:.4g} |" for name, value in facts.figures.items()),
        "",
        "Their course: `curve.csv` and `curve.png` of the training's folder; slices: `pictures/`. "
        "To measure it on a test set of your own: `mar compare`.",
        "",
        "## Data",
        "",
        f"Trained on {_names(used, TRAINING)}.",
        "",
        "| CT | use | slices of it | packed | left out |",
        "|---|---|---:|---:|---|",
        *(_row(one) for one in facts.packed),
        "",
        "The CTs are named as their files are. State their source and licence, and whether several "
        "are of one patient, before you pass the weights on.",
        "",
    ]
    return "\n".join(lines)


def left_out(one: PackedCT) -> str:
    """What of a CT is not used, and why: one line, empty where all is used."""
    if one.problem:
        return one.problem
    count: Counter[str] = Counter()
    for part in one.ranges:
        if part.reason:
            count[part.reason] += len(part)
    return "; ".join(f"{number} slices: {reason}" for reason, number in count.items())


def _row(one: PackedCT) -> str:
    total = sum(len(part) for part in one.ranges)
    packed = f"{one.slices}" + (f" (means of {one.averaged})" if one.averaged > 1 else "")
    return f"| {one.name} | {one.use or 'none'} | {total or ''} | {packed} | {left_out(one)} |"


def _names(used: Sequence[PackedCT], use: str) -> str:
    names = [one.name for one in used if use in one.use]
    if len(used) == 1:
        return f"slices of {names[0]} that lie apart, at least {LEAST_SLICES}"
    return ", ".join(names)


def _listed(values: Mapping[str, object]) -> str:
    return ", ".join(f"{name} {value}" for name, value in values.items())
