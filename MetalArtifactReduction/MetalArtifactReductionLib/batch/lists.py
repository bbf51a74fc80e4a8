"""Lists of cases as CSV: whatever a spreadsheet makes of it."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from ..errors import InputError, shown
from ..files.inputs import check_readable, is_file
from .case import Case
from .names import checked_output

COLUMNS = (
    "input",
    "output",
    "mask",
    "series",
    "acquisition",
    "hu_offset",
    "method",
    "threshold",
    "segmentation",
    "reconstruction",
)
WORKBOOKS = (".xlsx", ".xls", ".ods")
"""What is no CSV, and often given for one."""

_LARGEST_LIST = 1 << 28


def read_cases(path: Path, defaults: Case) -> list[Case]:
    """The cases of a CSV file: a line each, a column ``input`` and any of :data:`COLUMNS`.

    Paths are relative to the file's own folder; empty fields take the defaults; columns whose name
    begins with ``#`` are not looked at. Comma, semicolon or tab between fields.

    :raises InputError: no such file, or what is wrong with which line.
    """
    try:
        lines = io.StringIO(_text(path), newline="")
        first = lines.readline()
        separator = max(",;\t", key=first.count)
        if first.strip().strip('"').lower().startswith("sep="):  # Excel's own first line
            separator = first.strip().strip('"')[4:5] or "\t"
        else:
            lines.seek(0)
        reader = csv.DictReader(lines, delimiter=separator, strict=True)
        columns = [name.strip().lower() for name in reader.fieldnames or []]
        reader.fieldnames = columns
        _check_columns(path, columns)
        return [
            _case_of(path, reader.line_num, row, defaults)
            for row in reader
            if any(str(value or "").strip() for value in row.values())
        ]
    except (OSError, csv.Error) as error:
        what = getattr(error, "strerror", None) or error
        raise InputError(f"{path}: cannot be read as a CSV of cases ({what})") from None


def _text(path: Path) -> str:
    """The text of a list, in the encoding that its first bytes tell, or as Excel writes it."""
    check_readable(path)
    if path.suffix.lower() in WORKBOOKS:
        raise InputError(f"{path}: a workbook; save the sheet as CSV (UTF-8) and give that")
    size = path.stat().st_size
    if size > _LARGEST_LIST:
        raise InputError(f"{path}: {size} bytes are no list of cases; split it")
    content = path.read_bytes()
    encoding = "utf-16" if content.startswith((b"\xff\xfe", b"\xfe\xff")) else "utf-8-sig"
    try:
        text = content.decode(encoding)
    except UnicodeDecodeError:
        text = content.decode("cp1252", "replace")
    if "\0" in text:
        raise InputError(f"{path}: holds NUL bytes, so it is no CSV of cases; save it as CSV UTF-8")
    return text


def _check_columns(path: Path, columns: Sequence[str]) -> None:
    if "input" not in columns:
        raise InputError(f"{path}: no column 'input'; its first line must name the columns")
    for name in columns:
        if name not in COLUMNS and not name.startswith("#"):
            raise InputError(
                f"{path}: unknown column {shown(name)}; known are {', '.join(COLUMNS)}, and names"
                " that begin with # are not looked at"
            )
        if columns.count(name) > 1:
            raise InputError(f"{path}: two columns {shown(name)}; leave one")


def _case_of(path: Path, line: int, row: Mapping[str, Any], defaults: Case) -> Case:
    if None in row or None in row.values():
        raise InputError(f"{path}, line {line}: as many fields as the first line has, please")
    given = {key: value.strip() for key, value in row.items() if value.strip()}
    if "input" not in given:
        raise InputError(f"{path}, line {line}: no input")
    folder = path.absolute().parent
    where = f"{path}, line {line}"
    chosen: dict[str, Any] = {
        name: given[name] for name in ("method", "segmentation", "reconstruction") if name in given
    }
    if "threshold" in given:
        chosen["threshold_hu"] = _hu(given, "threshold", where)
    if is_file(folder / chosen.get("method", "")):
        chosen["method"] = str(folder / chosen["method"])
    try:
        options = defaults.options.changed(**chosen)
    except InputError as error:
        raise InputError(f"{where}: {error}") from None
    return replace(
        defaults,
        given=given["input"],
        input=folder / given["input"],
        output=checked_output(given["output"], where) if "output" in given else defaults.output,
        mask=folder / given["mask"] if "mask" in given else defaults.mask,
        series=given.get("series", defaults.series),
        acquisition=given.get("acquisition", defaults.acquisition),
        hu_offset=_hu(given, "hu_offset", where) if "hu_offset" in given else defaults.hu_offset,
        options=options,
    )


def _hu(given: Mapping[str, str], name: str, where: str) -> float:
    try:
        value = float(given[name])
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise InputError(f"{where}: {name} {shown(given[name])} is not a number of HU")
    return value
