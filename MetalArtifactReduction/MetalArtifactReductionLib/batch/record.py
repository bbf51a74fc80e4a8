"""What is kept of the cases of a batch: in the folders of those that are finished, and beside them
for those that failed.
"""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from ..errors import InputError, OutputError
from ..files.schema import check_values, json_of, text_of_file
from ..files.whole import written_whole
from .case import Case

MARKER = "case.json"
"""In the folder of a finished case: settings and figures. The folder appears whole."""

FAILED = "failed"
"""Folder of the batch with a record and a traceback for each case that failed."""


@dataclass(frozen=True)
class BatchSettings:
    """How all cases of a batch are written.

    :param folder: of the batch, absolute. :param suffix: of the volumes; as the input if None.
    :param dicom: derived DICOM series instead. :param change_map: write the change map too.
    :param expected_error: write the expected error too; only for methods that know it.
    :param force: do finished cases again.
    """

    folder: Path
    suffix: str | None = None
    dicom: bool = False
    change_map: bool = False
    expected_error: bool = False
    force: bool = False

    def kept_with(self, case: Case) -> dict[str, Any]:
        """What decides about the folder of a case."""
        return {
            **case.settings(),
            "format": "dicom" if self.dicom else self.suffix or "as the input",
            "change_map": self.change_map,
            # Not of folders of earlier versions, which go on to count.
            **({"expected_error": True} if self.expected_error else {}),
        }


@dataclass(frozen=True)
class CaseRecord:
    """One line of the summary.

    :param case: name of its folder. :param input: as the user gave it.
    :param status: ``done``, ``failed``, ``stopped`` or ``waiting``.
    :param metal_cm3: volume of the metal. :param slices: of the volume.
    :param streaks_before_hu, streaks_after_hu: streak amplitude in soft tissue near metal.
    :param notes: what was unusual about the input. :param reason: why it failed, one line.
    """

    case: str
    input: str
    status: str
    method: str = ""
    seconds: float | None = None
    slices: int | None = None
    slices_with_metal: int | None = None
    metal_cm3: float | None = None
    streaks_before_hu: float | None = None
    streaks_after_hu: float | None = None
    notes: str = ""
    reason: str = ""

    @property
    def streaks_change_hu(self) -> float | None:
        """After minus before: above 0 the case got worse; None where nothing was measured."""
        if self.streaks_before_hu is None or self.streaks_after_hu is None:
            return None
        return round(self.streaks_after_hu - self.streaks_before_hu, 3)

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> CaseRecord:
        """From what :func:`asdict` and JSON made of it."""
        return cls(
            **{entry.name: values[entry.name] for entry in fields(cls) if entry.name in values}
        )


@dataclass(frozen=True)
class _Kept:
    """The file of a case, as far as it is read again."""

    record: CaseRecord
    settings: dict[str, Any] = field(default_factory=dict)


def fail(
    case: Case, settings: BatchSettings, reason: str, log: str = "", started: float | None = None
) -> CaseRecord:
    """The record of a case that failed, kept in the batch's folder where that can be written."""
    for path, given in ((case.input, case.given), (case.mask, case.mask and case.mask.name)):
        reason = reason.replace(str(path), str(given))  # no more of the path than the user gave
    seconds = None if started is None else round(time.monotonic() - started, 2)
    record = CaseRecord(
        case.output, case.given, "failed", case.options.method, seconds=seconds, reason=reason
    )
    with contextlib.suppress(OSError):  # the summary has the record all the same
        place = failed_file(case, settings, ".json")
        place.parent.mkdir(exist_ok=True)
        write_json(place, {"record": asdict(record)})
        log_file = failed_file(case, settings, ".txt")
        log_file.unlink(missing_ok=True)
        if log:
            log_file.write_text(log, encoding="utf-8", errors="backslashreplace")
    return record


def failed_file(case: Case, settings: BatchSettings, suffix: str) -> Path:
    """Where the record (``.json``) or traceback (``.txt``) of a failed case lies."""
    return settings.folder / FAILED / _name_of_failed(case, suffix)


def _name_of_failed(case: Case, suffix: str) -> str:
    return case.output.replace("/", "__") + suffix


def record_of(case: Case, settings: BatchSettings) -> CaseRecord:
    """What is known of a case from what lies in the batch's folder.

    :raises OutputError: its folder holds something else, or was made with other settings.
    """
    folder = os.path.join(settings.folder, case.output)
    marker = os.path.join(folder, MARKER)
    if os.path.isfile(marker):
        kept = _read_json(Path(marker))
        before, now = kept.get("settings", {}), settings.kept_with(case)
        different = [key for key in now if before.get(key) != now[key]]
        if different and not settings.force:
            key = different[0]
            what = f"was made with {key} {before.get(key)!r}, not {now[key]!r}"
            if key in ("input", "mask"):
                what = f"its {key} has changed since it was made"
            raise OutputError(
                f"{folder}: {what}; give a new folder, or let it be made again (force=True,"
                " --force)"
            )
        if not different:
            return CaseRecord.of({**kept["record"], "case": case.output, "input": case.given})
        return CaseRecord(case.output, case.given, "waiting", case.options.method)
    if os.path.isfile(folder) or (os.path.isdir(folder) and os.listdir(folder)):
        raise OutputError(
            f"{folder}: is there already and not from a batch; give a new folder of results"
        )
    failed = os.path.join(settings.folder, FAILED, _name_of_failed(case, ".json"))
    if os.path.isfile(failed):
        kept = _read_json(Path(failed))
        return CaseRecord.of({**kept["record"], "case": case.output, "input": case.given})
    return CaseRecord(case.output, case.given, "waiting", case.options.method)


def write_json(path: Path, values: Mapping[str, Any]) -> None:
    """Whole or not at all; NaN is no JSON and an error."""
    with written_whole(path, overwrite=True) as temporary:
        text = json.dumps(values, indent=2, allow_nan=False, ensure_ascii=False)
        try:
            text.encode("utf-8")
        except UnicodeEncodeError:  # the name of a file that is no text
            text = json.dumps(values, indent=2, allow_nan=False)
        temporary.write_text(text + "\n", encoding="utf-8")


def _read_json(path: Path) -> dict[str, Any]:
    try:
        try:
            values = json_of(text_of_file(path, "JSON", "what a batch wrote"))
        except ValueError as error:
            raise InputError(f"{path}: is not JSON ({error})") from None
        if isinstance(values, dict):  # what else a file holds can be long
            values = {name: values[name] for name in ("record", "settings") if name in values}
        check_values(_Kept, values, str(path))
    except InputError as error:
        place = path if path.parent.name == FAILED else path.parent
        raise OutputError(f"{error}; is damaged, or not from a batch: remove {place}") from None
    return dict(values)
