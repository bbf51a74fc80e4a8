"""Plans, datasets, trainings and weights' facts as data, checked against what they should be.

A kind of file is a dataclass; its annotations are the schema. pydantic compares, and what does not
fit is told with the field, its value, and what is allowed there.
"""

from __future__ import annotations

import json
import sys
from functools import lru_cache
from pathlib import Path
from typing import Any, NoReturn

from ..errors import InputError, shown
from .inputs import check_readable

_LARGEST = 1 << 26


def text_of_file(path: Path, form: str, wanted: str) -> str:
    """The text of a small file in UTF-8.

    :param form: ``"JSON"``, ``"TOML"``. :param wanted: what should be given, for the message.
    :raises InputError: not readable, too large, or not text.
    """
    check_readable(path)
    size = path.stat().st_size
    if size > _LARGEST:
        raise InputError(f"{path}: {size} bytes, {_LARGEST} are possible; give {wanted}")
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(
            f"{path}: is not {form} (no UTF-8: {error.reason}); give {wanted}"
        ) from None


def json_of(text: str) -> Any:
    """JSON as the standard has it: no NaN, no Infinity, no nesting without end.

    :raises ValueError: it is none; the message says where.
    """
    try:
        return json.loads(text, parse_constant=_no_number)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def _no_number(text: str) -> NoReturn:
    raise ValueError(f"{text} is no number")


def toml_of(text: str, path: Path) -> dict[str, Any]:
    """TOML as plain values.

    :raises InputError: it is none; the message names the file and says where.
    """
    if sys.version_info >= (3, 11):
        import tomllib
    else:
        import tomli as tomllib

    try:
        values: dict[str, Any] = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise InputError(f"{path}: cannot be read as TOML: {error}") from None
    return values


def check_values(kind: type, values: Any, where: str) -> None:
    """Refuse plain values that do not fit a dataclass.

    :param kind: the dataclass; text, numbers and truth values are never taken for each other.
    :param values: as JSON or TOML gave them.
    :param where: named in the error: the file, the table.
    :raises InputError: names the first field that does not fit, its value and what is allowed.
    """
    from pydantic import ValidationError

    try:
        text = json.dumps(values, allow_nan=False, default=repr)
        _adapter(kind).validate_json(text, strict=True)
    except ValidationError as error:
        # Of the members of a union the one that the value fits best gets farthest.
        found = max(error.errors(include_url=False), key=lambda one: len(one["loc"]))
        parts = [str(one) for one in found["loc"] if not str(one).startswith(("_", "function-"))]
        field = ".".join(parts) or "it"
        allowed = str(found["msg"]).removeprefix("Input should be ").removeprefix("Value error, ")
        if found["type"].startswith("union_tag"):
            field, allowed = f"{field}.type", found["ctx"].get("expected_tags", "one")
        if found["type"] == "missing":
            raise InputError(f"{where}: {field} is missing") from None
        raise InputError(f"{where}: {field} is {shown(found['input'])}; give {allowed}") from None
    except (ValueError, RecursionError):
        raise InputError(
            f"{where}: holds NaN, infinite numbers or endless nesting; give finite numbers"
        ) from None


@lru_cache(maxsize=64)
def _adapter(kind: type) -> Any:
    from pydantic import TypeAdapter

    return TypeAdapter(kind)
