"""A list of cases: which volumes a batch corrects, how, and what their folders are called."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from ..errors import InputError
from ..files.inputs import looks_like_dicom
from ..files.several import EACH
from .case import Case
from .lists import WORKBOOKS, read_cases
from .names import SUFFIXES, stem_of, unique_names


def cases_from(
    inputs: Sequence[str],
    defaults: Case | None = None,
    *,
    leave_out: Path | None = None,
    passed_by: list[Path] | None = None,
) -> list[Case]:
    """The cases that arguments name, with folder names of their own.

    :param inputs: volumes; folders of DICOM (every CT series is a case), of volumes, or of such
        folders; CSV files of cases (see :func:`.lists.read_cases`).
    :param defaults: how they are corrected where a CSV does not say.
    :param leave_out: a folder whose contents are no input: that of the results.
    :param passed_by: gets the folders that were not looked into, see :func:`volumes_in`.
    :raises InputError: a CSV that cannot be used; no case at all; a folder name used twice.
    """
    pattern = defaults or Case("", Path())
    listed: list[tuple[Case, str]] = []
    for text in inputs:
        path = Path(text)
        if path.suffix.lower() in (".csv", *WORKBOOKS) and not path.is_dir():
            listed += [(case, "") for case in read_cases(path, pattern)]
        elif path.is_dir():
            for one in volumes_in(path, leave_out, passed_by):
                every = _with_every_series(replace(pattern, given=str(one), input=one))
                listed += [(replace(case, input=one.absolute()), hint) for case, hint in every]
        else:
            listed.append((replace(pattern, given=text, input=path.absolute()), ""))
    listed = [one for case, hint in listed for one in _with_each_acquisition(case, hint)]
    found = [case for case, _ in listed]
    hints = {number: hint for number, (_, hint) in enumerate(listed) if hint}
    if not found:
        raise InputError(
            f"no volumes in {', '.join(inputs)}; give files, folders or a CSV of cases"
        )
    return named(found, hints)


def named(cases: Sequence[Case], hints: Mapping[int, str] | None = None) -> list[Case]:
    """Every case with a folder name; see :func:`.names.unique_names`."""
    own, inputs = [case.output for case in cases], [case.input for case in cases]
    names = unique_names(own, inputs, hints or {})
    return [replace(case, output=name) for case, name in zip(cases, names, strict=True)]


def _with_every_series(case: Case) -> list[tuple[Case, str]]:
    """The case, or one a CT series where its folder holds several, with a name for each."""
    if not case.input.is_dir() or case.series is not None:
        return [(case, "")]
    from ..files.dicom_series import ct_series_in

    try:
        series = ct_series_in(case.input, assume_ct=case.assume_ct)
    except InputError:
        return [(case, "")]  # told when it is the case's turn
    if len(series) < 2:
        return [(case, "")]
    return [
        (
            replace(case, given=f"{case.given} (series {number or uid})", series=uid),
            f"{case.input.name}-{number or uid}",
        )
        for uid, number in series.items()
    ]


def _with_each_acquisition(case: Case, hint: str) -> list[tuple[Case, str]]:
    """The case, or one an acquisition or phase where each was asked for."""
    if (case.acquisition or "").lower() != EACH:
        return [(case, hint)]
    from ..files.volumes import acquisitions_in

    case = replace(case, acquisition=None)
    try:
        names = acquisitions_in(case.input, case.series, assume_ct=case.assume_ct)
    except InputError:
        names = ()  # told when it is the case's turn
    if len(names) < 2:
        return [(case, hint)]
    return [
        (
            replace(
                case,
                given=f"{case.given} (acquisition {name})",
                acquisition=name,
                output=case.output and f"{case.output}-{name}",
            ),
            f"{hint or stem_of(case.input)}-{name}",
        )
        for name in names
    ]


def volumes_in(
    folder: Path, leave_out: Path | None = None, passed_by: list[Path] | None = None
) -> list[Path]:
    """What a folder holds: the volume files in it; else itself, if it has DICOM files; else what
    its subfolders hold; else itself, if it has files at all.

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
    if volumes or any(looks_like_dicom(file) for file in files):
        return volumes or [folder]
    found = [one for entry in below for one in volumes_in(entry, leave_out, passed_by)]
    return found or ([folder] if files else [])
