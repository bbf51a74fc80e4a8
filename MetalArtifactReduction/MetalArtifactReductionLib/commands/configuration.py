"""Defaults from a file: ``mar config``, ``--config FILE``.

The command line goes before the file, the file before what is built in.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from ..correction.options import CorrectionOptions
from ..errors import one_line
from .options import add_command

FILE = "config.toml"


@dataclass(frozen=True)
class Defaults:
    """What a configuration file may say, and what is built in; each for every command that has it.

    Inputs, outputs and what speaks of a single volume are no defaults.

    :raises InputError: a value that its option does not take.
    """

    method: str = CorrectionOptions.method
    reconstruction: str = CorrectionOptions.reconstruction
    always: bool = CorrectionOptions.always
    segmentation: str = CorrectionOptions.segmentation
    include_surface: bool = False
    device: str = "auto"
    batch_slices: int = CorrectionOptions.batch_slices
    log: str | None = None

    def __post_init__(self) -> None:
        """The correction's own class knows what is possible."""
        CorrectionOptions(
            reconstruction=self.reconstruction,
            segmentation=self.segmentation,
            batch_slices=self.batch_slices,
        )


def config_file() -> Path:
    """Where the user's own file lies, there or not."""
    from platformdirs import user_config_path

    return user_config_path("mar") / FILE


def read_defaults(path: Path) -> dict[str, Any]:
    """The entries of a file.

    :raises InputError: not TOML, an unknown entry, or a value that its option does not take.
    """
    from ..files.schema import text_of_file, toml_of
    from ..training.config import from_options

    values = toml_of(text_of_file(path, "TOML", "a configuration"), path)
    from_options(Defaults, values, str(path))
    return values


def take_defaults(options: argparse.Namespace) -> bool:
    """Make the file's entries the defaults of the command's parser; whether there are any."""
    path = options.configuration
    if path is None and not (path := config_file()).is_file():
        return False
    values = read_defaults(path)
    if "log" in values:
        values["log"] = Path(values["log"])
    known = {action.dest for action in options.parser._actions}
    options.parser.set_defaults(**{name: v for name, v in values.items() if name in known})
    return True


def add_config(commands: Any) -> None:
    """Add the command to ``mar``."""
    add_command(
        commands,
        "config",
        _config,
        "print the defaults in force, as a configuration file",
        "Options on the command line go before the file that --config names, or else the one in "
        "your configuration folder; what is built in is shown as a comment. To begin one: "
        "mar config > config.toml.",
    )


def _config(options: argparse.Namespace) -> None:
    path = options.configuration or config_file()
    values = read_defaults(path) if path.is_file() else {}
    print(f"# {one_line(str(path))}{'' if path.is_file() else ' (not there)'}")
    for entry in fields(Defaults):
        value = values.get(entry.name, entry.default)
        # Text, numbers and truth values are written alike in JSON and TOML.
        line = f"{entry.name} = {json.dumps(value) if value is not None else ''}".rstrip()
        print(line if entry.name in values else f"# {line}")
