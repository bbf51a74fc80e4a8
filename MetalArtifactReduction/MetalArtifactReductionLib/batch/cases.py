"""A list of cases: which volumes a batch corrects, how, and what their folders are called."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from ..correction_options import CorrectionOptions
from ..errors import InputError

SUFFIXES = (".nii.gz", ".nii", ".nrrd", ".nhdr", ".mha", ".mhd")
"""As in ``volume_io``, which would load numpy; ``.nii.gz`` before its part."""

COLUMNS = (
    "input",
    "output",
    "mask",
    "series",
    "method",
    "threshold",
    "segmentation",
    "reconstruction",
)
_RARE = ("method_options", "window", "trace")
"""Options that no command line and no CSV offers so far."""

RESERVED = frozenset({"summary", "failed", "summary.csv", "summary.html"})
"""What a batch itself writes into its folder."""

_FORBIDDEN = re.compile(r'[<>:"|?*\\/\x00-\x1f]')
_WINDOWS_NAMES = re.compile(r"(?i)^(con|prn|aux|nul|com\d|lpt\d)(\.|$)")


@dataclass(frozen=True)
class Case:
    """One volume and how it is corrected.

    :param given: the input as the user wrote it: what summaries show.
    :param input: file or folder of DICOM, absolute.
    :param output: name of the case's folder below that of the batch, with ``/`` between parts.
    :param mask: metal mask, absolute; the metal is segmented if None.
    :param series: of a folder with several.
    :param options: how it is corrected.
    """

    given: str
    input: Path
    output: str = ""
    mask: Path | None = None
    series: str | None = None
    options: CorrectionOptions = field(default_factory=CorrectionOptions)

    def settings(self) -> dict[str, Any]:
        """Everything that decides what comes out; plain values."""
        chosen, default = self.options.as_dict(), CorrectionOptions().as_dict()
        weights = Path(self.options.method)
        return {
            "input": stamp(self.input),
            "mask": stamp(self.mask) if self.mask else "",
            "series": self.series,
            "method": stamp(weights) if weights.is_file() else self.options.method,
            "threshold": self.options.threshold_hu,
            "segmentation": self.options.segmentation,
            "reconstruction": self.options.reconstruction,
            # Not of folders of earlier versions, which go on to count.
            **{name: chosen[name] for name in _RARE if chosen[name] != default[name]},
        }


def stamp(path: Path) -> str:
    """Changes when the file, or a file of the folder, does: sizes and times, not contents."""
    try:
        files = sorted(path.rglob("*")) if path.is_dir() else [path]
        facts = [(file.stat().st_size, file.stat().st_mtime_ns) for file in files if file.is_file()]
    except OSError:
        return "unreadable"
    newest = max((when for _, when in facts), default=0)
    return f"{path.name}: {len(facts)} files, {sum(size for size, _ in facts)} bytes, {newest} ns"


def cases_from(
    inputs: Sequence[str],
    defaults: Case | None = None,
    *,
    leave_out: Path | None = None,
    passed_by: list[Path] | None = None,
) -> list[Case]:
    """The cases that arguments name, with folder names of their own.

    :param inputs: volumes; folders of one DICOM series, of volumes, or of such folders; CSV files
        of cases (see :func:`read_cases`).
    :param defaults: how they are corrected where a CSV does not say.
    :param leave_out: a folder whose contents are no input: that of the results.
    :param passed_by: gets the folders that were not looked into, see :func:`volumes_in`.
    :raises InputError: a CSV that cannot be used; no case at all; a folder name used twice.
    """
    pattern = defaults or Case("", Path())
    found: list[Case] = []
    for text in inputs:
        path = Path(text)
        if path.suffix.lower() == ".csv":
            found += read_cases(path, pattern)
        elif path.is_dir():
            volumes = volumes_in(path, leave_out, passed_by)
            found += [replace(pattern, given=str(one), input=one.absolute()) for one in volumes]
        else:
            found.append(replace(pattern, given=text, input=path.absolute()))
    if not found:
        raise InputError(
            f"no volumes in {', '.join(inputs)}; give files, folders or a CSV of cases"
        )
    return named(found)


def volumes_in(
    folder: Path, leave_out: Path | None = None, passed_by: list[Path] | None = None
) -> list[Path]:
    """What a folder holds: the volume files in it; else itself, if it has files, as DICOM; else
    what its subfolders hold.

    Subfolders beside volumes are not looked into, since they often hold masks of them
    (``s0001/ct.nii.gz``, ``s0001/segmentations/``).

    :param leave_out: as if it was not there. :param passed_by: gets the subfolders beside volumes.
    """
    if leave_out is not None and folder.absolute() == leave_out.absolute():
        return []
    try:
        entries = sorted(entry for entry in folder.iterdir() if not entry.name.startswith("."))
    except OSError:
        return [folder]
    files = [entry for entry in entries if entry.is_file()]
    here = folder.resolve()
    below = [
        entry
        for entry in entries
        # A link to a folder above would never end.
        if not entry.is_file() and entry.resolve() not in (here, *here.parents)
    ]
    volumes = [file for file in files if file.name.lower().endswith(SUFFIXES)]
    if volumes and passed_by is not None:
        beside = (entry for entry in below if entry.is_dir())
        passed_by += [one for one in beside if volumes_in(one, leave_out)]
    if volumes or files:
        return volumes or [folder]
    return [found for entry in below for found in volumes_in(entry, leave_out, passed_by)]


def read_cases(path: Path, defaults: Case) -> list[Case]:
    """The cases of a CSV file: a line each, a column ``input`` and any of :data:`COLUMNS`.

    Paths are relative to the file's own folder; empty fields take the defaults; columns whose name
    begins with ``#`` are not looked at. Comma, semicolon or tab between fields.

    :raises InputError: no such file, or what is wrong with which line.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            first = file.readline()
            file.seek(0)
            separator = max(",;\t", key=first.count)
            reader = csv.DictReader(file, delimiter=separator, strict=True)
            columns = [name.strip().lower() for name in reader.fieldnames or []]
            reader.fieldnames = columns
            _check_columns(path, columns)
            return [
                _case_of(path, reader.line_num, row, defaults)
                for row in reader
                if any(str(value or "").strip() for value in row.values())
            ]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        what = getattr(error, "strerror", None) or error
        raise InputError(f"{path}: cannot be read as a CSV of cases ({what})") from None


def _check_columns(path: Path, columns: Sequence[str]) -> None:
    if "input" not in columns:
        raise InputError(f"{path}: no column 'input'; its first line must name the columns")
    for name in columns:
        if name not in COLUMNS and not name.startswith("#"):
            raise InputError(
                f"{path}: unknown column {name!r}; known are {', '.join(COLUMNS)}, and names that "
                "begin with # are not looked at"
            )
        if columns.count(name) > 1:
            raise InputError(f"{path}: two columns {name!r}; leave one")


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
        try:
            chosen["threshold_hu"] = float(given["threshold"])
        except ValueError:
            raise InputError(
                f"{where}: threshold {given['threshold']!r} is not a number of HU"
            ) from None
    if (folder / chosen.get("method", "")).is_file():
        chosen["method"] = str(folder / chosen["method"])
    try:
        options = defaults.options.changed(**chosen)
    except InputError as error:
        raise InputError(f"{where}: {error}") from None
    return replace(
        defaults,
        given=given["input"],
        input=folder / given["input"],
        output=_checked_output(given["output"], where) if "output" in given else defaults.output,
        mask=folder / given["mask"] if "mask" in given else defaults.mask,
        series=given.get("series", defaults.series),
        options=options,
    )


def _checked_output(text: str, where: str) -> str:
    """A relative name that stays below the batch's folder, on every system."""
    parts = text.replace("\\", "/").strip("/").split("/")
    if text.startswith(("/", "\\")) or re.match(r"^[A-Za-z]:", text) or ".." in parts:
        raise InputError(
            f"{where}: output {text!r} leaves the folder of results; give a name below it"
        )
    if any(_safe(part) != part for part in parts):
        raise InputError(f"{where}: output {text!r} cannot be a folder everywhere; use letters")
    return "/".join(parts)


def named(cases: Iterable[Case]) -> list[Case]:
    """Every case with a folder name: its own, or made from that of its input.

    Two inputs of one name get the names of their folders before it, and a number if that is not
    enough.

    :raises InputError: the user gave one name twice, or one below another.
    """
    cases = list(cases)
    own = [case.output for case in cases if case.output]
    taken: dict[str, str] = {}
    for name in own:
        _claim(name, taken)
    stems = [_stem(case.input) for case in cases]
    used = {name.casefold() for name in own}
    result = []
    for case, stem in zip(cases, stems, strict=True):
        if case.output:
            result.append(case)
            continue
        name = stem
        if sum(other.casefold() == stem.casefold() for other in stems) > 1:
            name = _safe(f"{case.input.parent.name}-{stem}")
        name = next(_numbered(name, used))
        used.add(name.casefold())
        result.append(replace(case, output=name))
    for case in result:
        if not any(case.output == name for name in own):
            _claim(case.output, taken)
    return result


def _claim(name: str, taken: dict[str, str]) -> None:
    key = name.casefold()
    for other in taken:
        if key == other or key.startswith(f"{other}/") or other.startswith(f"{key}/"):
            raise InputError(
                f"output {name!r} is named twice, or lies in that of another case "
                f"({taken[other]!r}); give each case its own"
            )
    if key.split("/")[0] in RESERVED:
        raise InputError(f"output {name!r} is a name that the batch needs; give another")
    taken[key] = name


def _numbered(name: str, used: set[str]) -> Iterator[str]:
    number = 1
    while True:
        candidate = name if number == 1 else f"{name}-{number}"
        if candidate.casefold() not in used and candidate.casefold() not in RESERVED:
            yield candidate
        number += 1


def _stem(path: Path) -> str:
    name = path.name or path.resolve().name or "volume"
    for suffix in (*SUFFIXES, ".dcm", ".dicom", ".ima"):
        if name.lower().endswith(suffix) and len(name) > len(suffix):
            return _safe(name[: -len(suffix)])
    return _safe(name)


def _safe(name: str) -> str:
    """A folder name that Linux, macOS and Windows allow."""
    name = _FORBIDDEN.sub("_", name).strip(". ")
    return f"_{name}" if not name or _WINDOWS_NAMES.match(name) else name
