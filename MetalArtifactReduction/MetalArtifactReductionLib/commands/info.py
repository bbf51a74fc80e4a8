"""``mar info``: what is this volume?"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from typing import Any

from ..errors import printable
from .options import add_command, add_input, read_input


def add_info(commands: Any) -> None:
    """Add the command to ``mar``."""
    parser = add_command(
        commands,
        "info",
        _info,
        "tell what a volume is and whether it can be corrected",
        "Prints matrix, spacing, orientation, HU range, padding, clipping and what the file says "
        "of the scan. Nothing that identifies a patient is read or printed.",
    )
    add_input(parser)


def _info(options: argparse.Namespace) -> None:
    from ..files.checks import describe
    from ..files.several import SeveralVolumes

    try:
        volume = read_input(options)
    except SeveralVolumes as several:
        _print_table(several.rows)
        raise
    facts = {name: _fact(value) for name, value in describe(volume).items()}
    width = max(len(name) for name in facts)
    for name, value in facts.items():
        if value:
            print(f"{name.replace('_', ' '):<{width}}  {value}")
    for path, why in volume.source.left_aside if volume.source is not None else ():
        print(printable(f"left aside: {path} ({why})"))


def _print_table(rows: Sequence[Mapping[str, str]]) -> None:
    """A line a series, columns aligned."""
    lines = [list(rows[0]), *([printable(value) for value in row.values()] for row in rows)]
    widths = [max(len(line[n]) for line in lines) for n in range(len(lines[0]))]
    for line in lines:
        print("  ".join(f"{v:<{w}}" for v, w in zip(line, widths, strict=True)).rstrip())


def _fact(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name}: {_fact(one)}" for name, one in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(_fact(one) for one in value)
    if value is None:
        return ""
    return f"{value:g}" if isinstance(value, float) else printable(str(value))
