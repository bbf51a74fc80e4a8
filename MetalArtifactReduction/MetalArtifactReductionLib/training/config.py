"""The configuration of a training: one TOML file an experiment."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, TypeVar

from ..errors import InputError
from ..files.schema import check_values, text_of_file, toml_of
from .parameters import TrainerParameters, whole_number

TABLES = ("task", "training", "options")

Options = TypeVar("Options")


@dataclass(frozen=True)
class TrainingConfig:
    """What a file says.

    :param task: name of what is trained.
    :param training: the table ``[training]``.
    :param options: the table ``[options]``: the task's own.
    """

    task: str
    training: TrainerParameters
    options: Mapping[str, Any] = field(default_factory=dict)


def read_config(path: Path, tasks: Sequence[str], **changes: Any) -> TrainingConfig:
    """Read and check a configuration.

    :param tasks: what can be trained.
    :param changes: training parameters that go before the file's; None leaves the file's.
    :raises InputError: no such file, not TOML, unknown names, values that cannot be used.
    """
    content = toml_of(text_of_file(path, "TOML", "the configuration of a training"), path)
    unknown = [name for name in content if name not in TABLES]
    if unknown:
        raise InputError(f"{path}: unknown entry {unknown[0]!r}; there are: {', '.join(TABLES)}")
    task = content.get("task")
    if not isinstance(task, str) or task not in tasks:
        raise InputError(f"{path}: task {task!r} is unknown; use one of {', '.join(tasks)}")
    training = dict(_table(path, content, "training"))
    training |= {name: value for name, value in changes.items() if value is not None}
    options = dict(_table(path, content, "options"))
    metal = options.get("metal_options")
    if isinstance(metal, dict) and isinstance(metal.get("plans"), str):
        options["metal_options"] = metal | {"plans": str(path.parent / metal["plans"])}
    return TrainingConfig(task, from_options(TrainerParameters, training, str(path)), options)


def from_options(kind: type[Options], values: Mapping[str, Any], where: str) -> Options:
    """A dataclass of options from plain values; lists become tuples.

    :raises InputError: unknown names (the message lists the known ones) or unusable values.
    """
    known = [entry.name for entry in fields(kind)]  # type: ignore[arg-type]
    for name in values:
        if name not in known:
            raise InputError(f"{where}: unknown option {name!r}; there are: {', '.join(known)}")
    plain = {k: tuple(v) if isinstance(v, list) else v for k, v in values.items()}
    try:
        made = kind(**plain)
    except InputError as error:
        raise InputError(f"{where}: {error}") from None
    except (TypeError, ValueError, ArithmeticError, LookupError, AttributeError) as error:
        check_values(kind, values, where)
        raise InputError(f"{where}: {error}") from None
    check_values(kind, values, where)
    return made


def require_whole(options: object, *names: str, least: int = 1) -> None:
    """Refuse options that are no whole numbers of ``least`` or more.

    :raises InputError: names the option and its value.
    """
    for name in names:
        whole_number(name, getattr(options, name), least)


def _table(path: Path, content: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    table = content.get(name, {})
    if not isinstance(table, dict):
        raise InputError(f"{path}: {name} is {table!r}; write it as a table [{name}]")
    return table
