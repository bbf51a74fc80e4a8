"""``mar info``: what is this volume?"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from typing import Any

from ..errors import one_line, printable
from .options import add_command, add_input, add_json, read_volume_of


def add_info(commands: Any) -> None:
    """Add the command to ``mar``."""
    parser = add_command(
        commands,
        "info",
        _info,
        "tell what a volume is and whether it can be corrected",
        "Prints matrix, spacing, orientation, HU range, what the file says of the scan, and what "
        "is unusual, with what can be done about it. Nothing that identifies a patient is read or "
        "printed.",
    )
    add_input(parser)
    add_json(parser)


def _info(options: argparse.Namespace) -> None:
    from ..files.checks import describe
    from ..files.several import SeveralVolumes
    from .findings import findings
    from .records import InfoRecord, printed

    try:
        volume = read_volume_of(options)
    except SeveralVolumes as several:
        if not options.json:
            _print_table(several.rows)
        raise
    facts, found = describe(volume), list(findings(volume))
    del facts["warnings"]
    aside = volume.source.left_aside if volume.source is not None else ()
    left_aside = [f"{path} ({why})" for path, why in aside]
    if options.json:
        print(printed(InfoRecord(**facts, findings=found, left_aside=left_aside)))
        return
    shown = {name.replace("_", " "): _fact(value) for name, value in facts.items()}
    width = max(map(len, shown))
    for name, value in shown.items():
        if value:
            print(f"{name:<{width}}  {value}")
    for one in found:
        print(printable(f"{'to know':<{width}}  {one.what}\n{'':<{width}}  -> {one.remedy}"))
    for file in left_aside:
        print(f"left aside: {one_line(file)}")


def _print_table(rows: Sequence[Mapping[str, str]]) -> None:
    """A line a series, columns aligned."""
    lines = [list(rows[0]), *([one_line(value) for value in row.values()] for row in rows)]
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
    return f"{value:g}" if isinstance(value, float) else one_line(str(value))
