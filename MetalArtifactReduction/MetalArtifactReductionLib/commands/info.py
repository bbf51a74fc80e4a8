"""``mar info``: what is this volume?"""

from __future__ import annotations

import argparse
from typing import Any

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

    facts = {name: _fact(value) for name, value in describe(read_input(options)).items()}
    width = max(len(name) for name in facts)
    for name, value in facts.items():
        if value:
            print(f"{name.replace('_', ' '):<{width}}  {value}")


def _fact(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name}: {_fact(one)}" for name, one in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(_fact(one) for one in value)
    return "" if value is None else f"{value:g}" if isinstance(value, float) else str(value)
